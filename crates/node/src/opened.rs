//! An archive, open for reading its files: the way of a read, put together.
//!
//! ```text
//! Archive (index, spans) -> Reader -> Cache -> Blob: a local file, or Retry(Limit(Counted(registry or S3)))
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use archive::{Archive, Location, Storage, Stream};
use backend::{Blob, Counted, FileBlob, Registry, Repository, Slice, Traffic};
use cache::Cache;
use read::{ReadOptions, Reader};
use tokio::runtime::Handle;

use crate::{Located, Registries};

/// An archive with all that is needed to read its files.
pub struct Opened {
    /// The archive.
    pub archive: Arc<Archive>,
    /// Reads its files.
    pub reader: Arc<Reader>,
    /// What passed through the backend for it.
    pub traffic: Arc<Traffic>,
    /// Local files that blobs lie in.
    pub files: Vec<PathBuf>,
}

impl Opened {
    /// Makes an archive readable: its blobs are reached through `registries`, and what was read is kept in `cache`. Of its data nothing is fetched yet.
    /// Fetching runs on `runtime`.
    ///
    /// # Errors
    /// Local files that are not there or not as the archive says; registries as [`Registries::to`].
    pub fn open(
        located: &Located,
        registries: &Registries,
        cache: Option<Arc<Cache>>,
        runtime: Handle,
        options: ReadOptions,
    ) -> Result<Opened> {
        let archive = Arc::clone(&located.archive);
        let blobs = Blobs::open(located, registries)?;
        let reader = Reader::new(Arc::clone(&archive), blobs.blobs, cache, runtime, options)?;
        Ok(Opened { archive, reader: Arc::new(reader), traffic: blobs.traffic, files: blobs.files })
    }
}

/// Opens the cache in `dir`, of `bytes_max` at most. Where the system does not let us write there (a read-only or full filesystem) we do without: slow is
/// better than not at all.
///
/// # Errors
/// A cache that is not private, or too small for anything, is a mistake that somebody has to mend.
pub fn open_cache(dir: &Path, bytes_max: u64) -> Result<Option<Arc<Cache>>> {
    match Cache::open(dir, bytes_max) {
        Ok(cache) => Ok(Some(Arc::new(cache))),
        Err(cache::Error::Io { action, path, source }) => {
            tracing::warn!("{action} {}: {source}; going on without a cache: whatever is read is fetched anew", path.display());
            Ok(None)
        }
        Err(error) => Err(error).context("open the cache"),
    }
}

/// The blobs of an archive's streams.
pub struct Blobs {
    /// By stream.
    pub blobs: Vec<Arc<dyn Blob>>,
    /// What passes through them.
    pub traffic: Arc<Traffic>,
    /// Local files that they lie in.
    pub files: Vec<PathBuf>,
}

impl Blobs {
    /// The header alone decides where the blobs are.
    ///
    /// # Errors
    /// As [`Opened::open`].
    pub fn open(located: &Located, registries: &Registries) -> Result<Blobs> {
        let archive = &located.archive;
        let registry = match archive.storage() {
            Storage::Registry { host, repository } => {
                let way = registries.to(Some(host))?;
                Some((way, Repository::new(host, repository)?))
            }
            Storage::Files | Storage::Archive => None,
        };
        let traffic = match (&registry, &located.remote) {
            (Some((way, _)), _) => Arc::clone(way.traffic()),
            (None, Some((_, traffic))) => Arc::clone(traffic),
            (None, None) => Arc::default(),
        };
        let mut files = Vec::new();
        let blobs = archive.streams().iter().map(|stream| blob(located, stream, registry.as_ref(), &traffic, &mut files));
        let blobs = blobs.collect::<Result<_>>()?;
        Ok(Blobs { blobs, traffic, files })
    }
}

fn blob(
    located: &Located,
    stream: &Stream,
    registry: Option<&(Registry, Repository)>,
    traffic: &Arc<Traffic>,
    files: &mut Vec<PathBuf>,
) -> Result<Arc<dyn Blob>> {
    let archive = &located.archive;
    let mut file = |path: &Path, offset: u64| -> Result<Arc<dyn Blob>> {
        let blob = FileBlob::open(path, offset, stream.blob_size)
            .with_context(|| format!("open the data of {} (was the image moved?)", archive.path().display()))?;
        files.push(path.into());
        Ok(Arc::new(Counted::new(blob, Arc::clone(traffic))))
    };
    match (&stream.location, registry) {
        (Location::File { path, offset }, _) => file(Path::new(path), *offset),
        (Location::Archive { offset }, _) => match &located.remote {
            Some((object, _)) => Ok(Arc::new(Slice::new(Arc::clone(object), *offset, stream.blob_size)?)),
            None => file(archive.path(), *offset),
        },
        (Location::Registry, Some((registry, repository))) => Ok(registry.open(repository, &stream.blob, stream.blob_size)),
        (Location::Registry, None) => anyhow::bail!("{} does not name its registry", archive.path().display()),
    }
}
