//! What can go wrong when a cache or a stream of it is opened, pinned or pruned. Reading and putting have no errors: a cache that does not work is a
//! cache that misses.

use std::io;
use std::path::{Path, PathBuf};

/// Why a cache or a stream could not be opened, or what was asked of it not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The limit is too small to hold anything: raise it.
    #[error("cache limit of {bytes_max} bytes is below the least that makes sense, {least} bytes")]
    LimitTooSmall {
        /// What was asked for.
        bytes_max: u64,
        /// The least that is accepted.
        least: u64,
    },
    /// The stream is larger, or has more spans, than the record format can say: do without the cache for it.
    #[error("stream of {size} bytes in {spans} spans is beyond the limits of the cache")]
    StreamTooLarge {
        /// Uncompressed size of the stream.
        size: u64,
        /// Number of its spans.
        spans: u32,
    },
    /// Another process has held a lock for too long: find out what it does, or try again.
    #[error("{} is held by another process", path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
    /// The file system cannot give back the bytes of evicted spans: use another directory.
    #[error("the file system of {} cannot punch holes into files", dir.display())]
    NoHoles {
        /// The cache directory.
        dir: PathBuf,
    },
    /// Somebody else could put bytes there that would be taken for verified ones: use another directory, or mend its owner and mode.
    #[error("cache directory {} belongs to user {owner} with mode {mode:o}: it must be ours, and writable for nobody else", dir.display())]
    NotPrivate {
        /// The directory.
        dir: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// A name that cannot be the end of a file's: choose one of letters and digits.
    #[error("name of a pin must have 1 to {max} ASCII letters, digits, '-', '_' and '.', and not begin with '.'")]
    BadPinName {
        /// Longest name, in bytes.
        max: usize,
    },
    /// As many pins as there may be: take some away first.
    #[error("the cache has {max} pins already, the most that there may be")]
    TooManyPins {
        /// The limit.
        max: usize,
    },
    /// The operating system refused something: permissions, space, a directory that is gone.
    #[error("{action} {}", path.display())]
    Io {
        /// Verb of what was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: names what was tried and on what.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
