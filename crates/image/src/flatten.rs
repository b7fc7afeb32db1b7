//! Applying layers to a tree, as an unpack does: what `umoci unpack` leaves on disk is what must come out (SEMANTICS.md).
//!
//! Rules that are easy to get wrong, each as umoci (and containerd) has it:
//! - the directory part of a path is followed through symlinks, inside the root; its last part never is;
//! - missing directories are made (0755, owned by root);
//! - a whiteout takes away only what lower layers brought: what this layer has touched stays, in whatever order they come;
//! - a directory over a directory changes its attributes and keeps its entries; anything else replaces what was there.

use archive::erofs::{xattr_representable, xattrs_fit};
use archive::{Attributes, Content, Hole, InodeId, NodeKind, Rdev, SparseMap, StreamId, Tree};

use crate::tar::sparse::{Chunks, PIECES_MAX, Piece};
use crate::tar::{EntryKind, TarEntry};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Symlinks that one path may go through: the kernel's own limit is 40, filepath-securejoin's 255.
const LINKS_MAX: usize = 255;
/// Parts of a path, symlinks followed: bounds the work that one name can make.
const PARTS_MAX: usize = 100_000;
/// The longest name of a file (NAME_MAX).
const NAME_BYTES_MAX: usize = 255;

/// Attributes that belong to the machine that made the image, not to the image: umoci and containers/storage leave them out.
const HOST_XATTRS: [&[u8]; 9] = [
    b"security.selinux",
    b"system.nfs4_acl",
    b"trusted.overlay.impure",
    b"trusted.overlay.metacopy",
    b"trusted.overlay.nlink",
    b"trusted.overlay.opaque",
    b"trusted.overlay.origin",
    b"trusted.overlay.redirect",
    b"trusted.overlay.upper",
];
/// The owner that is none: chown(2) takes it for "leave as it is".
const NO_OWNER: u32 = u32::MAX;

/// Why an entry cannot be applied.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}: {detail}", String::from_utf8_lossy(path))]
pub(crate) struct FlattenError {
    pub path: Vec<u8>,
    pub detail: String,
}

/// Where a layer's bytes are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerStreams {
    /// Its tar.
    pub tar: StreamId,
    /// What it carries; the tar's again where it carries nothing.
    pub carried: StreamId,
}

/// A tree to which layers are applied, lowest first.
pub(crate) struct Flattener {
    tree: Tree,
    layer: u16,
    streams: LayerStreams,
    xattrs_dropped: u64,
    /// Chunks of all sparse files so far.
    pieces: usize,
}

/// What a directory is that no layer describes.
pub(crate) fn implied_directory() -> Attributes {
    Attributes { mode: 0o755, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0, xattrs: Vec::new() }
}

impl Flattener {
    pub fn new() -> Flattener {
        let none = LayerStreams { tar: StreamId(0), carried: StreamId(0) };
        Flattener { tree: Tree::new(implied_directory()), layer: 0, streams: none, xattrs_dropped: 0, pieces: 0 }
    }

    /// From here on, entries are those of the next layer.
    pub fn begin_layer(&mut self, streams: LayerStreams) {
        self.layer += 1;
        self.streams = streams;
    }

    /// The tree, and how many extended attributes were left out because no Linux filesystem could have them.
    pub fn finish(self) -> (Tree, u64) {
        (self.tree, self.xattrs_dropped)
    }

    /// Applies the layer's next entry.
    pub fn apply(&mut self, entry: TarEntry) -> Result<(), FlattenError> {
        let path = entry.path.clone();
        self.apply_at(&path, entry).map_err(|detail| FlattenError { path, detail })
    }

    fn apply_at(&mut self, path: &[u8], mut entry: TarEntry) -> Result<(), String> {
        let before = entry.xattrs.len();
        let user = matches!(entry.kind, EntryKind::File { .. } | EntryKind::Sparse(_) | EntryKind::Directory);
        entry.xattrs.retain(|(name, value)| xattr_representable(name, value) && (user || !name.starts_with(b"user.")));
        self.xattrs_dropped += (before - entry.xattrs.len()) as u64;
        entry.xattrs.retain(|(name, _)| !HOST_XATTRS.contains(&name.as_slice()));
        if !xattrs_fit(&entry.xattrs) {
            return Err(format!("{} extended attributes of more than 256 KiB together", entry.xattrs.len()));
        }
        let parts = clean(path);
        let Some((name, above)) = parts.split_last() else { return self.apply_to_root(entry) };
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("a name of {} bytes (at most {NAME_BYTES_MAX})", name.len()));
        }
        if *name == OPAQUE {
            if let Some(dir) = self.resolve(above, false)? {
                self.white_out_below(dir);
            }
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if let Some(dir) = self.resolve(above, false)? {
                self.white_out(dir, hidden);
            }
            return Ok(());
        }
        let Some(dir) = self.resolve(above, true)? else { return Ok(()) };
        self.place(dir, name, entry)?;
        self.touch(dir, name);
        Ok(())
    }

    fn apply_to_root(&mut self, entry: TarEntry) -> Result<(), String> {
        if entry.kind != EntryKind::Directory {
            return Err("it would replace the root directory".into());
        }
        self.tree.set_attributes(Tree::ROOT, attributes(entry, &self.tree.attributes(Tree::ROOT)));
        Ok(())
    }

    /// Makes the entry `name` in `dir`.
    fn place(&mut self, dir: InodeId, name: &[u8], entry: TarEntry) -> Result<(), String> {
        let existing = self.tree.get(dir, name);
        let full = |_| "the image has too many entries".to_string();
        let content = match &entry.kind {
            EntryKind::Directory => {
                if let Some(existing) = existing.filter(|e| self.tree.kind(*e) == NodeKind::Directory) {
                    self.tree.set_attributes(existing, attributes(entry, &self.tree.attributes(existing)));
                    return Ok(());
                }
                Content::Directory
            }
            EntryKind::HardLink(target) => {
                let target = self.link_target(target)?;
                if existing == Some(target) {
                    return Ok(());
                }
                return self.tree.link(dir, name, target).map_err(full);
            }
            EntryKind::File { size, block } => Content::File { size: *size, stream: self.streams.tar, block: *block },
            EntryKind::Sparse(chunks) => Content::Sparse(self.sparse(chunks)?),
            EntryKind::Symlink(target) => Content::Symlink(symlink_target(target)?),
            EntryKind::CharDevice { major, minor } => Content::CharDevice(Rdev { major: *major, minor: *minor }),
            EntryKind::BlockDevice { major, minor } => Content::BlockDevice(Rdev { major: *major, minor: *minor }),
            EntryKind::Fifo => Content::Fifo,
        };
        let inode = self.tree.inode(attributes(entry, &implied_directory()), content).map_err(full)?;
        self.tree.link(dir, name, inode).map_err(full)
    }

    fn sparse(&mut self, chunks: &Chunks) -> Result<SparseMap, String> {
        self.pieces += chunks.pieces.len();
        if self.pieces > PIECES_MAX {
            return Err(format!("the sparse files of the image have more than {PIECES_MAX} chunks"));
        }
        let chunk = |piece: &Piece| match piece {
            Piece::Hole => Err(Hole),
            Piece::Tar(block) => Ok((self.streams.tar, *block)),
            Piece::Carried(block) => Ok((self.streams.carried, *block)),
        };
        Ok(SparseMap { size: chunks.size, chunk: chunks.chunk, chunks: chunks.pieces.iter().map(chunk).collect() })
    }

    /// The inode that a hard link names: its directory is followed through symlinks, its last part is not.
    fn link_target(&mut self, target: &[u8]) -> Result<InodeId, String> {
        let missing = || format!("a hard link to {}, which is not there", String::from_utf8_lossy(target));
        let parts = clean(target);
        let (name, above) = parts.split_last().ok_or_else(missing)?;
        let dir = self.resolve(above, false)?.ok_or_else(missing)?;
        let inode = self.tree.get(dir, name).ok_or_else(missing)?;
        if self.tree.kind(inode) == NodeKind::Directory {
            return Err(format!("a hard link to the directory {}", String::from_utf8_lossy(target)));
        }
        Ok(inode)
    }

    /// The directory that `parts` lead to, through symlinks, never above the root. Where a part is missing, or is no directory, it is
    /// made with `make`, else there is none.
    fn resolve(&mut self, parts: &[&[u8]], make: bool) -> Result<Option<InodeId>, String> {
        let mut dir = Tree::ROOT;
        let mut ahead: Vec<Vec<u8>> = parts.iter().rev().map(|p| p.to_vec()).collect();
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = ahead.pop() {
            steps += 1;
            if steps > PARTS_MAX {
                return Err("the path has too many parts".into());
            }
            match &part[..] {
                b"" | b"." => continue,
                b".." => {
                    dir = self.tree.parent(dir);
                    continue;
                }
                _ => {}
            }
            match self.tree.get(dir, &part) {
                Some(next) if self.tree.kind(next) == NodeKind::Directory => dir = next,
                Some(next) if self.tree.kind(next) == NodeKind::Symlink => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err("too many symlinks on the way to it".into());
                    }
                    let target = self.tree.link_target(next);
                    if target.starts_with(b"/") {
                        dir = Tree::ROOT;
                    }
                    ahead.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
                }
                // A file in the way of a directory that the layer implies: containers/storage puts the directory in its place.
                _ if make => dir = self.make_directory(dir, &part)?,
                _ => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    fn make_directory(&mut self, dir: InodeId, name: &[u8]) -> Result<InodeId, String> {
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("a name of {} bytes on the way to it (at most {NAME_BYTES_MAX})", name.len()));
        }
        let full = |_| "the image has too many entries".to_string();
        let made = self.tree.inode(implied_directory(), Content::Directory).map_err(full)?;
        self.tree.link(dir, name, made).map_err(full)?;
        Ok(made)
    }

    /// Notes that this layer brought an entry, and with it everything above it.
    fn touch(&mut self, mut dir: InodeId, name: &[u8]) {
        self.tree.set_layer(dir, name, self.layer);
        while dir != Tree::ROOT {
            if self.tree.directory_layer(dir) == self.layer {
                return;
            }
            self.tree.set_directory_layer(dir, self.layer);
            dir = self.tree.parent(dir);
        }
    }

    /// Takes away what lower layers have under a name.
    fn white_out(&mut self, dir: InodeId, name: &[u8]) {
        let Some(inode) = self.tree.get(dir, name) else { return };
        if self.tree.layer(dir, name) != self.layer {
            self.tree.unlink(dir, name);
        } else if self.tree.kind(inode) == NodeKind::Directory {
            self.white_out_below(inode);
        }
    }

    /// Takes away what lower layers have below a directory.
    fn white_out_below(&mut self, dir: InodeId) {
        let mut directories = vec![dir];
        while let Some(dir) = directories.pop() {
            let entries: Vec<(Vec<u8>, InodeId)> = self.tree.entries(dir).map(|(name, inode)| (name.to_vec(), inode)).collect();
            for (name, inode) in entries {
                if self.tree.layer(dir, &name) != self.layer {
                    self.tree.unlink(dir, &name);
                } else if self.tree.kind(inode) == NodeKind::Directory {
                    directories.push(inode);
                }
            }
        }
    }
}

/// What an entry makes of something that was `before`; something new belongs to root before its owner is set.
fn attributes(entry: TarEntry, before: &Attributes) -> Attributes {
    let TarEntry { mut mode, uid, gid, mtime, mtime_nsec, mut xattrs, .. } = entry;
    let owner = |id: u32, before: u32| if id == NO_OWNER { before } else { id };
    if let Some(at) = xattrs.iter().position(|(name, _)| name == b"system.posix_acl_access")
        && let Some(acl) = Acl::parse(&xattrs[at].1)
    {
        mode = mode & !0o777 | acl.mode;
        if acl.says_no_more {
            xattrs.remove(at);
        }
    }
    Attributes { mode, uid: owner(uid, before.uid), gid: owner(gid, before.gid), mtime, mtime_nsec, xattrs }
}

/// An access ACL, as far as the permission bits go. Setting one sets them, on every filesystem.
struct Acl {
    /// Of its owner, of its mask (of its group, where it has none), and of all others.
    mode: u16,
    /// It has those alone: filesystems set the bits and keep no ACL.
    says_no_more: bool,
}

impl Acl {
    /// The value is that of linux/posix_acl_xattr.h: a version, then `tag, bits, id` of each entry.
    fn parse(value: &[u8]) -> Option<Acl> {
        const VERSION: u32 = 2;
        const OWNER: u16 = 0x01;
        const GROUP: u16 = 0x04;
        const MASK: u16 = 0x10;
        const OTHER: u16 = 0x20;
        let (version, entries) = value.split_first_chunk::<4>()?;
        let (entries, rest) = entries.as_chunks::<8>();
        if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
            return None;
        }
        let bits = |wanted: u16| {
            let entry = entries.iter().find(|e| u16::from_le_bytes([e[0], e[1]]) == wanted)?;
            Some(u16::from_le_bytes([entry[2], entry[3]]) & 0o7)
        };
        let mode = bits(OWNER)? << 6 | bits(MASK).or_else(|| bits(GROUP))? << 3 | bits(OTHER)?;
        Some(Acl { mode, says_no_more: entries.len() == 3 && bits(MASK).is_none() })
    }
}

/// Linux refuses empty targets and those of more than PATH_MAX bytes.
fn symlink_target(target: &[u8]) -> Result<Vec<u8>, String> {
    match target.len() {
        1..4096 => Ok(target.to_vec()),
        length => Err(format!("a symlink to a path of {length} bytes")),
    }
}

/// The parts of a path below the root, `.` and `..` resolved by name alone: no path leads above the root.
fn clean(path: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

#[cfg(test)]
mod tests;
