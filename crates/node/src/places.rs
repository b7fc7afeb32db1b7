//! Where caches lie, and how much may be done at once.

use std::path::{Path, PathBuf};

/// Bytes of the cache, if nobody says anything.
pub const CACHE_BYTES: u64 = 10 << 30;

/// Layers that are taken in at the same time if nothing is said: more than one link can feed.
const JOBS_MAX: usize = 16;

/// The directory of caches: as given, or `CLIP_CACHE_DIR`, or the system's for root and the user's for others.
pub fn cache_dir(given: Option<&Path>) -> PathBuf {
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

/// Where below the directory of caches layers are kept; nowhere, where no directory can be made: indexing works all the same.
pub fn layer_dir(cache_dir: &Path) -> Option<PathBuf> {
    let dir = cache_dir.join("layers");
    // A directory that is there need not be one that can be written; access(2) knows filesystems that are read-only.
    let made = std::fs::create_dir_all(&dir).and_then(|()| Ok(rustix::fs::access(&dir, rustix::fs::Access::WRITE_OK)?));
    match made {
        Ok(()) => Some(dir),
        Err(error) => {
            tracing::warn!("{}: {error}; what is learned of layers is not kept (choose another directory with --cache-dir)", dir.display());
            None
        }
    }
}

/// Layers, or threads that compress, at work at the same time: as given, or the number of processors, at most 16.
pub fn jobs(given: Option<u16>) -> usize {
    given.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from).min(JOBS_MAX), usize::from)
}

/// Lets this process have as many files open as it may: the cache holds two for each stream, and unpacking one for each level of
/// directories. A refusal is no reason to stop.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {e}");
    }
}
