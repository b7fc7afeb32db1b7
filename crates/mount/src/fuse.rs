//! The FUSE shell: requests of the kernel in, calls of the filesystem, replies out. No logic lives here.
//!
//! Decisions that the kernel is told of once, in `init` or by a first ENOSYS:
//!
//! - Entries, negative entries and attributes live for ten years: an archive never changes. A missing name is answered with an entry whose
//!   inode number is 0 (a plain ENOENT would not be cached), which saves Python's imports most of their lookups.
//! - ENOSYS to open and opendir: the kernel never asks again, keeps file pages over closes and caches directories by itself.
//!   It also makes the server free of state: no file handle exists that a restarted server would have to know.
//! - ENOSYS to getxattr and listxattr where the archive has no extended attributes, so that every exec does not ask for capabilities.
//! - FUSE_POSIX_ACL where it has some: without it the kernel shows `system.posix_acl_access` but does not enforce it, and a file would be
//!   open (or closed) to other people than on an unpacked image. The price, one getxattr for each inode that is not the caller's own, is paid
//!   only for such archives.
//! - FUSE_EXPORT_SUPPORT: node ids are stable for ever, so file handles (overlayfs, NFS, fanotify) may outlive the inode cache.
//! - FUSE_ALLOW_IDMAP where everybody may enter: ownership is only data here, so idmapped mounts of containers are right as they come.
//! - Interrupts are refused by fuser (ENOSYS, once): a killed program waits for its read, at most the deadline of the lane.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use archive::NodeKind;
use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};

use crate::attributes::{Attributes, BLOCK_BYTES};
use crate::errno::Failure;
use crate::filesystem::{Filesystem, Near, SeekFor, Taken};
use crate::lane::{Lane, RUNNING_MAX};
use crate::ops::Ops;
use crate::report::{Place, Reporter};

/// How long the kernel may believe what it was told: ten years. Longer gains nothing, and far less than what overflows its jiffies.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Every node number is used once: no generation is needed.
const GENERATION: Generation = Generation(0);

/// Nothing is opened, so there is only one handle.
const NO_HANDLE: FileHandle = FileHandle(0);

/// The longest request: 1 MiB, the kernel's limit (`fs.fuse.max_pages_limit` 256). A longer read-ahead is split into such pieces.
pub(crate) const REQUEST_BYTES_MAX: u32 = 1 << 20;

/// Longest name, for statfs.
const NAME_BYTES_MAX: u32 = 255;

/// What the kernel is asked for where it can; FUSE_ASYNC_READ and FUSE_MAX_PAGES are asked for by fuser itself.
const WANTED: [InitFlags; 8] = [
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_EXPORT_SUPPORT,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_NO_OPEN_SUPPORT,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
];

/// The server side of one mount.
#[derive(Debug)]
pub(crate) struct Shell {
    filesystem: Arc<Filesystem>,
    lane: Arc<Lane>,
    ops: Arc<Ops>,
    reporter: Arc<Reporter>,
    /// Buffers for reads that are answered at once, one for each FUSE thread that reads at the moment.
    buffers: Mutex<Vec<Vec<u8>>>,
    /// True where everybody may enter the mount.
    open_to_all: bool,
    /// What the kernel can do about open and opendir.
    capabilities: InitFlags,
}

impl Shell {
    pub(crate) fn new(filesystem: Arc<Filesystem>, lane: Arc<Lane>, ops: Arc<Ops>, open_to_all: bool) -> Shell {
        let capabilities = InitFlags::empty();
        Shell { filesystem, lane, ops, reporter: Arc::default(), buffers: Mutex::default(), open_to_all, capabilities }
    }

    fn failed(&self, operation: &'static str, ino: INodeNo, offset: u64, failure: &Failure) -> Errno {
        self.reporter.report(&self.ops, Place { operation, ino: ino.0, offset }, failure)
    }

    fn take_buffer(&self) -> Vec<u8> {
        self.buffers.lock().ok().and_then(|mut all| all.pop()).unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        if let Ok(mut all) = self.buffers.lock() {
            all.push(buffer);
        }
    }

    fn xattr_reply(&self, operation: &'static str, ino: INodeNo, room: u32, value: Result<Vec<u8>, Failure>, reply: ReplyXattr) {
        match value.and_then(|value| fitting(value, room)) {
            Ok(Fitting::Size(size)) => reply.size(size),
            Ok(Fitting::Value(value)) => reply.data(&value),
            Err(failure) => reply.error(self.failed(operation, ino, 0, &failure)),
        }
    }
}

impl fuser::Filesystem for Shell {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.capabilities = config.capabilities();
        let acl = if self.filesystem.has_xattrs() { InitFlags::FUSE_POSIX_ACL } else { InitFlags::empty() };
        let idmap = if self.open_to_all { InitFlags::FUSE_ALLOW_IDMAP } else { InitFlags::empty() };
        for flags in WANTED.into_iter().chain([acl, idmap]) {
            if let Err(missing) = config.add_capabilities(flags) {
                tracing::debug!(?missing, "the kernel cannot do this, going on without");
            }
        }
        // Both only fail for values out of range, and then name the nearest: ours are constants within the range.
        let _ = config.set_max_write(REQUEST_BYTES_MAX);
        let _ = config.set_max_background(u16::try_from(RUNNING_MAX).unwrap_or(u16::MAX));
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.ops.lookup.count();
        match self.filesystem.lookup(parent.0, name.as_bytes()) {
            Ok(attributes) => reply.entry(&FOR_EVER, &file_attr(&attributes), GENERATION),
            Err(Failure::NotFound) => {
                self.ops.lookup_negative.count();
                reply.entry(&FOR_EVER, &NEGATIVE, GENERATION);
            }
            Err(failure) => reply.error(self.failed("lookup", parent, 0, &failure)),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.ops.getattr.count();
        match self.filesystem.attributes(ino.0) {
            Ok(attributes) => reply.attr(&FOR_EVER, &file_attr(&attributes)),
            Err(failure) => reply.error(self.failed("getattr", ino, 0, &failure)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.ops.readlink.count();
        match self.filesystem.read_link(ino.0) {
            Ok(target) => reply.data(&target),
            Err(failure) => reply.error(self.failed("readlink", ino, 0, &failure)),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.capabilities.contains(InitFlags::FUSE_NO_OPEN_SUPPORT) {
            true => reply.error(Errno::ENOSYS),
            false => reply.opened(NO_HANDLE, FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH),
        }
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.capabilities.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT) {
            true => reply.error(Errno::ENOSYS),
            false => reply.opened(NO_HANDLE, FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR),
        }
    }

    fn read(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, size: u32, _: OpenFlags, _: Option<LockOwner>, reply: ReplyData) {
        self.ops.read.count();
        let mut buffer = self.take_buffer();
        match self.filesystem.read_near(ino.0, offset, size.into(), &mut buffer) {
            Ok(Near::Done(length)) => {
                self.ops.read_bytes.add(length as u64);
                reply.data(&buffer[..length]);
            }
            Ok(Near::Far(far)) => {
                self.ops.read_far.count();
                let (ops, reporter) = (self.ops.clone(), self.reporter.clone());
                self.lane.read(far, move |outcome| match outcome {
                    Ok(data) => {
                        ops.read_bytes.add(data.len() as u64);
                        reply.data(&data);
                    }
                    Err(failure) => reply.error(reporter.report(&ops, Place { operation: "read", ino: ino.0, offset }, &failure)),
                });
            }
            Err(failure) => reply.error(self.failed("read", ino, offset, &failure)),
        }
        self.give_back(buffer);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.ops.readdir.count();
        let listed = self.filesystem.read_dir(ino.0, offset, |entry| {
            let full = reply.add(INodeNo(entry.ino.get()), entry.cookie, file_type(entry.kind), OsStr::from_bytes(entry.name));
            Ok(taken(full))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(failure) => reply.error(self.failed("readdir", ino, offset, &failure)),
        }
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        self.ops.readdir.count();
        let listed = self.filesystem.read_dir(ino.0, offset, |entry| {
            let attr = file_attr(&self.filesystem.attributes(entry.ino.get())?);
            let full = reply.add(attr.ino, entry.cookie, OsStr::from_bytes(entry.name), &FOR_EVER, &attr, GENERATION);
            Ok(taken(full))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(failure) => reply.error(self.failed("readdirplus", ino, offset, &failure)),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.ops.statfs.count();
        let totals = self.filesystem.totals();
        reply.statfs(totals.blocks, 0, 0, totals.inodes, 0, BLOCK_BYTES as u32, NAME_BYTES_MAX, BLOCK_BYTES as u32);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.ops.xattr.count();
        if !self.filesystem.has_xattrs() {
            return reply.error(Errno::ENOSYS);
        }
        self.xattr_reply("getxattr", ino, size, self.filesystem.xattr(ino.0, name.as_bytes()), reply);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.ops.xattr.count();
        if !self.filesystem.has_xattrs() {
            return reply.error(Errno::ENOSYS);
        }
        self.xattr_reply("listxattr", ino, size, self.filesystem.xattr_names(ino.0), reply);
    }

    fn lseek(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        self.ops.lseek.count();
        let found = seek_for(whence).and_then(|seek| {
            let offset = u64::try_from(offset).map_err(|_| Failure::BehindLastExtent)?;
            let found = self.filesystem.seek(ino.0, offset, seek)?;
            i64::try_from(found).map_err(|_| Failure::BehindLastExtent)
        });
        match found {
            Ok(offset) => reply.offset(offset),
            Err(failure) => reply.error(self.failed("lseek", ino, offset.unsigned_abs(), &failure)),
        }
    }

    // Requests that the kernel drops for ever after one ENOSYS.

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(&self, _: &Request, _: INodeNo, _: FileHandle, _: PollNotifier, _: PollEvents, _: PollFlags, reply: ReplyPoll) {
        reply.error(Errno::ENOSYS);
    }

    fn bmap(&self, _: &Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        reply.error(Errno::ENOSYS);
    }

    /// No ioctl is known: ENOTTY, as any filesystem says to one that is not its own (lsattr, overlayfs).
    fn ioctl(&self, _: &Request, _: INodeNo, _: FileHandle, _: IoctlFlags, _: u32, _: &[u8], _: u32, reply: ReplyIoctl) {
        reply.error(Errno::ENOTTY);
    }

    // Changes. The mount is read-only, so the kernel refuses them itself, unless somebody remounts it read-write.

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &std::path::Path, reply: ReplyEntry) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn rename(&self, _: &Request, _: INodeNo, _: &OsStr, _: INodeNo, _: &OsStr, _: RenameFlags, reply: ReplyEmpty) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn setxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Failure::ReadOnly.errno());
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Failure::ReadOnly.errno());
    }
}

/// The entry that says "there is no such name, and there will be none".
const NEGATIVE: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: SystemTime::UNIX_EPOCH,
    mtime: SystemTime::UNIX_EPOCH,
    ctime: SystemTime::UNIX_EPOCH,
    crtime: SystemTime::UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};

fn file_attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.ino.get()),
        size: attributes.size_bytes,
        blocks: attributes.sectors,
        atime: attributes.mtime,
        mtime: attributes.mtime,
        ctime: attributes.mtime,
        crtime: attributes.mtime,
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: attributes.rdev,
        blksize: BLOCK_BYTES as u32,
        flags: 0,
    }
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::CharDevice => FileType::CharDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
    }
}

fn taken(full: bool) -> Taken {
    if full { Taken::Full } else { Taken::Yes }
}

/// SEEK_DATA is 3 and SEEK_HOLE is 4 in Linux; the kernel answers all other kinds itself.
fn seek_for(whence: i32) -> Result<SeekFor, Failure> {
    match whence {
        3 => Ok(SeekFor::Data),
        4 => Ok(SeekFor::Hole),
        _ => Err(Failure::UnknownSeek { whence }),
    }
}

/// How the value of an extended attribute is answered.
#[derive(Debug, PartialEq, Eq)]
enum Fitting {
    Size(u32),
    Value(Vec<u8>),
}

/// A caller with no room asks for the size; one with too little is told so.
fn fitting(value: Vec<u8>, room: u32) -> Result<Fitting, Failure> {
    let size = u32::try_from(value.len()).map_err(|_| Failure::XattrBufferTooSmall)?;
    match room {
        0 => Ok(Fitting::Size(size)),
        room if size > room => Err(Failure::XattrBufferTooSmall),
        _ => Ok(Fitting::Value(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xattr_size_is_asked_first() {
        assert_eq!(fitting(b"abc".to_vec(), 0).unwrap(), Fitting::Size(3));
        assert_eq!(fitting(b"abc".to_vec(), 3).unwrap(), Fitting::Value(b"abc".to_vec()));
        assert!(matches!(fitting(b"abc".to_vec(), 2), Err(Failure::XattrBufferTooSmall)));
    }

    #[test]
    fn only_data_and_hole_are_sought() {
        assert_eq!(seek_for(3).unwrap(), SeekFor::Data);
        assert_eq!(seek_for(4).unwrap(), SeekFor::Hole);
        assert!(seek_for(0).is_err());
    }
}
