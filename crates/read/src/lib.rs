//! The way of a read: file range, spans, cache, backend, decode, verify, keep.
//!
//! [`Reader`] serves the files of one archive; `reader.rs` wires the way and says where each step is. No byte reaches a reader that was not compared with
//! the archive's digest of its span, in this boot, by a process of this node.
//!
//! | File | Idea |
//! |---|---|
//! | `reader` | the way of a read |
//! | `plan`, `readahead`, `neighbours` | decisions, pure: what to fetch, what next, what with it |
//! | `flight` | one fetch per span |
//! | `fetch`, `passage`, `feed`, `decode` | tasks, the body of an answer, its bytes, their meaning |
//! | `lane` | one stream: its blob, its cache, its server |
//! | `memory`, `stats`, `error` | bounds, counters, what can go wrong |

mod bits;
mod decode;
mod error;
mod feed;
mod fetch;
mod flight;
mod lane;
mod memory;
mod neighbours;
mod passage;
mod plan;
mod readahead;
mod reader;
mod stats;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use reader::{ReadOptions, Reader};
pub use stats::{Latency, Stats};
