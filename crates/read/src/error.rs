//! The errors of a read.
//!
//! Rules: a variant says what can be done next; the text names the thing; causes are `source`. Errors are cheap to clone, because one
//! failed fetch has many waiters. Only [`Error::Corrupt`] is logged in this crate (once, by the fetch that found it, with all that is needed to
//! look into it); everything else is for the caller to report.

use std::sync::Arc;
use std::time::Duration;

/// Why bytes of a file could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The backend's bytes are not those that the archive was made from, and asking again did not help: index the image anew, or look at
    /// what lies between here and the registry.
    #[error("{blob}: span {span} (bytes {start}..{end} of the stream) is corrupt: {reason}")]
    Corrupt {
        /// Name of the blob.
        blob: String,
        /// Number of the span in its stream.
        span: u32,
        /// First uncompressed byte.
        start: u64,
        /// One past the last uncompressed byte.
        end: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes did not come in time. The fetch goes on: try again.
    #[error("no data within {after:?}")]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
    /// The backend gave up.
    #[error("fetch")]
    Backend {
        /// Why.
        #[from]
        source: backend::Error,
    },
    /// The archive itself cannot be read.
    #[error("look into the archive")]
    Archive {
        /// Why.
        source: Arc<archive::Error>,
    },
    /// The reader was closed (its mount goes away).
    #[error("the reader is closed")]
    Closed,
    /// Too many reads wait already: wait, then try again.
    #[error("{reads} reads are waiting already")]
    Overload {
        /// How many.
        reads: usize,
    },
    /// The reader was made from parts that do not belong together. A defect in the caller.
    #[error("{given} blobs were given for {needed} streams")]
    Blobs {
        /// Blobs given.
        given: usize,
        /// Streams in the archive.
        needed: usize,
    },
}

impl From<archive::Error> for Error {
    fn from(source: archive::Error) -> Self {
        Self::Archive { source: Arc::new(source) }
    }
}
