//! Guesses what will be read next: a pure state machine per file.
//!
//! FUSE has no open files here (the mount answers "no open"), so a file's number is all there is to go by; two readers of one file at
//! different places look like one that jumps, and get no read-ahead. A file that is read on and on gets a window that doubles; one jump
//! resets it. Nothing is asked for beyond the window, so when the reads stop, so does the read-ahead.

use std::collections::HashMap;
use std::ops::Range;

use archive::Nid;

/// Files that are remembered: more than a program reads in turn, and a few dozen kilobytes.
const FILES_MAX: usize = 512;
/// The kernel sends its own read-ahead out of order: a read this close to where the last one ended still goes on from there.
const SLACK_BYTES: u64 = 2 << 20;
/// Spans in the first window.
const FIRST_WINDOW_SPANS: u64 = 2;

/// What is known of all files.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    files: HashMap<Nid, Pattern>,
    window_bytes_max: u64,
    clock: u64,
}

#[derive(Debug)]
struct Pattern {
    /// Where the furthest read of the sequence ended.
    end: u64,
    /// How far ahead to be; 0 before the second read in sequence.
    window: u64,
    /// Asked for up to here.
    asked: u64,
    used_at: u64,
}

impl ReadAhead {
    /// The window grows to `window_bytes_max` uncompressed bytes; 0 switches it off.
    pub fn new(window_bytes_max: u64) -> Self {
        Self { files: HashMap::new(), window_bytes_max, clock: 0 }
    }

    /// Takes note of a read; says which bytes of the file to fetch now, if any. `span_bytes` is the size of a span there.
    pub fn observe(&mut self, file: Nid, read: Range<u64>, size: u64, span_bytes: u64) -> Option<Range<u64>> {
        if self.window_bytes_max == 0 || read.is_empty() {
            return None;
        }
        self.clock += 1;
        let used_at = self.clock;
        if !self.files.contains_key(&file) {
            self.make_room();
            self.files.insert(file, Pattern { end: read.end, window: 0, asked: read.end, used_at });
            return None;
        }
        let window_bytes_max = self.window_bytes_max;
        let pattern = self.files.get_mut(&file)?;
        pattern.used_at = used_at;
        if read.start.abs_diff(pattern.end) > SLACK_BYTES && !(read.start < pattern.end && read.end > pattern.end) {
            *pattern = Pattern { end: read.end, window: 0, asked: read.end, used_at };
            return None;
        }
        if read.end <= pattern.end {
            return None;
        }
        pattern.advance(read.end, size, FIRST_WINDOW_SPANS * span_bytes, window_bytes_max)
    }

    /// Forgets the file that was used least recently, if there are too many.
    fn make_room(&mut self) {
        if self.files.len() >= FILES_MAX
            && let Some(oldest) = self.files.iter().min_by_key(|(_, pattern)| pattern.used_at).map(|(nid, _)| *nid)
        {
            self.files.remove(&oldest);
        }
    }
}

impl Pattern {
    /// Asks for more when half of the window has been read, so that the next is on its way before this one ends.
    fn advance(&mut self, end: u64, size: u64, first_window: u64, window_max: u64) -> Option<Range<u64>> {
        self.end = end;
        self.asked = self.asked.max(end);
        if self.window > 0 && self.asked > end + self.window / 2 {
            return None;
        }
        self.window = if self.window == 0 { first_window.min(window_max) } else { (self.window * 2).min(window_max) };
        let next = self.asked..size.min(end + self.window);
        if next.is_empty() {
            return None;
        }
        self.asked = next.end;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const FILE: Nid = Nid(5);

    fn run(ahead: &mut ReadAhead, reads: impl IntoIterator<Item = u64>) -> Vec<Range<u64>> {
        reads.into_iter().filter_map(|mib| ahead.observe(FILE, mib * MIB..(mib + 1) * MIB, 1000 * MIB, MIB)).collect()
    }

    #[test]
    fn a_sequence_doubles_the_window_up_to_the_bound() {
        let mut ahead = ReadAhead::new(16 * MIB);
        let asked = run(&mut ahead, 0..100);
        assert_eq!(asked[0], 2 * MIB..4 * MIB);
        for pair in asked.windows(2) {
            assert_eq!(pair[0].end, pair[1].start, "nothing is asked for twice or left out");
        }
        assert!(asked.last().unwrap().end <= 116 * MIB, "at most a window beyond what was read: {asked:?}");
        assert!(asked.len() < 30, "not one request per read");
    }

    #[test]
    fn a_jump_resets_and_single_reads_ask_for_nothing() {
        let mut ahead = ReadAhead::new(16 * MIB);
        assert!(run(&mut ahead, [50, 10, 90, 30, 70]).is_empty());
        assert_eq!(run(&mut ahead, [71, 20, 500]).len(), 1);
        assert_eq!(run(&mut ahead, [501]).first(), Some(&(502 * MIB..504 * MIB)), "it begins small again");
    }

    #[test]
    fn reads_that_overtake_each_other_are_still_a_sequence() {
        let mut ahead = ReadAhead::new(16 * MIB);
        assert!(!run(&mut ahead, [0, 2, 1, 4, 3, 6, 5]).is_empty());
    }

    #[test]
    fn it_ends_with_the_file_and_can_be_switched_off() {
        let mut ahead = ReadAhead::new(16 * MIB);
        let mut observe = |mib: u64| ahead.observe(FILE, mib * MIB..(mib + 1) * MIB, 4 * MIB, 4 * MIB);
        assert_eq!((observe(0), observe(1), observe(2), observe(3)), (None, Some(2 * MIB..4 * MIB), None, None));
        assert!(run(&mut ReadAhead::new(0), 0..10).is_empty());
    }

    #[test]
    fn remembers_a_bounded_number_of_files() {
        let mut ahead = ReadAhead::new(16 * MIB);
        for nid in 0..2 * FILES_MAX as u64 {
            ahead.observe(Nid(nid), 0..10, 100, 10);
        }
        assert_eq!(ahead.files.len(), FILES_MAX);
        assert!(ahead.files.contains_key(&Nid(2 * FILES_MAX as u64 - 1)));
    }
}
