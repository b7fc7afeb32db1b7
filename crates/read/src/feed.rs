//! Cuts the body of an answer into the pieces that are wanted, as they arrive.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use backend::{Blob, Body};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;

/// Longest wait for an answer to begin. Backends have shorter limits of their own; this one is there so that a fetch that hangs for a
/// reason nobody thought of does not hold its spans for ever.
const ANSWER_MAX: Duration = Duration::from_secs(180);
/// Longest pause between two chunks of a body, for the same reason.
const STALL_MAX: Duration = Duration::from_secs(90);

/// The bytes of a blob from some place on.
pub(crate) struct Feed {
    name: String,
    body: Body,
    /// What has arrived and may still be wanted; `at` is where its first byte lies in the blob.
    buffer: BytesMut,
    at: u64,
}

impl Feed {
    /// Asks for a range.
    pub async fn open(blob: &dyn Blob, range: Range<u64>) -> Result<Self, backend::Error> {
        let body = tokio::time::timeout(ANSWER_MAX, blob.get(range)).await.unwrap_or_else(|_| Err(late(blob.name(), "for an answer")))?;
        Ok(Self { name: blob.name().to_owned(), at: body.offset, body, buffer: BytesMut::new() })
    }

    /// Where in the blob the next bytes lie.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The bytes `range`, when they have arrived. Ranges must be taken in the order of their starts; they may overlap.
    pub async fn take(&mut self, range: Range<u64>) -> Result<Bytes, backend::Error> {
        if range.start < self.at {
            let (start, end) = (range.start, range.end);
            return Err(backend::Error::Protocol { what: self.name.clone(), detail: format!("bytes {start}..{end} have passed by") });
        }
        self.drop_before(range.start);
        while self.at + (self.buffer.len() as u64) < range.end {
            let next = tokio::time::timeout(STALL_MAX, self.body.stream.next()).await;
            let chunk = next.map_err(|_| late(&self.name, "for the rest of a body"))?.ok_or_else(|| ended(&self.name))??;
            self.buffer.extend_from_slice(&chunk);
            self.drop_before(range.start);
        }
        // Both ends lie within the buffer now.
        let from = (range.start - self.at) as usize;
        Ok(Bytes::copy_from_slice(&self.buffer[from..(range.end - self.at) as usize]))
    }

    fn drop_before(&mut self, offset: u64) {
        let passed = usize::try_from(offset - self.at).unwrap_or(usize::MAX).min(self.buffer.len());
        self.buffer.advance(passed);
        self.at += passed as u64;
    }
}

fn late(what: &str, doing: &str) -> backend::Error {
    backend::Error::Timeout { what: what.to_owned(), doing: doing.to_owned() }
}

fn ended(what: &str) -> backend::Error {
    let source = Arc::new(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
    backend::Error::Unavailable { what: what.to_owned(), retry_after: None, source }
}

#[cfg(test)]
mod tests {
    use backend::MemoryBlob;
    use backend::faults::{Fault, Faults};

    use super::*;

    fn blob() -> Faults<MemoryBlob> {
        Faults::new(MemoryBlob::new("m", (0..=255).cycle().take(20_000).collect::<Vec<u8>>()))
    }

    #[tokio::test]
    async fn cuts_overlapping_and_distant_ranges() {
        for whole in [false, true] {
            let blob = blob();
            blob.every(whole.then_some(Fault::WholeBlob));
            let mut feed = Feed::open(&blob, 256..20_000).await.unwrap();
            assert_eq!(feed.offset(), if whole { 0 } else { 256 });
            for range in [256..260, 259..9000, 8999..9001, 19_000..20_000] {
                let expected: Vec<u8> = (0..=255).cycle().skip(range.start as usize).take((range.end - range.start) as usize).collect();
                assert_eq!(feed.take(range).await.unwrap(), expected);
            }
            assert!(matches!(feed.take(10..20).await, Err(backend::Error::Protocol { .. })));
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_an_error() {
        let blob = blob();
        blob.next(Fault::Short { after: 100 });
        let mut feed = Feed::open(&blob, 0..1000).await.unwrap();
        assert!(feed.take(0..100).await.is_ok());
        assert!(feed.take(100..101).await.unwrap_err().is_transient());
    }
}
