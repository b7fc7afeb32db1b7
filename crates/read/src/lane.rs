//! One stream of a reader: where its bytes come from, where they are kept, and what was learnt about its server.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use archive::{Archive, Span, StreamId};
use backend::Blob;
use cache::{Cache, Lookup, Put, SpanSlot, StreamCache, StreamLayout};
use seek::Codec;

use crate::bits::Bits;
use crate::fetch::Tickets;
use crate::neighbours::Neighbours;
use crate::plan;

/// A stream, its blob and its cache.
#[derive(Debug)]
pub(crate) struct Lane {
    archive: Arc<Archive>,
    id: StreamId,
    pub codec: Codec,
    pub blob: Arc<dyn Blob>,
    /// None: there is no cache, or it cannot hold this stream; everything is fetched again.
    cache: Option<StreamCache>,
    /// Fetched by read-ahead, and not used yet.
    prefetched: Bits,
    /// Given up as corrupt, and not right since: the log has its line.
    complained: Bits,
    neighbours: Neighbours,
    /// The cache took what it was last given.
    keeps: AtomicBool,
    /// The server ignores ranges: every answer is the whole blob.
    pub no_ranges: AtomicBool,
    sweep: Mutex<Sweep>,
}

/// The one passage through a whole blob that may be under way, and the tickets that others have left for it.
#[derive(Debug, Default)]
struct Sweep {
    active: bool,
    adopted: Tickets,
}

impl Lane {
    /// Opens the stream's cache; without it (too large, no permission) reads work, but nothing is kept.
    /// A miss brings at most the `neighbours_bytes_max` uncompressed bytes around it.
    pub fn open(archive: &Arc<Archive>, id: StreamId, blob: Arc<dyn Blob>, cache: Option<&Cache>, neighbours_bytes_max: u32) -> Self {
        let spans = archive.spans(id);
        let (count, stream) = (spans.len(), &archive.streams()[usize::from(id.0)]);
        let cache = cache.and_then(|cache| {
            let opened = cache.stream(&spans.key(), StreamLayout { size: stream.size, spans: count });
            opened.inspect_err(|error| tracing::warn!(blob = blob.name(), %error, "stream is not cached")).ok()
        });
        let keeps = cache.is_some();
        let codec = stream.codec;
        // Where the blob is near there is no round trip to save.
        let neighbours = Neighbours::new(if blob.is_far() { neighbours_bytes_max } else { 0 });
        Self {
            archive: Arc::clone(archive),
            id,
            codec,
            blob,
            cache,
            prefetched: Bits::new(count),
            complained: Bits::new(count),
            neighbours,
            keeps: AtomicBool::new(keeps),
            no_ranges: AtomicBool::new(false),
            sweep: Mutex::default(),
        }
    }

    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Number of spans.
    pub fn count(&self) -> u32 {
        self.archive.spans(self.id).len()
    }

    /// The span `index`, below `count`.
    pub fn span(&self, index: u32) -> Span {
        self.archive.spans(self.id).get(index)
    }

    /// The span with those that must be decoded together with it.
    pub fn group(&self, index: u32) -> RangeInclusive<u32> {
        plan::group(index, self.count(), |i| self.span(i))
    }

    /// True if the cache seems to have the span, verified or not.
    pub fn has(&self, index: u32) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.present(index))
    }

    /// Reads from the cache.
    pub fn lookup(&self, slot: SpanSlot, at: u64, buf: &mut [u8]) -> Lookup {
        self.cache.as_ref().map_or(Lookup::Miss, |cache| cache.read(slot, at, buf))
    }

    /// Keeps a verified span; false if the cache did not take it.
    pub fn keep(&self, slot: SpanSlot, bytes: &[u8]) -> bool {
        let kept = self.cache.as_ref().is_some_and(|cache| cache.put(slot, bytes) == Put::Stored);
        self.keeps.store(kept, Relaxed);
        kept
    }

    /// Whether the cache took what it was last given: else guesses would be fetched for nothing.
    pub fn keeps(&self) -> bool {
        self.keeps.load(Relaxed)
    }

    /// Says what came of comparing an unverified span.
    pub fn settle(&self, slot: SpanSlot, is_right: bool) {
        let Some(cache) = &self.cache else { return };
        let settle = if is_right { StreamCache::confirm } else { StreamCache::discard };
        settle(cache, slot);
    }

    /// Where everything passes by anyway, or nothing is kept, guessing is of no use.
    pub fn is_worth_guessing(&self) -> bool {
        !self.no_ranges.load(Relaxed) && self.keeps()
    }

    /// A reader misses the span, and nobody fetches it yet: the spans around it that it is worth bringing as well.
    pub fn missed(&self, index: u32) -> RangeInclusive<u32> {
        let span = self.span(index);
        self.neighbours.missed(span.length);
        let Some(block) = self.neighbours.around(span.offset..span.end()) else { return index..=index };
        let spans = self.archive.spans(self.id);
        let last = self.span(self.count() - 1);
        spans.find(block.start)..=spans.find(block.end.min(last.end()) - 1)
    }

    /// Read-ahead begins to fetch the span.
    pub fn spend(&self, index: u32) {
        self.neighbours.spend(self.span(index).length);
    }

    /// Read-ahead has fetched the span.
    pub fn mark_prefetched(&self, index: u32) {
        self.prefetched.set(index);
    }

    /// True once for a span that read-ahead has fetched.
    pub fn take_prefetched(&self, index: u32) -> bool {
        let first = self.prefetched.take(index);
        if first {
            self.neighbours.earn(self.span(index).length);
        }
        first
    }

    /// The span is given up; true if that is news.
    pub fn complain(&self, index: u32) -> bool {
        self.complained.set(index)
    }

    /// The span came in right: should it go bad again, that is news again.
    pub fn forgive(&self, index: u32) {
        self.complained.take(index);
    }

    /// Becomes the one that goes through the whole blob; if there is one already, it takes the tickets over.
    pub fn begin_sweep(&self, tickets: &mut Tickets) -> Option<SweepGuard<'_>> {
        let mut sweep = self.lock();
        if sweep.active {
            sweep.adopted.append(tickets);
            return None;
        }
        sweep.active = true;
        Some(SweepGuard { lane: self })
    }

    fn lock(&self) -> MutexGuard<'_, Sweep> {
        self.sweep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the one that goes through the whole blob. Dropped early, it drops the tickets that were left for it: who waits starts over.
#[derive(Debug)]
pub(crate) struct SweepGuard<'a> {
    lane: &'a Lane,
}

impl SweepGuard<'_> {
    /// Takes over what others have left meanwhile.
    pub fn adopt(&self, tickets: &mut Tickets) {
        tickets.append(&mut self.lane.lock().adopted);
    }

    /// Ends the sweep, unless more was left: then it is returned, with those tickets.
    pub fn finish(self) -> Option<(Self, Tickets)> {
        let mut sweep = self.lane.lock();
        if sweep.adopted.is_empty() {
            // In one step with having looked: whoever comes next finds either us or nobody. (Drop then has nothing to do.)
            sweep.active = false;
            drop(sweep);
            std::mem::forget(self);
            return None;
        }
        let tickets = std::mem::take(&mut sweep.adopted);
        drop(sweep);
        Some((self, tickets))
    }
}

impl Drop for SweepGuard<'_> {
    fn drop(&mut self) {
        let orphans = {
            let mut sweep = self.lane.lock();
            sweep.active = false;
            std::mem::take(&mut sweep.adopted)
        };
        drop(orphans);
    }
}
