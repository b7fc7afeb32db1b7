//! Where the queue is, and its limits.

use std::path::PathBuf;
use std::time::Duration;

pub use crate::database::PostgresUrl;
use crate::{Backoff, Narrator};

/// Where the queue is kept.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file of this process alone; the file and its directory are made if need be.
    Sqlite(PathBuf),
    /// In a database that several workers share.
    Postgres(PostgresUrl),
}

/// How a queue is opened. Workers that share one should have the same limits.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it is.
    pub place: Place,
    /// How long a claim lives after it was made, and after each heartbeat: a few times longer than the worker's heart takes between two beats.
    pub lease: Duration,
    /// The wait before another attempt.
    pub backoff: Backoff,
    /// Most jobs that are unfinished at a time.
    pub unfinished_max: u32,
    /// Most finished jobs that [`crate::Queue::prune`] leaves.
    pub finished_max: u32,
    /// Longest time for which [`crate::Queue::prune`] leaves a finished job.
    pub retention: Duration,
    /// Most events that are kept; the oldest go.
    pub events_max: u32,
    /// Most lines of log that are kept of one job; the oldest go.
    pub log_lines_max: u32,
    /// How long a call waits for a connection, and for each statement; the whole call takes at most three times as long.
    pub patience: Duration,
    /// Most connections to PostgreSQL.
    pub connections_max: u32,
    /// Which events the transitions make.
    pub narrator: Narrator,
}

impl Options {
    /// The usual limits, and no events.
    pub fn new(place: Place) -> Options {
        Options {
            place,
            lease: Duration::from_secs(30),
            backoff: Backoff::default(),
            unfinished_max: 10_000,
            finished_max: 10_000,
            retention: Duration::from_secs(30 * 24 * 3600),
            events_max: 10_000,
            log_lines_max: 2_000,
            patience: Duration::from_secs(5),
            connections_max: 8,
            narrator: Narrator::default(),
        }
    }
}
