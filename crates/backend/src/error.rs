//! The errors of this crate.
//!
//! Rules: a variant says what the caller can do next, its fields name the thing (`what` holds the blob or manifest and
//! the host), and the text ends with the remedy where there is one. Causes go into `source`, not into the text. No
//! text holds a URL's query: those carry signatures. Errors are cheap to clone, because one failed fetch has many
//! waiters. Nothing is logged here or where errors pass.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

/// A cause that can be shared by everyone who waited for the same thing.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why bytes could not be had, by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The thing is not there. Permanent: another name, tag or digest is needed.
    #[error("{what}: not found; check the name, and whether it was deleted")]
    NotFound {
        /// The blob or manifest, and its host.
        what: String,
    },
    /// What was opened is not there any more: something else has taken its place. Permanent for whoever opened it.
    #[error("{what}: changed while in use; mount it again")]
    Changed {
        /// The blob, and its host.
        what: String,
    },
    /// The host refuses us. Permanent until other credentials are given.
    #[error("{what}: access denied; {hint}")]
    Denied {
        /// The blob or manifest, and its host.
        what: String,
        /// How to give credentials, or which ones were refused.
        hint: String,
    },
    /// The host asks for fewer requests. Transient: wait.
    #[error("{what}: too many requests; wait, or log in for a higher limit")]
    RateLimited {
        /// The blob or manifest, and its host.
        what: String,
        /// What the host asked for, uncapped.
        retry_after: Option<Duration>,
    },
    /// The host cannot be reached, broke off, or failed. Transient: try again.
    #[error("{what}: unavailable")]
    Unavailable {
        /// The blob or manifest, and its host.
        what: String,
        /// What the host asked for, uncapped.
        retry_after: Option<Duration>,
        /// What happened.
        source: Source,
    },
    /// Nothing came in time. Transient: try again, or allow more time.
    #[error("{what}: timed out {doing}")]
    Timeout {
        /// The blob or manifest, and its host.
        what: String,
        /// What was being waited for.
        doing: String,
    },
    /// No trusted connection can be made. Permanent until certificates or options change.
    #[error("{what}: no trusted TLS connection; give the server's CA file, or allow plain HTTP if it speaks that")]
    Tls {
        /// The blob or manifest, and its host.
        what: String,
        /// What the TLS library says.
        source: Source,
    },
    /// The host answers something that breaks the protocol. Permanent: the host or a proxy before it is wrong.
    #[error("{what}: unexpected answer: {detail}")]
    Protocol {
        /// The blob or manifest, and its host.
        what: String,
        /// What is wrong with the answer, and what it may mean.
        detail: String,
    },
    /// A file cannot be read. The caller can mend the file or its permissions.
    #[error("read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// More bytes than the caller allows to be held in memory.
    #[error("{what}: larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The blob or manifest, and its host.
        what: String,
        /// The limit that would have been passed.
        limit_bytes: u64,
    },
    /// The caller asked for a range that is empty or not within the blob. A defect in the caller, or a damaged archive.
    #[error("{what}: range {start}..{end} is empty or not within its {size} bytes")]
    Range {
        /// The blob, and its host.
        what: String,
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
        /// The blob's size in bytes.
        size: u64,
    },
    /// The text is no image reference. The user must correct it.
    #[error("'{reference}' is not an image reference: {reason}; write it as host/name:tag or host/name@sha256:digest")]
    InvalidReference {
        /// The text as given.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option cannot be used as it is. The user must correct it.
    #[error("{option}: {reason}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether the same request may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Unavailable { .. } | Self::Timeout { .. })
    }

    /// How long the host asked to be left alone, if it did. Not capped: whoever waits decides what is bearable.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A transient failure that has no error value of its own as its cause.
    pub fn unavailable(what: &str, cause: impl fmt::Display) -> Self {
        Self::Unavailable { what: what.to_owned(), retry_after: None, source: Arc::new(Cause(cause.to_string())) }
    }

    /// An answer that breaks the protocol; `detail` is what is wrong with it.
    pub fn protocol(what: &str, detail: impl Into<String>) -> Self {
        Self::Protocol { what: what.to_owned(), detail: detail.into() }
    }
}

/// A cause that is only a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Cause(pub(crate) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_the_thing_and_the_remedy() {
        let denied = Error::Denied { what: "manifest a:1 from r.example".into(), hint: "log in".into() };
        assert_eq!(denied.to_string(), "manifest a:1 from r.example: access denied; log in");
        let missing = Error::NotFound { what: "manifest a:1 from r.example".into() };
        assert_eq!(missing.to_string(), "manifest a:1 from r.example: not found; check the name, and whether it was deleted");
    }

    #[test]
    fn only_what_may_pass_is_transient() {
        assert!(Error::unavailable("x", "reset").is_transient());
        assert!(Error::RateLimited { what: "x".into(), retry_after: None }.is_transient());
        assert!(!Error::protocol("x", "HTML").is_transient());
        assert!(!Error::NotFound { what: "x".into() }.is_transient());
        assert!(!Error::Changed { what: "x".into() }.is_transient());
    }

    #[test]
    fn the_cause_is_kept_as_the_source() {
        let error = Error::unavailable("x", "reset by peer");
        let source = std::error::Error::source(&error).expect("has a source");
        assert_eq!(source.to_string(), "reset by peer");
    }
}
