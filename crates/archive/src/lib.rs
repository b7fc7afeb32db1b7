//! The archive format: header, sections, EROFS index, span tables; no I/O but mmap.
//!
//! FORMAT.md at the root of the repository defines every byte; this crate is the only one that knows them. The way through it:
//! [`Archive::open`] maps a file and checks its [`mod@header`]; [`Index`] answers questions about the tree from the EROFS image
//! ([`mod@erofs`]); [`Spans`] and the windows say how to read the bytes that files point to. [`Tree`] with [`ArchiveWriter`] (v2) or
//! [`CarryingWriter`] (v1) make archives, and [`Output`] is where those go.
//!
//! Bytes of an archive are hostile: every length and offset is checked before it is used, every section against its digest before
//! it is believed, and nothing is allocated because a header claims it.

mod archive;
mod carrying;
pub mod erofs;
mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod header;
mod le;
#[expect(unsafe_code, reason = "mapping a file is unsafe by nature; nothing else here is")]
mod map;
mod meta;
mod output;
mod paged;
pub mod record;
mod sections;
mod spans;
mod tree;
mod windows;
mod writer;

pub use archive::Archive;
pub use carrying::{Carried, CarryingWriter, Written};
pub use erofs::read::{Entry, Extent, Index, Node, NodeKind, ReadDir, Source, Unresolved};
pub use error::Error;
pub use header::ArchiveVersion;
pub use meta::{Location, Storage, Stream};
pub use output::{FileOutput, Output};
pub use spans::{SPAN_BLOB_BYTES_MAX, SPAN_BYTES_MAX, Span, Spans};
pub use tree::{Attributes, Bytes, Content, Hole, InodeId, Segment, SparseMap, Tree};
pub use windows::WindowId;
pub use writer::{ArchiveWriter, Parts};

/// EROFS's number of a node: its inode's place in the index, in units of 32 bytes. 1 is never one (the superblock is behind it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nid(pub u64);

/// Extended attributes: full names (`security.capability`) and values, sorted by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Index into [`Archive::streams`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u16);

/// A device number, as Linux splits it: 12 bits of major, 20 of minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rdev {
    /// The driver.
    pub major: u32,
    /// The device.
    pub minor: u32,
}
