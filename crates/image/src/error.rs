//! Errors of this crate: variants say what the caller can do, and name the image, layer or file.

use std::io;
use std::path::PathBuf;

use crate::flatten::FlattenError;
use crate::tar::TarError;

/// Why an image could not be indexed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reference is none: mend it.
    #[error("'{name}' is not an image reference: {detail}")]
    Name {
        /// As it was given.
        name: String,
        /// What is wrong, and what would be right.
        detail: String,
    },
    /// The image is not for the platform that was asked for: choose one of those it is for.
    #[error("{image} is not there for platform {wanted}; it is for {available} (choose with --platform)")]
    Platform {
        /// The image.
        image: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// The image breaks the rules: only who made it can mend it.
    #[error("{image}: {detail}")]
    Image {
        /// The image.
        image: String,
        /// What is wrong.
        detail: String,
    },
    /// A layer is not what the manifest says, or cannot be read.
    #[error("layer {index} of {image} ({digest}): {source}")]
    Layer {
        /// The image.
        image: String,
        /// Which layer, the lowest being 1.
        index: usize,
        /// Its digest, or how it is named.
        digest: String,
        /// What is wrong.
        source: Box<LayerError>,
    },
    /// The registry or the local store failed.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// The archive could not be written.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// Files could not be packed into the archive.
    #[error(transparent)]
    Pack(#[from] pack::Error),
    /// A local file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// The tree takes no more ([`archive::Tree`] says why).
    pub(crate) fn full() -> Error {
        archive::Error::Unrepresentable("more than 4 GiB of names".into()).into()
    }
}

/// What can be wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Its bytes have another digest.
    #[error("the {what} is {found}, but the {by} says {expected}; the image is damaged or was tampered with: pull or build it again")]
    Digest {
        /// "blob's digest" or "diff_id".
        what: &'static str,
        /// What was computed.
        found: String,
        /// "manifest" or "config".
        by: &'static str,
        /// What should be.
        expected: String,
    },
    /// It has another size.
    #[error("the blob has {found} bytes, but the manifest says {expected}; the image is damaged: pull or build it again")]
    Size {
        /// What was read.
        found: u64,
        /// What should be.
        expected: u64,
    },
    /// It cannot be decompressed.
    #[error(transparent)]
    Seek(#[from] seek::Error),
    /// Its tar is wrong.
    #[error("{0}")]
    Tar(String),
    /// An entry cannot be applied.
    #[error("entry {0}")]
    Entry(String),
    /// It could not be fetched.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// What was learned of it could not be kept.
    #[error("keep the layer's index: {0}")]
    Io(#[from] io::Error),
    /// It is not the same when it is read again.
    #[error("it has changed since it was scanned: {0}; try again")]
    Changed(String),
    /// The work was stopped.
    #[error("stopped")]
    Stopped,
}

impl From<TarError> for LayerError {
    fn from(error: TarError) -> LayerError {
        LayerError::Tar(error.to_string())
    }
}

impl From<FlattenError> for LayerError {
    fn from(error: FlattenError) -> LayerError {
        LayerError::Entry(error.to_string())
    }
}
