//! Bytes kept near: one directory of verified spans, shared by all mounts and processes of a node.
//!
//! ```text
//! <dir>/streams/<hex key>/data    sparse file: the uncompressed bytes of the spans that are here
//! <dir>/streams/<hex key>/spans   header + 16 bytes per span, mapped shared by everyone (table.rs)
//! <dir>/pins/<hex key>.<name>     empty: the stream is not evicted (pins.rs)
//! <dir>/state                     mapped shared: how many bytes all streams hold together (ledger.rs)
//! <dir>/open.lock                 flock: creating, adopting and removing streams
//! <dir>/evict.lock                flock: one evictor at a time; setting pins
//! ```
//!
//! **Who guards what.** A stream is named by a key that its caller derives from the span table (offsets, lengths, digests), so that two
//! archives share a stream only if they agree about every byte of it, and a hostile one can spoil nothing but its own. The cache itself
//! knows no digests: the caller puts only bytes that it verified, and verifies again what the cache calls [`Lookup::Unverified`].
//!
//! **Why no fsync.** While the machine runs, all processes see one coherent page cache: a record that says "present" was set after the
//! bytes were written, whatever had reached the disk by then. When the machine has died, nothing that a file says is believed: the boot
//! id in the header differs, every record becomes "unverified", and the caller compares the digest before it uses a byte. A power cut
//! thus costs entries, never truth, and nothing here waits for the disk.
//!
//! **What this relies on.** The directory lies on a file system of this node (not NFS) that can punch holes; only processes that run this
//! code write into it. Someone who truncates a mapped file under a running process kills that process with SIGBUS: sizes are checked on
//! open, and this crate itself never shortens a file. A disk that loses written pages without dying (a write-back error, a volume torn
//! off and put back within one boot) is beyond what the boot id can tell.

mod boot;
mod cache;
mod complaint;
mod error;
mod evict;
mod key;
mod ledger;
mod lock;
mod map;
mod pins;
mod record;
mod room;
mod stream;
mod survey;
mod table;
#[cfg(test)]
mod tests;

pub use cache::{BYTES_MAX_MIN, Cache, Usage};
pub use error::Error;
pub use evict::Freed;
pub use key::{key_hex, parse_key};
pub use pins::{PIN_NAME_BYTES_MAX, PINS_MAX, Pin};
pub use record::{SPAN_BYTES_MAX, STREAM_BYTES_MAX, SpanSlot};
pub use stream::{Lookup, Put, StreamCache};
pub use survey::{SURVEY_STREAMS_MAX, StreamSurvey, Survey};
pub use table::{SPANS_MAX, StreamLayout};
