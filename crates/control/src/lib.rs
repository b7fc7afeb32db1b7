//! The worker's API (version 1, below [`PREFIX`]): the types that go over it, and the client that clipctl uses.
//!
//! The server is in `clip-worker`; the OpenAPI document that it serves is made of these types. Unknown fields of requests are refused, those of answers
//! are passed over: a client may be older than its worker.
//!
//! | File | Idea |
//! |---|---|
//! | `images`, `jobs`, `mounts`, `cache`, `events`, `service` | what goes over |
//! | `problem` | how a request failed (RFC 9457) |
//! | `client` | asking, over a unix socket |
//! | `stream` | server-sent events, parsed |

mod cache;
mod client;
mod events;
mod images;
mod jobs;
mod mounts;
mod problem;
mod service;
mod stream;

pub use cache::{CacheStream, CacheUsage, Freed, PinRequest, PruneRequest};
pub use client::{Client, Error, segment};
pub use events::Event;
pub use images::{Accepted, Image, Images, PullRequest, Stored};
pub use jobs::{Job, JobCounts, JobError, Jobs, Log, LogLine, Progress, State};
pub use mounts::{Figures, Mount, MountRequest, MountState, Mounts};
pub use problem::{Code, Problem};
pub use service::{LogLevel, Status, Version};
pub use stream::{Frame, Frames};

/// What all paths of this version begin with.
pub const PREFIX: &str = "/api/v1";
/// The header that names a request: the client's choice, else the worker's; it is in the answer, in logs, jobs and events.
pub const REQUEST_ID: &str = "x-request-id";
/// Longest request id, in bytes; of ASCII letters, digits, `-`, `_` and `.`.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
