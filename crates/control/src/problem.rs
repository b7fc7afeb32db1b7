//! How a request failed: problem details (RFC 9457) with a stable code.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The stable name of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request is not what it must be.
    InvalidRequest,
    /// A token is needed, or is wrong.
    Unauthorized,
    /// The token is for reading only.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// There is no such path, or not with this method.
    NoSuchEndpoint,
    /// It stands against what is there.
    Conflict,
    /// It is in use: ask again later, or with force.
    Busy,
    /// The body is too large.
    TooLarge,
    /// The mountpoint is not below one of `worker.mountRoots`.
    MountpointNotAllowed,
    /// The mountpoint cannot be mounted on.
    MountpointUnfit,
    /// The archive cannot be opened.
    ArchiveUnusable,
    /// The queue takes no more: ask again when some jobs are done.
    QueueFull,
    /// Something that the worker needs does not answer: ask again.
    Unavailable,
    /// The worker is stopping: ask the next one.
    Stopping,
    /// It took too long.
    Timeout,
    /// A defect of the worker, or of what is under it.
    Internal,
    /// One that this client does not know.
    #[serde(other)]
    Other,
}

impl Code {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidRequest => "invalid-request",
            Code::Unauthorized => "unauthorized",
            Code::Forbidden => "forbidden",
            Code::NotFound => "not-found",
            Code::NoSuchEndpoint => "no-such-endpoint",
            Code::Conflict => "conflict",
            Code::Busy => "busy",
            Code::TooLarge => "too-large",
            Code::MountpointNotAllowed => "mountpoint-not-allowed",
            Code::MountpointUnfit => "mountpoint-unfit",
            Code::ArchiveUnusable => "archive-unusable",
            Code::QueueFull => "queue-full",
            Code::Unavailable => "unavailable",
            Code::Stopping => "stopping",
            Code::Timeout => "timeout",
            Code::Internal => "internal",
            Code::Other => "other",
        }
    }

    /// The status of an answer with this code.
    pub fn status(self) -> u16 {
        match self {
            Code::InvalidRequest | Code::MountpointUnfit | Code::ArchiveUnusable => 422,
            Code::Unauthorized => 401,
            Code::Forbidden | Code::MountpointNotAllowed => 403,
            Code::NotFound | Code::NoSuchEndpoint => 404,
            Code::Conflict | Code::Busy => 409,
            Code::TooLarge => 413,
            Code::QueueFull => 429,
            Code::Unavailable | Code::Stopping => 503,
            Code::Timeout => 504,
            Code::Internal | Code::Other => 500,
        }
    }

    /// What it is, in a few words that do not change.
    pub fn title(self) -> &'static str {
        match self {
            Code::InvalidRequest => "The request is not valid",
            Code::Unauthorized => "A valid token is needed",
            Code::Forbidden => "The token is for reading only",
            Code::NotFound => "There is no such thing",
            Code::NoSuchEndpoint => "There is no such endpoint",
            Code::Conflict => "It is in conflict with what is there",
            Code::Busy => "It is in use",
            Code::TooLarge => "The request is too large",
            Code::MountpointNotAllowed => "Mounting there is not allowed",
            Code::MountpointUnfit => "The mountpoint cannot be mounted on",
            Code::ArchiveUnusable => "The archive cannot be opened",
            Code::QueueFull => "The queue is full",
            Code::Unavailable => "Something that is needed does not answer",
            Code::Stopping => "The worker is stopping",
            Code::Timeout => "It took too long",
            Code::Internal => "The worker failed",
            Code::Other => "The request failed",
        }
    }
}

/// The body of an answer that is no success, as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:clip:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Box<str>,
    /// What it is.
    #[schema(value_type = String)]
    pub title: Box<str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened in this case, and what to do.
    pub detail: String,
    /// The stable name.
    pub code: Code,
    /// Names the request in logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The version of the archive that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub archive_version: Option<Box<str>>,
}

impl Problem {
    /// A problem of this code.
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:clip:problem:{}", code.as_str()).into(),
            title: code.title().into(),
            status: code.status(),
            detail: detail.into(),
            code,
            request_id: None,
            archive_version: None,
        }
    }

    /// The same, about an archive of this version.
    #[must_use]
    pub fn of_version(self, version: &str) -> Problem {
        Problem { archive_version: Some(version.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.archive_version.as_ref().map(|version| format!(" ({version})")).unwrap_or_default();
        write!(f, "{}{version}", self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_they_are_named() {
        let problem = Problem::new(Code::MountpointNotAllowed, "x");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!((json["code"].as_str(), json["status"].as_u64()), (Some(Code::MountpointNotAllowed.as_str()), Some(403)));
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }

    #[test]
    fn codes_of_later_workers_are_no_error() {
        assert_eq!(serde_json::from_str::<Code>("\"brand-new\"").unwrap(), Code::Other);
    }
}
