//! What can go wrong: each variant says what can be done about it.

use std::io;
use std::path::PathBuf;

/// Why a store or an archive in one could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image has that id: pull it.
    #[error("{id}: no such image in the store (clipctl images lists them, clipctl pull makes one)")]
    NoSuchImage {
        /// As it was given.
        id: String,
    },
    /// Several images' ids begin so: give more of it.
    #[error("{prefix} is short for several images, {a} and {b} among them: give more of it")]
    Ambiguous {
        /// As it was given.
        prefix: String,
        /// One of them.
        a: String,
        /// Another.
        b: String,
    },
    /// Somebody else has been making the image for hours: find out what he does.
    #[error("{what} is held by another process, which makes the same image; it takes too long to wait for")]
    Busy {
        /// The lock file, or the object.
        what: String,
    },
    /// The text is no id.
    #[error("'{0}' is no image id: 64 digits of hexadecimal, in lower case")]
    Id(String),
    /// A record cannot be read: pull the image again, which writes it anew, or remove the image.
    #[error("the record {what} is damaged: {detail}; pull the image again, or remove it with clipctl rmi and all of its id")]
    Record {
        /// Where it is.
        what: String,
        /// What is wrong.
        detail: String,
    },
    /// Objects are opened only where somebody says how to reach S3. A defect in the caller.
    #[error("{0}: no way to S3 was given")]
    NoS3(String),
    /// A bucket or key that S3 does not take.
    #[error(transparent)]
    Location(backend::Error),
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// The archive is not right.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// A local file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// An error of a local file.
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    }
}
