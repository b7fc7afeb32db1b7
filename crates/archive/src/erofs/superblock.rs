//! The superblock (128 bytes at 1,024) and the device table behind it.

use super::{BLOCK_BITS, SLOT_BYTES};
use crate::error::{Damage, damaged};
use crate::le;
use crate::paged::Paged;

const MAGIC: u32 = 0xe0f5_e1e2;
const AT: u64 = 1024;
const BYTES: usize = 128;
/// A device's slot.
pub(crate) const DEVICE_BYTES: usize = 128;
/// Where the device table begins: right behind the superblock, in units of its slots.
const DEVICE_SLOT: u16 = ((AT as usize + BYTES) / DEVICE_BYTES) as u16;

/// Timestamps are modification times.
const COMPAT_MTIME: u32 = 2;
const INCOMPAT_CHUNKED: u32 = 4;
const INCOMPAT_DEVICES: u32 = 8;

/// A device: a stream's place in the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    /// Its first block in the address space.
    pub start: u32,
    /// Its blocks.
    pub blocks: u32,
}

/// What the superblock says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub root_slot: u16,
    pub inodes: u64,
    /// Blocks of the image itself.
    pub blocks: u32,
    /// First bytes of the BLAKE3 of what the tree was made from, so that two images differ in it.
    pub uuid: [u8; 16],
    pub devices: Vec<Device>,
}

/// First byte behind superblock and device table.
pub(crate) fn end(devices: usize) -> u64 {
    (AT + (BYTES + devices * DEVICE_BYTES) as u64).next_multiple_of(SLOT_BYTES)
}

impl Superblock {
    /// The image's first bytes, up to [`end`]. `tags` name the devices (the first 64 bytes of each are kept). EROFS's own checksum is not
    /// used: the page digests cover the superblock, and fsck.erofs (1.8) does not survive it with blocks of 512 bytes.
    pub fn encode(&self, tags: &[&str]) -> Vec<u8> {
        let mut sb = [0; BYTES];
        le::put(&mut sb, 0, MAGIC.to_le_bytes());
        le::put(&mut sb, 8, COMPAT_MTIME.to_le_bytes());
        sb[12] = BLOCK_BITS as u8;
        le::put(&mut sb, 14, self.root_slot.to_le_bytes());
        le::put(&mut sb, 16, self.inodes.to_le_bytes());
        le::put(&mut sb, 36, self.blocks.to_le_bytes());
        le::put(&mut sb, 48, self.uuid);
        let mut incompat = INCOMPAT_CHUNKED;
        if !self.devices.is_empty() {
            incompat |= INCOMPAT_DEVICES;
        }
        le::put(&mut sb, 80, incompat.to_le_bytes());
        le::put(&mut sb, 86, (self.devices.len() as u16).to_le_bytes());
        le::put(&mut sb, 88, DEVICE_SLOT.to_le_bytes());
        let mut out = vec![0; AT as usize];
        out.extend_from_slice(&sb);
        for (device, tag) in self.devices.iter().zip(tags) {
            let mut slot = [0; DEVICE_BYTES];
            let tag = &tag.as_bytes()[..tag.len().min(64)];
            slot[..tag.len()].copy_from_slice(tag);
            le::put(&mut slot, 64, device.blocks.to_le_bytes());
            le::put(&mut slot, 68, device.start.to_le_bytes());
            out.extend_from_slice(&slot);
        }
        out.resize(end(self.devices.len()) as usize, 0);
        out
    }

    pub fn parse(image: &Paged) -> Result<Superblock, Damage> {
        let sb: &[u8; BYTES] = image.record(AT)?;
        if le::u32(sb, 0) != MAGIC || u32::from(sb[12]) != BLOCK_BITS || le::u32(sb, 80) & !(INCOMPAT_CHUNKED | INCOMPAT_DEVICES) != 0 {
            return damaged!("its index is not an EROFS image as clip writes them");
        }
        // Inodes counted from block 0, no extension slots, directory blocks of one block.
        if le::u32(sb, 40) != 0 || sb[13] != 0 || sb[90] != 0 {
            return damaged!("its index has an unexpected layout");
        }
        let table = u64::from(le::u16(sb, 88)) * DEVICE_BYTES as u64;
        let devices = (0..u64::from(le::u16(sb, 86))).map(|i| {
            let slot: &[u8; DEVICE_BYTES] = image.record(table + i * DEVICE_BYTES as u64)?;
            Ok(Device { blocks: le::u32(slot, 64), start: le::u32(slot, 68) })
        });
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&sb[48..64]);
        Ok(Superblock {
            root_slot: le::u16(sb, 14),
            inodes: le::u64(sb, 16),
            blocks: le::u32(sb, 36),
            uuid,
            devices: devices.collect::<Result<_, _>>()?,
        })
    }
}
