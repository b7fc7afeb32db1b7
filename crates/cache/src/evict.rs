//! Makes room: frees the least recently used spans of all streams, whoever put them.
//!
//! One evictor at a time on a node (`evict.lock`, never waited for by who puts a span). It walks the records twice: the first walk counts what is there by
//! age, the second frees what is older than the age at which enough is freed. So it needs a fixed amount of memory however large the
//! cache is, at the price of an order that is right only to about an eighth of the age: least recently used, approximately.
//! Readable spans of pinned streams (pins.rs) are counted and passed over.
//!
//! A span is freed in three steps: its record becomes "evicting" with a new generation (readers who are at it will miss), the hole is
//! punched, the record becomes absent. Killed in between, it stays "evicting", which nobody else touches; whoever holds the lock next knows
//! that its owner is gone (the kernel frees the lock only when no thread of the owner is in a system call any more) and finishes the work.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use crate::Error;
use crate::cache::Paths;
use crate::key;
use crate::ledger::Ledger;
use crate::lock::{self, open_private};
use crate::pins;
use crate::record::{Extent, Record, State, Tick};
use crate::table::{Cell, Table};

/// Ages are told apart in eighths of a power of two.
const STEPS_PER_OCTAVE: u64 = 8;
/// Enough buckets for every 64-bit age.
const BUCKETS: usize = 64 * STEPS_PER_OCTAVE as usize;

/// What was given back to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Spans evicted.
    pub spans: u64,
    /// Bytes that they occupied, in whole blocks.
    pub bytes: u64,
}

/// What a run found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// All charged bytes.
    pub bytes: u64,
    /// Those that are pinned.
    pub pinned: u64,
}

/// What a run found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub held: Held,
    pub freed: Freed,
}

/// Corrects the ledger, then evicts until at most so many bytes are held as `goal` says of those that are. None: someone else is at it.
pub(crate) fn attempt(paths: &Paths, ledger: &Ledger, goal: impl FnOnce(Held) -> u64) -> Result<Option<Run>, Error> {
    match lock::attempt(&paths.evict_lock())? {
        Some(_lock) => run(paths, ledger, goal).map(Some),
        None => Ok(None),
    }
}

/// The same, but waits for someone else to end.
pub(crate) fn wait(paths: &Paths, ledger: &Ledger, goal: impl FnOnce(Held) -> u64) -> Result<Run, Error> {
    let _lock = lock::wait(&paths.evict_lock())?;
    run(paths, ledger, goal)
}

/// The caller holds `evict.lock`.
fn run(paths: &Paths, ledger: &Ledger, goal: impl FnOnce(Held) -> u64) -> Result<Run, Error> {
    let now = Tick::now();
    // Who pins holds the lock as well: none is set until this run has ended.
    let pinned = pins::pinned_keys(paths)?;
    let is_pinned = |dir: &Path| key::of_dir(dir).is_some_and(|key| pinned.contains(&key));
    let before = ledger.bytes();
    let mut tally = Tally::new();
    for dir in stream_dirs(paths)? {
        count(&dir, is_pinned(&dir), now, &mut tally);
    }
    ledger.correct(before, tally.held.bytes);
    let held = tally.held;
    let mut freed = Freed::default();
    if let Some(mut cutoff) = tally.cutoff(held.bytes.saturating_sub(goal(held))) {
        for dir in stream_dirs(paths)? {
            evict_from(&dir, is_pinned(&dir), now, &mut cutoff, ledger, &mut freed)?;
        }
    }
    Ok(Run { held, freed })
}

/// Removes streams that nobody has open and that hold nothing, and directories that are no streams. The caller holds `open.lock`, so
/// that none comes into use meanwhile.
pub(crate) fn remove_unused(paths: &Paths) -> Result<(), Error> {
    for dir in stream_dirs(paths)? {
        let unused = match Table::open(&spans_path(&dir)) {
            // Whoever has the stream open holds this lock shared: getting it means that no writer can be at work.
            Ok(table) => {
                let is_empty =
                    || table.cells().all(|cell| cell.load().state() == State::Absent) || !dir.join(crate::cache::DATA_FILE).exists();
                table.file().try_lock().is_ok() && is_empty()
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
        };
        if unused {
            fs::remove_dir_all(&dir).map_err(Error::io("remove", &dir))?;
        }
    }
    Ok(())
}

/// The directories of all streams.
pub(crate) fn stream_dirs(paths: &Paths) -> Result<Vec<PathBuf>, Error> {
    let dir = paths.streams();
    let entries = fs::read_dir(&dir).map_err(Error::io("list", &dir))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(Error::io("list", &dir))).collect()
}

fn spans_path(dir: &Path) -> PathBuf {
    dir.join(crate::cache::SPANS_FILE)
}

/// First walk: what is there, and how old. Finishes what a dead evictor left.
fn count(dir: &Path, pinned: bool, now: Tick, tally: &mut Tally) {
    // What cannot be opened holds nothing that could be evicted; `remove_unused` looks after it.
    let Ok(table) = Table::open(&spans_path(dir)) else { return };
    let size = table.layout().size;
    let mut data = None;
    for cell in table.cells() {
        let seen = cell.load();
        match seen.state() {
            State::Absent => {}
            State::Evicting => finish(dir, &mut data, cell, size),
            _ if !may_go(seen, pinned, now) => tally.keep(cell.extent().charge(), pinned && seen.readable()),
            _ => tally.add(age(seen.used_at(), now), cell.extent().charge()),
        }
    }
}

/// Second walk: frees what the cutoff says.
fn evict_from(dir: &Path, pinned: bool, now: Tick, cutoff: &mut Cutoff, ledger: &Ledger, freed: &mut Freed) -> Result<(), Error> {
    let Ok(table) = Table::open(&spans_path(dir)) else { return Ok(()) };
    let data_path = dir.join(crate::cache::DATA_FILE);
    // Records without a data file must not keep the other streams from being evicted; `remove_unused` looks after them.
    let Ok(data) = open_private(&data_path, false) else { return Ok(()) };
    for cell in table.cells() {
        let seen = cell.load();
        // If the swap fails, the span was used this very moment: it may stay.
        let evicting = seen.reborn(State::Evicting, now);
        let extent = cell.extent();
        if !may_go(seen, pinned, now) || !cutoff.takes(age(seen.used_at(), now)) || !cell.swap(seen, evicting) {
            continue;
        }
        cutoff.took(age(seen.used_at(), now), extent.charge());
        punch(&data, extent, table.layout().size).map_err(Error::io("punch a hole into", &data_path))?;
        cell.swap(evicting, evicting.becomes(State::Absent));
        ledger.sub(extent.charge());
        freed.spans += 1;
        freed.bytes += extent.charge();
    }
    Ok(())
}

/// True if the span owns bytes and may be evicted: nobody writes it, and it is not to be kept. Without right bytes even a pinned one may go.
fn may_go(seen: Record, pinned: bool, now: Tick) -> bool {
    match seen.state() {
        State::Absent | State::Evicting => false,
        State::Writing => seen.stale_writing(now),
        State::Present | State::Unverified => !pinned,
        State::Dirty => true,
    }
}

/// Ends the work of an evictor that died. If it cannot be done the record stays as it is, and the span a miss.
fn finish(dir: &Path, data: &mut Option<File>, cell: Cell<'_>, size: u64) {
    let file = match data.take() {
        Some(file) => file,
        None => match open_private(&dir.join(crate::cache::DATA_FILE), false) {
            Ok(file) => file,
            Err(_) => return,
        },
    };
    let seen = cell.load();
    if punch(&file, cell.extent(), size).is_ok() {
        cell.swap(seen, seen.becomes(State::Absent));
    }
    *data = Some(file);
}

/// Gives the bytes back to the file system. An extent that is nonsense owns no bytes.
fn punch(data: &File, extent: Extent, size: u64) -> io::Result<()> {
    if !extent.within(size) {
        return Ok(());
    }
    Ok(fallocate(data, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, extent.offset(), extent.length())?)
}

fn age(used_at: Tick, now: Tick) -> u64 {
    now.0.saturating_sub(used_at.0)
}

/// The bucket of an age: exact below 16 ticks, then eight steps for every doubling. Monotonic.
fn bucket(age: u64) -> usize {
    let octave = u64::from(age.max(1).ilog2());
    if octave <= 3 {
        return age as usize;
    }
    let step = (age >> (octave - 3)) & (STEPS_PER_OCTAVE - 1);
    ((octave - 2) * STEPS_PER_OCTAVE + step) as usize
}

/// What is to go: everything in older buckets, and so much of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cutoff {
    bucket: usize,
    bytes: u64,
}

impl Cutoff {
    fn takes(self, age: u64) -> bool {
        let bucket = bucket(age);
        bucket > self.bucket || bucket == self.bucket && self.bytes > 0
    }

    fn took(&mut self, age: u64, charge: u64) {
        if bucket(age) == self.bucket {
            self.bytes = self.bytes.saturating_sub(charge);
        }
    }
}

/// Charged bytes by age.
struct Tally {
    /// All charged bytes, those included that cannot be evicted.
    held: Held,
    by_age: Vec<u64>,
}

impl Tally {
    fn new() -> Self {
        Self { held: Held { bytes: 0, pinned: 0 }, by_age: vec![0; BUCKETS] }
    }

    /// Cannot be evicted, because it is pinned or being written.
    fn keep(&mut self, charge: u64, pinned: bool) {
        self.held.bytes += charge;
        self.held.pinned += if pinned { charge } else { 0 };
    }

    fn add(&mut self, age: u64, charge: u64) {
        self.held.bytes += charge;
        self.by_age[bucket(age)] += charge;
    }

    /// What must go to free `wanted` bytes (all there is, if that is less); None if nothing is wanted or nothing can be freed.
    fn cutoff(&self, wanted: u64) -> Option<Cutoff> {
        let mut left = wanted;
        let mut cutoff = None;
        for (bucket, &bytes) in self.by_age.iter().enumerate().rev().filter(|(_, bytes)| **bytes > 0) {
            if left == 0 {
                break;
            }
            cutoff = Some(Cutoff { bucket, bytes: left.min(bytes) });
            left = left.saturating_sub(bytes);
        }
        cutoff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_monotonic_and_within_bounds() {
        let mut last = 0;
        for age in (0..4096).chain((12..64).map(|shift| 1_u64 << shift)).chain([u64::MAX]) {
            let bucket = bucket(age);
            assert!(bucket >= last && bucket < BUCKETS, "age {age}");
            assert!(bucket - last <= 8, "age {age}: {last} to {bucket}");
            last = bucket;
        }
    }

    #[test]
    fn cutoff_takes_the_oldest_first() {
        let mut tally = Tally::new();
        for (age, charge) in [(1, 10), (100, 20), (10_000, 30)] {
            tally.add(age, charge);
        }
        tally.keep(5, false);
        tally.keep(7, true);
        assert_eq!(tally.held, Held { bytes: 72, pinned: 7 });
        assert_eq!(tally.cutoff(0), None);
        let of = |age, bytes| Some(Cutoff { bucket: bucket(age), bytes });
        assert_eq!(tally.cutoff(29), of(10_000, 29));
        assert_eq!(tally.cutoff(31), of(100, 1));
        assert_eq!(tally.cutoff(60), of(1, 10));
        assert_eq!(tally.cutoff(61), of(1, 10), "not enough: everything");
        let mut cutoff = tally.cutoff(31).unwrap();
        assert!(cutoff.takes(10_000) && cutoff.takes(100) && !cutoff.takes(1));
        cutoff.took(100, 20);
        assert!(cutoff.takes(10_000) && !cutoff.takes(100));
        assert_eq!(Tally::new().cutoff(1), None);
    }
}
