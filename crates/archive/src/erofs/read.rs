//! Reading the image: every answer comes straight from the mapped bytes; nothing is decoded ahead or kept.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::dirent::Block;
use super::superblock::{Device, Superblock};
use super::{
    BLOCK_BITS, BLOCK_BYTES, CHUNK_BITS_MASK, CHUNKS_MAX, COMPACT_BYTES, EXTENDED_BYTES, FORMAT_EXTENDED, KINDS, LAYOUT_CHUNKED,
    LAYOUT_FLAT_INLINE, LAYOUT_FLAT_PLAIN, NULL_BLOCK, S_IFMT, SLOT_BYTES, xattr,
};
use crate::error::{Damage, damaged};
use crate::paged::Paged;
use crate::{Error, Nid, Rdev, Stream, StreamId, Xattrs, le};

/// Longest symlink target that is followed: Linux's own limit (PATH_MAX) is 4,096 bytes.
const LINK_BYTES_MAX: u64 = 4096;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

/// A node's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub nid: Nid,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file, of a directory's entries, of a symlink's target.
    pub size: u64,
    /// Names, or for a directory 2 and its subdirectories.
    pub nlink: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds of it.
    pub mtime_nsec: u32,
    /// Of a device.
    pub rdev: Rdev,
    layout: u16,
    payload: u32,
    /// Where extended attributes begin, and how many bytes they take.
    xattrs: (u64, u64),
}

impl Node {
    /// log2 of the bytes of a chunk, in a file that has chunks.
    fn chunk_bits(&self) -> u32 {
        BLOCK_BITS + (self.payload & CHUNK_BITS_MASK)
    }
}

/// A directory's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Name.
    pub name: &'a [u8],
    /// Node.
    pub nid: Nid,
    /// What the node is.
    pub kind: NodeKind,
    /// What to give to [`Index::read_dir`] to go on behind this entry.
    pub cookie: u64,
}

/// Where bytes of a file come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Zeros.
    Hole,
    /// A stream.
    Stream {
        /// Which.
        stream: StreamId,
        /// First byte in it.
        offset: u64,
    },
}

/// A run of bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Where they come from.
    pub source: Source,
}

/// Symlinks that one path may go through, as in Linux.
const LINKS_MAX: usize = 40;

/// Why a path leads to no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// A name is not there.
    NoSuchFile,
    /// A name on the way is no directory.
    NotADirectory,
    /// More than 40 symbolic links, or links that lead in a circle.
    TooManyLinks,
}

/// The tree of an archive.
pub struct Index {
    path: PathBuf,
    image: Paged,
    root: Nid,
    inodes: u64,
    has_xattrs: bool,
    devices: Vec<Device>,
    /// Bytes of each stream.
    sizes: Vec<u64>,
}

impl Index {
    pub(crate) fn parse(path: &Path, image: Paged, streams: &[Stream]) -> Result<Index, Damage> {
        let sb = Superblock::parse(&image)?;
        if u64::from(sb.blocks) * BLOCK_BYTES != image.len() || sb.devices.len() != streams.len() {
            return damaged!("its index has {} blocks and {} devices, which does not fit", sb.blocks, sb.devices.len());
        }
        let mut free_from = sb.blocks;
        for (device, stream) in sb.devices.iter().zip(streams) {
            let end = device.start.checked_add(device.blocks);
            let fits = u64::from(device.blocks) == stream.size.div_ceil(BLOCK_BYTES) && device.start == free_from;
            let Some(end) = end.filter(|_| fits) else {
                return damaged!("a device of its index does not fit stream {}", stream.blob);
            };
            free_from = end;
        }
        let mut index = Index {
            path: path.into(),
            image,
            root: Nid(sb.root_slot.into()),
            inodes: sb.inodes,
            has_xattrs: true,
            devices: sb.devices,
            sizes: streams.iter().map(|s| s.size).collect(),
        };
        index.has_xattrs = sb.uuid[0] & 1 != 0;
        if index.read_node(index.root)?.kind != NodeKind::Directory {
            return damaged!("the root of its index is no directory");
        }
        Ok(index)
    }

    fn at(&self) -> impl Fn(Damage) -> Error + '_ {
        |damage| damage.at(&self.path)
    }

    /// The root directory.
    pub fn root(&self) -> Nid {
        self.root
    }

    /// How many nodes there are.
    pub fn inodes(&self) -> u64 {
        self.inodes
    }

    /// Whether any node has extended attributes.
    pub fn has_xattrs(&self) -> bool {
        self.has_xattrs
    }

    /// Bytes of the image, which begins with the section and can be mounted by itself.
    pub fn image_bytes(&self) -> u64 {
        self.image.len()
    }

    /// Looks at every page once.
    pub(crate) fn verify_pages(&self) -> Result<(), Error> {
        self.image.get(0..self.image.len()).map(drop).map_err(self.at())
    }

    /// The attributes of a node.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where there is no such node.
    pub fn node(&self, nid: Nid) -> Result<Node, Error> {
        self.read_node(nid).map_err(self.at())
    }

    fn read_node(&self, nid: Nid) -> Result<Node, Damage> {
        let Some(at) = nid.0.checked_mul(SLOT_BYTES).filter(|at| *at < self.image.len()) else {
            return damaged!("there is no node {}", nid.0);
        };
        let short: &[u8; COMPACT_BYTES as usize] = self.image.record(at)?;
        let format = le::u16(short, 0);
        let (layout, mode) = (format >> 1, le::u16(short, 4));
        let Some((kind, ..)) = KINDS.iter().find(|k| k.1 == mode & S_IFMT) else {
            return damaged!("node {} has mode {mode:o}", nid.0);
        };
        let payload = le::u32(short, 16);
        let xattr_bytes = xattr::area_bytes(le::u16(short, 2));
        let mut node = Node {
            nid,
            kind: *kind,
            mode: mode & !S_IFMT,
            uid: le::u16(short, 24).into(),
            gid: le::u16(short, 26).into(),
            size: le::u32(short, 8).into(),
            nlink: le::u16(short, 6).into(),
            mtime: le::u32(short, 12).into(),
            mtime_nsec: 0,
            rdev: Rdev::default(),
            layout,
            payload,
            xattrs: (at + COMPACT_BYTES, xattr_bytes),
        };
        if format & FORMAT_EXTENDED != 0 {
            let long: &[u8; EXTENDED_BYTES as usize] = self.image.record(at)?;
            node.size = le::u64(long, 8);
            (node.uid, node.gid, node.nlink) = (le::u32(long, 24), le::u32(long, 28), le::u32(long, 44));
            (node.mtime, node.mtime_nsec) = (le::u64(long, 32) as i64, le::u32(long, 40));
            node.xattrs.0 = at + EXTENDED_BYTES;
        }
        if matches!(kind, NodeKind::CharDevice | NodeKind::BlockDevice) {
            node.rdev = Rdev { major: payload >> 8 & 0xfff, minor: payload & 0xff | payload >> 12 & 0xf_ff00 };
        }
        let holds_own = matches!(kind, NodeKind::Directory | NodeKind::Symlink);
        let layout_fits = match layout {
            LAYOUT_FLAT_PLAIN => true,
            LAYOUT_FLAT_INLINE => holds_own,
            LAYOUT_CHUNKED => {
                let chunks = node.size.div_ceil(1 << (BLOCK_BITS + (payload & CHUNK_BITS_MASK)));
                *kind == NodeKind::File && payload & !CHUNK_BITS_MASK == 0 && chunks <= CHUNKS_MAX
            }
            _ => false,
        };
        if !layout_fits
            || node.mtime_nsec >= 1_000_000_000
            || i64::try_from(node.size).is_err()
            || (holds_own && node.size > self.image.len())
        {
            return damaged!("node {} contradicts itself", nid.0);
        }
        Ok(node)
    }

    /// The bytes `range` of what the image itself holds of a node, which lie in one block.
    fn own(&self, node: &Node, range: Range<u64>) -> Result<&[u8], Damage> {
        let whole = if node.layout == LAYOUT_FLAT_INLINE { node.size / BLOCK_BYTES * BLOCK_BYTES } else { node.size };
        let base = if range.start < whole { u64::from(node.payload) * BLOCK_BYTES } else { node.xattrs.0 + node.xattrs.1 };
        let within = if range.start < whole { range } else { range.start - whole..range.end - whole };
        self.image.get(base + within.start..base + within.end)
    }

    fn block(&self, dir: &Node, number: u64) -> Result<Block<'_>, Damage> {
        let start = number * BLOCK_BYTES;
        Block::parse(self.own(dir, start..dir.size.min(start + BLOCK_BYTES))?)
    }

    fn check_directory(node: &Node) -> Result<(), Damage> {
        if node.kind == NodeKind::Directory { Ok(()) } else { damaged!("node {} is no directory", node.nid.0) }
    }

    /// The node that a directory has under a name. `.` and `..` are names too.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn lookup(&self, dir: &Node, name: &[u8]) -> Result<Option<Nid>, Error> {
        self.find(dir, name).map_err(self.at())
    }

    /// Binary search, over the blocks by their first names, then in the block.
    fn find(&self, dir: &Node, name: &[u8]) -> Result<Option<Nid>, Damage> {
        Index::check_directory(dir)?;
        let (mut low, mut high) = (0, dir.size.div_ceil(BLOCK_BYTES));
        while low + 1 < high {
            let middle = low.midpoint(high);
            if self.block(dir, middle)?.entry(0)?.2 <= name { low = middle } else { high = middle }
        }
        if low == high {
            return Ok(None);
        }
        let block = self.block(dir, low)?;
        let (mut low, mut high) = (0, block.len());
        while low < high {
            let middle = low.midpoint(high);
            let (nid, _, found) = block.entry(middle)?;
            match found.cmp(name) {
                std::cmp::Ordering::Equal => return Ok(Some(Nid(nid))),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// The node at `path` from the directory `from`, symlinks followed inside the image. A path that begins with `/`, and a link to one, begins at the root.
    ///
    /// # Errors
    /// [`Error::Corrupt`]. That there is no such node is no error: [`Unresolved`] says why.
    pub fn resolve(&self, from: &Node, path: &[u8]) -> Result<Result<Node, Unresolved>, Error> {
        let mut node = if path.starts_with(b"/") { self.node(self.root)? } else { from.clone() };
        let mut ahead: Vec<Vec<u8>> = path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            if part.is_empty() || part == b"." {
                continue;
            }
            if node.kind != NodeKind::Directory {
                return Ok(Err(Unresolved::NotADirectory));
            }
            let Some(nid) = self.lookup(&node, &part)? else { return Ok(Err(Unresolved::NoSuchFile)) };
            let next = self.node(nid)?;
            if next.kind != NodeKind::Symlink {
                node = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Ok(Err(Unresolved::TooManyLinks));
            }
            let target = self.read_link(&next)?;
            if target.starts_with(b"/") {
                node = self.node(self.root)?;
            }
            ahead.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
        }
        Ok(Ok(node))
    }

    /// The entries of a directory behind the one with `cookie` (0: all), `.` and `..` among them, sorted by name.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn read_dir(&self, dir: &Node, cookie: u64) -> Result<ReadDir<'_>, Error> {
        Index::check_directory(dir).map_err(self.at())?;
        Ok(ReadDir { index: self, dir: dir.clone(), next: cookie, block: None })
    }

    /// Where a symlink points.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn read_link(&self, node: &Node) -> Result<Cow<'_, [u8]>, Error> {
        let read = || {
            if node.kind != NodeKind::Symlink || node.size > LINK_BYTES_MAX {
                return damaged!("node {} is no symlink, or one of {} bytes", node.nid.0, node.size);
            }
            let whole = node.size / BLOCK_BYTES * BLOCK_BYTES;
            if node.layout == LAYOUT_FLAT_INLINE && whole > 0 {
                let parts = [self.own(node, 0..whole)?, self.own(node, whole..node.size)?];
                return Ok(Cow::Owned(parts.concat()));
            }
            self.own(node, 0..node.size).map(Cow::Borrowed)
        };
        read().map_err(self.at())
    }

    /// The extended attributes of a node.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn xattrs(&self, node: &Node) -> Result<Xattrs, Error> {
        let (at, bytes) = node.xattrs;
        self.image.get(at..at + bytes).and_then(xattr::parse).map_err(self.at())
    }

    /// Where the bytes `range` of a file come from: extents in order, without gaps, as far as the file goes.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn extents(&self, file: &Node, range: Range<u64>) -> Result<Vec<Extent>, Error> {
        self.find_extents(file, range.start..range.end.min(file.size)).map_err(self.at())
    }

    fn find_extents(&self, file: &Node, range: Range<u64>) -> Result<Vec<Extent>, Damage> {
        if file.kind != NodeKind::File {
            return damaged!("node {} is no file", file.nid.0);
        }
        let mut extents = Vec::new();
        if range.is_empty() {
            return Ok(extents);
        }
        if file.layout == LAYOUT_FLAT_PLAIN {
            let length = range.end - range.start;
            extents.push(self.extent(range.start, length, file.payload, range.start)?);
            return Ok(extents);
        }
        let bits = file.chunk_bits();
        let mut at = range.start;
        while at < range.end {
            let chunk = at >> bits;
            let start = chunk << bits;
            let end = range.end.min(start.saturating_add(1 << bits));
            let extent = self.extent(at, end - at, self.chunk(file, chunk)?, at - start)?;
            at = end;
            match extents.last_mut().filter(|last| continues(last, &extent)) {
                Some(last) => last.length += extent.length,
                None => extents.push(extent),
            }
        }
        Ok(extents)
    }

    /// The address of a chunk.
    fn chunk(&self, file: &Node, chunk: u64) -> Result<u32, Damage> {
        let table = (file.xattrs.0 + file.xattrs.1).next_multiple_of(4);
        let word: &[u8; 4] = self.image.record(table.saturating_add(chunk.saturating_mul(4)))?;
        Ok(u32::from_le_bytes(*word))
    }

    /// The `length` bytes that begin `skip` bytes behind block `address`.
    fn extent(&self, offset: u64, length: u64, address: u32, skip: u64) -> Result<Extent, Damage> {
        if address == NULL_BLOCK {
            return Ok(Extent { offset, length, source: Source::Hole });
        }
        let i = self.devices.partition_point(|d| d.start <= address).saturating_sub(1);
        let Some(device) = self.devices.get(i).filter(|d| d.start <= address) else {
            return damaged!("block {address} lies in no stream");
        };
        let start = u64::from(address - device.start) * BLOCK_BYTES + skip;
        // The last chunk of a file may reach behind the stream's end only in bytes that the file does not have.
        if start.checked_add(length).is_none_or(|end| end > self.sizes[i]) {
            return damaged!("a file reaches behind the end of stream {i}");
        }
        Ok(Extent { offset, length, source: Source::Stream { stream: StreamId(i as u16), offset: start } })
    }

    /// Bytes of a file that are not holes, in units of 512.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn allocated(&self, node: &Node) -> Result<u64, Error> {
        if node.layout != LAYOUT_CHUNKED {
            return Ok(node.size.next_multiple_of(BLOCK_BYTES));
        }
        let chunk_bytes = 1 << node.chunk_bits();
        let mut allocated = 0;
        for chunk in 0..node.size.div_ceil(chunk_bytes) {
            if self.chunk(node, chunk).map_err(self.at())? != NULL_BLOCK {
                allocated += chunk_bytes.min(node.size - chunk * chunk_bytes).next_multiple_of(BLOCK_BYTES);
            }
        }
        Ok(allocated)
    }
}

fn continues(last: &Extent, next: &Extent) -> bool {
    match (last.source, next.source) {
        (Source::Hole, Source::Hole) => true,
        (Source::Stream { stream: a, offset }, Source::Stream { stream: b, offset: next }) => a == b && offset + last.length == next,
        _ => false,
    }
}

/// The entries of a directory.
pub struct ReadDir<'a> {
    index: &'a Index,
    dir: Node,
    /// Block number << 8 | number in the block: a block has at most 39 entries.
    next: u64,
    block: Option<(u64, Block<'a>)>,
}

impl<'a> ReadDir<'a> {
    fn entry(&mut self) -> Result<Option<Entry<'a>>, Damage> {
        loop {
            let (number, i) = (self.next >> 8, (self.next & 0xff) as usize);
            if number >= self.dir.size.div_ceil(BLOCK_BYTES) {
                return Ok(None);
            }
            if self.block.as_ref().is_none_or(|(n, _)| *n != number) {
                self.block = Some((number, self.index.block(&self.dir, number)?));
            }
            let Some((_, block)) = self.block.as_ref().filter(|(_, block)| i < block.len()) else {
                self.next = (number + 1) << 8;
                continue;
            };
            let (nid, file_type, name) = block.entry(i)?;
            self.next += 1;
            let Some((kind, ..)) = KINDS.iter().find(|k| k.2 == file_type) else {
                return damaged!("a directory has an entry of type {file_type}");
            };
            return Ok(Some(Entry { name, nid: Nid(nid), kind: *kind, cookie: self.next }));
        }
    }
}

impl<'a> Iterator for ReadDir<'a> {
    type Item = Result<Entry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = &self.index.path;
        let entry = self.entry();
        if entry.is_err() {
            self.next = u64::MAX; // one error ends the listing
        }
        entry.map_err(|damage| damage.at(path)).transpose()
    }
}
