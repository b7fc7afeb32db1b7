//! How many bytes all streams hold together: one shared word, so that a put need not look at every stream.
//!
//! It is an estimate: a process killed between two steps leaves it a span too high or too low. Whoever scans the records (on opening
//! the cache, and in every eviction) corrects it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::Error;
use crate::lock::open_private;
use crate::map::{WORD_BYTES, Words, write_zeros};

const MAGIC: u64 = u64::from_le_bytes(*b"CLIPSTAT");
const VERSION: u64 = 1;
const WORDS: usize = 3;
const BYTES_WORD: usize = 2;

/// The shared total.
#[derive(Debug)]
pub(crate) struct Ledger {
    words: Words,
}

impl Ledger {
    /// Opens the file, or makes it anew if it is not one of ours. The caller holds `open.lock`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if let Ok(words) = Self::map(path)
            && is_ours(&words)
        {
            return Ok(Self { words });
        }
        // Not truncated in place: another process may have the old file mapped.
        let fresh = path.with_extension("new");
        let _ = fs::remove_file(&fresh);
        Self::create(&fresh).map_err(Error::io("create", &fresh))?;
        fs::rename(&fresh, path).map_err(Error::io("replace", path))?;
        Self::map(path).map(|words| Self { words }).map_err(Error::io("map", path))
    }

    /// The total as far as it is known.
    pub fn bytes(&self) -> u64 {
        self.word(BYTES_WORD).load(Ordering::Relaxed)
    }

    /// Charges `bytes`.
    pub fn add(&self, bytes: u64) {
        self.shift(|total| total.saturating_add(bytes));
    }

    /// Gives `bytes` back.
    pub fn sub(&self, bytes: u64) {
        self.shift(|total| total.saturating_sub(bytes));
    }

    /// A scan began when the total was `before` and counted `counted`: what others added or gave back since then stays in.
    pub fn correct(&self, before: u64, counted: u64) {
        self.shift(|total| total.saturating_add(counted).saturating_sub(before));
    }

    fn shift(&self, change: impl Fn(u64) -> u64) {
        // Never fails: the closure always gives a value.
        let _ = self.word(BYTES_WORD).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| Some(change(total)));
    }

    fn word(&self, index: usize) -> &std::sync::atomic::AtomicU64 {
        self.words.get(index).expect("mapped with WORDS words")
    }

    fn map(path: &Path) -> io::Result<Words> {
        Words::map(&open_private(path, false)?, WORDS)
    }

    fn create(path: &Path) -> io::Result<()> {
        let file = open_private(path, true)?;
        write_zeros(&file, WORDS as u64 * WORD_BYTES)?;
        let words = Words::map(&file, WORDS)?;
        for (index, value) in [MAGIC, VERSION].into_iter().enumerate() {
            words.get(index).ok_or(io::ErrorKind::UnexpectedEof)?.store(value, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn is_ours(words: &Words) -> bool {
    let holds = |index, value| words.get(index).is_some_and(|word| word.load(Ordering::Relaxed) == value);
    holds(0, MAGIC) && holds(1, VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shared_and_never_below_zero() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let (one, two) = (Ledger::open(&path).unwrap(), Ledger::open(&path).unwrap());
        one.add(10);
        two.sub(3);
        assert_eq!((one.bytes(), two.bytes()), (7, 7));
        one.sub(100);
        assert_eq!(two.bytes(), 0);
    }

    #[test]
    fn a_scan_corrects_without_losing_what_happened_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("state")).unwrap();
        for (added, given_back, expected) in [(0, 0, 40), (5, 0, 45), (0, 5, 35)] {
            ledger.correct(ledger.bytes(), 100);
            let before = ledger.bytes();
            ledger.add(added);
            ledger.sub(given_back);
            ledger.correct(before, 40);
            assert_eq!(ledger.bytes(), expected);
        }
    }

    #[test]
    fn replaces_what_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        for garbage in [b"".as_slice(), b"CLIP", &[0xFF; 24], &[0; 4096]] {
            fs::write(&path, garbage).unwrap();
            let ledger = Ledger::open(&path).unwrap();
            assert_eq!(ledger.bytes(), 0);
        }
    }
}
