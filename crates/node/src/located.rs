//! Finding the archive that somebody names: a file, an object (`s3://bucket/key`), or an image of the store by its id or the beginning of that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::archive::Archive;
use anyhow::Result;
use backend::{Blob, Traffic};
use store::Place;

use crate::Settings;

/// Digits of an id that are enough to be looked for.
const ID_DIGITS_MIN: usize = 6;

/// An archive that was found.
pub struct Located {
    /// Where it is, for messages: a path, or a URL.
    pub name: String,
    /// The archive, or its head where the rest is far.
    pub archive: Arc<Archive>,
    /// What its own data is read from, where that is not the file, and what passes through there.
    pub remote: Option<(Arc<dyn Blob>, Arc<Traffic>)>,
    /// Where the head is, if the cache could not take it; gone with this, when everything that needs it is open.
    _temporary: Option<tempfile::TempDir>,
}

impl Located {
    /// Opens what `name` names. The head of an object is kept below `cache_dir`.
    ///
    /// # Errors
    /// Where it is not there, cannot be reached or is no archive.
    pub async fn open(name: &Path, cache_dir: &Path, settings: &Settings) -> Result<Located> {
        let place = match named(name) {
            Named::File => Place::File(name.into()),
            Named::Object(url) => url.parse()?,
            Named::Image(id) => {
                let store = settings.store().await?;
                store.place(&store.resolve(id).await?.image_id()?)?
            }
        };
        Located::at(&place, cache_dir, settings).await
    }

    /// Opens the archive at `place`.
    ///
    /// # Errors
    /// As [`Located::open`].
    pub async fn at(place: &Place, cache_dir: &Path, settings: &Settings) -> Result<Located> {
        if let Place::File(path) = place {
            return Ok(Located { name: place.to_string(), archive: Arc::new(Archive::open(path)?), remote: None, _temporary: None });
        }
        let s3 = settings.s3().await?.counted_apart();
        let mut temporary = None;
        let opened = match store::open(place, &cache_dir.join("heads"), Some(&s3)).await {
            // Somewhere it must be, to be mapped.
            Err(store::Error::Io { path, source }) => {
                tracing::warn!("{}: {source}; the archive's head is kept for this command only", path.display());
                let dir = temporary.insert(tempfile::tempdir()?);
                store::open(place, dir.path(), Some(&s3)).await?
            }
            opened => opened?,
        };
        let remote = opened.data.map(|data| (data, Arc::clone(s3.traffic())));
        Ok(Located { name: place.to_string(), archive: Arc::new(opened.archive), remote, _temporary: temporary })
    }
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
///
/// # Errors
/// Where there is no working directory.
pub fn absolute(name: &Path) -> std::io::Result<PathBuf> {
    if matches!(named(name), Named::File) { std::path::absolute(name) } else { Ok(name.into()) }
}
