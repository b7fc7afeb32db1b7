//! What a reader counts: lock-free, for every read. Requests and bytes of the backend are counted there (`backend::Counted`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A latency histogram has one bucket per power of two of microseconds: the last one begins at half a minute.
const BUCKETS: usize = 26;

/// The counters of one reader at one moment, each read by itself. They only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Reads answered or begun.
    pub reads: u64,
    /// Reads that found all their bytes near.
    pub hits: u64,
    /// Reads that had to wait for at least one span.
    pub misses: u64,
    /// Spans fetched, decoded and verified.
    pub spans_fetched: u64,
    /// Uncompressed bytes of them.
    pub bytes_decoded: u64,
    /// Microseconds spent decoding and verifying, summed over all cores.
    pub decode_micros: u64,
    /// Spans whose bytes were wrong, or could not be decoded.
    pub verify_failures: u64,
    /// Fetches repeated for that reason.
    pub retries: u64,
    /// Spans of an earlier boot that were compared and found right.
    pub confirmed: u64,
    /// Spans of an earlier boot that were compared and found wrong.
    pub discarded: u64,
    /// Spans that the cache did not take (full, failing, or busy with them).
    pub not_kept: u64,
    /// Spans fetched by read-ahead.
    pub prefetched: u64,
    /// Of those, how many a read has used.
    pub prefetched_used: u64,
    /// How long reads that missed have waited.
    pub miss_latency: Latency,
}

/// A latency distribution, in microseconds. The percentiles are upper bounds, right to a factor of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Latency {
    /// Number of waits.
    pub count: u64,
    /// Half of them took at most this long.
    pub p50_micros: u64,
    /// Nine in ten took at most this long.
    pub p90_micros: u64,
    /// All but one in a hundred took at most this long.
    pub p99_micros: u64,
    /// The longest.
    pub max_micros: u64,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub reads: AtomicU64,
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub spans_fetched: AtomicU64,
    pub bytes_decoded: AtomicU64,
    pub decode_micros: AtomicU64,
    pub verify_failures: AtomicU64,
    pub retries: AtomicU64,
    pub confirmed: AtomicU64,
    pub discarded: AtomicU64,
    pub not_kept: AtomicU64,
    pub prefetched: AtomicU64,
    pub prefetched_used: AtomicU64,
    pub miss_latency: Histogram,
}

impl Counters {
    /// Counts one.
    pub fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a span that was decoded and verified.
    pub fn decoded(&self, bytes: usize, time: Duration) {
        self.spans_fetched.fetch_add(1, Relaxed);
        self.bytes_decoded.fetch_add(bytes as u64, Relaxed);
        self.decode_micros.fetch_add(micros(time), Relaxed);
    }

    /// The counters now.
    pub fn snapshot(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        Stats {
            reads: get(&self.reads),
            hits: get(&self.hits),
            misses: get(&self.misses),
            spans_fetched: get(&self.spans_fetched),
            bytes_decoded: get(&self.bytes_decoded),
            decode_micros: get(&self.decode_micros),
            verify_failures: get(&self.verify_failures),
            retries: get(&self.retries),
            confirmed: get(&self.confirmed),
            discarded: get(&self.discarded),
            not_kept: get(&self.not_kept),
            prefetched: get(&self.prefetched),
            prefetched_used: get(&self.prefetched_used),
            miss_latency: self.miss_latency.latency(),
        }
    }
}

/// Counts durations by powers of two.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    max_micros: AtomicU64,
}

impl Histogram {
    /// Counts a wait.
    pub fn record(&self, time: Duration) {
        let micros = micros(time);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
        self.max_micros.fetch_max(micros, Relaxed);
    }

    /// The distribution so far.
    pub fn latency(&self) -> Latency {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let max_micros = self.max_micros.load(Relaxed);
        let percentile = |percent: u64| {
            let rank = (count * percent).div_ceil(100);
            let mut below = 0;
            let bucket = counts.iter().position(|bucket| {
                below += bucket;
                below >= rank
            });
            // Bucket i holds what is below 2^i.
            bucket.map_or(0, |bucket| ((1_u64 << bucket) - 1).min(max_micros))
        };
        Latency { count, p50_micros: percentile(50), p90_micros: percentile(90), p99_micros: percentile(99), max_micros }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_factor_of_two() {
        let histogram = Histogram::default();
        assert_eq!(histogram.latency(), Latency::default());
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let latency = histogram.latency();
        assert_eq!((latency.count, latency.p50_micros, latency.p90_micros, latency.max_micros), (1000, 511, 1000, 1000));
        histogram.record(Duration::MAX);
        assert_eq!(histogram.latency().max_micros, u64::MAX);
    }

    #[test]
    fn stats_can_be_written_as_json_by_their_names() {
        let counters = Counters::default();
        Counters::one(&counters.reads);
        counters.decoded(10, Duration::from_micros(3));
        let stats = counters.snapshot();
        assert_eq!((stats.reads, stats.spans_fetched, stats.bytes_decoded, stats.decode_micros), (1, 1, 10, 3));
    }
}
