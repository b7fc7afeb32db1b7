//! Writing the image of a tree, front to back, in one pass over a [`Layout`].

use std::io::{self, Write};

use super::layout::{Layout, inode_bytes, sorted_entries};
use super::superblock::{self, Device, Superblock};
use super::{
    BLOCK_BITS, BLOCK_BYTES, COMPACT_BYTES, EXTENDED_BYTES, FORMAT_EXTENDED, KINDS, LAYOUT_CHUNKED, LAYOUT_FLAT_INLINE, LAYOUT_FLAT_PLAIN,
    NULL_BLOCK, SLOT_BYTES, dirent, xattr,
};
use crate::meta::STREAMS_MAX;
use crate::tree::{Body, Inode, InodeId, Tree};
use crate::{Error, NodeKind, Rdev, Stream, StreamId, le};

/// A tree and its streams, planned and ready to be written.
pub(crate) struct IndexWriter<'a> {
    tree: &'a Tree,
    layout: Layout,
    devices: Vec<Device>,
    tags: Vec<&'a str>,
    uuid: [u8; 16],
}

impl<'a> IndexWriter<'a> {
    /// Plans the image. `uuid` should depend on the image's contents only.
    ///
    /// # Errors
    /// [`Error::Unrepresentable`] where 32-bit block addresses do not suffice: 2 TiB of streams.
    pub fn new(tree: &'a Tree, streams: &'a [Stream], uuid: [u8; 16]) -> Result<IndexWriter<'a>, Error> {
        if streams.len() > STREAMS_MAX {
            return Err(Error::Unrepresentable(format!("{} streams (at most {STREAMS_MAX})", streams.len())));
        }
        let layout = Layout::plan(tree, superblock::end(streams.len()))?;
        let mut next = u64::from(layout.blocks);
        let mut devices = Vec::with_capacity(streams.len());
        for stream in streams {
            let blocks = stream.size.div_ceil(BLOCK_BYTES);
            if next + blocks >= u64::from(NULL_BLOCK) {
                return Err(Error::Unrepresentable("an image of more than 2 TiB unpacked".into()));
            }
            devices.push(Device { start: next as u32, blocks: blocks as u32 });
            next += blocks;
        }
        let tags = streams.iter().map(|s| s.diff_id.strip_prefix("sha256:").unwrap_or(&s.diff_id)).collect();
        Ok(IndexWriter { tree, layout, devices, tags, uuid })
    }

    /// How many nodes the image has.
    pub fn inodes(&self) -> u64 {
        self.layout.order.len() as u64
    }

    /// Writes the image: a multiple of 4,096 bytes.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let root = self.layout.places[0].slot;
        let sb = Superblock {
            root_slot: root as u16, // the root is placed first: at slot 16,436 at most, behind 4,096 devices
            inodes: self.inodes(),
            blocks: self.layout.blocks,
            uuid: self.uuid,
            devices: self.devices.clone(),
        };
        out.write_all(&sb.encode(&self.tags))?;
        let mut at = superblock::end(self.devices.len());
        let mut out = Counted { out, at: &mut at };
        self.write_inodes(&mut out)?;
        out.pad_to(u64::from(self.layout.first_data_block) * BLOCK_BYTES)?;
        for id in &self.layout.data {
            let place = self.layout.places[id.0 as usize];
            let own = self.own_data(*id);
            let whole = if place.inline { own.len() - own.len() % BLOCK_BYTES as usize } else { own.len() };
            out.write(&own[..whole])?;
            out.pad_to(out.at.next_multiple_of(BLOCK_BYTES))?;
        }
        out.pad_to(u64::from(self.layout.blocks) * BLOCK_BYTES)
    }

    /// Writes all inodes with what follows them.
    fn write_inodes(&self, out: &mut Counted<'_, impl Write>) -> io::Result<()> {
        for id in &self.layout.order {
            let place = self.layout.places[id.0 as usize];
            out.pad_to(u64::from(place.slot) * SLOT_BYTES)?;
            let inode = self.tree.raw(*id);
            let own = if matches!(inode.kind, NodeKind::Directory | NodeKind::Symlink) { self.own_data(*id) } else { Vec::new() };
            let mut bytes = self.inode(*id, inode, own.len() as u64);
            let xattrs = self.tree.xattrs(inode);
            if !xattrs.is_empty() {
                bytes.extend_from_slice(&xattr::encode(xattrs));
            }
            if place.inline {
                bytes.extend_from_slice(&own[own.len() - own.len() % BLOCK_BYTES as usize..]);
            }
            if let Body::Map(map) = inode.body {
                for chunk in &self.tree.map(map).chunks {
                    let address = chunk.map_or(NULL_BLOCK, |(stream, block)| self.address(stream, block));
                    bytes.extend_from_slice(&address.to_le_bytes());
                }
            }
            out.write(&bytes)?;
        }
        Ok(())
    }

    /// What the image itself holds of an inode: a directory's entries or a symlink's target.
    fn own_data(&self, id: InodeId) -> Vec<u8> {
        if self.tree.kind(id) == NodeKind::Symlink {
            return self.tree.link_target(id).to_vec();
        }
        let entries = sorted_entries(self.tree, id);
        let encoded: Vec<(u64, u8, &[u8])> = entries
            .iter()
            .map(|(name, child)| (self.layout.places[child.0 as usize].slot.into(), kind_of(self.tree.kind(*child)).1, *name))
            .collect();
        dirent::encode(&encoded)
    }

    fn address(&self, stream: StreamId, block: u32) -> u32 {
        self.devices[usize::from(stream.0)].start + block
    }

    /// The inode's own 32 or 64 bytes.
    fn inode(&self, id: InodeId, inode: &Inode, own: u64) -> Vec<u8> {
        let size = if inode.kind == NodeKind::Directory { own } else { inode.size };
        let place = self.layout.places[id.0 as usize];
        let long = inode_bytes(inode) == EXTENDED_BYTES || u32::try_from(size).is_err();
        let layout = match inode.body {
            Body::Map(_) => LAYOUT_CHUNKED,
            _ if place.inline => LAYOUT_FLAT_INLINE,
            _ => LAYOUT_FLAT_PLAIN,
        };
        let mut out = [0; EXTENDED_BYTES as usize];
        le::put(&mut out, 0, (layout << 1 | if long { FORMAT_EXTENDED } else { 0 }).to_le_bytes());
        let xattrs = xattr::count(xattr::size(self.tree.xattrs(inode))).unwrap_or_default(); // the layout has refused more
        le::put(&mut out, 2, xattrs.to_le_bytes());
        le::put(&mut out, 4, (kind_of(inode.kind).0 | inode.mode).to_le_bytes());
        le::put(&mut out, 16, self.payload(id, inode, own).to_le_bytes());
        le::put(&mut out, 20, (id.0 + 1).to_le_bytes());
        if long {
            le::put(&mut out, 8, size.to_le_bytes());
            le::put(&mut out, 24, inode.uid.to_le_bytes());
            le::put(&mut out, 28, inode.gid.to_le_bytes());
            le::put(&mut out, 32, inode.mtime.to_le_bytes());
            le::put(&mut out, 40, inode.mtime_nsec.to_le_bytes());
            le::put(&mut out, 44, inode.nlink.to_le_bytes());
            return out.to_vec();
        }
        le::put(&mut out, 6, (inode.nlink as u16).to_le_bytes());
        le::put(&mut out, 8, (size as u32).to_le_bytes());
        le::put(&mut out, 12, (inode.mtime as u32).to_le_bytes());
        le::put(&mut out, 24, (inode.uid as u16).to_le_bytes());
        le::put(&mut out, 26, (inode.gid as u16).to_le_bytes());
        out[..COMPACT_BYTES as usize].to_vec()
    }

    /// `i_u`: block address, device number or chunk format.
    fn payload(&self, id: InodeId, inode: &Inode, own: u64) -> u32 {
        match inode.body {
            Body::Blocks { .. } if inode.size == 0 => 0,
            Body::Blocks { stream, block } => self.address(stream, block),
            Body::Map(map) => self.tree.map(map).chunk.trailing_zeros() - BLOCK_BITS,
            Body::Device(rdev) => encode_rdev(rdev),
            Body::Directory { .. } | Body::Symlink(_) => {
                let place = self.layout.places[id.0 as usize];
                let has_blocks = if place.inline { own >= BLOCK_BYTES } else { own > 0 };
                if has_blocks { self.layout.first_data_block + place.block } else { 0 }
            }
            Body::Nothing => 0,
        }
    }
}

/// (`i_mode` type, `file_type`) of a kind.
fn kind_of(kind: NodeKind) -> (u16, u8) {
    KINDS.iter().find(|k| k.0 == kind).map_or((0, 0), |k| (k.1, k.2))
}

/// Linux's `new_encode_dev`: the low 8 bits of the minor, 12 of the major, the other 12 of the minor.
fn encode_rdev(rdev: Rdev) -> u32 {
    (rdev.minor & 0xff) | (rdev.major & 0xfff) << 8 | (rdev.minor & 0xf_ff00) << 12
}

/// Counts where it is.
struct Counted<'a, W> {
    out: &'a mut W,
    at: &'a mut u64,
}

impl<W: Write> Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        *self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn pad_to(&mut self, to: u64) -> io::Result<()> {
        let padding = to.saturating_sub(*self.at);
        if padding == 0 {
            return Ok(());
        }
        *self.at += padding;
        io::copy(&mut io::Read::take(io::repeat(0), padding), self.out).map(drop)
    }
}
