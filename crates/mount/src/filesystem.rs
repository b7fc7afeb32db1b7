//! The filesystem of an archive: names, attributes, directories, links, extended attributes, bytes. Knows no FUSE.
//!
//! Everything but [`Filesystem::read_far`] answers from the mapped index and from what lies near, and never waits for the network.

use std::borrow::Cow;
use std::sync::{Arc, Once};

use archive::{Archive, Extent, Node, NodeKind, Source, Storage};
use foresight::Foresight;
use read::Reader;

use crate::attributes::{Attributes, BLOCK_BYTES, attributes};
use crate::errno::Failure;
use crate::ino::{Ino, InoMap};

/// Bytes of a file that are looked through for data or a hole at first.
const SEEK_BYTES_FIRST: u64 = 1 << 20;

/// The longest read that is answered. The kernel asks for at most 1 MiB (`max_pages` 256); this bounds what a confused caller can make us allocate.
pub(crate) const READ_BYTES_MAX: u64 = 16 << 20;

/// One mounted archive.
#[derive(Debug)]
pub(crate) struct Filesystem {
    archive: Arc<Archive>,
    reader: Arc<Reader>,
    foresight: Arc<Foresight>,
    warmed: Once,
    inos: InoMap,
}

/// One name of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DirectoryEntry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) ino: Ino,
    pub(crate) kind: NodeKind,
    /// Where to go on behind this entry.
    pub(crate) cookie: u64,
}

/// What a reader of a directory says about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was taken: give the next.
    Yes,
    /// There was no room for it: stop, it comes again in the next call.
    Full,
}

/// How a read went that was not allowed to wait.
#[derive(Debug)]
pub(crate) enum Near {
    /// This many bytes are in the buffer: all that were asked for up to the end of the file.
    Done(usize),
    /// Not all of it is near: ask `read_far`.
    Far(FarRead),
}

/// A read that has to wait for the network.
#[derive(Debug)]
pub(crate) struct FarRead {
    file: Node,
    offset: u64,
    length: usize,
}

/// Which end of an extent lseek(2) looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeekFor {
    Data,
    Hole,
}

/// Totals for statfs(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    /// 4 KiB blocks of all streams together.
    pub(crate) blocks: u64,
    pub(crate) inodes: u64,
}

impl Filesystem {
    pub(crate) fn new(archive: Arc<Archive>, reader: Arc<Reader>, foresight: Arc<Foresight>) -> Filesystem {
        let inos = InoMap::new(archive.index().root());
        Filesystem { archive, reader, foresight, warmed: Once::new(), inos }
    }

    /// It is mounted: connections to a registry are opened. To S3 there is one, by which the archive was opened; more follow when somebody reads.
    pub(crate) fn mounted(&self) {
        if matches!(self.archive.storage(), Storage::Registry { .. }) {
            self.warm();
        }
    }

    /// Opens connections, once.
    fn warm(&self) {
        self.warmed.call_once(|| self.reader.warm());
    }

    /// The attributes of the entry `name` of directory `parent`.
    ///
    /// "." is the node itself, of whatever kind: the kernel asks so when it opens a file handle whose inode it has forgotten.
    pub(crate) fn lookup(&self, parent: u64, name: &[u8]) -> Result<Attributes, Failure> {
        let parent = self.node(parent)?;
        if name == b"." {
            return self.attributes_of(&parent);
        }
        require_directory(&parent)?;
        let nid = self.archive.index().lookup(&parent, name)?.ok_or(Failure::NotFound)?;
        self.attributes_of(&self.archive.index().node(nid)?)
    }

    pub(crate) fn attributes(&self, ino: u64) -> Result<Attributes, Failure> {
        self.attributes_of(&self.node(ino)?)
    }

    /// Gives the entries of directory `ino` behind `cookie` (0 = all, with "." and "..") to `take`, until it is full.
    pub(crate) fn read_dir(
        &self,
        ino: u64,
        cookie: u64,
        mut take: impl FnMut(DirectoryEntry<'_>) -> Result<Taken, Failure>,
    ) -> Result<(), Failure> {
        let directory = self.node(ino)?;
        require_directory(&directory)?;
        for entry in self.archive.index().read_dir(&directory, cookie)? {
            let entry = entry?;
            let ino = self.inos.ino(entry.nid)?;
            if take(DirectoryEntry { name: entry.name, ino, kind: entry.kind, cookie: entry.cookie })? == Taken::Full {
                break;
            }
        }
        Ok(())
    }

    /// The target of a symbolic link.
    pub(crate) fn read_link(&self, ino: u64) -> Result<Cow<'_, [u8]>, Failure> {
        let link = self.node(ino)?;
        if !matches!(link.kind, NodeKind::Symlink) {
            return Err(Failure::NotASymlink);
        }
        Ok(self.archive.index().read_link(&link)?)
    }

    /// The value of an extended attribute.
    pub(crate) fn xattr(&self, ino: u64, name: &[u8]) -> Result<Vec<u8>, Failure> {
        let all = self.archive.index().xattrs(&self.node(ino)?)?;
        all.into_iter().find(|(n, _)| n == name).map(|(_, value)| value).ok_or(Failure::NoSuchXattr)
    }

    /// The names of all extended attributes, each ended by NUL, as listxattr(2) wants them.
    pub(crate) fn xattr_names(&self, ino: u64) -> Result<Vec<u8>, Failure> {
        let mut names = Vec::new();
        for (name, _) in self.archive.index().xattrs(&self.node(ino)?)? {
            names.extend_from_slice(&name);
            names.push(0);
        }
        Ok(names)
    }

    /// False where no node of the archive has extended attributes: then the kernel need not ask at all.
    pub(crate) fn has_xattrs(&self) -> bool {
        self.archive.index().has_xattrs()
    }

    /// Reads up to `length` bytes at `offset` into the front of `buffer`, growing it where needed, if all of them are near.
    pub(crate) fn read_near(&self, ino: u64, offset: u64, length: u64, buffer: &mut Vec<u8>) -> Result<Near, Failure> {
        let file = self.regular_file(ino)?;
        let length = length.min(READ_BYTES_MAX).min(file.size.saturating_sub(offset));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(Near::Done(0));
        }
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        match self.reader.try_read(&file, offset, &mut buffer[..length])? {
            true => {
                if offset == 0 {
                    self.foresight.touched(&file, &buffer[..length]);
                }
                Ok(Near::Done(length))
            }
            false => Ok(Near::Far(FarRead { file, offset, length })),
        }
    }

    /// Reads what was not near. Exactly the length asked for or a failure: the kernel would take a short answer for the end of the file and show zeros.
    pub(crate) async fn read_far(&self, far: FarRead) -> Result<Vec<u8>, Failure> {
        self.warm();
        let data = self.reader.read(&far.file, far.offset, far.length).await?;
        if far.offset == 0 {
            self.foresight.touched(&far.file, &data);
        }
        match data.len() == far.length {
            true => Ok(data),
            false => Err(Failure::ShortRead { read: data.len(), wanted: far.length }),
        }
    }

    /// SEEK_DATA and SEEK_HOLE: where data or a hole begins at or behind `offset`. The end of the file counts as a hole.
    pub(crate) fn seek(&self, ino: u64, offset: u64, seek: SeekFor) -> Result<u64, Failure> {
        let file = self.regular_file(ino)?;
        if offset >= file.size {
            return Err(Failure::BehindLastExtent);
        }
        // In pieces that grow, as the answer is mostly near: a file may have a million extents.
        let (mut at, mut step) = (offset, SEEK_BYTES_FIRST);
        while at < file.size {
            let end = file.size.min(at.saturating_add(step));
            let extents = self.archive.index().extents(&file, at..end)?;
            if let Some(found) = find_extent(&extents, at, seek) {
                return Ok(found);
            }
            (at, step) = (end, step.saturating_mul(2));
        }
        match seek {
            SeekFor::Hole => Ok(file.size),
            SeekFor::Data => Err(Failure::BehindLastExtent),
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let bytes = self.archive.streams().iter().fold(0_u64, |sum, stream| sum.saturating_add(stream.size));
        Totals { blocks: bytes.div_ceil(BLOCK_BYTES), inodes: self.archive.index().inodes() }
    }

    fn node(&self, ino: u64) -> Result<Node, Failure> {
        Ok(self.archive.index().node(self.inos.nid(ino))?)
    }

    fn regular_file(&self, ino: u64) -> Result<Node, Failure> {
        let node = self.node(ino)?;
        match node.kind {
            NodeKind::File => Ok(node),
            NodeKind::Directory => Err(Failure::IsADirectory),
            _ => Err(Failure::NotAFile),
        }
    }

    fn attributes_of(&self, node: &Node) -> Result<Attributes, Failure> {
        let allocated = match node.kind {
            NodeKind::File => self.archive.index().allocated(node)?,
            _ => 0,
        };
        Ok(attributes(self.inos.ino(node.nid)?, node, allocated))
    }
}

fn require_directory(node: &Node) -> Result<(), Failure> {
    match node.kind {
        NodeKind::Directory => Ok(()),
        _ => Err(Failure::NotADirectory),
    }
}

/// The first offset at or behind `offset` that is what `seek` wants. `extents` begin at `offset`, in order.
fn find_extent(extents: &[Extent], offset: u64, seek: SeekFor) -> Option<u64> {
    let wanted = |e: &&Extent| e.length > 0 && matches!(e.source, Source::Hole) == (seek == SeekFor::Hole);
    extents.iter().find(wanted).map(|extent| extent.offset.max(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::StreamId;

    fn sparse() -> Vec<Extent> {
        let data = |offset, length| Extent { offset, length, source: Source::Stream { stream: StreamId(0), offset } };
        let hole = |offset, length| Extent { offset, length, source: Source::Hole };
        vec![hole(0, 100), data(100, 50), hole(150, 50), data(200, 10)]
    }

    #[test]
    fn seek_finds_data_and_holes() {
        let from = |at: u64| sparse().into_iter().filter(|e| e.offset + e.length > at).collect::<Vec<_>>();
        let find = |at, seek| find_extent(&from(at), at, seek);
        assert_eq!(find(0, SeekFor::Data), Some(100));
        assert_eq!(find(0, SeekFor::Hole), Some(0));
        assert_eq!(find(120, SeekFor::Data), Some(120));
        assert_eq!(find(120, SeekFor::Hole), Some(150));
        assert_eq!(find(160, SeekFor::Data), Some(200));
        assert_eq!(find(205, SeekFor::Hole), None);
    }

    #[test]
    fn seek_for_data_in_a_last_hole_finds_nothing() {
        let last = [Extent { offset: 10, length: 90, source: Source::Hole }];
        assert_eq!(find_extent(&last, 50, SeekFor::Data), None);
        assert_eq!(find_extent(&last, 50, SeekFor::Hole), Some(50));
    }
}
