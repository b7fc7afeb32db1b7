//! One bit per span, set and taken by many threads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// As many bits as a stream has spans, all clear at first.
#[derive(Debug)]
pub(crate) struct Bits(Vec<AtomicU64>);

impl Bits {
    pub fn new(count: u32) -> Self {
        Self((0..count.div_ceil(u64::BITS)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Sets the bit; true if it was clear.
    pub fn set(&self, index: u32) -> bool {
        let (word, bit) = self.at(index);
        word.fetch_or(bit, Relaxed) & bit == 0
    }

    /// Clears the bit; true if it was set.
    pub fn take(&self, index: u32) -> bool {
        let (word, bit) = self.at(index);
        // Looked at before it is changed: nearly always it is clear, and the cache line stays shared.
        word.load(Relaxed) & bit != 0 && word.fetch_and(!bit, Relaxed) & bit != 0
    }

    fn at(&self, index: u32) -> (&AtomicU64, u64) {
        (&self.0[(index / u64::BITS) as usize], 1 << (index % u64::BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once() {
        let bits = Bits::new(65);
        assert!(bits.set(64) && !bits.set(64) && bits.set(0));
        assert!(bits.take(64) && !bits.take(64) && !bits.take(1));
        assert!(bits.take(0));
    }
}
