//! Events: what happened, in the order in which it became true, for whoever follows.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::check::{self, KEY_BYTES_MAX};
use crate::{Error, Job, JobId};

/// Longest data of an event, as JSON, in bytes: a job's result, and as much again around it.
pub const EVENT_DATA_BYTES_MAX: usize = 128 << 10;

/// An event to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What happened, like `image.built`: at most 64 of a-z, 0-9, `.`, `_` and `-`.
    pub name: String,
    /// What it happened to, at most 512 bytes. An event of a job is about the job's key if it does not say.
    pub key: Option<String>,
    /// More of it, at most 128 KiB as JSON.
    pub data: Value,
}

impl NewEvent {
    /// An event that is about its job, or about nothing in particular.
    pub fn new(name: impl Into<String>, data: Value) -> NewEvent {
        NewEvent { name: name.into(), key: None, data }
    }

    /// The same, about `key`.
    #[must_use]
    pub fn about(self, key: impl Into<String>) -> NewEvent {
        NewEvent { key: Some(key.into()), ..self }
    }

    /// The data as text, if all is as it must be.
    pub(crate) fn check(&self) -> Result<String, Error> {
        check::name("name of the event", &self.name)?;
        if let Some(key) = &self.key {
            check::text("key of the event", key, KEY_BYTES_MAX)?;
        }
        check::document("data of the event", &self.data, EVENT_DATA_BYTES_MAX)
    }
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number. They begin at 1 and have no gaps; who has read one number has missed none below.
    pub seq: u64,
    /// When, in milliseconds since 1970 by the database's clock.
    pub time_ms: i64,
    /// What happened.
    pub name: String,
    /// The job that it happened to.
    pub job: Option<JobId>,
    /// What it happened to.
    pub key: Option<String>,
    /// More of it.
    pub data: Value,
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// It is new in the queue.
    Submitted,
    /// A worker has taken it.
    Claimed,
    /// It succeeded.
    Succeeded,
    /// It failed for good.
    Failed,
    /// An attempt failed, another will be made.
    WillRetry,
    /// Its worker gave it back undone.
    Released,
    /// Its worker died, another will take it.
    TakenOver,
    /// Its worker is asked to stop.
    CancelRequested,
    /// It is cancelled.
    Cancelled,
}

/// Tells which events a transition makes, from the job as it is after it. They are written in the transaction of the transition: either both are
/// there or neither.
///
/// It is called while the transaction is open, so it must be quick; and what it makes must be valid, or the transition fails with it.
#[derive(Clone)]
pub struct Narrator(Arc<Narrate>);

type Narrate = dyn Fn(Transition, &Job) -> Vec<NewEvent> + Send + Sync;

impl Narrator {
    /// One that asks `narrate`.
    pub fn new(narrate: impl Fn(Transition, &Job) -> Vec<NewEvent> + Send + Sync + 'static) -> Narrator {
        Narrator(Arc::new(narrate))
    }

    pub(crate) fn narrate(&self, transition: Transition, job: &Job) -> Vec<NewEvent> {
        (self.0)(transition, job)
    }
}

/// The silent one: no events.
impl Default for Narrator {
    fn default() -> Narrator {
        Narrator::new(|_, _| Vec::new())
    }
}

impl fmt::Debug for Narrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Narrator")
    }
}
