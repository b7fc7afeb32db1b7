//! What to fetch for a read: pure decisions, no I/O.

use std::ops::{Range, RangeInclusive};

use archive::{Extent, Source, Span, StreamId};
use cache::SpanSlot;
use seek::Restart;

/// Most compressed bytes that neighbouring missing spans ask for in one request. More would save no round trip worth having (8 MiB take
/// 70 ms at 1 Gbit/s, three round trips) and would keep one connection busy with what several could bring at the same time.
pub(crate) const MERGE_BYTES_MAX: u64 = 8 << 20;

/// A piece of a read that lies in one span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The stream.
    pub stream: StreamId,
    /// The span.
    pub slot: SpanSlot,
    /// First byte within the span.
    pub at: u64,
    /// Where the bytes go in the reader's buffer.
    pub dest: Range<usize>,
}

/// The slot of the cache that holds a span.
pub(crate) fn slot(index: u32, span: &Span) -> SpanSlot {
    SpanSlot { index, offset: span.offset, length: span.length }
}

/// Cuts the extents of a read that begins at `start` of the file into parts. Holes make none. None if a span does not hold the offset that it
/// was found for, which a checked archive cannot have.
pub(crate) fn parts(extents: &[Extent], start: u64, find: impl Fn(StreamId, u64) -> Option<(u32, Span)>) -> Option<Vec<Part>> {
    let mut parts = Vec::with_capacity(extents.len());
    for extent in extents {
        let Source::Stream { stream, offset } = extent.source else { continue };
        let end = offset + extent.length;
        let (mut from, mut dest) = (offset, usize::try_from(extent.offset.checked_sub(start)?).ok()?);
        while from < end {
            let (index, span) = find(stream, from)?;
            let to = end.min(span.end());
            if from < span.offset || to <= from {
                return None;
            }
            let length = usize::try_from(to - from).ok()?;
            parts.push(Part { stream, slot: slot(index, &span), at: from - span.offset, dest: dest..dest + length });
            (from, dest) = (to, dest + length);
        }
    }
    Some(parts)
}

/// The span `index` with those that can only be decoded together with it: from the nearest restart point before it to the last span before the next
/// one. `count` is the number of spans in the stream.
pub(crate) fn group(index: u32, count: u32, span: impl Fn(u32) -> Span) -> RangeInclusive<u32> {
    let continues = |i| span(i).restart == Restart::Continue;
    let mut head = index;
    while head > 0 && continues(head) {
        head -= 1;
    }
    let mut last = index;
    while last + 1 < count && continues(last + 1) {
        last += 1;
    }
    head..=last
}

/// A run of neighbouring spans that one request brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// From a restart point to the last span that is wanted.
    pub spans: RangeInclusive<u32>,
    /// True if this is (the beginning of) one group of several spans, to be decoded in order.
    pub is_group: bool,
}

/// Makes runs of the wanted spans (ascending). Groups of several spans are never merged with anything: they are large enough.
pub(crate) fn runs(wanted: impl IntoIterator<Item = u32>, count: u32, span: impl Fn(u32) -> Span) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut group_end = None;
    for index in wanted {
        if let (Some(end), Some(run)) = (group_end, runs.last_mut())
            && index <= end
        {
            run.spans = *run.spans.start()..=index;
            continue;
        }
        let group = group(index, count, &span);
        if group.start() != group.end() {
            group_end = Some(*group.end());
            runs.push(Run { spans: *group.start()..=index, is_group: true });
            continue;
        }
        group_end = None;
        match runs.last_mut() {
            Some(run)
                if !run.is_group
                    && *run.spans.end() + 1 == index
                    && span(index).blob_range().end - span(*run.spans.start()).blob_offset <= MERGE_BYTES_MAX =>
            {
                run.spans = *run.spans.start()..=index;
            }
            _ => runs.push(Run { spans: index..=index, is_group: false }),
        }
    }
    runs
}

/// The compressed bytes that decoding these spans consumes.
pub(crate) fn blob_range(spans: &RangeInclusive<u32>, span: impl Fn(u32) -> Span) -> Range<u64> {
    let start = span(*spans.start()).blob_offset;
    let end = spans.clone().map(|index| span(index).blob_range().end).max().unwrap_or(start);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Spans of 1 MiB that take half of that in the blob; `continues` says which have no restart point.
    fn table(continues: &'static [u32]) -> impl Fn(u32) -> Span {
        move |index| Span {
            offset: u64::from(index) * MIB,
            length: MIB as u32,
            blob_offset: u64::from(index) * MIB / 2,
            blob_length: MIB / 2,
            restart: if continues.contains(&index) { Restart::Continue } else { Restart::Frame },
            window: None,
            digest: [0; 32],
        }
    }

    fn find(_: StreamId, offset: u64) -> Option<(u32, Span)> {
        let index = (offset / MIB) as u32;
        Some((index, table(&[])(index)))
    }

    #[test]
    fn parts_cover_what_is_no_hole() {
        let stream = |offset| Source::Stream { stream: StreamId(3), offset };
        let extents = [
            Extent { offset: 100, length: 50, source: stream(MIB - 20) },
            Extent { offset: 150, length: 10, source: Source::Hole },
            Extent { offset: 160, length: 5, source: stream(0) },
        ];
        let parts = parts(&extents, 100, find).unwrap();
        let seen: Vec<_> = parts.iter().map(|part| (part.slot.index, part.at, part.dest.clone())).collect();
        assert_eq!(seen, [(0, MIB - 20, 0..20), (1, 0, 20..50), (0, 0, 60..65)]);
    }

    #[test]
    fn a_table_with_a_gap_is_refused() {
        let extents = [Extent { offset: 0, length: 5, source: Source::Stream { stream: StreamId(0), offset: 10 } }];
        assert!(parts(&extents, 0, |_, _| Some((1, table(&[])(1)))).is_none());
        assert!(parts(&extents, 0, |_, _| None).is_none());
    }

    #[test]
    fn neighbours_are_merged_up_to_the_bound() {
        let run = |spans| Run { spans, is_group: false };
        assert_eq!(runs([1, 2, 3, 7, 9, 10], 40, table(&[])), [run(1..=3), run(7..=7), run(9..=10)]);
        assert_eq!(runs(0..20, 40, table(&[])), [run(0..=15), run(16..=19)]);
        assert_eq!(blob_range(&(1..=3), table(&[])), MIB / 2..2 * MIB);
    }

    #[test]
    fn groups_begin_at_their_restart_point() {
        let span = table(&[2, 3, 4, 7]);
        assert_eq!(group(3, 10, &span), 1..=4);
        assert_eq!(group(1, 10, &span), 1..=4);
        assert_eq!(group(5, 10, &span), 5..=5);
        assert_eq!(group(7, 8, &span), 6..=7);
        let expected = [
            Run { spans: 0..=0, is_group: false },
            Run { spans: 1..=3, is_group: true },
            Run { spans: 5..=5, is_group: false },
            Run { spans: 6..=7, is_group: true },
            Run { spans: 8..=9, is_group: false },
        ];
        assert_eq!(runs([0, 2, 3, 5, 7, 8, 9], 10, &span), expected);
    }
}
