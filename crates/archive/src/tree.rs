//! A tree of inodes in memory: what layers are applied to, and what the index is written from.
//!
//! Made for a million entries in about 100 MB: entries and inodes are small records in arrays, names lie in one heap, and one hash
//! table finds an entry by (directory, name). A directory's entries are a linked list, sorted only when it is written.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;

use crate::{NodeKind, Rdev, StreamId, Xattrs};

/// Index of an inode in its tree. The root is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(pub(crate) u32);

/// Index of an entry.
type EntryId = u32;
/// No entry.
const NONE: u32 = u32::MAX;

/// What an inode says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last change of the content: seconds since 1970, may be negative.
    pub mtime: i64,
    /// Nanoseconds of it, below 1,000,000,000.
    pub mtime_nsec: u32,
    /// Extended attributes, all [`crate::erofs::xattr_representable`].
    pub xattrs: Xattrs,
}

/// What an inode holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Entries.
    Directory,
    /// `size` bytes that lie in a stream, from block `block` (of 512 bytes) on, in one piece.
    File {
        /// Bytes.
        size: u64,
        /// Which stream.
        stream: StreamId,
        /// First block in the stream.
        block: u32,
    },
    /// A file with holes.
    Sparse(SparseMap),
    /// Where a symbolic link points.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice(Rdev),
    /// A block device.
    BlockDevice(Rdev),
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

/// Where a regular file's bytes lie: [`Content::File`] or [`Content::Sparse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes<'a> {
    /// In one piece.
    Blocks {
        /// Bytes.
        size: u64,
        /// Which stream.
        stream: StreamId,
        /// First block in the stream.
        block: u32,
    },
    /// In pieces.
    Sparse(&'a SparseMap),
}

impl Bytes<'_> {
    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        match self {
            Bytes::Blocks { size, .. } => *size,
            Bytes::Sparse(map) => map.size,
        }
    }
}

/// The pieces of a file with holes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SparseMap {
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of a chunk: a power of two, at least 512.
    pub chunk: u64,
    /// What each chunk of the file holds, as many as the size needs.
    pub chunks: Vec<Segment>,
}

/// What a chunk holds.
pub type Segment = Result<(StreamId, u32), Hole>;

/// A chunk of zeros that lies nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole;

#[derive(Clone)]
pub(crate) struct Inode {
    pub size: u64,
    pub mtime: i64,
    pub mtime_nsec: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    /// Index into `Tree::xattrs`; 0 is none.
    xattrs: u32,
    pub mode: u16,
    pub kind: NodeKind,
    pub body: Body,
}

#[derive(Clone, Copy)]
pub(crate) enum Body {
    Nothing,
    Directory {
        first: EntryId,
        parent: InodeId,
        entry: EntryId,
    },
    Blocks {
        stream: StreamId,
        block: u32,
    },
    /// Index into `Tree::maps`.
    Map(u32),
    /// Offset in the heap; the length is the inode's size.
    Symlink(u32),
    Device(Rdev),
}

struct Entry {
    name: u32,
    name_len: u8,
    /// Which layer touched the entry last; see [`Tree::layer`].
    layer: u16,
    dir: InodeId,
    inode: InodeId,
    previous: EntryId,
    next: EntryId,
}

/// A tree of inodes.
pub struct Tree {
    inodes: Vec<Inode>,
    entries: Vec<Entry>,
    free_entries: Vec<EntryId>,
    table: HashTable<EntryId>,
    hasher: std::hash::RandomState,
    heap: Vec<u8>,
    xattrs: Vec<Xattrs>,
    maps: Vec<SparseMap>,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("inodes", &self.inodes.len()).finish_non_exhaustive()
    }
}

/// Why an entry was refused: the tree's heap of names has 4 GiB, and a name 255 bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Tree {
    /// A tree with a root and nothing else.
    pub fn new(root: Attributes) -> Tree {
        let mut tree = Tree {
            inodes: Vec::new(),
            entries: Vec::new(),
            free_entries: Vec::new(),
            table: HashTable::new(),
            hasher: std::hash::RandomState::new(),
            heap: Vec::new(),
            xattrs: vec![Vec::new()],
            maps: Vec::new(),
        };
        let root = tree.inode(root, Content::Directory);
        debug_assert_eq!(root, Ok(Tree::ROOT));
        tree
    }

    /// The root directory.
    pub const ROOT: InodeId = InodeId(0);

    /// Makes an inode that has no entry yet.
    ///
    /// # Errors
    /// [`Full`].
    pub fn inode(&mut self, attributes: Attributes, content: Content) -> Result<InodeId, Full> {
        let id = InodeId(u32::try_from(self.inodes.len()).map_err(|_| Full)?);
        let (kind, size, body) = self.body(content)?;
        let nlink = if kind == NodeKind::Directory { 2 } else { 0 };
        let mut inode = Inode { size, mtime: 0, mtime_nsec: 0, uid: 0, gid: 0, nlink, xattrs: 0, mode: 0, kind, body };
        self.describe(&mut inode, attributes);
        self.inodes.push(inode);
        Ok(id)
    }

    /// Replaces what an inode says of itself, not what it holds.
    pub fn set_attributes(&mut self, id: InodeId, attributes: Attributes) {
        let mut inode = self.inodes[id.0 as usize].clone();
        self.describe(&mut inode, attributes);
        self.inodes[id.0 as usize] = inode;
    }

    /// Replaces what a regular file holds; does nothing to other inodes.
    ///
    /// # Errors
    /// [`Full`].
    pub fn set_content(&mut self, id: InodeId, content: Content) -> Result<(), Full> {
        let (kind, size, body) = self.body(content)?;
        let inode = &mut self.inodes[id.0 as usize];
        if (inode.kind, kind) == (NodeKind::File, NodeKind::File) {
            (inode.size, inode.body) = (size, body);
        }
        Ok(())
    }

    /// The regular files that have a name, in no order that means anything.
    pub fn files(&self) -> impl Iterator<Item = InodeId> {
        let named = |(id, inode): (u32, &Inode)| (inode.kind == NodeKind::File && inode.nlink > 0).then_some(InodeId(id));
        (0..).zip(&self.inodes).filter_map(named)
    }

    /// Where the bytes of a regular file lie; none for other inodes.
    pub fn bytes(&self, id: InodeId) -> Option<Bytes<'_>> {
        let inode = &self.inodes[id.0 as usize];
        match inode.body {
            Body::Blocks { stream, block } => Some(Bytes::Blocks { size: inode.size, stream, block }),
            Body::Map(index) => Some(Bytes::Sparse(self.map(index))),
            _ => None,
        }
    }

    fn describe(&mut self, inode: &mut Inode, attributes: Attributes) {
        let Attributes { mode, uid, gid, mtime, mtime_nsec, xattrs } = attributes;
        inode.mode = mode & 0o7777;
        (inode.uid, inode.gid, inode.mtime, inode.mtime_nsec) = (uid, gid, mtime, mtime_nsec);
        inode.xattrs = 0;
        if !xattrs.is_empty() {
            inode.xattrs = self.xattrs.len() as u32;
            self.xattrs.push(xattrs);
        }
    }

    fn body(&mut self, content: Content) -> Result<(NodeKind, u64, Body), Full> {
        Ok(match content {
            Content::Directory => (NodeKind::Directory, 0, Body::Directory { first: NONE, parent: Tree::ROOT, entry: NONE }),
            Content::File { size, stream, block } => (NodeKind::File, size, Body::Blocks { stream, block }),
            Content::Sparse(map) => {
                let (size, index) = (map.size, self.maps.len() as u32);
                self.maps.push(map);
                (NodeKind::File, size, Body::Map(index))
            }
            Content::Symlink(target) => (NodeKind::Symlink, target.len() as u64, Body::Symlink(self.store(&target)?)),
            Content::CharDevice(rdev) => (NodeKind::CharDevice, 0, Body::Device(rdev)),
            Content::BlockDevice(rdev) => (NodeKind::BlockDevice, 0, Body::Device(rdev)),
            Content::Fifo => (NodeKind::Fifo, 0, Body::Nothing),
            Content::Socket => (NodeKind::Socket, 0, Body::Nothing),
        })
    }

    fn store(&mut self, bytes: &[u8]) -> Result<u32, Full> {
        let at = u32::try_from(self.heap.len()).map_err(|_| Full)?;
        self.heap.extend_from_slice(bytes);
        Ok(at)
    }

    /// The inode that `dir` has under `name`.
    pub fn get(&self, dir: InodeId, name: &[u8]) -> Option<InodeId> {
        self.find(dir, name).map(|e| self.entries[e as usize].inode)
    }

    /// Gives an inode a name in `dir`, in place of what may have that name. A directory takes only one name.
    ///
    /// # Errors
    /// [`Full`].
    pub fn link(&mut self, dir: InodeId, name: &[u8], inode: InodeId) -> Result<(), Full> {
        self.unlink(dir, name);
        let name_len = u8::try_from(name.len()).map_err(|_| Full)?;
        let at = self.store(name)?;
        let Body::Directory { first, .. } = self.inodes[dir.0 as usize].body else { return Ok(()) };
        let entry = Entry { name: at, name_len, layer: 0, dir, inode, previous: NONE, next: first };
        let id = match self.free_entries.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).map_err(|_| Full)?
            }
        };
        if first != NONE {
            self.entries[first as usize].previous = id;
        }
        self.set_first(dir, id);
        self.count_link(dir, inode, 1);
        if let Body::Directory { parent, entry, .. } = &mut self.inodes[inode.0 as usize].body {
            (*parent, *entry) = (dir, id);
        }
        let hash = self.hash(dir, name);
        let (entries, heap, hasher) = (&self.entries, &self.heap, &self.hasher);
        self.table.insert_unique(hash, id, |e| {
            let entry = &entries[*e as usize];
            hash_of(hasher, entry.dir, entry.name(heap))
        });
        Ok(())
    }

    /// Takes the name away, and all below it if it is a directory. Says whether there was one.
    pub fn unlink(&mut self, dir: InodeId, name: &[u8]) -> bool {
        let Some(id) = self.find(dir, name) else { return false };
        let mut doomed = vec![id];
        while let Some(id) = doomed.pop() {
            let inode = self.entries[id as usize].inode;
            doomed.extend(self.entry_ids(inode));
            self.remove(id);
        }
        true
    }

    fn remove(&mut self, id: EntryId) {
        let Entry { dir, inode, previous, next, .. } = self.entries[id as usize];
        let name = self.entries[id as usize].name(&self.heap);
        if let Ok(slot) = self.table.find_entry(self.hash(dir, name), |e| *e == id) {
            slot.remove();
        }
        match previous {
            NONE => self.set_first(dir, next),
            previous => self.entries[previous as usize].next = next,
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        self.count_link(dir, inode, -1);
        self.free_entries.push(id);
    }

    fn set_first(&mut self, dir: InodeId, id: EntryId) {
        if let Body::Directory { first, .. } = &mut self.inodes[dir.0 as usize].body {
            *first = id;
        }
    }

    /// A directory's name counts for its parent (its `..`), any other name for the inode itself.
    fn count_link(&mut self, dir: InodeId, inode: InodeId, by: i32) {
        let counted = if self.kind(inode) == NodeKind::Directory { dir } else { inode };
        let nlink = &mut self.inodes[counted.0 as usize].nlink;
        *nlink = nlink.saturating_add_signed(by);
    }

    /// The entries of a directory, in no order.
    pub fn entries(&self, dir: InodeId) -> impl Iterator<Item = (&[u8], InodeId)> {
        self.entry_ids(dir).map(|id| {
            let entry = &self.entries[id as usize];
            (entry.name(&self.heap), entry.inode)
        })
    }

    fn entry_ids(&self, dir: InodeId) -> impl Iterator<Item = EntryId> + use<'_> {
        let first = match self.inodes[dir.0 as usize].body {
            Body::Directory { first, .. } => first,
            _ => NONE,
        };
        let some = |id| (id != NONE).then_some(id);
        std::iter::successors(some(first), move |id| some(self.entries[*id as usize].next))
    }

    /// The directory that holds a directory; the root holds itself.
    pub fn parent(&self, dir: InodeId) -> InodeId {
        match self.inodes[dir.0 as usize].body {
            Body::Directory { parent, .. } => parent,
            _ => Tree::ROOT,
        }
    }

    /// The number that [`Tree::set_layer`] gave an entry; 0 where it gave none.
    pub fn layer(&self, dir: InodeId, name: &[u8]) -> u16 {
        self.find(dir, name).map_or(0, |id| self.entries[id as usize].layer)
    }

    /// Marks an entry with a number.
    pub fn set_layer(&mut self, dir: InodeId, name: &[u8], layer: u16) {
        if let Some(id) = self.find(dir, name) {
            self.entries[id as usize].layer = layer;
        }
    }

    /// [`Tree::layer`] of a directory's own entry.
    pub fn directory_layer(&self, dir: InodeId) -> u16 {
        self.own_entry(dir).map_or(0, |id| self.entries[id as usize].layer)
    }

    /// [`Tree::set_layer`] of a directory's own entry.
    pub fn set_directory_layer(&mut self, dir: InodeId, layer: u16) {
        if let Some(id) = self.own_entry(dir) {
            self.entries[id as usize].layer = layer;
        }
    }

    fn own_entry(&self, dir: InodeId) -> Option<EntryId> {
        match self.inodes[dir.0 as usize].body {
            Body::Directory { entry, .. } if entry != NONE => Some(entry),
            _ => None,
        }
    }

    /// What an inode is.
    pub fn kind(&self, id: InodeId) -> NodeKind {
        self.inodes[id.0 as usize].kind
    }

    /// Where a symbolic link points; empty for any other inode.
    pub fn link_target(&self, id: InodeId) -> &[u8] {
        match self.inodes[id.0 as usize] {
            Inode { body: Body::Symlink(at), size, .. } => &self.heap[at as usize..][..size as usize],
            _ => &[],
        }
    }

    /// What an inode says of itself.
    pub fn attributes(&self, id: InodeId) -> Attributes {
        let inode = &self.inodes[id.0 as usize];
        let &Inode { mode, uid, gid, mtime, mtime_nsec, .. } = inode;
        Attributes { mode, uid, gid, mtime, mtime_nsec, xattrs: self.xattrs(inode).to_vec() }
    }

    pub(crate) fn raw(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0 as usize]
    }

    pub(crate) fn xattrs(&self, inode: &Inode) -> &[(Vec<u8>, Vec<u8>)] {
        &self.xattrs[inode.xattrs as usize]
    }

    /// Whether any inode was given extended attributes.
    pub(crate) fn has_xattrs(&self) -> bool {
        self.xattrs.len() > 1
    }

    pub(crate) fn map(&self, index: u32) -> &SparseMap {
        &self.maps[index as usize]
    }

    /// How many inodes were made, those without a name included.
    pub fn inodes_made(&self) -> usize {
        self.inodes.len()
    }

    fn find(&self, dir: InodeId, name: &[u8]) -> Option<EntryId> {
        let same = |id: &EntryId| {
            let entry = &self.entries[*id as usize];
            entry.dir == dir && entry.name(&self.heap) == name
        };
        self.table.find(self.hash(dir, name), same).copied()
    }

    fn hash(&self, dir: InodeId, name: &[u8]) -> u64 {
        hash_of(&self.hasher, dir, name)
    }
}

impl Entry {
    fn name<'a>(&self, heap: &'a [u8]) -> &'a [u8] {
        &heap[self.name as usize..][..usize::from(self.name_len)]
    }
}

/// Keyed at random: an image cannot choose names that collide.
fn hash_of(hasher: &std::hash::RandomState, dir: InodeId, name: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(dir.0);
    state.write(name);
    state.finish()
}

#[cfg(test)]
mod tests;
