//! The durable queue of the worker: jobs with their logs, and events.
//!
//! It knows nothing of images, HTTP or mounts. It is kept in a file of SQLite, which one process has for itself, or in PostgreSQL, which several
//! workers share; both behave the same, and one suite of tests says so.
//!
//! **The life of a job**: [`Queue::submit`] makes it `pending`, once for a kind and key. A worker takes it with [`Queue::claim`], which makes it `building`,
//! and keeps it with [`Queue::heartbeat`]. [`Queue::finish`] makes it `success`, `failed` or `cancelled`, or, after a transient failure, `pending`
//! for another attempt. If the heart stops, [`Queue::recover`] gives it to the next worker, and all that the first one still writes is refused.
//!
//! **What holds**: what a call has returned survives a power cut. A job has one claimant at a time, and is finished once. Events are numbered in the order
//! in which they become visible, without gaps; those of a transition ([`Narrator`]) are written together with it. Everything has a limit, and every
//! call a deadline.
//!
//! | File | Idea |
//! |---|---|
//! | `job` | what a job is |
//! | `event` | what an event is, and who makes those of the transitions |
//! | `options` | where the queue is, and its limits |
//! | `queue` | the queue as one thing: opening, deadlines, waking |
//! | `submit`, `claim`, `cancel`, `recover`, `prune` | the transitions |
//! | `verdict`, `carry_out` | what becomes of a job when a claim ends: decided, and written |
//! | `backoff` | the wait before another attempt |
//! | `logs`, `publish`, `look` | lines of log, events, lists of jobs |
//! | `rows`, `check` | rows → types; what may go in |
//! | `database` | SQLite and PostgreSQL; the only folder that knows them |

mod backoff;
mod cancel;
mod carry_out;
mod check;
mod claim;
mod database;
mod error;
mod event;
mod job;
mod logs;
mod look;
mod options;
mod prune;
mod publish;
mod queue;
mod recover;
mod rows;
mod submit;
mod verdict;

pub use backoff::Backoff;
pub use cancel::Cancel;
pub use check::{KEY_BYTES_MAX, NAME_BYTES_MAX, WORKER_BYTES_MAX};
pub use claim::{Beat, Claim};
pub use error::Error;
pub use event::{EVENT_DATA_BYTES_MAX, Event, Narrator, NewEvent, Transition};
pub use job::{
    ATTEMPTS_DEFAULT, ATTEMPTS_MAX, Failure, Job, JobId, MESSAGE_BYTES_MAX, NewJob, PAYLOAD_BYTES_MAX, PRIORITY_MAX, PROGRESS_BYTES_MAX,
    RESULT_BYTES_MAX, State, WORKER_DIED,
};
pub use logs::{LOG_LINE_BYTES_MAX, LOG_LINES_PER_READ_MAX, LOG_LINES_PER_WRITE_MAX, Level, Log, LogLine};
pub use look::{Counts, Filter, JOBS_PER_LIST_MAX};
pub use options::{Options, Place, PostgresUrl};
pub use publish::EVENTS_PER_READ_MAX;
pub use queue::{Changes, Queue};
pub use recover::Recovered;
pub use submit::{Retry, Submitted};
pub use verdict::Outcome;
