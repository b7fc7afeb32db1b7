//! Reading tar streams (POSIX ustar and pax, GNU, old V7), as Go's `archive/tar` reads them: what the unpackers that we must agree
//! with use. Nothing here does I/O.
//!
//! References: POSIX.1-2017 `pax` (ustar and pax formats); GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".

mod header;
mod pax;
pub(crate) mod sparse;
mod walk;

use archive::Xattrs;
use serde::{Deserialize, Serialize};
pub(crate) use walk::{Item, Walker};

/// Bytes of a tar block: everything in a tar is a multiple of it.
pub(crate) const BLOCK_BYTES: usize = 512;

/// An entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TarEntry {
    /// As it is written there.
    pub path: Vec<u8>,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub mtime_nsec: u32,
    pub xattrs: Xattrs,
    pub kind: EntryKind,
}

/// What an entry makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EntryKind {
    /// A file whose `size` bytes begin at block `block` of the tar.
    File {
        size: u64,
        block: u32,
    },
    /// A file with holes.
    Sparse(sparse::Chunks),
    Directory,
    /// Where it points, as it is written.
    Symlink(Vec<u8>),
    /// The path of the file that it is another name of, as it is written.
    HardLink(Vec<u8>),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// What is wrong with a tar stream.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TarError {
    #[error("tar header at byte {offset}: {detail}")]
    Header { offset: u64, detail: String },
    #[error("the tar ends inside an entry ({missing} bytes are missing)")]
    Truncated { missing: u64 },
    #[error("{}: {detail}", String::from_utf8_lossy(path))]
    Entry { path: Vec<u8>, detail: String },
}
