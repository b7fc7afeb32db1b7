//! What can be wrong with an archive. Every error names the file; a damaged archive is made anew, an unsupported one read by a newer clip.

use std::io;
use std::path::{Path, PathBuf};

/// Why an archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The archive.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a clip archive (make one with `clipctl index`)", path.display())]
    NotAnArchive {
        /// The file.
        path: PathBuf,
    },
    /// The archive was made by a newer clip.
    #[error("{} has archive format {found}; this clip reads format {supported}: use a newer clip, or index the image again", path.display())]
    Unsupported {
        /// The archive.
        path: PathBuf,
        /// Format version in its header.
        found: u16,
        /// Format version of this crate.
        supported: u16,
    },
    /// The archive is damaged: its bytes contradict their digests or each other.
    #[error("{} is damaged: {detail}; index the image again", path.display())]
    Corrupt {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The image has something that the format cannot carry.
    #[error("cannot be carried in an archive: {0}")]
    Unrepresentable(String),
}

/// A contradiction in bytes, found where their file is not known.
#[derive(Debug)]
pub(crate) struct Damage(pub String);

impl Damage {
    pub fn at(self, path: &Path) -> Error {
        Error::Corrupt { path: path.into(), detail: self.0 }
    }
}

/// Shorthand for `Err(Damage(format!(…)))`.
macro_rules! damaged {
    ($($arg:tt)*) => { Err($crate::error::Damage(format!($($arg)*))) };
}
pub(crate) use damaged;
