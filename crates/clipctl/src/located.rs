//! Finding the archive that somebody names: a file, an object (`s3://bucket/key`), or an image of the store by its id or the beginning of that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::archive::Archive;
use anyhow::Result;
use backend::{Blob, Traffic};
use store::Place;
use tokio::runtime::Runtime;

use crate::cli::Global;
use crate::opened::cache_dir;
use crate::settings::Settings;

/// Digits of an id that are enough to be looked for.
const ID_DIGITS_MIN: usize = 6;

/// An archive that was found.
pub(crate) struct Located {
    /// Where it is, for messages: a path, or a URL.
    pub name: String,
    pub archive: Arc<Archive>,
    /// What its own data is read from, where that is not the file, and what passes through there.
    pub remote: Option<(Arc<dyn Blob>, Arc<Traffic>)>,
    /// Where the head is, if the cache could not take it; gone with this, when everything that needs it is open.
    _temporary: Option<tempfile::TempDir>,
}

impl Located {
    /// Opens what `name` names. The head of an object is kept in the cache directory.
    pub fn open(name: &Path, global: &Global, cache: Option<&Path>, runtime: &Runtime) -> Result<Located> {
        let (place, settings) = place(name, global, runtime)?;
        let heads = cache_dir(cache).join("heads");
        if let Place::File(path) = &place {
            return Ok(Located { name: place.to_string(), archive: Arc::new(Archive::open(path)?), remote: None, _temporary: None });
        }
        let settings = settings.map_or_else(|| Settings::load(global, Vec::new()), Ok)?;
        runtime.block_on(async {
            let s3 = settings.s3().await?;
            let mut temporary = None;
            let opened = match store::open(&place, &heads, Some(&s3)).await {
                // Somewhere it must be, to be mapped.
                Err(store::Error::Io { path, source }) => {
                    tracing::warn!("{}: {source}; the archive's head is kept for this command only", path.display());
                    let dir = temporary.insert(tempfile::tempdir()?);
                    store::open(&place, dir.path(), Some(&s3)).await?
                }
                opened => opened?,
            };
            let remote = opened.data.map(|data| (data, Arc::clone(s3.traffic())));
            Ok(Located { name: place.to_string(), archive: Arc::new(opened.archive), remote, _temporary: temporary })
        })
    }
}

/// Where it is, and the configuration if it was needed to know.
fn place(name: &Path, global: &Global, runtime: &Runtime) -> Result<(Place, Option<Settings>)> {
    let text = match named(name) {
        Named::File => return Ok((Place::File(name.into()), None)),
        Named::Object(url) => return Ok((url.parse()?, None)),
        Named::Image(id) => id,
    };
    let settings = Settings::load(global, Vec::new())?;
    let place = runtime.block_on(async {
        let store = settings.store().await?;
        let record = store.resolve(text).await?;
        anyhow::Ok(store.place(&record.image_id()?)?)
    })?;
    Ok((place, Some(settings)))
}

/// What a name looks like.
enum Named<'a> {
    File,
    Object(&'a str),
    Image(&'a str),
}

/// A file that exists is that file, whatever it is called.
fn named(name: &Path) -> Named<'_> {
    let text = name.to_str().filter(|_| !name.exists()).unwrap_or_default();
    let is_id = (ID_DIGITS_MIN..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match text {
        url if url.starts_with("s3://") => Named::Object(url),
        id if is_id => Named::Image(id),
        _ => Named::File,
    }
}

/// The name for a process that works in another directory.
pub(crate) fn absolute(name: &Path) -> std::io::Result<PathBuf> {
    if matches!(named(name), Named::File) { std::path::absolute(name) } else { Ok(name.into()) }
}
