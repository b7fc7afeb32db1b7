//! Files with holes: from the segments that a tar lists to the chunks that an index can address.
//!
//! A tar packs the data of a sparse file without its holes. EROFS addresses chunks of a power of two, each from a block of 512
//! bytes on. Where every segment begins and ends on such a boundary the chunks point into the tar. Where one does not (odd maps, or
//! so large a file that small chunks would need millions of entries) the chunks that hold data are *carried*: written out whole,
//! zeros included, into a stream of the archive's own.

use serde::{Deserialize, Serialize};

use super::BLOCK_BYTES;

/// Most chunks that a file is cut into: 4 MiB of index. A file of 16 TiB, the most that ext4 holds, then has chunks of 16 MiB.
const CHUNKS_MAX: u64 = 1 << 20;
/// Most chunks of all sparse files of a layer, and of an image: they are in memory while the tree is built, 8 bytes each.
pub(crate) const PIECES_MAX: usize = 16 << 20;
/// Largest sparse file.
const FILE_BYTES_MAX: i64 = 16 << 40;
/// Most bytes that one layer may carry: what is carried is written whole, zeros included.
const CARRIED_BYTES_MAX: u64 = 64 << 30;
/// Most segments of one file; they are held in memory.
pub(crate) const SEGMENTS_MAX: usize = 1 << 20;

/// A run of data in a file; what no segment covers is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub start: u64,
    pub length: u64,
}

impl Segment {
    pub fn new(start: i64, length: i64) -> Result<Segment, String> {
        match (u64::try_from(start), u64::try_from(length)) {
            (Ok(start), Ok(length)) if start.checked_add(length).is_some() => Ok(Segment { start, length }),
            _ => Err("a sparse map has a negative or overflowing number".into()),
        }
    }

    pub fn end(&self) -> u64 {
        self.start + self.length
    }
}

/// A sparse file as an index addresses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chunks {
    pub size: u64,
    /// Bytes of a chunk: a power of two, at least 512.
    pub chunk: u64,
    /// What each chunk holds.
    pub pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Piece {
    Hole,
    /// Data from this block of the tar on.
    Tar(u32),
    /// Data from this block of what the layer carries on.
    Carried(u32),
}

/// A checked map: segments in order, without overlap, none empty, all inside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    pub size: u64,
    pub segments: Vec<Segment>,
}

impl Map {
    /// Checks what a tar says. `packed` is how many bytes of data it has for the file.
    pub fn new(size: i64, segments: Vec<Segment>, packed: u64) -> Result<Map, String> {
        if !(0..=FILE_BYTES_MAX).contains(&size) {
            return Err(format!("a sparse file of {size} bytes (at most 16 TiB)"));
        }
        let size = size as u64;
        let (mut from, mut sum) = (0, 0);
        for segment in &segments {
            if segment.start < from || segment.end() > size {
                return Err("a sparse map overlaps itself or the end of its file".into());
            }
            from = segment.end();
            sum += segment.length;
        }
        if sum != packed {
            return Err(format!("a sparse map has {sum} bytes where its data has {packed}"));
        }
        Ok(Map { size, segments: segments.into_iter().filter(|s| s.length > 0).collect() })
    }

    /// The largest chunk at whose boundaries all segments begin and end (the end of the file counts as one), or `None` below 512.
    fn natural_chunk(&self) -> Option<u64> {
        let ends = self.segments.iter().map(Segment::end).filter(|end| *end != self.size);
        let all = self.segments.iter().map(|s| s.start).chain(ends).fold(0, |bits, boundary| bits | boundary);
        let chunk = 1 << all.trailing_zeros().min(40);
        (chunk >= BLOCK_BYTES as u64).then_some(chunk)
    }

    /// How many chunks hold data.
    fn chunks_with_data(&self, chunk: u64) -> u64 {
        let mut free_from = 0;
        let touched = self.segments.iter().map(|segment| {
            let (first, end) = ((segment.start / chunk).max(free_from), segment.end().div_ceil(chunk));
            free_from = end;
            end - first
        });
        touched.sum()
    }

    /// How to address the file, whose data begins at byte `data` of the tar; the layer carries `carried` blocks already.
    pub fn chunks(&self, data: u64, carried: u32) -> Result<Plan, String> {
        let smallest = self.size.div_ceil(CHUNKS_MAX).next_power_of_two().max(BLOCK_BYTES as u64);
        let blocks = |chunk: u64| self.size.div_ceil(chunk);
        match self.natural_chunk() {
            Some(natural) if natural >= smallest => {
                // No larger than needed: a hole of a terabyte is one chunk all the same.
                let chunk = natural.min(self.size.next_power_of_two().max(BLOCK_BYTES as u64));
                let mut pieces = vec![Piece::Hole; blocks(chunk) as usize];
                let mut packed = data;
                for segment in &self.segments {
                    for i in segment.start / chunk..segment.end().div_ceil(chunk) {
                        let at = packed + (i * chunk - segment.start);
                        let block = u32::try_from(at / BLOCK_BYTES as u64).map_err(|_| "a layer of more than 2 TiB".to_string())?;
                        pieces[i as usize] = Piece::Tar(block);
                    }
                    packed += segment.length;
                }
                Ok(Plan::Addressed(Chunks { size: self.size, chunk, pieces }))
            }
            _ => {
                let chunk = smallest.max(4096);
                if u64::from(carried) * BLOCK_BYTES as u64 + self.chunks_with_data(chunk) * chunk > CARRIED_BYTES_MAX {
                    return Err("sparse files with so odd maps that more than 64 GiB would have to be carried".into());
                }
                Ok(Plan::Carried { chunks: Chunks { size: self.size, chunk, pieces: vec![Piece::Hole; blocks(chunk) as usize] } })
            }
        }
    }
}

/// How a sparse file gets into an index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Its chunks point into the tar.
    Addressed(Chunks),
    /// Its data must be carried: a [`Carrier`] fills the pieces.
    Carried { chunks: Chunks },
}

impl Plan {
    /// The file's chunks.
    pub fn chunks(&self) -> &Chunks {
        let (Plan::Addressed(chunks) | Plan::Carried { chunks }) = self;
        chunks
    }
}

/// Writes the chunks of a carried file out as its packed data streams by.
pub(crate) struct Carrier {
    chunks: Chunks,
    segments: std::vec::IntoIter<Segment>,
    current: Option<Segment>,
    /// The chunk that is being filled, and its bytes.
    filling: Option<(u64, Vec<u8>)>,
    next_block: u32,
}

impl Carrier {
    /// `next_block` is the block of the carried stream that comes next.
    pub fn new(map: Map, chunks: Chunks, next_block: u32) -> Carrier {
        let mut segments = map.segments.into_iter();
        let current = segments.next();
        Carrier { chunks, segments, current, filling: None, next_block }
    }

    /// Takes the next packed bytes; `sink` gets whole chunks.
    pub fn push(&mut self, mut data: &[u8], sink: &mut impl FnMut(Vec<u8>)) {
        let chunk = self.chunks.chunk;
        while let Some(segment) = self.current.filter(|_| !data.is_empty()) {
            let index = segment.start / chunk;
            let within = (segment.start % chunk) as usize;
            let take = (data.len() as u64).min(segment.length).min(chunk - within as u64) as usize;
            if self.filling.as_ref().is_some_and(|(i, _)| *i != index) {
                self.flush(sink);
            }
            let (_, bytes) = self.filling.get_or_insert_with(|| (index, vec![0; chunk as usize]));
            bytes[within..within + take].copy_from_slice(&data[..take]);
            data = &data[take..];
            let rest = Segment { start: segment.start + take as u64, length: segment.length - take as u64 };
            self.current = if rest.length > 0 { Some(rest) } else { self.segments.next() };
        }
    }

    fn flush(&mut self, sink: &mut impl FnMut(Vec<u8>)) {
        if let Some((index, bytes)) = self.filling.take() {
            self.chunks.pieces[index as usize] = Piece::Carried(self.next_block);
            self.next_block += (self.chunks.chunk / BLOCK_BYTES as u64) as u32;
            sink(bytes);
        }
    }

    /// Ends the file. Returns its chunks and the next free block.
    pub fn finish(mut self, sink: &mut impl FnMut(Vec<u8>)) -> (Chunks, u32) {
        self.flush(sink);
        (self.chunks, self.next_block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(list: &[(u64, u64)]) -> Vec<Segment> {
        list.iter().map(|(start, length)| Segment { start: *start, length: *length }).collect()
    }

    fn packed(list: &[(u64, u64)]) -> u64 {
        list.iter().map(|s| s.1).sum()
    }

    /// Builds the file once from its chunks, once from its segments.
    fn check(size: u64, list: &[(u64, u64)]) -> Plan {
        let map = Map::new(size as i64, segments(list), packed(list)).unwrap();
        let data: Vec<u8> = (0..packed(list)).map(|i| (i % 250) as u8 + 1).collect();
        let mut expected = vec![0; size as usize];
        let mut at = 0;
        for (start, length) in list {
            expected[*start as usize..(start + length) as usize].copy_from_slice(&data[at..at + *length as usize]);
            at += *length as usize;
        }
        let plan = map.chunks(1024, 0).unwrap();
        let mut carried = Vec::new();
        let chunks = match &plan {
            Plan::Addressed(chunks) => chunks.clone(),
            Plan::Carried { chunks } => {
                let mut carrier = Carrier::new(map.clone(), chunks.clone(), 0);
                let mut sink = |bytes: Vec<u8>| carried.extend(bytes);
                data.chunks(1000).for_each(|piece| carrier.push(piece, &mut sink));
                carrier.finish(&mut sink).0
            }
        };
        assert_eq!(chunks.pieces.len() as u64, size.div_ceil(chunks.chunk));
        let mut found = Vec::new();
        for piece in &chunks.pieces {
            let from = |bytes: &[u8], start: usize| {
                let mut out = bytes[start..bytes.len().min(start + chunks.chunk as usize)].to_vec();
                out.resize(chunks.chunk as usize, 0);
                out
            };
            found.extend(match piece {
                Piece::Hole => vec![0; chunks.chunk as usize],
                Piece::Tar(block) => from(&data, (*block as usize - 2) * 512),
                Piece::Carried(block) => from(&carried, *block as usize * 512),
            });
        }
        found.truncate(size as usize);
        assert!(found == expected);
        plan
    }

    #[test]
    fn aligned_maps_point_into_the_tar_and_odd_ones_are_carried() {
        assert!(matches!(check(20_000, &[(4096, 4096), (12_288, 4096)]), Plan::Addressed(_)));
        assert!(matches!(check(20_000, &[(0, 512), (19_968, 32)]), Plan::Addressed(_)));
        assert!(matches!(check(4096, &[]), Plan::Addressed(_)));
        assert!(matches!(check(20_000, &[(5, 100), (4090, 4000), (9000, 1)]), Plan::Carried { .. }));
        assert!(matches!(check(100_000, &[(0, 100), (8192, 4096)]), Plan::Carried { .. }));
    }

    #[test]
    fn huge_files_have_few_chunks() {
        let hole = Map::new(1 << 43, Vec::new(), 0).unwrap().chunks(0, 0).unwrap();
        let Plan::Addressed(chunks) = hole else { panic!() };
        assert!(chunks.pieces.len() <= 8, "{}", chunks.pieces.len());
        let spread = segments(&[(4096, 4096), ((1 << 43) - 8192, 4096)]);
        let Plan::Carried { chunks } = Map::new(1 << 43, spread, 8192).unwrap().chunks(0, 0).unwrap() else { panic!() };
        assert!(chunks.pieces.len() as u64 <= CHUNKS_MAX);
    }

    #[test]
    fn few_bytes_cannot_make_many() {
        let spread: Vec<Segment> = (0..1 << 19).map(|i| Segment { start: i * (16 << 20) + 5, length: 1 }).collect();
        let map = Map::new(1 << 43, spread, 1 << 19).unwrap();
        assert_eq!(map.chunks_with_data(16 << 20), 1 << 19);
        assert!(map.chunks(0, 0).is_err());
        let few = Map::new(8 << 30, segments(&[(5, 1), (4 << 30, 8193)]), 8194).unwrap();
        assert_eq!(few.chunks_with_data(4096), 4);
        assert!(few.chunks(0, 0).is_ok() && few.chunks(0, (CARRIED_BYTES_MAX / 512) as u32 - 1).is_err());
    }

    #[test]
    fn contradictions_are_errors() {
        assert!(Map::new(100, segments(&[(0, 50), (40, 10)]), 60).is_err());
        assert!(Map::new(100, segments(&[(0, 101)]), 101).is_err());
        assert!(Map::new(100, segments(&[(0, 10)]), 11).is_err());
        assert!(Map::new(-1, Vec::new(), 0).is_err());
        assert!(Map::new(i64::MAX, Vec::new(), 0).is_err());
    }
}
