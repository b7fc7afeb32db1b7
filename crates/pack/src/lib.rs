//! What a v1 archive carries: files cut into chunks, each kept once, packed into spans, compressed on all cores.
//!
//! [`Packer::file`] is given one file after the other, with a way to read it, and says where the file's bytes lie, for the tree. The way of the bytes:
//!
//! ```text
//! file -> chunks of 1 MiB (chunk.rs: holes, digests, what is there already) -> span buffer (packer.rs) -> zstd (frames.rs) -> archive::CarryingWriter
//! ```
//!
//! The same files in the same order give the same bytes, whatever the number of threads. Memory: the spans that are on their way, and 48 bytes for each
//! chunk that is kept.

mod chunk;
mod frames;
mod packer;

pub use chunk::{CHUNK_BYTES, Extent};
pub use packer::{Error, PackOptions, Packer, ReadAt};
