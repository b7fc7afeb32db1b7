//! Cutting a file: which chunks it has, which of them hold data, and where those lie.

use std::collections::HashMap;

use archive::{CarryingWriter, Content, Hole, SparseMap};

/// Bytes of a chunk, the unit of keeping things once. Smaller ones find more that is the same, and make longer maps.
pub const CHUNK_BYTES: u64 = 1 << 20;
/// Most chunks of a map (FORMAT.md §8).
const CHUNKS_MAX: u64 = 1 << 20;
/// Longest chunk. A file that would need longer ones is larger than 1 PiB, and its every byte of data would bring this much of zeros.
const CHUNK_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a block, in which addresses count.
pub(crate) const BLOCK_BYTES: u64 = 512;

/// A part of a file that holds data; what no extent covers is zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes, at least 1.
    pub length: u64,
}

impl Extent {
    /// The byte after the last.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Bytes of the chunks of a file: a power of two, larger than [`CHUNK_BYTES`] only where the map would be too long. None where it would be all
/// the same.
pub(crate) fn chunk_bytes(size: u64) -> Option<u64> {
    let bytes = size.div_ceil(CHUNKS_MAX).max(CHUNK_BYTES).next_power_of_two();
    (bytes <= CHUNK_BYTES_MAX).then_some(bytes)
}

/// The extents that lie in `start..end`, cut to it. `extents` are in order.
pub(crate) fn within(extents: &[Extent], start: u64, end: u64) -> impl Iterator<Item = Extent> {
    let first = extents.partition_point(|e| e.end() <= start);
    extents[first..].iter().take_while(move |e| e.offset < end).map(move |e| {
        let offset = e.offset.max(start);
        Extent { offset, length: e.end().min(end) - offset }
    })
}

/// Where each chunk that was kept lies.
#[derive(Debug, Default)]
pub(crate) struct Kept(HashMap<[u8; 32], u32>);

impl Kept {
    /// The block of a chunk with this digest and length.
    pub fn find(&self, digest: &[u8; 32]) -> Option<u32> {
        self.0.get(digest).copied()
    }

    pub fn insert(&mut self, digest: [u8; 32], block: u32) {
        self.0.insert(digest, block);
    }
}

/// What a tree says of a file whose chunks lie at these blocks: one piece where they follow each other, else a map.
pub(crate) fn content(size: u64, chunk: u64, blocks: Vec<Option<u32>>) -> Content {
    let stream = CarryingWriter::STREAM;
    let apart = (chunk / BLOCK_BYTES) as u32;
    let follows = |pair: &[Option<u32>]| matches!(pair, [Some(a), Some(b)] if a.checked_add(apart) == Some(*b));
    match blocks.first() {
        None => Content::File { size, stream, block: 0 },
        Some(Some(block)) if blocks.windows(2).all(follows) => Content::File { size, stream, block: *block },
        Some(_) => {
            let chunks = blocks.into_iter().map(|block| block.map(|block| (stream, block)).ok_or(Hole)).collect();
            Content::Sparse(SparseMap { size, chunk, chunks })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_cut_to_the_chunk() {
        let extents = [Extent { offset: 10, length: 10 }, Extent { offset: 30, length: 5 }];
        let cut = |start, end| within(&extents, start, end).map(|e| (e.offset, e.length)).collect::<Vec<_>>();
        assert_eq!(cut(0, 10), []);
        assert_eq!(cut(15, 31), [(15, 5), (30, 1)]);
        assert_eq!(cut(20, 30), []);
        assert_eq!(cut(34, 99), [(34, 1)]);
    }

    #[test]
    fn chunks_grow_where_the_map_would_be_too_long() {
        assert_eq!(chunk_bytes(0), Some(CHUNK_BYTES));
        assert_eq!(chunk_bytes(CHUNKS_MAX * CHUNK_BYTES), Some(CHUNK_BYTES));
        assert_eq!(chunk_bytes(CHUNKS_MAX * CHUNK_BYTES + 1), Some(2 * CHUNK_BYTES));
        assert_eq!((chunk_bytes(1 << 50), chunk_bytes((1 << 50) + 1)), (Some(1 << 30), None));
    }

    #[test]
    fn only_what_is_in_order_is_one_piece() {
        let at = |blocks: &[Option<u32>]| content(3 << 20, CHUNK_BYTES, blocks.to_vec());
        assert!(matches!(at(&[Some(5), Some(2053), Some(4101)]), Content::File { block: 5, .. }));
        assert!(matches!(at(&[Some(5), Some(5), Some(4101)]), Content::Sparse(_)));
        assert!(matches!(at(&[None, Some(5), Some(2053)]), Content::Sparse(_)));
        assert!(matches!(content(0, CHUNK_BYTES, vec![]), Content::File { size: 0, .. }));
    }
}
