//! A directory as the root of a filesystem: walked by descriptors, so that nothing that changes meanwhile leads out of it, and read as it is found.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use archive::erofs::{xattr_representable, xattrs_fit};
use archive::{Attributes, CarryingWriter, Content, InodeId, Rdev, Tree, Xattrs};
use pack::{Extent, Packer};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Stat};

use crate::{Error, Progress};

/// Bytes of a name of an extended attribute, of a list of them, and of a value (Linux: XATTR_NAME_MAX, XATTR_LIST_MAX, XATTR_SIZE_MAX).
const XATTR_BYTES_MAX: usize = 64 << 10;

/// A directory that was packed.
pub(crate) struct Packed {
    pub tree: Tree,
    pub writer: CarryingWriter,
    pub file_bytes: u64,
    pub xattrs_dropped: u64,
}

/// Packs all files below `root`, in order of their sorted paths.
pub(crate) fn pack(root: &Path, packer: Packer, progress: &Progress) -> Result<Packed, Error> {
    let (fd, stat) = open_root(root)?;
    let (attributes, dropped) = attributes(&fd, c".", &stat).map_err(failed(root))?;
    let mut tree = Tree::new(attributes);
    let (links, tree_ref) = (HashMap::new(), &mut tree);
    let mut archiver = Archiver { tree: tree_ref, packer, links, file_bytes: 0, xattrs_dropped: dropped, progress };
    walk(root, fd, &mut |found| archiver.add(found))?;
    let Archiver { packer, file_bytes, xattrs_dropped, .. } = archiver;
    Ok(Packed { tree, writer: packer.finish()?, file_bytes, xattrs_dropped })
}

/// Bytes of all files below `root`, each counted once.
pub(crate) fn count(root: &Path, progress: &Progress) -> Result<u64, Error> {
    let (mut bytes, mut linked) = (0, std::collections::HashSet::new());
    let (fd, _) = open_root(root)?;
    walk(root, fd, &mut |found| {
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let stat = &found.stat;
        let is_first = stat.st_nlink == 1 || linked.insert((stat.st_dev, stat.st_ino));
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && is_first {
            bytes += stat.st_size as u64;
        }
        Ok(Tree::ROOT)
    })?;
    Ok(bytes)
}

fn open_root(root: &Path) -> Result<(OwnedFd, Stat), Error> {
    let open = || {
        let fd = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok((fd, stat))
    };
    open().map_err(|e: rustix::io::Errno| failed(root)(e.into()))
}

/// An entry of a directory.
struct Found<'a> {
    parent: InodeId,
    directory: &'a OwnedFd,
    name: CString,
    stat: Stat,
    /// For messages.
    path: PathBuf,
}

/// A directory on the way down.
struct Level {
    inode: InodeId,
    fd: OwnedFd,
    path: PathBuf,
    /// Names that are left, the last one first.
    names: Vec<CString>,
}

/// Shows every entry below `root`, directories before what is in them, each in order of names. One descriptor for each level is open.
fn walk(root: &Path, fd: OwnedFd, show: &mut dyn FnMut(&Found<'_>) -> Result<InodeId, Error>) -> Result<(), Error> {
    let mut levels = vec![level(Tree::ROOT, fd, root.to_path_buf())?];
    while let Some(top) = levels.last_mut() {
        let Some(name) = top.names.pop() else {
            levels.pop();
            continue;
        };
        let path = top.path.join(OsStr::from_bytes(name.to_bytes()));
        let stat = match rustix::fs::statat(&top.fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since it was listed: as if it had been removed before.
            Err(rustix::io::Errno::NOENT) => continue,
            Err(e) => return Err(failed(&path)(e.into())),
        };
        let inode = show(&Found { parent: top.inode, directory: &top.fd, name: name.clone(), stat, path: path.clone() })?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = rustix::fs::openat(&top.fd, &name, flags, Mode::empty()).map_err(|e| failed(&path)(e.into()))?;
            levels.push(level(inode, below, path)?);
        }
    }
    Ok(())
}

fn level(inode: InodeId, fd: OwnedFd, path: PathBuf) -> Result<Level, Error> {
    let list = || -> io::Result<Vec<CString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let name = entry?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    };
    let names = list().map_err(failed(&path))?;
    Ok(Level { inode, fd, path, names })
}

/// What is made of the entries.
struct Archiver<'a> {
    tree: &'a mut Tree,
    packer: Packer,
    /// Inodes with several names: device and number.
    links: HashMap<(u64, u64), InodeId>,
    file_bytes: u64,
    xattrs_dropped: u64,
    progress: &'a Progress,
}

impl Archiver<'_> {
    fn add(&mut self, found: &Found<'_>) -> Result<InodeId, Error> {
        if self.progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let stat = &found.stat;
        let key = (stat.st_dev, stat.st_ino);
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let inode = match self.links.get(&key).filter(|_| !is_directory) {
            Some(inode) => *inode,
            None => {
                let inode = self.inode(found)?;
                if !is_directory && stat.st_nlink > 1 {
                    self.links.insert(key, inode);
                }
                inode
            }
        };
        self.tree.link(found.parent, found.name.to_bytes(), inode).map_err(|_| Error::full())?;
        Ok(inode)
    }

    fn inode(&mut self, found: &Found<'_>) -> Result<InodeId, Error> {
        let stat = &found.stat;
        let rdev = || Rdev { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) };
        let content = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(found)?,
            FileType::Directory => Content::Directory,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(found.directory, &found.name, Vec::new()).map_err(|e| failed(&found.path)(e.into()))?;
                Content::Symlink(target.into_bytes())
            }
            FileType::CharacterDevice => Content::CharDevice(rdev()),
            FileType::BlockDevice => Content::BlockDevice(rdev()),
            FileType::Fifo => Content::Fifo,
            FileType::Socket => Content::Socket,
            FileType::Unknown => return Err(failed(&found.path)(io::Error::other("of an unknown type"))),
        };
        let (attributes, dropped) = attributes(found.directory, &found.name, stat).map_err(failed(&found.path))?;
        self.xattrs_dropped += dropped;
        self.tree.inode(attributes, content).map_err(|_| Error::full())
    }

    fn file(&mut self, found: &Found<'_>) -> Result<Content, Error> {
        let failed = failed(&found.path);
        // A FIFO that has taken the file's place since must not block us.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = rustix::fs::openat(found.directory, &found.name, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let now = rustix::fs::fstat(&fd).map_err(|e| failed(e.into()))?;
        let same = |a: &Stat, b: &Stat| {
            (a.st_ino, a.st_dev, a.st_size, a.st_mtime, a.st_mtime_nsec) == (b.st_ino, b.st_dev, b.st_size, b.st_mtime, b.st_mtime_nsec)
        };
        let changed = || failed(io::Error::other("it changes while it is archived; archive a directory that nobody writes to"));
        if !same(&now, &found.stat) {
            return Err(changed());
        }
        let size = now.st_size as u64;
        let extents = if (now.st_blocks as u64) * 512 < size { data_extents(&fd, size) } else { whole(size) };
        let (file, progress) = (File::from(fd), self.progress);
        let mut read = |at: u64, out: &mut [u8]| {
            progress.add_bytes(out.len() as u64);
            if progress.is_cancelled() { Err(io::Error::other("cancelled")) } else { file.read_exact_at(out, at) }
        };
        let content = self.packer.file(&found.path, size, &extents, &mut read);
        let content = content.map_err(|e| if progress.is_cancelled() { Error::Cancelled } else { e.into() })?;
        let after = rustix::fs::fstat(&file).map_err(|e| failed(e.into()))?;
        if !same(&after, &found.stat) {
            return Err(changed());
        }
        self.file_bytes += size;
        Ok(content)
    }
}

fn whole(size: u64) -> Vec<Extent> {
    if size == 0 { Vec::new() } else { vec![Extent { offset: 0, length: size }] }
}

/// The parts of a file that hold data; all of it, where the filesystem cannot tell.
fn data_extents(fd: &OwnedFd, size: u64) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
            Ok(offset) if offset < size => offset,
            Ok(_) | Err(rustix::io::Errno::NXIO) => break, // nothing but a hole behind
            Err(_) => return whole(size),
        };
        let end = rustix::fs::seek(fd, SeekFrom::Hole(offset)).unwrap_or(size).min(size);
        if end <= offset {
            return whole(size);
        }
        extents.push(Extent { offset, length: end - offset });
        at = end;
    }
    extents
}

/// What an entry says of itself, and how many of its extended attributes no archive can hold.
fn attributes(directory: &OwnedFd, name: &std::ffi::CStr, stat: &Stat) -> io::Result<(Attributes, u64)> {
    let (xattrs, dropped) = xattrs(directory, name)?;
    let attributes = Attributes {
        mode: (stat.st_mode & 0o7777) as u16,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        mtime_nsec: stat.st_mtime_nsec as u32,
        xattrs,
    };
    Ok((attributes, dropped))
}

/// All extended attributes, sorted. There is no call that takes directory and name, so the way is through /proc.
fn xattrs(directory: &OwnedFd, name: &std::ffi::CStr) -> io::Result<(Xattrs, u64)> {
    let path = [format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).as_bytes(), name.to_bytes()].concat();
    let mut buffer = vec![0; XATTR_BYTES_MAX];
    let names = match rustix::fs::llistxattr(&path[..], &mut buffer[..]) {
        Ok(length) => buffer[..length].to_vec(),
        Err(rustix::io::Errno::NOTSUP) => return Ok((Vec::new(), 0)),
        Err(e) => return Err(e.into()),
    };
    let (mut found, mut dropped) = (Xattrs::new(), 0);
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = match rustix::fs::lgetxattr(&path[..], name, &mut buffer[..]) {
            Ok(length) => length,
            Err(rustix::io::Errno::NODATA) => continue, // removed meanwhile
            Err(e) => return Err(e.into()),
        };
        if xattr_representable(name, &buffer[..length]) {
            found.push((name.to_vec(), buffer[..length].to_vec()));
        } else {
            dropped += 1;
        }
    }
    found.sort_unstable();
    if !xattrs_fit(&found) {
        return Err(io::Error::other("more extended attributes than an archive can hold (256 KiB)"));
    }
    Ok((found, dropped))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| Error::Io { path: path.clone(), source }
}
