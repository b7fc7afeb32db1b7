//! Attributes of a node as stat(2) shows them: pure conversion from what the archive holds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use archive::{Node, NodeKind, Rdev};

use crate::ino::Ino;

/// Block size for st_blksize and for counting blocks: the page size of the caches above us, and what ext4 uses.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// st_blocks counts in these, whatever the filesystem's block is.
const SECTOR_BYTES: u64 = 512;

/// What stat(2) tells about a node. atime, ctime and mtime are one: an image records only mtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) ino: Ino,
    pub(crate) kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u16,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Device number in the kernel's `new_encode_dev` form.
    pub(crate) rdev: u32,
    pub(crate) size_bytes: u64,
    /// Allocated 512-byte sectors, as a full unpack on a filesystem with 4 KiB blocks would have.
    pub(crate) sectors: u64,
    pub(crate) mtime: SystemTime,
}

/// The attributes of `node`; `allocated` are the bytes of a regular file that are no holes, and not looked at for other kinds.
pub(crate) fn attributes(ino: Ino, node: &Node, allocated: u64) -> Attributes {
    let sectors = match node.kind {
        NodeKind::File => sectors(allocated),
        NodeKind::Directory => sectors(node.size),
        NodeKind::Symlink | NodeKind::CharDevice | NodeKind::BlockDevice | NodeKind::Fifo | NodeKind::Socket => 0,
    };
    Attributes {
        ino,
        kind: node.kind,
        mode: node.mode,
        nlink: node.nlink,
        uid: node.uid,
        gid: node.gid,
        rdev: encode_device(&node.rdev),
        size_bytes: node.size,
        sectors,
        mtime: time(node.mtime, node.mtime_nsec),
    }
}

/// Sectors of the 4 KiB blocks that so many bytes take.
fn sectors(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES) * (BLOCK_BYTES / SECTOR_BYTES)
}

/// Linux packs 12 bits of major and 20 bits of minor number so that the old 8:8 form stays as it was (`new_encode_dev`).
/// Bits beyond that cannot exist on Linux and are cut off.
fn encode_device(device: &Rdev) -> u32 {
    (device.minor & 0xff) | ((device.major & 0xfff) << 8) | ((device.minor & 0xf_ff00) << 12)
}

/// The time `seconds` (may be negative) and `nanoseconds` (count forward, also before 1970) after the epoch.
fn time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    base.and_then(|t| t.checked_add(Duration::from_nanos(nanoseconds.into()))).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole() {
        assert_eq!((sectors(0), sectors(1), sectors(4096), sectors(4097)), (0, 8, 8, 16));
    }

    #[test]
    fn device_numbers_as_the_kernel_packs_them() {
        let encode = |major, minor| encode_device(&Rdev { major, minor });
        assert_eq!(encode(1, 3), 0x0103);
        assert_eq!(encode(259, 65537), 0x1001_0301);
        assert_eq!(encode(0xfff, 0xf_ffff), 0xffff_ffff);
    }

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        assert_eq!(time(0, 0), UNIX_EPOCH);
        assert_eq!(time(-1, 750_000_000), UNIX_EPOCH - Duration::from_millis(250));
        assert_eq!(time(5, 7), UNIX_EPOCH + Duration::new(5, 7));
        assert!(time(i64::MIN, 0) < UNIX_EPOCH);
        assert!(time(i64::MAX, 999_999_999) > UNIX_EPOCH);
    }
}
