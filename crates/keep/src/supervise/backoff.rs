//! How long to wait before the next child.

use std::time::Duration;

/// A child that was ready and lived so long was well: the next is started at once. Programs wait for it, and one start a second is nothing to the machine.
const STEADY: Duration = Duration::from_secs(1);
/// The second pause; the first is none, since most deaths are single ones, and programs wait meanwhile.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause: short enough that whoever repairs the cause need not start it by hand.
const LONGEST: Duration = Duration::from_secs(5);

/// Children that died early in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    early: u32,
}

impl Backoff {
    /// The pause after a child that lived so long, and said that it was ready or did not.
    pub(super) fn after(&mut self, lived: Duration, was_ready: bool) -> Duration {
        if was_ready && lived >= STEADY {
            self.early = 0;
        }
        self.early = self.early.saturating_add(1);
        match self.early {
            1 => Duration::ZERO,
            n => FIRST.saturating_mul(1 << (n - 2).min(16)).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_and_then_slower_and_slower() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..9).map(|_| backoff.after(Duration::ZERO, true).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.after(STEADY, false), LONGEST);
        assert_eq!(backoff.after(STEADY, true), Duration::ZERO);
        assert_eq!(backoff.after(Duration::ZERO, true), FIRST);
        backoff.early = u32::MAX;
        assert_eq!(backoff.after(Duration::ZERO, false), LONGEST);
    }
}
