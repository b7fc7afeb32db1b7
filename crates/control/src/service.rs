//! The worker itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::JobCounts;

/// Which worker answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// `clip-worker`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Versions of archives that it makes and mounts.
    pub archive_versions: Vec<String>,
}

/// How the worker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Its name among workers that share a queue.
    pub worker: String,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it was started.
    pub uptime_seconds: u64,
    /// Whether it is stopping.
    pub stopping: bool,
    /// Whether somebody keeps its mounts if it dies: systemd, or `clip-worker supervise`.
    pub mounts_are_kept: bool,
    /// Jobs of the queue.
    pub jobs: JobCounts,
    /// Mounts of this worker.
    pub mounts: usize,
    /// Version of new archives if nothing is said.
    pub clip_version: String,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// A level or a filter, such as `info,read=debug`.
    pub level: String,
}
