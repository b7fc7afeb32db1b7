//! The record file of one stream: a header and two words per span, mapped shared by everyone who reads or evicts.
//!
//! ```text
//! word 0  magic "CLIPSPAN"      word 3     number of spans
//! word 1  version               word 4, 5  boot id: the boot in which the records are to be believed
//! word 2  size of the stream    word 6, 7  zero
//! word 8 + 2i, 9 + 2i           record of span i (record.rs)
//! ```
//!
//! No checksum: the first four words must be what is expected, a boot id that is garbage is another boot's, and in another boot no
//! record is believed. A file that does not fit is not repaired but replaced (cache.rs).

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::boot::BootId;
use crate::lock::open_private;
use crate::map::{WORD_BYTES, Words, write_zeros};
use crate::record::{Extent, Record, STREAM_BYTES_MAX, State, Tick};

/// Most spans that a stream may have: 16 MiB of records, enough for 1 TiB in spans of 1 MiB.
pub const SPANS_MAX: u32 = 1 << 20;

const MAGIC: u64 = u64::from_le_bytes(*b"CLIPSPAN");
const VERSION: u64 = 1;
const SIZE_WORD: usize = 2;
const SPANS_WORD: usize = 3;
const BOOT_WORD: usize = 4;
const HEADER_WORDS: usize = 8;
const RECORD_WORDS: usize = 2;

/// What a stream looks like: must be the same for everyone who names the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLayout {
    /// Uncompressed size in bytes, at most [`STREAM_BYTES_MAX`].
    pub size: u64,
    /// Number of spans, at most [`SPANS_MAX`].
    pub spans: u32,
}

impl StreamLayout {
    /// True if the record format can describe it.
    pub(crate) fn is_possible(self) -> bool {
        self.size <= STREAM_BYTES_MAX && self.spans <= SPANS_MAX
    }

    fn words(self) -> usize {
        HEADER_WORDS + self.spans as usize * RECORD_WORDS
    }
}

/// An open record file.
#[derive(Debug)]
pub(crate) struct Table {
    file: File,
    words: Words,
    layout: StreamLayout,
}

impl Table {
    /// Makes a new file, all spans absent.
    pub fn create(path: &Path, layout: StreamLayout, boot: BootId) -> io::Result<Self> {
        let file = open_private(path, true)?;
        write_zeros(&file, layout.words() as u64 * WORD_BYTES)?;
        let words = Words::map(&file, layout.words())?;
        let header = [MAGIC, VERSION, layout.size, u64::from(layout.spans), boot.0[0], boot.0[1]];
        for (index, value) in header.into_iter().enumerate() {
            words.get(index).ok_or(io::ErrorKind::UnexpectedEof)?.store(value, Ordering::Relaxed);
        }
        Ok(Self { file, words, layout })
    }

    /// Opens a file; `InvalidData` if it is not a whole record file of this version.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_private(path, false)?;
        let header = Words::map(&file, HEADER_WORDS)?;
        let word = |index| header.get(index).map_or(0, |word| word.load(Ordering::Acquire));
        let spans = u32::try_from(word(SPANS_WORD)).map_err(|_| io::ErrorKind::InvalidData)?;
        let layout = StreamLayout { size: word(SIZE_WORD), spans };
        let expected_length = layout.words() as u64 * WORD_BYTES;
        if word(0) != MAGIC || word(1) != VERSION || !layout.is_possible() || file.metadata()?.len() != expected_length {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let words = Words::map(&file, layout.words())?;
        Ok(Self { file, words, layout })
    }

    /// The file: its flock, held shared, says that the stream is in use.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What the header says.
    pub fn layout(&self) -> StreamLayout {
        self.layout
    }

    /// The record of a span.
    pub fn cell(&self, index: u32) -> Option<Cell<'_>> {
        let first = HEADER_WORDS + index as usize * RECORD_WORDS;
        Some(Cell { record: self.words.get(first)?, extent: self.words.get(first + 1)? })
    }

    /// All records, in order.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        (0..self.layout.spans).filter_map(|index| self.cell(index))
    }

    /// Makes the records fit for this boot: after another boot nothing is believed until it is verified. The caller holds `open.lock`,
    /// so nobody else adopts at the same time; nobody uses the stream yet, since whoever does has adopted it in this boot.
    /// Killed in between, the old boot id still stands and the next one starts over.
    pub fn adopt(&self, boot: BootId) {
        let words = [BOOT_WORD, BOOT_WORD + 1].map(|index| self.words.get(index).expect("the header is mapped"));
        if words.each_ref().map(|word| word.load(Ordering::Acquire)) == boot.0 {
            return;
        }
        let now = Tick::now();
        for cell in self.cells() {
            cell.distrust(self.layout.size, now);
        }
        for (word, value) in words.into_iter().zip(boot.0) {
            word.store(value, Ordering::Release);
        }
    }
}

/// The two words of one span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a> {
    record: &'a AtomicU64,
    extent: &'a AtomicU64,
}

impl Cell<'_> {
    pub fn load(self) -> Record {
        Record(self.record.load(Ordering::Acquire))
    }

    /// Moves the record on, if it is still what was seen.
    pub fn swap(self, seen: Record, next: Record) -> bool {
        self.record.compare_exchange(seen.0, next.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub fn extent(self) -> Extent {
        Extent(self.extent.load(Ordering::Acquire))
    }

    /// Only for whoever has claimed the record.
    pub fn set_extent(self, extent: Extent) {
        self.extent.store(extent.0, Ordering::Release);
    }

    /// After a reboot: what was present is to be verified, what was being written is dirty. "evicting" is left alone: an evictor of this
    /// boot may be at work on it, and were it made absent, the hole would be punched into what is written next.
    fn distrust(self, size: u64, now: Tick) {
        // An evictor may change the record meanwhile: then look again. It ends because the evictor moves towards "absent" only.
        loop {
            let seen = self.load();
            let next = match seen.state() {
                State::Absent | State::Evicting => return,
                State::Present | State::Unverified if self.extent().within(size) => seen.becomes(State::Unverified),
                _ => seen.reborn(State::Dirty, now),
            };
            if self.swap(seen, next) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SpanSlot;

    const LAYOUT: StreamLayout = StreamLayout { size: 1000, spans: 6 };

    #[test]
    fn another_boot_believes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spans");
        let table = Table::create(&path, LAYOUT, BootId([1, 1])).unwrap();
        let good = Extent::of(SpanSlot { index: 0, offset: 0, length: 100 }, 1000).unwrap();
        let states = [State::Absent, State::Writing, State::Present, State::Unverified, State::Evicting, State::Present];
        for (index, state) in (0..).zip(states) {
            let cell = table.cell(index).unwrap();
            cell.set_extent(if index == 5 { Extent(u64::MAX) } else { good });
            assert!(cell.swap(cell.load(), cell.load().reborn(state, Tick(7))));
        }
        table.adopt(BootId([1, 1]));
        assert_eq!(table.cells().map(|cell| cell.load().state()).collect::<Vec<_>>(), states, "same boot: nothing changes");
        let reopened = Table::open(&path).unwrap();
        reopened.adopt(BootId([2, 1]));
        let expected = [State::Absent, State::Dirty, State::Unverified, State::Unverified, State::Evicting, State::Dirty];
        assert_eq!(table.cells().map(|cell| cell.load().state()).collect::<Vec<_>>(), expected);
        assert!(table.cell(6).is_none());
    }

    #[test]
    fn refuses_every_file_that_is_not_a_table() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spans");
        drop(Table::create(&path, LAYOUT, BootId([1, 1])).unwrap());
        let good = std::fs::read(&path).unwrap();
        assert!(Table::open(&path).is_ok());
        let mut bad = vec![vec![], good[..63].to_vec(), good[..good.len() - 1].to_vec(), vec![0; good.len()], vec![0xFF; good.len()]];
        for at in [0, 8, 24, 28, 31] {
            let mut bytes = good.clone();
            bytes[at] ^= 0x41;
            bad.push(bytes);
        }
        let mut too_large = good.clone();
        too_large[16..24].copy_from_slice(&(STREAM_BYTES_MAX + 1).to_ne_bytes());
        bad.push(too_large);
        for (case, bytes) in bad.iter().enumerate() {
            std::fs::write(&path, bytes).unwrap();
            assert!(Table::open(&path).is_err(), "case {case}");
        }
    }
}
