//! Room for what is put: when to evict, how far down, and what to do if that is of no use.
//!
//! Pinned bytes cannot go, so the marks are parts of what is left beside them: a cache that is nearly all pins still has its headroom, only a
//! smaller one. If an eviction ends and the cache is still over its limit, whatever is in it cannot go; the next puts are then refused by
//! a look at the ledger, and only after a pause is it tried again. Otherwise every put would walk all records in vain.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::Error;
use crate::cache::{Cache, Shared};
use crate::evict::{self, Freed, Held};
use crate::record::{TICKS_PER_SECOND, Tick};

/// Most bytes that one run of the evictor frees below the mark: bounds what the thread pays that happened to reach it.
const EVICT_STEP_MAX: u64 = 256 << 20;
/// Eviction begins when less than one part in this many is left, so that it is done before a put has to be refused.
const HEADROOM_PARTS: u64 = 16;
/// One run frees one part in this many of the limit, or [`EVICT_STEP_MAX`] if that is less: a scan of all records must be worth it.
const EVICT_PARTS: u64 = 8;
/// After an eviction that did not help: long enough that it costs nothing, short enough that nobody waits for an unpinned stream to go.
const STUCK_TICKS: u64 = TICKS_PER_SECOND;
/// Most bytes that one step of a prune frees: it holds the lock for a second or two, and others wait for it ten.
const PRUNE_STEP_MAX: u64 = 2 << 30;
/// Pause between two steps: twice as long as those who wait for the lock sleep, so that they get it.
const PRUNE_PAUSE: Duration = Duration::from_millis(10);

/// The limit, and what is known about keeping it.
#[derive(Debug)]
pub(crate) struct Room {
    /// The limit of this process, in bytes.
    pub bytes_max: u64,
    /// What the last eviction of this process found pinned. May be stale: then the mark is off, and the next eviction puts it right.
    pinned: AtomicU64,
    /// When an eviction of this process did not help.
    stuck_at: AtomicU64,
}

impl Room {
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, pinned: AtomicU64::new(0), stuck_at: AtomicU64::new(0) }
    }

    /// Beyond so many bytes, room is made.
    fn mark(&self) -> u64 {
        self.mark_beside(self.pinned.load(Ordering::Relaxed))
    }

    fn mark_beside(&self, pinned: u64) -> u64 {
        self.bytes_max - self.bytes_max.saturating_sub(pinned) / HEADROOM_PARTS
    }

    /// How far down, if so much is pinned.
    fn goal_beside(&self, pinned: u64) -> u64 {
        let free = self.bytes_max.saturating_sub(pinned);
        self.mark_beside(pinned) - (free / EVICT_PARTS).min(EVICT_STEP_MAX)
    }

    /// True if it is of no use yet to try again. A clock that jumps makes it false.
    fn is_stuck(&self, now: Tick) -> bool {
        now.0.abs_diff(self.stuck_at.load(Ordering::Relaxed)) < STUCK_TICKS
    }

    /// Evicting may be of use again.
    pub fn may_have_changed(&self) {
        self.stuck_at.store(0, Ordering::Relaxed);
    }
}

impl Shared {
    /// Charges a span, making room first if it is getting tight. False: there is no room (someone else may be making some, or what is
    /// there cannot go), nothing is charged.
    pub fn reserve(&self, charge: u64) -> bool {
        let bytes_max = self.room.bytes_max;
        if charge > bytes_max {
            return false;
        }
        self.ledger.add(charge);
        if self.ledger.bytes() > self.room.mark() && !self.room.is_stuck(Tick::now()) {
            self.make_room();
        }
        let fits = self.ledger.bytes() <= bytes_max;
        if !fits {
            self.ledger.sub(charge);
        }
        fits
    }

    fn make_room(&self) {
        let Some(freed) = self.evict(|held| self.room.goal_beside(held.pinned)) else { return };
        if self.ledger.bytes() > self.room.bytes_max {
            self.room.stuck_at.store(Tick::now().0, Ordering::Relaxed);
        }
        self.tidy_after(freed);
    }

    /// One run of the evictor; None if someone else is at it, or if it failed.
    pub fn evict(&self, goal: impl FnOnce(Held) -> u64) -> Option<Freed> {
        match evict::attempt(&self.paths, &self.ledger, goal) {
            Ok(run) => run.map(|run| self.account(&run)),
            Err(error) => {
                self.complaints.note("evict", &io::Error::other(error));
                None
            }
        }
    }

    fn account(&self, run: &evict::Run) -> Freed {
        self.room.pinned.store(run.held.pinned, Ordering::Relaxed);
        self.evicted_spans.fetch_add(run.freed.spans, Ordering::Relaxed);
        self.evicted_bytes.fetch_add(run.freed.bytes, Ordering::Relaxed);
        run.freed
    }

    fn tidy_after(&self, freed: Freed) {
        if freed.spans > 0
            && let Err(error) = self.tidy()
        {
            self.complaints.note("tidy", &io::Error::other(error));
        }
    }
}

impl Cache {
    /// Evicts what was used least recently and is not pinned, until the cache holds at most `goal_bytes`; 0: everything that is not pinned.
    /// Says what it freed, which is less if pins are in the way, or if spans are being read or written this very moment; what others put
    /// meanwhile is not evicted in its place. Mounts go on reading: what they miss, they fetch.
    ///
    /// Works in steps and lets others at the cache between them. Blocks while another eviction is at work, at most ten seconds a step.
    ///
    /// # Errors
    ///
    /// `Busy` if another eviction does not end; `Io` if bytes cannot be given back. What was freed before stays freed.
    pub fn prune(&self, goal_bytes: u64) -> Result<Freed, Error> {
        self.prune_in_steps(goal_bytes, PRUNE_STEP_MAX)
    }

    pub(crate) fn prune_in_steps(&self, goal_bytes: u64, step_max: u64) -> Result<Freed, Error> {
        let shared = self.shared();
        let mut total = Freed::default();
        // What is still to go; known after the first look.
        let mut left = None;
        loop {
            let goal = |held: Held| goal_bytes.max(held.bytes.saturating_sub(left.unwrap_or(u64::MAX).min(step_max)));
            let run = evict::wait(&shared.paths, &shared.ledger, goal)?;
            let freed = shared.account(&run);
            total.spans += freed.spans;
            total.bytes += freed.bytes;
            let still = left.unwrap_or(run.held.bytes.saturating_sub(goal_bytes)).saturating_sub(freed.bytes);
            if freed.spans == 0 || still == 0 {
                break;
            }
            left = Some(still);
            thread::sleep(PRUNE_PAUSE);
        }
        shared.room.may_have_changed();
        shared.tidy_after(total);
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_parts_of_what_is_not_pinned() {
        let room = Room::new(1600);
        assert_eq!((room.mark(), room.goal_beside(0)), (1500, 1300));
        assert_eq!((room.mark_beside(800), room.goal_beside(800)), (1550, 1450));
        for pinned in [1600, 2000, u64::MAX] {
            assert_eq!((room.mark_beside(pinned), room.goal_beside(pinned)), (1600, 1600));
        }
        let large = Room::new(1 << 40);
        assert_eq!(large.mark() - large.goal_beside(0), EVICT_STEP_MAX);
    }

    #[test]
    fn is_stuck_for_a_while() {
        let room = Room::new(1 << 20);
        let start = Tick(1 << 30);
        assert!(!room.is_stuck(start));
        room.stuck_at.store(start.0, Ordering::Relaxed);
        assert!(room.is_stuck(Tick(start.0 + STUCK_TICKS - 1)) && !room.is_stuck(Tick(start.0 + STUCK_TICKS)));
        assert!(!room.is_stuck(Tick(start.0 - STUCK_TICKS)), "the clock was set back");
        room.may_have_changed();
        assert!(!room.is_stuck(start));
    }
}
