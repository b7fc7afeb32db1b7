//! Fetching: from "these spans are missing" to tasks that bring them, each span once.
//!
//! [`Fetcher::want`] joins fetches that are under way and launches the others, as runs of neighbours ([`plan`]). A run is one request, whose body is
//! cut into spans as it arrives (passage.rs). Guesses about what is read next ride behind the spans that a reader waits for, in the same request; those
//! before it come in requests of their own. The tasks belong to nobody who waits: a reader who goes away changes nothing, what was begun is
//! brought to its end and kept, for the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use archive::{Archive, Span, StreamId};
use bytes::Bytes;
use cache::Lookup;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::decode::{Fault, SpanDecoder, is_right};
use crate::flight::{Flights, Piece, Ticket, Waiter};
use crate::lane::Lane;
use crate::memory::{Budget, shrink};
use crate::plan::{self, Run};
use crate::stats::Counters;
use crate::{Error, ReadOptions};

/// How often wrong bytes are asked for before the span is called corrupt: once may be a cosmic ray or a broken proxy, three times is not.
pub(crate) const ATTEMPTS_MAX: u32 = 3;
/// Most compressed bytes of one span.
pub(crate) const COMPRESSED_BYTES_MAX: u64 = archive::SPAN_BLOB_BYTES_MAX;
/// Runs of read-ahead that may wait for their turn; beyond that, guesses are dropped.
const PREFETCH_QUEUE_MAX: usize = 32;

/// Connections that are opened before somebody waits: one for the first span that is missed, one for what lies around it.
const WARM_CONNECTIONS: usize = 2;
/// How long that waits for what is asked for at the same time.
const WARM_PAUSE: Duration = Duration::from_millis(2);

/// Spans of one stream that a task has to bring.
pub(crate) type Tickets = BTreeMap<u32, Ticket>;

/// Why a task stops before it has brought everything.
#[derive(Debug)]
pub(crate) enum Stop {
    /// For good.
    Failed(Error),
    /// The bytes from this span on are wrong: try again.
    Bad { index: u32, reason: String },
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A span that was decoded.
pub(crate) struct Decoded {
    pub bytes: Vec<u8>,
    pub kept: bool,
}

/// Brings the spans of one archive.
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub archive: Arc<Archive>,
    pub lanes: Vec<Arc<Lane>>,
    pub flights: Arc<Flights>,
    pub counters: Arc<Counters>,
    handle: Handle,
    requests: Semaphore,
    prefetches: Semaphore,
    memory: Budget,
    prefetch_memory: Budget,
    cores: Semaphore,
    prefetch_cores: Semaphore,
    near_cores: Semaphore,
    prefetch_queue: Semaphore,
    closed: AtomicBool,
}

impl Fetcher {
    pub fn new(archive: Arc<Archive>, lanes: Vec<Arc<Lane>>, handle: Handle, options: &ReadOptions) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            archive,
            lanes,
            flights: Arc::default(),
            counters: Arc::default(),
            handle,
            requests: Semaphore::new(options.requests_max.max(1)),
            prefetches: Semaphore::new(options.prefetches_max.max(1)),
            memory: Budget::new(options.memory_bytes_max),
            prefetch_memory: Budget::new(options.memory_bytes_max / 2),
            cores: Semaphore::new(cores),
            // Beside the others: a reader's span never waits behind guesses, and they leave it a core.
            prefetch_cores: Semaphore::new((cores - 1).max(1)),
            // Where no network is waited for, decoding is what takes the time.
            near_cores: Semaphore::new(cores),
            prefetch_queue: Semaphore::new(PREFETCH_QUEUE_MAX),
            closed: AtomicBool::new(false),
        }
    }

    /// Joins or launches the fetch of each span.
    pub fn want(self: &Arc<Self>, stream: StreamId, indexes: &BTreeSet<u32>, guess: bool) -> Vec<(u32, Waiter)> {
        let mut tickets = Tickets::new();
        let mut waiters = Vec::with_capacity(indexes.len());
        let lane = self.lane(stream);
        let mut around = BTreeSet::new();
        for &index in indexes {
            let (waiter, ticket) = self.flights.join((stream.0, index));
            waiters.push((index, waiter));
            if let Some(ticket) = ticket {
                tickets.insert(index, ticket);
                if guess && !lane.has(index) {
                    around.extend(lane.missed(index));
                }
            }
        }
        let (near, missing): (Tickets, Tickets) = tickets.into_iter().partition(|(index, _)| lane.has(*index));
        self.bring_near(lane, near);
        self.launch_runs(lane, missing, &around);
        self.prefetch(stream, &around.difference(indexes).copied().collect());
        waiters
    }

    /// Fetches spans for nobody, when there is time. Spans are claimed only when a request may begin: a reader who comes first does not have to
    /// wait behind other guesses.
    pub fn prefetch(self: &Arc<Self>, stream: StreamId, indexes: &BTreeSet<u32>) {
        let lane = self.lane(stream);
        if !lane.is_worth_guessing() {
            return;
        }
        let missing = indexes.iter().copied().filter(|&index| !lane.has(index));
        for run in plan::runs(missing, lane.count(), |index| lane.span(index)) {
            if !run.is_group {
                tracing::debug!(stream = lane.id().0, spans = ?run.spans, "fetch ahead");
                self.handle.spawn(Arc::clone(self).prefetch_run(Arc::clone(lane), run));
            }
        }
    }

    async fn prefetch_run(self: Arc<Self>, lane: Arc<Lane>, run: Run) {
        let Ok(_queued) = self.prefetch_queue.try_acquire() else { return };
        let Ok(_turn) = self.prefetches.acquire().await else { return };
        let missing = run.spans.clone().filter(|&index| !lane.has(index));
        let mut tickets: Tickets = missing.filter_map(|index| Some((index, self.flights.guess((lane.id().0, index))?))).collect();
        tickets.keys().for_each(|&index| lane.spend(index));
        // A reader may have come for some of them.
        for run in plan::runs(tickets.keys().copied().collect::<Vec<_>>(), lane.count(), |index| lane.span(index)) {
            let later = tickets.split_off(&(run.spans.end() + 1));
            self.attempts(&lane, run, std::mem::replace(&mut tickets, later)).await;
        }
    }

    /// Opens connections before somebody waits for them: asks for a byte of the largest streams, a moment later than what is under way, which takes
    /// those that are open. Where the cache has anything of the archive, it was started here before and will not wait much: then nothing is asked.
    pub fn warm(&self) {
        let mut lanes: Vec<_> = self.lanes.iter().filter(|lane| lane.blob.is_far() && lane.blob.size() > 0).collect();
        if lanes.is_empty() || lanes.iter().any(|lane| (0..lane.count()).any(|index| lane.has(index))) {
            return;
        }
        lanes.sort_by_key(|lane| std::cmp::Reverse(lane.blob.size()));
        for lane in lanes.into_iter().cycle().take(WARM_CONNECTIONS) {
            let blob = Arc::clone(&lane.blob);
            self.handle.spawn(async move {
                tokio::time::sleep(WARM_PAUSE).await;
                if let Err(error) = backend::read_all(&*blob, 0..1, 1).await {
                    tracing::debug!(%error, "no connection to warm up");
                }
            });
        }
    }

    /// Starts the tasks that bring what the tickets are for.
    pub fn launch(self: &Arc<Self>, lane: &Arc<Lane>, tickets: Tickets) {
        let (near, missing): (Tickets, Tickets) = tickets.into_iter().partition(|(index, _)| lane.has(*index));
        self.bring_near(lane, near);
        self.launch_runs(lane, missing, &BTreeSet::new());
    }

    /// Starts the tasks that bring what the cache has.
    fn bring_near(self: &Arc<Self>, lane: &Arc<Lane>, tickets: Tickets) {
        for (index, ticket) in tickets {
            self.handle.spawn(Arc::clone(self).bring_from_cache(Arc::clone(lane), index, ticket));
        }
    }

    /// Starts the tasks that fetch what the tickets are for, and of the spans `around` those that follow directly.
    fn launch_runs(self: &Arc<Self>, lane: &Arc<Lane>, mut missing: Tickets, around: &BTreeSet<u32>) {
        self.widen(lane, &mut missing);
        for mut run in plan::runs(missing.keys().copied().collect::<Vec<_>>(), lane.count(), |index| lane.span(index)) {
            let later = missing.split_off(&(run.spans.end() + 1));
            let mut tickets = std::mem::replace(&mut missing, later);
            self.lengthen(lane, &mut run, &mut tickets, around);
            tracing::debug!(stream = lane.id().0, spans = ?run.spans, "fetch");
            self.handle.spawn(Arc::clone(self).run(Arc::clone(lane), run, tickets));
        }
    }

    /// Lets guesses ride behind what is wanted: they cost no request, and come after it.
    fn lengthen(&self, lane: &Lane, run: &mut Run, tickets: &mut Tickets, around: &BTreeSet<u32>) {
        if run.is_group || !lane.is_worth_guessing() {
            return;
        }
        let start = lane.span(*run.spans.start()).blob_offset;
        let fits = |index| lane.span(index).blob_range().end - start <= plan::MERGE_BYTES_MAX;
        let stands_alone = |index| lane.group(index) == (index..=index);
        loop {
            let next = run.spans.end() + 1;
            if !around.contains(&next) || lane.has(next) || !stands_alone(next) || !fits(next) {
                return;
            }
            let Some(ticket) = self.flights.guess((lane.id().0, next)) else { return };
            lane.spend(next);
            tickets.insert(next, ticket);
            run.spans = *run.spans.start()..=next;
        }
    }

    /// Claims what will pass by: the other spans of groups. Streamed once, and kept.
    fn widen(&self, lane: &Lane, tickets: &mut Tickets) {
        let mut done = None;
        for index in tickets.keys().copied().collect::<Vec<_>>() {
            if done.is_some_and(|done| index <= done) {
                continue;
            }
            let group = lane.group(index);
            done = Some(*group.end());
            for mate in group.filter(|&mate| mate != index && !lane.has(mate)) {
                tickets.extend(self.flights.lead((lane.id().0, mate)).map(|ticket| (mate, ticket)));
            }
        }
    }

    /// A run for a reader.
    async fn run(self: Arc<Self>, lane: Arc<Lane>, run: Run, tickets: Tickets) {
        match self.requests.acquire().await {
            Ok(_permit) => self.attempts(&lane, run, tickets).await,
            Err(_) => fail(tickets, &Error::Closed),
        }
    }

    /// Tries until everything is there, or it is of no use to go on. The caller holds a permit for requests.
    async fn attempts(self: &Arc<Self>, lane: &Arc<Lane>, mut run: Run, mut tickets: Tickets) {
        for attempt in 1..=ATTEMPTS_MAX {
            match self.pass(lane, &run, &mut tickets).await {
                Ok(()) => return,
                Err(Stop::Failed(error)) => return fail(tickets, &error),
                Err(Stop::Bad { index, reason }) if attempt == ATTEMPTS_MAX => {
                    return fail(tickets, &self.corrupt(lane, index, &lane.span(index), reason));
                }
                Err(Stop::Bad { index, .. }) => {
                    Counters::one(&self.counters.retries);
                    run.spans = *lane.group(index).start()..=*run.spans.end();
                }
            }
        }
    }

    /// A span that the cache has, perhaps from an earlier boot: compared if need be, fetched if it turns out to be wrong or gone.
    async fn bring_from_cache(self: Arc<Self>, lane: Arc<Lane>, index: u32, ticket: Ticket) {
        let span = lane.span(index);
        let grant = match self.grant(Some(&ticket), span.length.into()).await {
            Ok(grant) => grant,
            Err(error) => return ticket.complete(Err(error)),
        };
        let (from, counters) = (Arc::clone(&lane), Arc::clone(&self.counters));
        match tokio::task::spawn_blocking(move || read_whole(&from, index, &span, &counters)).await {
            Ok(Some(bytes)) => ticket.complete(Ok(Arc::new(Piece { bytes, _memory: grant }))),
            Ok(None) => {
                drop(grant);
                // Not asked whether the cache has it now: a record that is there and cannot be read must not make us go round in circles.
                self.launch_runs(&lane, Tickets::from([(index, ticket)]), &BTreeSet::new());
            }
            Err(error) => ticket.complete(Err(ended(error))),
        }
    }

    /// One span with a restart point of its own, whose compressed bytes are here: decoded beside whatever else arrives.
    pub fn spawn_single(self: &Arc<Self>, lane: &Arc<Lane>, single: Single) {
        self.handle.spawn(Arc::clone(self).bring_single(Arc::clone(lane), single));
    }

    async fn bring_single(self: Arc<Self>, lane: Arc<Lane>, single: Single) {
        let Single { index, span, mut compressed, ticket, grant } = single;
        for attempt in 1..=ATTEMPTS_MAX {
            let (_, result) = match self.decode(&lane, index, compressed, SpanDecoder::default(), Some(&ticket)).await {
                Ok(done) => done,
                Err(error) => return ticket.complete(Err(error)),
            };
            let reason = match result {
                Ok(decoded) => return ticket.complete(Ok(piece(decoded.bytes, grant))),
                Err(Fault::Archive(error)) => return ticket.complete(Err(error.into())),
                Err(Fault::Data(reason)) => reason,
            };
            if attempt == ATTEMPTS_MAX {
                return ticket.complete(Err(self.corrupt(&lane, index, &span, reason)));
            }
            Counters::one(&self.counters.retries);
            compressed = match backend::read_all(&*lane.blob, span.blob_range(), COMPRESSED_BYTES_MAX).await {
                Ok(bytes) => bytes,
                Err(error) => return ticket.complete(Err(error.into())),
            };
        }
    }

    /// Decodes, verifies and, if there is a ticket, keeps the next span of a group, on a blocking thread, on as many as there are cores.
    pub async fn decode(
        &self,
        lane: &Arc<Lane>,
        index: u32,
        input: Bytes,
        mut decoder: SpanDecoder,
        ticket: Option<&Ticket>,
    ) -> Result<(SpanDecoder, Result<Decoded, Fault>), Error> {
        let _core = self.core(lane, ticket).await?;
        let (keep, is_guess) = (ticket.is_some(), ticket.is_some_and(|ticket| ticket.is_guess));
        let (archive, lane, counters) = (Arc::clone(&self.archive), Arc::clone(lane), Arc::clone(&self.counters));
        let work = move || {
            let start = Instant::now();
            let span = lane.span(index);
            let result = decoder.next(&archive, lane.codec, &span, &input).map(|bytes| {
                counters.decoded(bytes.len(), start.elapsed());
                lane.forgive(index);
                let kept = keep && lane.keep(plan::slot(index, &span), &bytes);
                if keep && !kept {
                    Counters::one(&counters.not_kept);
                }
                if is_guess {
                    Counters::one(&counters.prefetched);
                    lane.mark_prefetched(index);
                }
                Decoded { bytes, kept }
            });
            if result.is_err() {
                Counters::one(&counters.verify_failures);
            }
            (decoder, result)
        };
        tokio::task::spawn_blocking(work).await.map_err(ended)
    }

    /// A core to decode on. A guess has to wait for one that readers do not need, until somebody waits for it.
    async fn core(&self, lane: &Lane, ticket: Option<&Ticket>) -> Result<SemaphorePermit<'_>, Error> {
        let guess = ticket.filter(|ticket| ticket.is_guess);
        let permit = match guess {
            None => self.cores.acquire().await,
            Some(_) if !lane.blob.is_far() => self.near_cores.acquire().await,
            Some(ticket) => tokio::select! {
                biased;
                () = ticket.awaited() => self.cores.acquire().await,
                permit = self.prefetch_cores.acquire() => permit,
            },
        };
        permit.map_err(|_| Error::Closed)
    }

    /// Memory for one span. Guesses that nobody waits for have their own.
    pub async fn grant(&self, ticket: Option<&Ticket>, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        match ticket {
            Some(ticket) if ticket.is_guess && !ticket.is_awaited() => self.prefetch_memory.grant(bytes).await,
            _ => self.memory.grant(bytes).await,
        }
    }

    /// Gives a span up: one line in the log however often it is read, and the error for those who wait.
    pub fn corrupt(&self, lane: &Lane, index: u32, span: &Span, reason: String) -> Error {
        let (blob, bytes) = (lane.blob.name(), span.blob_range());
        if lane.complain(index) {
            let archive = self.archive.path().display();
            tracing::error!(%archive, blob, span = index, ?bytes, reason, "bytes are not what the archive was made from; giving up on this span");
        }
        Error::Corrupt { blob: blob.to_owned(), span: index, start: span.offset, end: span.end(), reason }
    }

    /// Refuses everything from now on; what is under way ends at its next step.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        for semaphore in [&self.requests, &self.prefetches, &self.cores, &self.prefetch_cores, &self.near_cores, &self.prefetch_queue] {
            semaphore.close();
        }
        self.memory.close();
        self.prefetch_memory.close();
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub fn lane(&self, stream: StreamId) -> &Arc<Lane> {
        &self.lanes[usize::from(stream.0)]
    }
}

/// A span to decode, with all that it needs.
pub(crate) struct Single {
    pub index: u32,
    pub span: Span,
    pub compressed: Bytes,
    pub ticket: Ticket,
    pub grant: OwnedSemaphorePermit,
}

/// A decoded span for those who wait; the memory of its compressed bytes is given back.
pub(crate) fn piece(bytes: Vec<u8>, grant: OwnedSemaphorePermit) -> Arc<Piece> {
    let memory = shrink(grant, bytes.len() as u64);
    Arc::new(Piece { bytes, _memory: memory })
}

/// Why a blocking task did not end: the runtime goes down. A panic in it is a bug, and goes on here.
fn ended(error: tokio::task::JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Error::Closed,
    }
}

/// Tells everyone who waits.
pub(crate) fn fail(tickets: Tickets, error: &Error) {
    for ticket in tickets.into_values() {
        ticket.complete(Err(error.clone()));
    }
}

/// Reads a span from the cache, and compares it if it has outlived a reboot.
fn read_whole(lane: &Lane, index: u32, span: &Span, counters: &Counters) -> Option<Vec<u8>> {
    let (slot, mut bytes) = (plan::slot(index, span), vec![0; span.length as usize]);
    match lane.lookup(slot, 0, &mut bytes) {
        Lookup::Hit => Some(bytes),
        Lookup::Miss => None,
        Lookup::Unverified => {
            let is_right = is_right(span, &bytes);
            lane.settle(slot, is_right);
            Counters::one(if is_right { &counters.confirmed } else { &counters.discarded });
            is_right.then_some(bytes)
        }
    }
}
