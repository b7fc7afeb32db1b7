//! How long a job waits before its next attempt.

use std::time::Duration;

/// Doubling from attempt to attempt, with jitter, so that jobs that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait after the first attempt.
    pub base: Duration,
    /// Longest wait of all.
    pub cap: Duration,
}

impl Default for Backoff {
    /// From a second to five minutes.
    fn default() -> Backoff {
        Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(300) }
    }
}

impl Backoff {
    /// The wait after that many attempts: between half of `base * 2^(attempts - 1)` and all of it, as `random` says, and never over the cap.
    pub fn delay(&self, attempts: u32, random: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let longest = self.base.saturating_mul(1 << doublings).min(self.cap);
        longest.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_cap() {
        let backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(300) };
        let longest: Vec<u64> = (1..=11).map(|attempts| backoff.delay(attempts, u32::MAX).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(backoff.delay(0, u32::MAX), backoff.delay(1, u32::MAX));
        assert_eq!(backoff.delay(u32::MAX, u32::MAX), backoff.cap);
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        let backoff = Backoff::default();
        for attempts in 1..20 {
            let longest = backoff.delay(attempts, u32::MAX);
            assert_eq!(backoff.delay(attempts, 0), longest / 2);
            assert!((longest / 2..=longest).contains(&backoff.delay(attempts, 0x9000_0000)));
        }
    }
}
