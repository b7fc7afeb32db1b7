//! The index: an EROFS image of metadata only, as the Linux kernel reads it.
//!
//! Names and offsets follow the kernel's `fs/erofs/erofs_fs.h` and its documentation (`Documentation/filesystems/erofs.rst`); what
//! of EROFS we use, and how, is FORMAT.md §8. In short: blocks of 512 bytes, as a tar has them; one device per stream, mapped behind
//! the image in one address space; a file in one piece is a *flat* inode that points straight at its stream, one with holes is
//! *chunk based*; directories and symlinks keep their last bytes behind the inode where they fit.

mod dirent;
mod layout;
pub(crate) mod read;
mod superblock;
mod write;
mod xattr;

pub use xattr::{fit as xattrs_fit, representable as xattr_representable};

pub(crate) use write::IndexWriter;

/// log2 of the block size: file data in a tar is aligned to so much, and no more.
pub const BLOCK_BITS: u32 = 9;
/// Bytes of a block.
pub const BLOCK_BYTES: u64 = 1 << BLOCK_BITS;
/// Bytes of an inode slot, the unit of node numbers.
pub const SLOT_BYTES: u64 = 32;

/// Bytes of a compact inode.
const COMPACT_BYTES: u64 = 32;
/// Bytes of an extended inode.
const EXTENDED_BYTES: u64 = 64;

/// `i_format`: the inode is an extended one.
const FORMAT_EXTENDED: u16 = 1;
/// `i_format >> 1`: the data lies in consecutive blocks.
const LAYOUT_FLAT_PLAIN: u16 = 0;
/// `i_format >> 1`: as before, but the last bytes follow the inode.
const LAYOUT_FLAT_INLINE: u16 = 2;
/// `i_format >> 1`: a table of chunks follows the inode.
const LAYOUT_CHUNKED: u16 = 4;
/// Address of a chunk that is a hole.
const NULL_BLOCK: u32 = u32::MAX;
/// `i_u.c.format`: log2 of a chunk's blocks. The other bits stand for forms that we do not write.
const CHUNK_BITS_MASK: u32 = 31;
/// Most chunks of one file, 4 MiB of table: answering for a file may go through all of them.
pub const CHUNKS_MAX: u64 = 1 << 20;

/// Types in `i_mode`, as in POSIX.
const S_IFMT: u16 = 0o170_000;

/// (kind, `i_mode` type, `file_type` of a directory entry).
const KINDS: [(crate::NodeKind, u16, u8); 7] = {
    use crate::NodeKind::{BlockDevice, CharDevice, Directory, Fifo, File, Socket, Symlink};
    [
        (File, 0o100_000, 1),
        (Directory, 0o040_000, 2),
        (CharDevice, 0o020_000, 3),
        (BlockDevice, 0o060_000, 4),
        (Fifo, 0o010_000, 5),
        (Socket, 0o140_000, 6),
        (Symlink, 0o120_000, 7),
    ]
};
