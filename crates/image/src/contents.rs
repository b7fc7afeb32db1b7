//! The bytes of layers and archives, once more: each stream read forward, from its first span to its last, verified span by span.

use std::io;
use std::sync::Arc;

use archive::{Archive, StreamId};
use backend::Blob;
use bytes::{Buf, Bytes};
use seek::{Codec, Decoder, Restart};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::assembly::{Streams, flatten};
use crate::error::LayerError;
use crate::layer::Carried;
use crate::layers::{BODY_QUEUE, Scanned, fetch};

/// The uncompressed bytes of a span after the other.
type SpanBytes = Box<dyn Iterator<Item = Result<Vec<u8>, LayerError>>>;

/// A stream that is read forward only.
pub(crate) struct Forward {
    spans: SpanBytes,
    current: Vec<u8>,
    /// Of the current span's last byte, plus one.
    end: u64,
}

impl Forward {
    /// Opens a stream of layers that were scanned. What a blob has is fetched on `runtime`.
    pub fn of_layer(stream: StreamId, streams: &Streams, scanned: &[Scanned], runtime: &Handle) -> Result<Forward, LayerError> {
        let i = usize::from(stream.0);
        let Some((layer, file)) = streams.tars.get(i) else {
            let carrier = &streams.carriers[i - streams.tars.len()].1;
            return Ok(Forward::of(Box::new(flatten(carrier.carried()).map(carried))));
        };
        let spans = file.spans()?.map(|span| {
            let span = span?;
            Ok(Known { blob_offset: span.blob_offset, length: span.length, digest: span.digest })
        });
        let inflating = Inflating::open(file.summary().codec(), Box::new(spans), &scanned[*layer].blob, runtime)?;
        Ok(Forward::of(Box::new(inflating)))
    }

    /// Opens a stream of an archive, whose blob is `blob`.
    pub fn of_archive(archive: &Arc<Archive>, stream: StreamId, blob: &Arc<dyn Blob>, runtime: &Handle) -> Result<Forward, LayerError> {
        let codec = archive.streams()[usize::from(stream.0)].codec;
        let (count, archive) = (archive.spans(stream).len(), Arc::clone(archive));
        let spans = (0..count).map(move |i| {
            let span = archive.spans(stream).get(i);
            Ok(Known { blob_offset: span.blob_offset, length: span.length, digest: span.digest })
        });
        Ok(Forward::of(Box::new(Inflating::open(codec, Box::new(spans), blob, runtime)?)))
    }

    fn of(spans: SpanBytes) -> Forward {
        Forward { spans, current: Vec::new(), end: 0 }
    }

    /// Fills `out` from the offset on, which must not lie before what was read last.
    pub fn read(&mut self, mut offset: u64, mut out: &mut [u8]) -> Result<(), LayerError> {
        while !out.is_empty() {
            while self.end <= offset {
                self.current = self.spans.next().unwrap_or_else(|| Err(damaged("it ends before its files do")))?;
                self.end += self.current.len() as u64;
            }
            let start = self.end - self.current.len() as u64;
            let Some(at) = offset.checked_sub(start) else { return Err(damaged("its files do not lie in order")) };
            let bytes = &self.current[at as usize..];
            let n = bytes.len().min(out.len());
            let (now, later) = out.split_at_mut(n);
            now.copy_from_slice(&bytes[..n]);
            (offset, out) = (offset + n as u64, later);
        }
        Ok(())
    }
}

/// What is known of a span.
struct Known {
    blob_offset: u64,
    length: u32,
    digest: [u8; 32],
}

type KnownSpans = Box<dyn Iterator<Item = io::Result<Known>>>;

/// The spans of a blob, decoded in one go.
struct Inflating {
    spans: KnownSpans,
    decoder: Decoder,
    pieces: mpsc::Receiver<Result<Bytes, LayerError>>,
    piece: Bytes,
    /// Ends the fetch when it is dropped.
    _fetching: JoinSet<()>,
}

impl Inflating {
    fn open(codec: Codec, spans: KnownSpans, blob: &Arc<dyn Blob>, runtime: &Handle) -> Result<Inflating, LayerError> {
        let restart = if codec == Codec::Raw { Restart::Raw } else { Restart::Frame };
        let mut spans = spans.peekable();
        let start = spans.peek().and_then(|first| first.as_ref().ok()).map_or(0, |first| first.blob_offset);
        let (sender, pieces) = mpsc::channel(BODY_QUEUE);
        let blob = Arc::clone(blob);
        let mut fetching = JoinSet::new();
        fetching.spawn_on(async move { fetch(&*blob, start, &sender).await }, runtime);
        let decoder = Decoder::new(codec, restart, &[])?;
        Ok(Inflating { spans: Box::new(spans), decoder, pieces, piece: Bytes::new(), _fetching: fetching })
    }

    fn span(&mut self, record: &Known) -> Result<Vec<u8>, LayerError> {
        let mut out = vec![0; record.length as usize];
        let mut filled = 0;
        while filled < out.len() {
            let (consumed, produced) = self.decoder.decode(&self.piece, &mut out[filled..])?;
            self.piece.advance(consumed);
            filled += produced;
            if filled < out.len() && self.piece.is_empty() {
                self.piece = self.pieces.blocking_recv().unwrap_or_else(|| Err(damaged("its blob ends early")))?;
            }
        }
        verified(out, &record.digest)
    }
}

impl Iterator for Inflating {
    type Item = Result<Vec<u8>, LayerError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.spans.next()?;
        Some(record.map_err(LayerError::from).and_then(|record| self.span(&record)))
    }
}

fn carried(carried: io::Result<Carried>) -> Result<Vec<u8>, LayerError> {
    let Carried { length, frame, digest } = carried?;
    verified(seek::decode_span(Codec::Zstd, Restart::Frame, &[], &frame, length as usize)?, &digest)
}

/// What was scanned is not believed a second time: the blob may have changed since.
fn verified(bytes: Vec<u8>, digest: &[u8; 32]) -> Result<Vec<u8>, LayerError> {
    if blake3::hash(&bytes).as_bytes() == digest { Ok(bytes) } else { Err(damaged("its bytes are not those that were scanned")) }
}

fn damaged(what: &str) -> LayerError {
    LayerError::Changed(what.to_owned())
}
