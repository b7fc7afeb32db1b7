//! Span tables: how to get at any byte of a stream (FORMAT.md §6).

use std::ops::Range;

use seek::{Codec, Restart};

use crate::error::{Damage, damaged};
use crate::le;
use crate::map::Map;
use crate::meta::Stream;
use crate::windows::WindowId;

/// Longest span, in uncompressed bytes: what one reader may have to wait for, and what one fetch must hold in memory.
pub const SPAN_BYTES_MAX: u32 = 16 << 20;
/// Most compressed bytes of a span: one that does not compress, and as much again for what a codec may add. More is no image.
pub const SPAN_BLOB_BYTES_MAX: u64 = 2 * SPAN_BYTES_MAX as u64;
/// Bytes of a span's record.
pub(crate) const RECORD_BYTES: usize = 64;
const NO_WINDOW: u32 = u32::MAX;

/// A run of uncompressed bytes that is fetched, verified and cached as one.
///
/// A span whose restart is not [`Restart::Continue`], with those after it that are, makes a *group*: decoding one of them begins
/// at the head of the group and goes through all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First uncompressed byte in the stream.
    pub offset: u64,
    /// Uncompressed bytes, 1 to [`SPAN_BYTES_MAX`].
    pub length: u32,
    /// First compressed byte in the blob.
    pub blob_offset: u64,
    /// Compressed bytes that decoding the span consumes. The first and the last may be shared with the neighbours.
    pub blob_length: u64,
    /// How decoding begins.
    pub restart: Restart,
    /// What it needs, if it begins inside a gzip member.
    pub window: Option<WindowId>,
    /// BLAKE3 of the uncompressed bytes.
    pub digest: [u8; 32],
}

impl Span {
    /// The uncompressed byte after the last.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.length)
    }

    /// The compressed bytes.
    pub fn blob_range(&self) -> Range<u64> {
        self.blob_offset..self.blob_offset + self.blob_length
    }

    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        le::put(&mut out, 0, self.offset.to_le_bytes());
        le::put(&mut out, 8, self.blob_offset.to_le_bytes());
        le::put(&mut out, 16, self.length.to_le_bytes());
        // The writer refuses longer ones.
        le::put(&mut out, 20, (self.blob_length as u32).to_le_bytes());
        le::put(&mut out, 24, self.window.map_or(NO_WINDOW, |w| w.0).to_le_bytes());
        (out[28], out[29]) = self.restart.code();
        le::put(&mut out, 32, self.digest);
        out
    }

    fn parse(record: &[u8; RECORD_BYTES]) -> Result<Span, Damage> {
        let (kind, bits) = (record[28], record[29]);
        let Some(restart) = Restart::from_code((kind, bits)) else { return damaged!("a span begins in the unknown way {kind}, {bits}") };
        let window = le::u32(record, 24);
        Ok(Span {
            offset: le::u64(record, 0),
            length: le::u32(record, 16),
            blob_offset: le::u64(record, 8),
            blob_length: le::u32(record, 20).into(),
            restart,
            window: (window != NO_WINDOW).then_some(WindowId(window)),
            digest: le::digest(record, 32),
        })
    }
}

/// The span table of one stream. Its spans cover the stream without gaps.
#[derive(Clone, Copy)]
pub struct Spans<'a> {
    records: &'a [[u8; RECORD_BYTES]],
    stream: &'a Stream,
}

impl<'a> Spans<'a> {
    pub(crate) fn new(map: &'a Map, range: Range<usize>, stream: &'a Stream) -> Spans<'a> {
        Spans { records: map[range].as_chunks().0, stream }
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.records.len() as u32
    }

    /// Whether the stream is empty.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The span `index`, below [`Spans::len`].
    ///
    /// # Panics
    /// If `index` is not.
    pub fn get(&self, index: u32) -> Span {
        Span::parse(&self.records[index as usize]).expect("every record was checked when the archive was opened")
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Span> + use<'a> {
        let spans = *self;
        (0..spans.len()).map(move |i| spans.get(i))
    }

    /// The span that holds the uncompressed byte `offset`; the last one for offsets behind the end.
    pub fn find(&self, offset: u64) -> u32 {
        self.records.partition_point(|r| le::u64(r, 0) <= offset).saturating_sub(1) as u32
    }

    /// A name for exactly these spans of exactly these bytes: the key of a cache that archives share.
    ///
    /// As it covers the digests of the contents, no archive can speak for the contents of another.
    pub fn key(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"clip span table 1\0");
        hasher.update(&self.stream.size.to_le_bytes());
        hasher.update(&[self.stream.codec.code()]);
        hasher.update(self.records.as_flattened());
        *hasher.finalize().as_bytes()
    }

    /// Checks that the spans cover the stream, go forward inside the blob, and begin as the codec can.
    pub(crate) fn check(&self, windows: u32) -> Result<(), Damage> {
        let (mut offset, mut blob_offset, mut blob_end) = (0, 0, 0);
        for (i, record) in self.records.iter().enumerate() {
            let span = Span::parse(record)?;
            let begins = match (self.stream.codec, span.restart) {
                (Codec::Gzip | Codec::Zstd, Restart::Continue) => i > 0,
                (Codec::Raw, Restart::Raw) => span.blob_length == u64::from(span.length),
                (Codec::Gzip | Codec::Zstd, Restart::Frame) | (Codec::Gzip, Restart::Deflate { .. }) => true,
                _ => false,
            };
            let window = span.window.is_none_or(|w| w.0 < windows && matches!(span.restart, Restart::Deflate { .. }));
            let end = span.blob_offset.checked_add(span.blob_length).filter(|end| (blob_end..=self.stream.blob_size).contains(end));
            let fits = span.offset == offset && (1..=SPAN_BYTES_MAX).contains(&span.length) && span.blob_offset >= blob_offset;
            let Some(end) = end.filter(|_| begins && window && fits) else {
                return damaged!("span {i} of {} contradicts its neighbours or its stream", self.stream.blob);
            };
            (offset, blob_offset, blob_end) = (span.end(), span.blob_offset, end);
        }
        if offset != self.stream.size {
            return damaged!("the spans of {} cover {offset} of {} bytes", self.stream.blob, self.stream.size);
        }
        Ok(())
    }
}
