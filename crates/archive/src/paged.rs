//! Sections that are verified page by page, when a page is first looked at: opening an archive must not read all of it.
//!
//! A page is 64 KiB: hashing one costs about 20 us, and a digest for each is 0.05 % of the section.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Damage, damaged};
use crate::map::Map;

/// Bytes that one digest covers; the last page may be shorter.
pub(crate) const PAGE_BYTES: u64 = 64 << 10;

/// How many pages `length` bytes have.
pub(crate) fn page_count(length: u64) -> u64 {
    length.div_ceil(PAGE_BYTES)
}

/// A section of a mapped file with a digest for each of its pages.
pub(crate) struct Paged {
    map: Map,
    section: Range<usize>,
    /// Where in the map the digests lie, 32 bytes each.
    digests: usize,
    verified: Vec<AtomicU64>,
    name: &'static str,
}

impl Paged {
    /// `digests` is the place of the digests of this section's pages; both ranges lie inside the map.
    pub fn new(map: Map, section: Range<usize>, digests: usize, name: &'static str) -> Paged {
        let words = page_count(section.len() as u64).div_ceil(64);
        Paged { map, section, digests, verified: (0..words).map(|_| AtomicU64::new(0)).collect(), name }
    }

    pub fn len(&self) -> u64 {
        self.section.len() as u64
    }

    /// The bytes `range`, verified.
    pub fn get(&self, range: Range<u64>) -> Result<&[u8], Damage> {
        if range.start > range.end || range.end > self.len() {
            return damaged!("bytes {}..{} are outside the {} ({} bytes)", range.start, range.end, self.name, self.len());
        }
        if range.start < range.end {
            for page in range.start / PAGE_BYTES..=(range.end - 1) / PAGE_BYTES {
                self.verify(page)?;
            }
        }
        Ok(&self.all()[range.start as usize..range.end as usize])
    }

    /// A record of fixed size at `offset`.
    pub fn record<const N: usize>(&self, offset: u64) -> Result<&[u8; N], Damage> {
        let end = offset.saturating_add(N as u64);
        match self.get(offset..end)?.first_chunk() {
            Some(record) => Ok(record),
            None => damaged!("a record at {offset} is outside the {}", self.name),
        }
    }

    fn all(&self) -> &[u8] {
        &self.map[self.section.clone()]
    }

    fn verify(&self, page: u64) -> Result<(), Damage> {
        let (word, bit) = (&self.verified[(page / 64) as usize], 1 << (page % 64));
        // Relaxed: the flag guards nothing but itself; the bytes do not change.
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        let start = (page * PAGE_BYTES) as usize;
        let bytes = &self.all()[start..self.section.len().min(start + PAGE_BYTES as usize)];
        let digest = &self.map[self.digests + page as usize * 32..][..32];
        if blake3::hash(bytes).as_bytes() != digest {
            return damaged!("page {page} of the {} does not match its digest", self.name);
        }
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }
}
