//! One stream of the cache: reading and putting spans, together with any number of threads and processes, without locks.
//!
//! The races, and why each is harmless:
//! - *read against evict*: the record is loaded before and after the bytes. The evictor changes the generation before it punches; a
//!   reader who may have seen a hole therefore sees another generation afterwards, and misses.
//! - *put against put*: one of them wins the compare-and-swap, the other skips and serves from memory.
//! - *put against a writer who sleeps* (stopped, or dead): after a while its claim is taken over. Should it wake, it writes the same bytes
//!   once more (the key names the digests of the content) and then finds that its generation is gone.
//! - *such a sleeper against the evictor*: it may write into a hole that was just punched. The record says absent, so nobody reads that; the
//!   blocks are not charged until the span is put again. Bounded by the number of sleepers, and worth no lock.
//! - *put against evict*: the evictor touches only what is not being written, and what it evicts cannot be claimed until it is done.
//! - *confirm against everything*: within a boot nothing becomes unverified, so an unverified record is the one whose bytes were compared.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::cache::Shared;
use crate::record::{Extent, Record, SpanSlot, State, TICKS_PER_SECOND, Tick};
use crate::table::{Cell, Table};

/// "Last use" is rewritten at most this often per span: eviction needs no more, and the record's cache line stays shared.
const TOUCH_TICKS: u64 = TICKS_PER_SECOND;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Lookup {
    /// The buffer is filled with bytes that were verified before they were put.
    Hit,
    /// The buffer is filled with bytes that survived a reboot, perhaps: read the whole span, compare its digest, then
    /// [`StreamCache::confirm`] or [`StreamCache::discard`].
    Unverified,
    /// Not here; the content of the buffer is unspecified.
    Miss,
}

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// It is in the cache now (or was already).
    Stored,
    /// It is not, for whatever reason: no space, someone else is writing it, the disk fails. Serve from memory.
    Skipped,
}

/// One stream's spans. Cheap to share in an `Arc`; while it lives, the stream's directory is not removed.
#[derive(Debug)]
pub struct StreamCache {
    shared: Arc<Shared>,
    table: Table,
    data: File,
}

impl StreamCache {
    /// The caller has adopted the table for this boot and holds its flock, shared.
    pub(crate) fn new(shared: Arc<Shared>, table: Table, data: File) -> Self {
        Self { shared, table, data }
    }

    /// Copies `buf.len()` bytes from `at` within the span. A slot that does not fit the stream is a miss.
    pub fn read(&self, slot: SpanSlot, at: u64, buf: &mut [u8]) -> Lookup {
        let Some((cell, extent)) = self.find(slot) else { return Lookup::Miss };
        if at.checked_add(buf.len() as u64).is_none_or(|end| end > extent.length()) {
            return Lookup::Miss;
        }
        let before = cell.load();
        if !before.readable() || cell.extent() != extent {
            return Lookup::Miss;
        }
        if let Err(error) = self.data.read_exact_at(buf, slot.offset + at) {
            self.shared.complaints.note("read", &error);
            return Lookup::Miss;
        }
        // The bytes are read before the record is loaded again.
        fence(Ordering::SeqCst);
        let after = cell.load();
        if !after.readable() || after.generation() != before.generation() {
            return Lookup::Miss;
        }
        touch(cell, after);
        if before.state() == State::Present { Lookup::Hit } else { Lookup::Unverified }
    }

    /// Keeps a whole span. The caller has compared the digest of `data`: the cache hands it out as it is, to other processes too.
    /// Blocks for a write to the page cache, now and then for an eviction.
    pub fn put(&self, slot: SpanSlot, data: &[u8]) -> Put {
        let Some((cell, extent)) = self.find(slot) else { return Put::Skipped };
        if data.len() as u64 != extent.length() {
            return Put::Skipped;
        }
        match self.claim(cell, extent) {
            Claim::Mine(record) => self.publish(cell, record, slot.offset, data),
            Claim::AlreadyPresent => Put::Stored,
            Claim::Refused => Put::Skipped,
        }
    }

    /// The caller has read an unverified span whole and found its digest right: from now on it is a hit for everyone.
    pub fn confirm(&self, slot: SpanSlot) {
        self.settle(slot, |seen, _| seen.becomes(State::Present));
    }

    /// The caller has found an unverified span to be wrong: from now on it is a miss for everyone.
    pub fn discard(&self, slot: SpanSlot) {
        self.settle(slot, |seen, now| seen.reborn(State::Dirty, now));
    }

    /// True if the span can be read now, verified or not: a hint for planning, it may be evicted at any time.
    pub fn present(&self, index: u32) -> bool {
        self.table.cell(index).is_some_and(|cell| cell.load().readable())
    }

    /// The record of a slot, and the slot as the record would say it.
    fn find(&self, slot: SpanSlot) -> Option<(Cell<'_>, Extent)> {
        let extent = Extent::of(slot, self.table.layout().size)?;
        (slot.index < self.table.layout().spans).then(|| self.table.cell(slot.index))?.map(|cell| (cell, extent))
    }

    /// Tries to become the one who writes this span.
    fn claim(&self, cell: Cell<'_>, extent: Extent) -> Claim {
        let (seen, now) = (cell.load(), Tick::now());
        match seen.state() {
            State::Present if cell.extent() == extent => return Claim::AlreadyPresent,
            State::Evicting => return Claim::Refused,
            State::Writing if !seen.stale_writing(now) => return Claim::Refused,
            _ => {}
        }
        let mine = seen.reborn(State::Writing, now);
        if !cell.swap(seen, mine) {
            return Claim::Refused;
        }
        cell.set_extent(extent);
        // Every state but "absent" is charged already.
        if seen.state() == State::Absent && !self.shared.reserve(extent.charge()) {
            cell.swap(mine, mine.becomes(State::Absent));
            return Claim::Refused;
        }
        Claim::Mine(mine)
    }

    /// Writes the bytes and says so. The compare-and-swap fails only if the claim was taken over: then it is the other's to publish.
    fn publish(&self, cell: Cell<'_>, claim: Record, offset: u64, data: &[u8]) -> Put {
        if let Err(error) = self.data.write_all_at(data, offset) {
            self.shared.complaints.note("write", &error);
            cell.swap(claim, claim.becomes(State::Dirty));
            return Put::Skipped;
        }
        // The bytes are in the page cache before the record says so.
        fence(Ordering::SeqCst);
        if cell.swap(claim, claim.becomes(State::Present)) { Put::Stored } else { Put::Skipped }
    }

    /// Moves an unverified record on.
    fn settle(&self, slot: SpanSlot, next: impl Fn(Record, Tick) -> Record) {
        let Some((cell, extent)) = self.find(slot) else { return };
        // Twice at most: a reader may have touched the record in between, and once more is not worth a loop.
        for _ in 0..2 {
            let seen = cell.load();
            if seen.state() != State::Unverified || cell.extent() != extent || cell.swap(seen, next(seen, Tick::now())) {
                return;
            }
        }
    }
}

/// The outcome of trying to become the writer.
enum Claim {
    Mine(Record),
    AlreadyPresent,
    Refused,
}

/// Takes note that the span is in use. One try: if it fails, someone else has just done it.
fn touch(cell: Cell<'_>, seen: Record) {
    let now = Tick::now();
    if now.0.abs_diff(seen.used_at().0) >= TOUCH_TICKS {
        cell.swap(seen, seen.touched(now));
    }
}
