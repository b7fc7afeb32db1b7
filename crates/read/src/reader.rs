//! The way of a read, from a file's range to its bytes:
//!
//! ```text
//! file range -> extents (archive) -> parts of spans (plan.rs)
//!     -> cache: all there? done                                         try_read, on the FUSE thread
//!     -> missing spans: join who fetches them already (flight.rs)       read, in a task with a deadline
//!        or launch runs (fetch.rs) -> ranged GET -> cut as it arrives (passage.rs)
//!        -> decode, verify (decode.rs) -> keep (cache) -> hand to all who wait
//!     -> and guess what comes next (readahead.rs)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use archive::{Archive, Node, StreamId};
use backend::Blob;
use cache::{Cache, Lookup};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::Error;
use crate::fetch::Fetcher;
use crate::flight::{Lost, Waiter};
use crate::lane::Lane;
use crate::plan::{self, Part};
use crate::readahead::ReadAhead;
use crate::stats::{Counters, Stats};

/// Reads that may wait at the same time: the kernel sends a few hundred at most, so more is something going wrong.
const READS_MAX: usize = 4096;
/// How often a read starts over because the fetch that it waited for was stopped. Each time someone else's task was dropped: that is rare once.
const STARTS_MAX: u32 = 8;

/// How a reader behaves.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// How long one read may take.
    pub deadline: Duration,
    /// Requests for readers that may be under way at the same time: enough to hide a round trip, few enough for one host.
    pub requests_max: usize,
    /// Requests of read-ahead that may be under way besides.
    pub prefetches_max: usize,
    /// Memory for spans in flight, compressed and decoded; read-ahead may take half as much again. Below 48 MiB, the largest spans that the
    /// format allows come one at a time.
    pub memory_bytes_max: u64,
    /// Uncompressed bytes that read-ahead may be ahead of a reader; 0 switches it off.
    pub readahead_bytes_max: u64,
    /// Uncompressed bytes around a miss that come with it, if that has proved good; 0 switches it off.
    pub neighbours_bytes_max: u32,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            requests_max: 16,
            prefetches_max: 4,
            memory_bytes_max: 64 << 20,
            // About 32 MiB compressed: a quarter of a second at 1 Gbit/s.
            readahead_bytes_max: 64 << 20,
            // Of 4, 8, 16 and 32 MiB the one that starts a program soonest (benches/README.md).
            neighbours_bytes_max: 16 << 20,
        }
    }
}

/// Reads the files of one archive. All methods may be called from any number of threads.
#[derive(Debug)]
pub struct Reader {
    fetcher: Arc<Fetcher>,
    readahead: Mutex<ReadAhead>,
    waiting: AtomicUsize,
    closing: Notify,
    deadline: Duration,
}

impl Reader {
    /// A reader of `archive`, whose streams' blobs are `blobs`, by [`StreamId`]. Tasks run on `runtime`, which must have time and more than this
    /// reader's share of blocking threads. Without a cache everything is fetched whenever the kernel has forgotten it.
    ///
    /// # Errors
    /// [`Error::Blobs`] if there are not as many blobs as streams.
    #[expect(clippy::needless_pass_by_value, reason = "a reader owns what it works with; the signature is the contract")]
    pub fn new(
        archive: Arc<Archive>,
        blobs: Vec<Arc<dyn Blob>>,
        cache: Option<Arc<Cache>>,
        runtime: Handle,
        options: ReadOptions,
    ) -> Result<Self, Error> {
        let needed = archive.streams().len();
        if blobs.len() != needed {
            return Err(Error::Blobs { given: blobs.len(), needed });
        }
        let lanes = (0..)
            .zip(blobs)
            .map(|(id, blob)| Arc::new(Lane::open(&archive, StreamId(id), blob, cache.as_deref(), options.neighbours_bytes_max)))
            .collect();
        Ok(Self {
            fetcher: Arc::new(Fetcher::new(archive, lanes, runtime, &options)),
            readahead: Mutex::new(ReadAhead::new(options.readahead_bytes_max)),
            waiting: AtomicUsize::new(0),
            closing: Notify::new(),
            deadline: options.deadline,
        })
    }

    /// What is near: fills `buf` wholly from holes and cache and returns true, or returns false at once, with `buf` in any state. Never waits for
    /// the network, nor compares digests; it may read from the local disk. Bytes beyond the end of the file are zero.
    ///
    /// # Errors
    /// [`Error::Archive`] if the archive does not say where the bytes are.
    pub fn try_read(&self, file: &Node, offset: u64, buf: &mut [u8]) -> Result<bool, Error> {
        let range = offset..offset.saturating_add(buf.len() as u64);
        let parts = self.parts(file, range.clone())?;
        buf.fill(0);
        if !parts.iter().all(|part| self.copy_from_cache(part, buf)) {
            return Ok(false);
        }
        Counters::one(&self.fetcher.counters.reads);
        Counters::one(&self.fetcher.counters.hits);
        self.look_ahead(file, range, &parts);
        Ok(true)
    }

    /// Reads up to `length` bytes, fewer only at the end of the file. Dropping the future stops the waiting; what was begun is brought to its end
    /// and kept.
    ///
    /// # Errors
    /// All but [`Error::Blobs`]; [`Error::TimedOut`] after the deadline.
    pub async fn read(&self, file: &Node, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let _place = self.take_place()?;
        let range = offset.min(file.size)..offset.saturating_add(length as u64).min(file.size);
        let parts = self.parts(file, range.clone())?;
        Counters::one(&self.fetcher.counters.reads);
        // A file's part of at most `length` bytes, which is a usize.
        let mut buf = vec![0; (range.end - range.start) as usize];
        let missing: Vec<&Part> = parts.iter().filter(|part| !self.copy_from_cache(part, &mut buf)).collect();
        if missing.is_empty() {
            Counters::one(&self.fetcher.counters.hits);
            self.look_ahead(file, range, &parts);
            return Ok(buf);
        }
        Counters::one(&self.fetcher.counters.misses);
        let (start, closing) = (Instant::now(), self.closing.notified());
        let waiting = self.want(&missing, true);
        // After the reader's own spans are claimed: the last of them may also be the first that is ahead.
        self.look_ahead(file, range, &parts);
        let fetched = self.collect(waiting, missing, &mut buf);
        let result = tokio::select! {
            biased;
            result = tokio::time::timeout(self.deadline, fetched) => result.unwrap_or(Err(Error::TimedOut { after: self.deadline })),
            () = closing => Err(Error::Closed),
        };
        self.fetcher.counters.miss_latency.record(start.elapsed());
        result.map(|()| buf)
    }

    /// Opens connections, in the background.
    pub fn warm(&self) {
        self.fetcher.warm();
    }

    /// True if something has to come over a network: where nothing has, foresight saves no round trip.
    pub fn is_far(&self) -> bool {
        self.fetcher.lanes.iter().any(|lane| lane.blob.is_far())
    }

    /// Reads what a program is about to read, for who looks ahead: no reader's read, so it is not counted as one.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub async fn foresee(&self, file: &Node, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let _place = self.take_place()?;
        let range = range.start.min(file.size)..range.end.min(file.size);
        let parts = self.parts(file, range.clone())?;
        let mut buf = vec![0; usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0)];
        let missing: Vec<&Part> = parts
            .iter()
            .filter(|part| self.fetcher.lane(part.stream).lookup(part.slot, part.at, &mut buf[part.dest.clone()]) != Lookup::Hit)
            .collect();
        if !missing.is_empty() {
            let waiting = self.want(&missing, true);
            tokio::time::timeout(self.deadline, self.collect(waiting, missing, &mut buf))
                .await
                .unwrap_or(Err(Error::TimedOut { after: self.deadline }))?;
        }
        Ok(buf)
    }

    /// Fetches a range in the background, as a guess.
    pub fn bring(&self, file: &Node, range: Range<u64>) {
        // A guess that does not work out is no error.
        let Ok(parts) = self.parts(file, range) else { return };
        for (stream, indexes) in by_stream(&parts) {
            self.fetcher.prefetch(stream, &indexes);
        }
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.fetcher.counters.snapshot()
    }

    /// Refuses new fetches and wakes everyone who waits, with [`Error::Closed`]. What the cache has can still be read with `try_read`.
    pub fn close(&self) {
        self.fetcher.close();
        self.closing.notify_waiters();
    }

    /// Where the bytes of a file are.
    fn parts(&self, file: &Node, range: Range<u64>) -> Result<Vec<Part>, Error> {
        let archive = &self.fetcher.archive;
        let extents = archive.index().extents(file, range.clone())?;
        let find = |stream, offset| {
            let spans = archive.spans(stream);
            (!spans.is_empty()).then(|| spans.find(offset)).map(|index| (index, spans.get(index)))
        };
        plan::parts(&extents, range.start, find).ok_or_else(|| {
            let detail = format!("node {} has bytes in no span", file.nid.0);
            archive::Error::Corrupt { path: archive.path().to_owned(), detail }.into()
        })
    }

    fn copy_from_cache(&self, part: &Part, buf: &mut [u8]) -> bool {
        let lane = self.fetcher.lane(part.stream);
        let hit = lane.lookup(part.slot, part.at, &mut buf[part.dest.clone()]) == Lookup::Hit;
        if hit {
            self.take_prefetched(part.stream, part.slot.index);
        }
        hit
    }

    /// Counts the first use of a guess.
    fn take_prefetched(&self, stream: StreamId, index: u32) {
        if self.fetcher.lane(stream).take_prefetched(index) {
            Counters::one(&self.fetcher.counters.prefetched_used);
        }
    }

    /// Joins or launches the fetches of these parts' spans.
    fn want(&self, parts: &[&Part], guess: bool) -> Waiting {
        let mut waiting = Waiting::new();
        for (stream, indexes) in by_stream(parts.iter().copied()) {
            waiting.extend(self.fetcher.want(stream, &indexes, guess).into_iter().map(|(index, waiter)| ((stream, index), waiter)));
        }
        waiting
    }

    /// Waits for the spans and copies from each as it comes, so that none is held longer than needed. Starts over with those whose fetch was
    /// stopped.
    async fn collect(&self, mut waiting: Waiting, mut missing: Vec<&Part>, buf: &mut [u8]) -> Result<(), Error> {
        for _ in 0..STARTS_MAX {
            if self.fetcher.is_closed() {
                break;
            }
            let mut outcomes: FuturesUnordered<_> = waiting.into_iter().map(async |(key, waiter)| (key, waiter.outcome().await)).collect();
            let mut lost = Vec::new();
            while let Some((key, outcome)) = outcomes.next().await {
                let of_this_span = missing.iter().filter(|part| (part.stream, part.slot.index) == key);
                match outcome {
                    Ok(piece) => {
                        copy_from_piece(&piece?.bytes, of_this_span, buf);
                        // It may have been on its way as a guess.
                        self.take_prefetched(key.0, key.1);
                    }
                    Err(Lost) => lost.extend(of_this_span.copied()),
                }
            }
            missing = lost;
            if missing.is_empty() {
                return Ok(());
            }
            waiting = self.want(&missing, false);
        }
        Err(Error::Closed)
    }

    /// Takes note of a read and fetches ahead, in the background.
    fn look_ahead(&self, file: &Node, range: Range<u64>, parts: &[Part]) {
        let Some(last) = parts.last() else { return };
        let ahead = {
            let mut readahead = self.readahead.lock().unwrap_or_else(PoisonError::into_inner);
            readahead.observe(file.nid, range, file.size, last.slot.length.into())
        };
        if let Some(range) = ahead.filter(|_| !self.fetcher.is_closed()) {
            self.bring(file, range);
        }
    }

    fn take_place(&self) -> Result<Place<'_>, Error> {
        if self.fetcher.is_closed() {
            return Err(Error::Closed);
        }
        let reads = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.waiting);
        if reads >= READS_MAX { Err(Error::Overload { reads }) } else { Ok(place) }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

/// Spans that a read waits for.
type Waiting = Vec<((StreamId, u32), Waiter)>;

/// A read that is under way.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Copies what these parts need of a span.
fn copy_from_piece<'a, 'b: 'a>(bytes: &[u8], parts: impl Iterator<Item = &'a &'b Part>, buf: &mut [u8]) {
    for part in parts {
        // A part lies within its span: plan.rs made it so.
        let from = part.at as usize;
        buf[part.dest.clone()].copy_from_slice(&bytes[from..from + part.dest.len()]);
    }
}

/// The spans that these parts lie in.
fn by_stream<'a>(parts: impl IntoIterator<Item = &'a Part>) -> BTreeMap<StreamId, BTreeSet<u32>> {
    let mut streams: BTreeMap<StreamId, BTreeSet<u32>> = BTreeMap::new();
    for part in parts {
        streams.entry(part.stream).or_default().insert(part.slot.index);
    }
    streams
}
