//! Jobs: work that takes a while.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits.
    Pending,
    /// It is at work.
    Building,
    /// It is done.
    Success,
    /// It was given up.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

impl State {
    /// Whether nothing will happen to the job any more.
    pub fn is_finished(self) -> bool {
        !matches!(self, State::Pending | State::Building)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Pending => "pending",
            State::Building => "building",
            State::Success => "success",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        })
    }
}

/// How far the work is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What is being done: `resolve`, `layers`, `data`, `archive`.
    pub phase: String,
    /// Layers that are done.
    pub layers: u64,
    /// Layers of the image.
    pub layers_total: u64,
    /// Bytes that were read in this phase.
    pub bytes: u64,
    /// Bytes that it must read; 0 while not known.
    pub bytes_total: u64,
    /// Bytes per second, over the last seconds.
    pub rate: f64,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// For programs.
    #[schema(example = "registry-unavailable")]
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether another attempt may go better.
    pub is_transient: bool,
}

/// A job. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// What sort of work: `pull`.
    pub kind: String,
    /// The image that it is for; see `Image.id`.
    pub image_id: String,
    /// The image, as it was asked for.
    pub image: String,
    /// Version of the archive that was asked for.
    pub clip_version: String,
    /// How far it is.
    pub state: State,
    /// -100 to 100, the higher first.
    pub priority: i32,
    /// Attempts so far.
    pub attempts: u32,
    /// How many there may be.
    pub attempts_max: u32,
    /// It is not tried again before.
    pub not_before_ms: Option<i64>,
    /// When it was submitted.
    pub created_ms: i64,
    /// When its last attempt began.
    pub started_ms: Option<i64>,
    /// When it was finished.
    pub finished_ms: Option<i64>,
    /// The worker that has or had it.
    pub worker: Option<String>,
    /// Whether it is being cancelled.
    pub cancel_requested: bool,
    /// The request that it was submitted by.
    pub request_id: Option<String>,
    /// How far the work is.
    pub progress: Option<Progress>,
    /// Why the last attempt failed.
    pub error: Option<JobError>,
    /// The job that this one repeats.
    pub retry_of: Option<String>,
}

/// Jobs, the latest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Jobs {
    /// As many as were asked for, at most 500.
    pub jobs: Vec<Job>,
}

/// Jobs by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobCounts {
    /// They wait.
    pub pending: u64,
    /// They are at work.
    pub building: u64,
    /// They are done.
    pub success: u64,
    /// They were given up.
    pub failed: u64,
    /// Nobody wanted them any more.
    pub cancelled: u64,
}

/// A line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Its number in the log, from 1.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What it says.
    pub line: String,
}

/// A part of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Log {
    /// Lines before these that are not kept any more.
    pub dropped: u64,
    /// In order, at most 500.
    pub lines: Vec<LogLine>,
}
