//! One span's record: two words, and what they mean. Pure; the table holds them, stream and evictor move them from state to state.
//!
//! ```text
//! word 0:  bits 0..4 state   bits 4..28 generation   bits 28..64 last use, in ticks
//! word 1:  bits 0..24 length - 1   bits 24..64 offset in the stream
//!
//!            claim                 bytes written                 evictor (lock held)
//! absent ------------> writing -------------------> present ----------------------> evicting --> absent
//!              ^          | could not write           ^ | machine rebooted            ^  (hole punched)
//!              |          v                    confirm| v                             |
//!              +-------- dirty <------------------- unverified -----------------------+
//!                                    discard
//! ```
//!
//! Every state but "absent" may own bytes of the disk and is charged for them. "dirty" = bytes may be there, none is right.
//! The generation changes whenever the bytes may change: a reader who sees the same one before and after has read the right bytes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Largest span that a record can describe; the archive format has the same limit.
pub const SPAN_BYTES_MAX: u32 = 1 << 24;
/// Largest stream that a record can describe: 40 bits of offset, 1 TiB.
pub const STREAM_BYTES_MAX: u64 = 1 << 40;
/// Resolution of "last use": fine enough to order what one program reads, coarse enough that a record is seldom rewritten.
pub(crate) const TICKS_PER_SECOND: u64 = 16;
/// A writer that has not finished in this time has died, or may as well have: a span is written in milliseconds.
pub(crate) const WRITING_STALE_TICKS: u64 = 30 * TICKS_PER_SECOND;
/// What a span occupies is counted in these: the file system gives no less.
const BLOCK_BYTES: u64 = 4096;

const STATE_BITS: u32 = 4;
const GENERATION_BITS: u32 = 24;
const TIME_SHIFT: u32 = STATE_BITS + GENERATION_BITS;
const LENGTH_BITS: u32 = 24;

/// Which span: its number, and where it lies in the uncompressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanSlot {
    /// Number of the span in its stream.
    pub index: u32,
    /// First byte in the uncompressed stream.
    pub offset: u64,
    /// Number of uncompressed bytes.
    pub length: u32,
}

/// A moment, in sixteenths of a second since 1970: wall clock, since records outlive boots. A clock that jumps confuses the order of
/// eviction and may call a living writer dead, both of which do no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub u64);

impl Tick {
    /// The moment now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs() * TICKS_PER_SECOND + u64::from(since.subsec_nanos()) * TICKS_PER_SECOND / 1_000_000_000)
    }

    /// The moment, to the second; None if no clock goes so far.
    pub fn time(self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.0 / TICKS_PER_SECOND))
    }
}

/// What is known of a span. What a file says beyond these counts as `Dirty`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Absent = 0,
    Writing = 1,
    Present = 2,
    Unverified = 3,
    Evicting = 4,
    Dirty = 5,
}

/// Word 0 of a record, as it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record(pub u64);

impl Record {
    pub fn state(self) -> State {
        match self.0 & ((1 << STATE_BITS) - 1) {
            0 => State::Absent,
            1 => State::Writing,
            2 => State::Present,
            3 => State::Unverified,
            4 => State::Evicting,
            _ => State::Dirty,
        }
    }

    pub fn generation(self) -> u64 {
        self.0 >> STATE_BITS & ((1 << GENERATION_BITS) - 1)
    }

    pub fn used_at(self) -> Tick {
        Tick(self.0 >> TIME_SHIFT)
    }

    /// Same bytes, other standing: generation and time stay.
    pub fn becomes(self, state: State) -> Self {
        Self::pack(state, self.generation(), self.used_at())
    }

    /// The bytes are about to change, or have become worthless: a new generation.
    pub fn reborn(self, state: State, now: Tick) -> Self {
        Self::pack(state, self.generation() + 1, now)
    }

    /// Used again.
    pub fn touched(self, now: Tick) -> Self {
        Self::pack(self.state(), self.generation(), now)
    }

    /// True if the bytes may be read (and, if unverified, compared).
    pub fn readable(self) -> bool {
        matches!(self.state(), State::Present | State::Unverified)
    }

    /// True for a claim whose writer is not going to finish. A clock that jumped in either direction makes it true as well.
    pub fn stale_writing(self, now: Tick) -> bool {
        self.state() == State::Writing && self.used_at().0.abs_diff(now.0) > WRITING_STALE_TICKS
    }

    fn pack(state: State, generation: u64, time: Tick) -> Self {
        Self(state as u64 | (generation & ((1 << GENERATION_BITS) - 1)) << STATE_BITS | time.0 << TIME_SHIFT)
    }
}

/// Word 1 of a record: where the span lies, so that the evictor needs no archive to free it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent(pub u64);

impl Extent {
    /// None if the slot is empty, too long, or beyond a stream of `size` bytes.
    pub fn of(slot: SpanSlot, size: u64) -> Option<Self> {
        let end = slot.offset.checked_add(u64::from(slot.length))?;
        let fits = slot.length > 0 && slot.length <= SPAN_BYTES_MAX && end <= size.min(STREAM_BYTES_MAX);
        fits.then(|| Self(slot.offset << LENGTH_BITS | u64::from(slot.length - 1)))
    }

    pub fn offset(self) -> u64 {
        self.0 >> LENGTH_BITS
    }

    pub fn length(self) -> u64 {
        (self.0 & ((1 << LENGTH_BITS) - 1)) + 1
    }

    /// True if it lies within a stream of `size` bytes: what a file says must be looked at before it is used.
    pub fn within(self, size: u64) -> bool {
        self.offset() + self.length() <= size
    }

    /// What the span costs of the limit.
    pub fn charge(self) -> u64 {
        self.length().next_multiple_of(BLOCK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_keeps_its_parts() {
        let now = Tick::now();
        let record = Record(0).reborn(State::Writing, now);
        assert_eq!((record.state(), record.generation(), record.used_at()), (State::Writing, 1, now));
        let present = record.becomes(State::Present);
        assert_eq!((present.state(), present.generation(), present.used_at()), (State::Present, 1, now));
        assert_eq!(present.touched(Tick(5)).used_at(), Tick(5));
        assert_eq!(Record(u64::MAX).state(), State::Dirty);
        assert_eq!(Record(u64::MAX).reborn(State::Present, Tick(1)).generation(), 0, "the generation wraps into nothing else");
    }

    #[test]
    fn writing_goes_stale_whichever_way_the_clock_jumps() {
        let start = Tick(10_000);
        let record = Record(0).reborn(State::Writing, start);
        assert!(!record.stale_writing(Tick(start.0 + WRITING_STALE_TICKS)));
        assert!(record.stale_writing(Tick(start.0 + WRITING_STALE_TICKS + 1)));
        assert!(record.stale_writing(Tick(start.0 - WRITING_STALE_TICKS - 1)));
        assert!(!record.becomes(State::Present).stale_writing(Tick(0)));
    }

    #[test]
    fn extent_holds_the_largest_and_refuses_the_rest() {
        let slot = |offset, length| SpanSlot { index: 0, offset, length };
        let last = slot(STREAM_BYTES_MAX - u64::from(SPAN_BYTES_MAX), SPAN_BYTES_MAX);
        let extent = Extent::of(last, STREAM_BYTES_MAX).unwrap();
        assert_eq!((extent.offset(), extent.length()), (last.offset, u64::from(SPAN_BYTES_MAX)));
        assert!(extent.within(STREAM_BYTES_MAX) && !extent.within(STREAM_BYTES_MAX - 1));
        assert!(Extent::of(slot(0, 0), 10).is_none());
        assert!(Extent::of(slot(0, SPAN_BYTES_MAX + 1), u64::MAX).is_none());
        assert!(Extent::of(slot(5, 6), 10).is_none());
        assert!(Extent::of(slot(u64::MAX, 1), u64::MAX).is_none());
        assert_eq!(Extent::of(slot(0, 1), 10).unwrap().charge(), 4096);
    }
}
