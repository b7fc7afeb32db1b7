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
use tokio::runtime::Runtime;

use crate::cli::{CacheArgs, Global};
use crate::located::Located;
use crate::registry_args::RegistryArgs;

/// Bytes of the cache, if nobody says anything.
const CACHE_BYTES: u64 = 10 << 30;

/// An archive with all that is needed to read its files.
pub(crate) struct Opened {
    pub archive: Arc<Archive>,
    pub reader: Arc<Reader>,
    pub traffic: Arc<Traffic>,
    pub cache_dir: PathBuf,
    /// Local files that blobs lie in.
    pub files: Vec<PathBuf>,
}

impl Opened {
    /// Opens the archive that `name` names. Of its data nothing is fetched yet.
    pub fn open(
        name: &Path,
        global: &Global,
        cache: &CacheArgs,
        registry: &RegistryArgs,
        runtime: &Runtime,
        options: ReadOptions,
    ) -> Result<Opened> {
        let located = Located::open(name, global, cache.cache_dir.as_deref(), runtime)?;
        let cache_dir = cache_dir(cache.cache_dir.as_deref());
        let blobs = Blobs::open(&located, registry)?;
        let archive = located.archive;
        let store = open_cache(&cache_dir.join("data"), cache.cache_size.unwrap_or(CACHE_BYTES))?;
        let reader = Reader::new(Arc::clone(&archive), blobs.blobs, store, runtime.handle().clone(), options)?;
        Ok(Opened { archive, reader: Arc::new(reader), traffic: blobs.traffic, cache_dir, files: blobs.files })
    }
}

/// Opens the cache. Where the system does not let us write there (a read-only or full filesystem) we do without: slow is better than not at all.
/// A cache that is not private, or too small for anything, is a mistake that somebody has to mend.
fn open_cache(dir: &Path, bytes_max: u64) -> Result<Option<Arc<Cache>>> {
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
pub(crate) struct Blobs {
    /// By stream.
    pub blobs: Vec<Arc<dyn Blob>>,
    pub traffic: Arc<Traffic>,
    pub files: Vec<PathBuf>,
}

impl Blobs {
    /// The header alone decides where the blobs are.
    pub fn open(located: &Located, args: &RegistryArgs) -> Result<Blobs> {
        let archive = &located.archive;
        let registry = match archive.storage() {
            Storage::Registry { host, repository } => {
                let way = args.registry(Some(host))?;
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

/// The directory of caches: as given by flag or environment, or the system's for root and the user's for others.
pub(crate) fn cache_dir(given: Option<&Path>) -> PathBuf {
    if let Some(dir) = given.map(PathBuf::from).or_else(|| std::env::var_os("CLIP_CACHE_DIR").map(PathBuf::from)) {
        return dir;
    }
    if rustix::process::geteuid().is_root() {
        return "/var/cache/clip".into();
    }
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    match of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache"))) {
        Some(caches) => caches.join("clip"),
        None => std::env::temp_dir().join(format!("clip-{}", rustix::process::geteuid().as_raw())),
    }
}

/// Threads that fetch, and, as needed, threads that decode.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("clip").build().context("start the runtime")
}

/// Lets this process have as many files open as it may: the cache holds two for each stream, and unpacking one for each level of
/// directories. A refusal is no reason to stop.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {e}");
    }
}
