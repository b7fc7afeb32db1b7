//! Bounds the memory that bytes in flight take.
//!
//! A grant covers one span: its compressed bytes while they arrive, and its decoded bytes until the last waiter has copied them. It is
//! asked for at once, before the first byte, and whoever holds one needs no other to come to an end: it waits for the network, for a core,
//! or for a reader who copies as soon as it is polled. So grants always come back, and waiting for one cannot deadlock.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Error;

/// Memory is granted in units of this size, so that a semaphore's 32-bit counts suffice.
const UNIT_BYTES: u64 = 1024;

/// A bounded amount of memory.
#[derive(Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    total: u32,
}

impl Budget {
    /// `bytes` in all.
    pub fn new(bytes: u64) -> Self {
        let total = units(bytes).max(1);
        Self { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until so much is free, first come, first served. More than there is in all means all there is.
    pub async fn grant(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        let wanted = units(bytes).min(self.total);
        Arc::clone(&self.units).acquire_many_owned(wanted).await.map_err(|_| Error::Closed)
    }

    /// Wakes who waits and refuses from now on.
    pub fn close(&self) {
        self.units.close();
    }
}

/// Gives back all of a grant but `bytes`.
pub(crate) fn shrink(mut grant: OwnedSemaphorePermit, bytes: u64) -> OwnedSemaphorePermit {
    match grant.split(units(bytes) as usize) {
        Some(kept) => kept,
        None => grant,
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn grants_come_back_and_nobody_gets_more_than_there_is() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let all = budget.grant(1 << 40).await.unwrap();
        assert_eq!(budget.units.available_permits(), 0);
        let kept = shrink(all, 3 * UNIT_BYTES - 5);
        assert_eq!(budget.units.available_permits(), 7);
        drop(shrink(kept, 1 << 30));
        assert_eq!(budget.units.available_permits(), 10);
        budget.close();
        assert!(matches!(budget.grant(1).await, Err(Error::Closed)));
    }
}
