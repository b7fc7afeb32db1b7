//! Where everything lies in an image that is about to be written: decided once, before the first byte.
//!
//! Inodes are laid out directory by directory, a directory's files right behind it, so that listing one touches few pages. What
//! follows an inode (attributes, chunk table, last bytes of a directory, a symlink's target) must, as far as it is data, lie inside
//! one block; gaps that this leaves are filled with the small inodes that come later.

use super::{BLOCK_BITS, BLOCK_BYTES, CHUNK_BITS_MASK, CHUNKS_MAX, COMPACT_BYTES, EXTENDED_BYTES, SLOT_BYTES, dirent, xattr};
use crate::Error;
use crate::NodeKind;
use crate::tree::{Body, Inode, InodeId, Tree};

/// An inode's place.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    /// Slot of 32 bytes; 0 while it has none.
    pub slot: u32,
    /// First data block of a directory or symlink that has any, counted from the first block behind the inodes.
    pub block: u32,
    /// Whether its last bytes follow the inode.
    pub inline: bool,
}

/// The plan of an image.
pub(crate) struct Layout {
    /// By inode number; inodes without a name have no slot.
    pub places: Vec<Place>,
    /// Inodes by ascending slot.
    pub order: Vec<InodeId>,
    /// The first block behind the inodes.
    pub first_data_block: u32,
    /// Blocks behind the inodes, used by directories and long symlinks in the order in which their inodes were placed.
    pub data: Vec<InodeId>,
    /// Blocks of the whole image.
    pub blocks: u32,
}

/// Bytes of `inode` in its short or long form: what does not fit the short one makes it long.
pub(crate) fn inode_bytes(inode: &Inode) -> u64 {
    let short = u16::try_from(inode.uid).is_ok()
        && u16::try_from(inode.gid).is_ok()
        && u16::try_from(inode.nlink).is_ok()
        && u32::try_from(inode.size).is_ok()
        && u32::try_from(inode.mtime).is_ok()
        && inode.mtime_nsec == 0;
    if short { COMPACT_BYTES } else { EXTENDED_BYTES }
}

/// The entries of a directory as they are written: `.` and `..` among them, sorted by name as bytes.
pub(crate) fn sorted_entries(tree: &Tree, dir: InodeId) -> Vec<(&[u8], InodeId)> {
    let mut entries: Vec<(&[u8], InodeId)> = tree.entries(dir).chain([(&b"."[..], dir), (&b".."[..], tree.parent(dir))]).collect();
    entries.sort_unstable_by_key(|e| e.0);
    entries
}

/// Bytes of a directory's entries, of a symlink's target: data that the image itself holds. 0 for others.
pub(crate) fn own_bytes(tree: &Tree, id: InodeId) -> u64 {
    match tree.kind(id) {
        NodeKind::Directory => {
            let names: Vec<usize> = sorted_entries(tree, id).iter().map(|e| e.0.len()).collect();
            dirent::directory_bytes(&names)
        }
        NodeKind::Symlink => tree.raw(id).size,
        _ => 0,
    }
}

impl Layout {
    /// Plans the image of a tree whose inodes begin at byte `start`.
    pub fn plan(tree: &Tree, start: u64) -> Result<Layout, Error> {
        let mut plan =
            Plan { tree, places: vec![Place::default(); tree.inodes_made()], space: Space::new(start), data: Vec::new(), data_blocks: 0 };
        plan.place(Tree::ROOT)?;
        let mut directories = vec![Tree::ROOT];
        while let Some(dir) = directories.pop() {
            let mut below = Vec::new();
            for (_, child) in sorted_entries(tree, dir) {
                if plan.places[child.0 as usize].slot == 0 {
                    plan.place(child)?;
                    if tree.kind(child) == NodeKind::Directory {
                        below.push(child);
                    }
                }
            }
            below.reverse();
            directories.append(&mut below);
        }
        plan.finish()
    }
}

struct Plan<'a> {
    tree: &'a Tree,
    places: Vec<Place>,
    space: Space,
    data: Vec<InodeId>,
    data_blocks: u64,
}

impl Plan<'_> {
    fn place(&mut self, id: InodeId) -> Result<(), Error> {
        let inode = self.tree.raw(id);
        let own = own_bytes(self.tree, id);
        // The size of a directory is that of its entries, so the short form depends on it too.
        let head = if u32::try_from(own).is_ok() { inode_bytes(inode) } else { EXTENDED_BYTES };
        let xattrs = xattr::size(self.tree.xattrs(inode));
        if xattr::count(xattrs).is_none() {
            return Err(Error::Unrepresentable(format!("{xattrs} bytes of extended attributes on one file (at most 256 KiB)")));
        }
        let tail = own % BLOCK_BYTES;
        let inline = tail > 0 && head + xattrs + tail <= BLOCK_BYTES;
        let table = match inode.body {
            Body::Map(map) => self.table_bytes(map)?,
            _ => 0,
        };
        let at = if table > 0 {
            self.space.take_anywhere((head + xattrs).next_multiple_of(4) + table)
        } else if inline {
            self.space.take_within_block(head + xattrs + tail)
        } else if head + xattrs <= BLOCK_BYTES {
            self.space.take_within_block(head + xattrs)
        } else {
            self.space.take_anywhere(head + xattrs)
        };
        let blocks = if inline { own / BLOCK_BYTES } else { own.div_ceil(BLOCK_BYTES) };
        let slot = u32::try_from(at / SLOT_BYTES).map_err(|_| too_large())?;
        self.places[id.0 as usize] = Place { slot, block: u32::try_from(self.data_blocks).map_err(|_| too_large())?, inline };
        if blocks > 0 {
            self.data.push(id);
            self.data_blocks += blocks;
        }
        Ok(())
    }

    /// Bytes of a sparse file's chunk table.
    fn table_bytes(&self, map: u32) -> Result<u64, Error> {
        let map = self.tree.map(map);
        let chunks = map.chunks.len() as u64;
        let fits = map.chunk.is_power_of_two() && (BLOCK_BITS..=BLOCK_BITS + CHUNK_BITS_MASK).contains(&map.chunk.trailing_zeros());
        if !fits || chunks > CHUNKS_MAX || chunks != map.size.div_ceil(map.chunk) {
            let detail = format!("a sparse file of {} bytes in {chunks} chunks of {} bytes", map.size, map.chunk);
            return Err(Error::Unrepresentable(detail));
        }
        Ok(4 * chunks)
    }

    fn finish(self) -> Result<Layout, Error> {
        let mut order: Vec<InodeId> =
            (0..self.places.len() as u32).map(InodeId).filter(|id| self.places[id.0 as usize].slot != 0).collect();
        order.sort_unstable_by_key(|id| self.places[id.0 as usize].slot);
        let first = self.space.end.div_ceil(BLOCK_BYTES);
        // Whole pages, so that the kernel can read the last block of a file-backed mount as part of one.
        let blocks = (first + self.data_blocks).next_multiple_of(4096 / BLOCK_BYTES);
        Ok(Layout {
            places: self.places,
            order,
            first_data_block: u32::try_from(first).map_err(|_| too_large())?,
            data: self.data,
            blocks: u32::try_from(blocks).map_err(|_| too_large())?,
        })
    }
}

fn too_large() -> Error {
    Error::Unrepresentable("an index of more than 128 GiB".into())
}

/// Hands out places for inodes.
struct Space {
    end: u64,
    /// Gaps inside blocks, by their length in slots.
    gaps: [Vec<u64>; (BLOCK_BYTES / SLOT_BYTES) as usize],
}

impl Space {
    fn new(end: u64) -> Space {
        Space { end, gaps: std::array::from_fn(|_| Vec::new()) }
    }

    /// `bytes` that may cross blocks.
    fn take_anywhere(&mut self, bytes: u64) -> u64 {
        let at = self.end;
        self.end += bytes.next_multiple_of(SLOT_BYTES);
        at
    }

    /// `bytes`, at most a block, inside one block: in the smallest gap that has room, else at the end.
    fn take_within_block(&mut self, bytes: u64) -> u64 {
        let slots = bytes.div_ceil(SLOT_BYTES);
        let gap = (slots as usize..self.gaps.len()).find_map(|size| self.gaps[size].pop().map(|at| (at, size as u64)));
        if let Some((at, size)) = gap {
            self.leave(at + slots * SLOT_BYTES, size - slots);
            return at;
        }
        let left = (BLOCK_BYTES - self.end % BLOCK_BYTES) / SLOT_BYTES;
        if left < slots {
            let at = self.take_anywhere(left * SLOT_BYTES);
            self.leave(at, left);
        }
        self.take_anywhere(bytes)
    }

    fn leave(&mut self, at: u64, slots: u64) {
        if slots > 0 {
            self.gaps[slots as usize].push(at);
        }
    }
}
