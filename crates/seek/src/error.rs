//! What can be wrong with compressed bytes. No variant names the blob: the caller knows it.

/// Why bytes could not be decoded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The bytes are not valid for the codec.
    #[error("invalid {codec} data at byte {offset}: {detail}")]
    Invalid {
        /// "gzip" or "zstd".
        codec: &'static str,
        /// Compressed bytes that were consumed before the fault, counted from where decoding began.
        offset: u64,
        /// What the decoder said.
        detail: String,
    },
    /// The compressed bytes ended early.
    #[error("compressed data ends early: {missing} uncompressed bytes are missing")]
    Truncated {
        /// Uncompressed bytes that should have followed; 0 where the number is not known.
        missing: u64,
    },
    /// A span that continues its predecessor was asked to begin by itself.
    #[error("a span that continues the one before it cannot be decoded by itself")]
    NoRestart,
}
