#![expect(unsafe_code, reason = "a file mapped shared with other processes, seen as atomic words")]
//! The only unsafe code of the crate: a file mapped shared, as an array of `AtomicU64`.
//!
//! Other processes change the words at any time, which is what atomics are for; nobody makes a `&u64` or `&[u8]` of the mapping. What
//! nobody can rule out from here is that someone truncates the file: touching a page beyond its end raises SIGBUS. The length is
//! checked before mapping, this crate never shortens a mapped file (it makes a new one and renames), and the directory is 0700.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

/// Bytes of a word.
pub(crate) const WORD_BYTES: u64 = 8;

/// Makes a new file of `bytes` zeros. Written, not merely declared by its length: a word that is stored where the file has no block yet
/// raises SIGBUS on a full disk; here it is an error.
pub(crate) fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file).map(drop)
}

/// The first `count` words of a file, shared with all who map it.
#[derive(Debug)]
pub(crate) struct Words {
    map: MmapRaw,
    count: usize,
}

impl Words {
    /// Maps `count` words; an error if the file is shorter or `count` is 0.
    pub fn map(file: &File, count: usize) -> io::Result<Self> {
        let bytes = count.checked_mul(WORD_BYTES as usize).filter(|&bytes| bytes > 0).ok_or(io::ErrorKind::InvalidInput)?;
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let map = MmapOptions::new().len(bytes).map_raw(file)?;
        Ok(Self { map, count })
    }

    /// The word at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.count {
            return None;
        }
        let first = self.map.as_mut_ptr().cast::<u64>();
        // SAFETY: the mapping is `count` words long (checked against the file in `map`), page-aligned, readable and writable, and lives
        // as long as `self`, to which the reference is bound. Every access to it, in this process and in the others, is atomic.
        Some(unsafe { AtomicU64::from_ptr(first.add(index)) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn two_mappings_see_one_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64).unwrap();
        let (one, two) = (Words::map(&file, 8).unwrap(), Words::map(&file, 8).unwrap());
        one.get(7).unwrap().store(42, Ordering::Release);
        assert_eq!(two.get(7).unwrap().load(Ordering::Acquire), 42);
        assert!(one.get(8).is_none());
    }

    #[test]
    fn refuses_what_is_not_there() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(63).unwrap();
        assert!(Words::map(&file, 8).is_err());
        assert!(Words::map(&file, 0).is_err());
        assert!(Words::map(&file, usize::MAX).is_err());
    }
}
