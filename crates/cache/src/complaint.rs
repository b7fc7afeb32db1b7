//! Says that the cache does not work, but not for every span: a full disk would otherwise fill the log as well.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::{TICKS_PER_SECOND, Tick};

/// Least time between two lines in the log: often enough to be seen, seldom enough to be read.
const INTERVAL_TICKS: u64 = 60 * TICKS_PER_SECOND;

/// Counts failures and logs at most one per interval.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    failures: AtomicU64,
    logged_at: AtomicU64,
}

impl Complaints {
    /// Takes note of a failure that the reader must not feel.
    pub fn note(&self, action: &'static str, error: &io::Error) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if self.due(Tick::now()) {
            tracing::warn!(action, %error, failures, "cache does not work as it should; reads go on without it");
        }
    }

    /// Failures since the cache was opened by this process.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// True for one caller per interval.
    fn due(&self, now: Tick) -> bool {
        let last = self.logged_at.load(Ordering::Relaxed);
        now.0.abs_diff(last) >= INTERVAL_TICKS && self.logged_at.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_due_once_per_interval() {
        let complaints = Complaints::default();
        let start = Tick(1 << 30);
        assert!(complaints.due(start));
        assert!(!complaints.due(Tick(start.0 + INTERVAL_TICKS - 1)));
        assert!(complaints.due(Tick(start.0 + INTERVAL_TICKS)));
        complaints.note("write", &io::ErrorKind::StorageFull.into());
        assert_eq!(complaints.failures(), 1);
    }
}
