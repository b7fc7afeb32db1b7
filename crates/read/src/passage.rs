//! One answer of a backend, from its first byte to its last: cut into spans as it arrives, each handed on as soon as it is whole.
//!
//! Three kinds of passage, one way to cut: a run of neighbours; a group without restart points, decoded in order up to its end; and, where
//! the server ignores ranges, a whole blob. There is one passage through a whole blob at a time: it claims everything that is missing, and others
//! leave their tickets with it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::Error;
use crate::decode::{Fault, SpanDecoder};
use crate::feed::Feed;
use crate::fetch::{COMPRESSED_BYTES_MAX, Fetcher, Single, Stop, Tickets, piece};
use crate::flight::Ticket;
use crate::lane::{Lane, SweepGuard};
use crate::plan::{self, Run};

/// Most spans that a passage through a whole blob claims in advance: 64 GiB in spans of 1 MiB, in a few megabytes of tickets.
const SWEEP_SPANS_MAX: u32 = 1 << 16;

impl Fetcher {
    /// Brings the spans of a run.
    pub(crate) async fn pass(self: &Arc<Self>, lane: &Arc<Lane>, run: &Run, tickets: &mut Tickets) -> Result<(), Stop> {
        if lane.no_ranges.load(Ordering::Relaxed) {
            return self.sweep(lane, None, tickets).await;
        }
        let range = plan::blob_range(&run.spans, |index| lane.span(index));
        if range.is_empty() {
            let index = *run.spans.start();
            return Err(self.corrupt(lane, index, &lane.span(index), "it takes no compressed bytes".to_owned()).into());
        }
        let mut feed = Feed::open(&*lane.blob, range.clone()).await?;
        if feed.offset() < range.start {
            if !lane.no_ranges.swap(true, Ordering::Relaxed) {
                tracing::warn!(blob = lane.blob.name(), "server ignores ranges; its blob is streamed as a whole, and kept");
            }
            return self.sweep(lane, Some(feed), tickets).await;
        }
        self.cut(lane, &mut feed, &run.spans, tickets, None).await
    }

    /// Goes through the whole blob, unless someone does so already.
    async fn sweep(self: &Arc<Self>, lane: &Arc<Lane>, mut feed: Option<Feed>, tickets: &mut Tickets) -> Result<(), Stop> {
        let Some(mut guard) = lane.begin_sweep(tickets) else { return Ok(()) };
        loop {
            // The passage before this one may have kept what these tickets are for.
            let (near, missing): (Tickets, Tickets) = std::mem::take(tickets).into_iter().partition(|(index, _)| lane.has(*index));
            self.launch(lane, near);
            *tickets = missing;
            if let Some(&first) = tickets.keys().next() {
                self.claim_all(lane, tickets);
                let last = tickets.keys().next_back().copied().unwrap_or(first);
                let mut body = match feed.take() {
                    Some(feed) => feed,
                    None => Feed::open(&*lane.blob, 0..lane.blob.size()).await?,
                };
                self.cut(lane, &mut body, &(0..=last), tickets, Some(&guard)).await?;
            }
            // What has come in for spans that had passed by already is for another round.
            if !tickets.is_empty() {
                continue;
            }
            match guard.finish() {
                None => return Ok(()),
                Some((again, adopted)) => (guard, *tickets) = (again, adopted),
            }
        }
    }

    /// Claims everything that is missing: whoever wants it from now on waits for this passage.
    fn claim_all(&self, lane: &Lane, tickets: &mut Tickets) {
        for index in (0..lane.count().min(SWEEP_SPANS_MAX)).filter(|&index| !lane.has(index)) {
            if !tickets.contains_key(&index) {
                tickets.extend(self.flights.lead((lane.id().0, index)).map(|ticket| (index, ticket)));
            }
        }
    }

    /// Cuts a body into spans. Tickets for spans that do not come by stay.
    async fn cut(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        feed: &mut Feed,
        spans: &RangeInclusive<u32>,
        tickets: &mut Tickets,
        sweep: Option<&SweepGuard<'_>>,
    ) -> Result<(), Stop> {
        let mut index = *spans.start();
        while index <= *spans.end() {
            if self.is_closed() {
                return Err(Error::Closed.into());
            }
            if let Some(sweep) = sweep {
                sweep.adopt(tickets);
            }
            let group = lane.group(index);
            let last = (*group.end()).min(*spans.end());
            if group.start() == group.end() {
                self.cut_single(lane, feed, index, tickets).await?;
            } else if tickets.range(index..=last).next().is_some() {
                self.cut_group(lane, feed, *group.start()..=last, tickets).await?;
            }
            index = last + 1;
        }
        Ok(())
    }

    /// A span that can be decoded by itself: its bytes are collected, the rest happens elsewhere.
    async fn cut_single(self: &Arc<Self>, lane: &Arc<Lane>, feed: &mut Feed, index: u32, tickets: &mut Tickets) -> Result<(), Stop> {
        let Some(ticket) = tickets.get(&index) else { return Ok(()) };
        let span = lane.span(index);
        if span.blob_length > COMPRESSED_BYTES_MAX {
            let reason = format!("it takes {} compressed bytes", span.blob_length);
            return Err(self.corrupt(lane, index, &span, reason).into());
        }
        let grant = self.grant(Some(ticket), span.blob_length + u64::from(span.length)).await?;
        let compressed = feed.take(span.blob_range()).await?;
        if let Some(ticket) = tickets.remove(&index) {
            self.spawn_single(lane, Single { index, span, compressed, ticket, grant });
        }
        Ok(())
    }

    /// A group that must be decoded in order. Ends early when nobody wants the rest: no tickets, or the cache does not take it and nobody waits.
    async fn cut_group(
        self: &Arc<Self>,
        lane: &Arc<Lane>,
        feed: &mut Feed,
        spans: RangeInclusive<u32>,
        tickets: &mut Tickets,
    ) -> Result<(), Stop> {
        let (mut decoder, last) = (SpanDecoder::default(), *spans.end());
        let mut fed = lane.span(*spans.start()).blob_offset;
        for index in spans {
            if self.is_closed() {
                return Err(Error::Closed.into());
            }
            let span = lane.span(index);
            let end = span.blob_range().end.max(fed);
            if end - fed > COMPRESSED_BYTES_MAX {
                return Err(self.corrupt(lane, index, &span, format!("it takes {} compressed bytes", end - fed)).into());
            }
            let grant = self.grant(tickets.get(&index), end - fed + u64::from(span.length)).await?;
            let input = feed.take(fed..end).await?;
            fed = end;
            let ticket = tickets.get(&index);
            let wanted = ticket.is_some();
            let (next, result) = self.decode(lane, index, input, decoder, ticket).await?;
            decoder = next;
            let decoded = match result {
                Ok(decoded) => decoded,
                Err(Fault::Archive(error)) => return Err(error.into()),
                Err(Fault::Data(reason)) => return Err(Stop::Bad { index, reason }),
            };
            if let Some(ticket) = tickets.remove(&index) {
                ticket.complete(Ok(piece(decoded.bytes, grant)));
            }
            let mut rest = tickets.range(index..=last).map(|(_, ticket)| ticket);
            if wanted && !decoded.kept && !rest.any(Ticket::is_awaited) {
                tickets.retain(|other, _| !(index..=last).contains(other));
            }
            if tickets.range(index..=last).next().is_none() {
                return Ok(());
            }
        }
        Ok(())
    }
}
