//! A job: what is to be done, how far it is, and what became of it.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use uuid::Uuid;

use crate::Error;
use crate::check::{self, KEY_BYTES_MAX, WORKER_BYTES_MAX};

/// Longest payload of a job, as JSON, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Longest result of a job, as JSON, in bytes.
pub const RESULT_BYTES_MAX: usize = 64 << 10;
/// Longest progress of a job, as JSON, in bytes: it is written every few seconds.
pub const PROGRESS_BYTES_MAX: usize = 16 << 10;
/// Longest message of a failure, in bytes; the rest is cut off.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Priorities go from minus this to this; the higher comes first.
pub const PRIORITY_MAX: i32 = 100;
/// Most attempts that a job can ask for.
pub const ATTEMPTS_MAX: u32 = 100;
/// Attempts of a job that does not say.
pub const ATTEMPTS_DEFAULT: u32 = 5;

/// The code of a failure for which no worker is left to tell why: as many claims as the job has attempts ended with the worker's death.
pub const WORKER_DIED: &str = "worker-died";

/// The name of a job: unique, and ascending in the order of submission (by the clock of who submits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Uuid);

impl JobId {
    /// One that nobody has yet.
    pub(crate) fn fresh() -> JobId {
        JobId(Uuid::now_v7())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = Error;

    fn from_str(text: &str) -> Result<JobId, Error> {
        // One spelling only: an id is also compared as text.
        let id = Uuid::try_parse(text).ok().map(JobId).filter(|id| id.to_string() == text);
        id.ok_or_else(|| Error::invalid("job id", "must be a UUID in lower case with hyphens"))
    }
}

/// How far a job is. The first two are unfinished; a finished job never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Waits for a worker, perhaps for a time.
    Pending,
    /// A worker has it.
    Building,
    /// Done.
    Success,
    /// Given up.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

impl State {
    /// All of them, in the order of a job's life.
    pub const ALL: [State; 5] = [State::Pending, State::Building, State::Success, State::Failed, State::Cancelled];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Building => "building",
            State::Success => "success",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will happen to the job any more.
    pub fn is_finished(self) -> bool {
        !matches!(self, State::Pending | State::Building)
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<State, Error> {
        let found = State::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| Error::invalid("state", "must be pending, building, success, failed or cancelled"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For programs: like `registry-unreachable`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether another attempt may go better.
    pub is_transient: bool,
}

impl Failure {
    /// A failure can always be stored: a text that is too long loses its end.
    pub fn new(code: &str, message: &str, is_transient: bool) -> Failure {
        let (code, message) = (check::shortened(code, check::NAME_BYTES_MAX), check::shortened(message, MESSAGE_BYTES_MAX));
        Failure { code, message, is_transient }
    }
}

/// A job as it is stored. Times are milliseconds since 1970 by the database's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// What sort of work it is.
    pub kind: String,
    /// What is worked on: at most one job of a kind and key is unfinished (but for one that is being cancelled).
    pub key: String,
    /// All that the work needs to know.
    pub payload: Value,
    /// -100 to 100, the higher first.
    pub priority: i32,
    /// How far it is.
    pub state: State,
    /// Claims so far that count: those that were released do not.
    pub attempts: u32,
    /// How many there may be.
    pub attempts_max: u32,
    /// It is not claimed before; 0 until an attempt has failed.
    pub not_before_ms: i64,
    /// When it was submitted.
    pub created_ms: i64,
    /// When it was last claimed.
    pub started_ms: Option<i64>,
    /// When it was finished.
    pub finished_ms: Option<i64>,
    /// Who has it, or had it when it was finished.
    pub worker: Option<String>,
    /// Whether its worker is to stop.
    pub cancel_requested: bool,
    /// The request that it was submitted by.
    pub request_id: Option<String>,
    /// What its worker last said of its progress.
    pub progress: Option<Value>,
    /// What came of it, when it succeeded.
    pub result: Option<Value>,
    /// Why the last attempt failed that did.
    pub error: Option<Failure>,
    /// The finished job that this one repeats.
    pub retry_of: Option<JobId>,
}

/// A job to be submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// What sort of work it is: at most 64 of a-z, 0-9, `.`, `_` and `-`.
    pub kind: String,
    /// What is worked on, at most 512 bytes.
    pub key: String,
    /// All that the work needs to know, at most 64 KiB as JSON.
    pub payload: Value,
    /// -100 to 100, the higher first.
    pub priority: i32,
    /// Claims that the job may have, 1 to 100.
    pub attempts_max: u32,
    /// The request that it is submitted by, at most 128 bytes.
    pub request_id: Option<String>,
}

impl NewJob {
    /// A job of priority 0 with [`ATTEMPTS_DEFAULT`] attempts.
    pub fn new(kind: impl Into<String>, key: impl Into<String>, payload: Value) -> NewJob {
        NewJob { kind: kind.into(), key: key.into(), payload, priority: 0, attempts_max: ATTEMPTS_DEFAULT, request_id: None }
    }

    /// The payload as text, if all is as it must be.
    pub(crate) fn check(&self) -> Result<String, Error> {
        check::name("kind", &self.kind)?;
        check::text("key", &self.key, KEY_BYTES_MAX)?;
        if self.priority.unsigned_abs() > PRIORITY_MAX.unsigned_abs() {
            return Err(Error::invalid("priority", format!("must be from -{PRIORITY_MAX} to {PRIORITY_MAX}")));
        }
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts_max) {
            return Err(Error::invalid("attempts_max", format!("must be from 1 to {ATTEMPTS_MAX}")));
        }
        if let Some(id) = &self.request_id {
            check::text("request id", id, WORKER_BYTES_MAX)?;
        }
        check::document("payload", &self.payload, PAYLOAD_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_and_have_one_spelling() {
        let ids: Vec<JobId> = (0..100).map(|_| JobId::fresh()).collect();
        assert!(ids.is_sorted() && ids.iter().map(JobId::to_string).is_sorted());
        let text = ids[0].to_string();
        assert_eq!(text.parse::<JobId>().unwrap(), ids[0]);
        for other in [text.to_uppercase(), text.replace('-', ""), format!("{{{text}}}"), String::new()] {
            assert!(other.parse::<JobId>().is_err(), "{other}");
        }
    }

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in State::ALL {
            assert_eq!(state.to_string().parse::<State>().unwrap(), state);
        }
        assert!("done".parse::<State>().is_err());
    }
}
