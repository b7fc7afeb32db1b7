//! Counting what passes.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use async_trait::async_trait;
use futures_util::StreamExt;

use crate::{Blob, Body, Error};

/// Counters of one source of bytes, shared by all its blobs. They only grow.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: AtomicU64,
    bytes: AtomicU64,
    retries: AtomicU64,
    errors: AtomicU64,
    first_bytes: AtomicU64,
    first_byte_micros: AtomicU64,
    first_byte_micros_max: AtomicU64,
}

/// The counters at one moment, each read by itself.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct TrafficSnapshot {
    /// Requests begun, retries among them.
    pub requests: u64,
    /// Bytes of bodies received.
    pub bytes: u64,
    /// Requests that repeat or go on with one that failed.
    pub retries: u64,
    /// Requests and bodies that ended with an error.
    pub errors: u64,
    /// Bodies of which a first byte arrived.
    pub first_bytes: u64,
    /// Microseconds from request to first byte, summed over `first_bytes`.
    pub first_byte_micros: u64,
    /// The longest of them.
    pub first_byte_micros_max: u64,
}

impl Traffic {
    /// What was counted so far.
    pub fn snapshot(&self) -> TrafficSnapshot {
        TrafficSnapshot {
            requests: self.requests.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            retries: self.retries.load(Relaxed),
            errors: self.errors.load(Relaxed),
            first_bytes: self.first_bytes.load(Relaxed),
            first_byte_micros: self.first_byte_micros.load(Relaxed),
            first_byte_micros_max: self.first_byte_micros_max.load(Relaxed),
        }
    }

    /// A request was begun.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// A request or body ended with an error.
    pub fn count_error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// So many bytes of a body arrived.
    pub fn count_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// The first byte of the request that began at `since` arrived.
    pub fn count_first_byte(&self, since: Instant) {
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.first_bytes.fetch_add(1, Relaxed);
        self.first_byte_micros.fetch_add(micros, Relaxed);
        self.first_byte_micros_max.fetch_max(micros, Relaxed);
    }
}

/// Counts the requests and bytes of a blob into a shared [`Traffic`].
#[derive(Debug)]
pub struct Counted<B> {
    blob: B,
    traffic: Arc<Traffic>,
}

impl<B: Blob> Counted<B> {
    /// Counts what `blob` does into `traffic`.
    pub fn new(blob: B, traffic: Arc<Traffic>) -> Self {
        Self { blob, traffic }
    }
}

#[async_trait]
impl<B: Blob> Blob for Counted<B> {
    fn name(&self) -> &str {
        self.blob.name()
    }

    fn size(&self) -> u64 {
        self.blob.size()
    }

    fn is_far(&self) -> bool {
        self.blob.is_far()
    }

    async fn get(&self, range: Range<u64>) -> Result<Body, Error> {
        let begun = Instant::now();
        self.traffic.count_request();
        let body = self.blob.get(range).await.inspect_err(|_| self.traffic.count_error())?;
        let traffic = self.traffic.clone();
        let mut first = true;
        let stream = body.stream.inspect(move |item| match item {
            Ok(chunk) => {
                if std::mem::take(&mut first) {
                    traffic.count_first_byte(begun);
                }
                traffic.count_bytes(chunk.len());
            }
            Err(_) => traffic.count_error(),
        });
        Ok(Body { offset: body.offset, stream: stream.boxed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MemoryBlob, conformance,
        faults::{Fault, Faults},
        read_all,
    };

    #[tokio::test]
    async fn conforms() {
        let content = conformance::content(50_000);
        let blob = Counted::new(MemoryBlob::new("m", content.clone()), Arc::default());
        conformance::check(&blob, &content).await.unwrap();
    }

    #[tokio::test]
    async fn counts() {
        let traffic = Arc::<Traffic>::default();
        let faults = Arc::new(Faults::new(MemoryBlob::new("m", vec![1; 1000])));
        let blob = Counted::new(faults.clone(), traffic.clone());
        read_all(&blob, 0..600, 1000).await.unwrap();
        faults.next(Fault::Reset { after: 10 });
        read_all(&blob, 0..600, 1000).await.unwrap_err();
        let seen = traffic.snapshot();
        assert_eq!((seen.requests, seen.bytes, seen.errors, seen.first_bytes), (2, 610, 1, 2));
        assert!(seen.first_byte_micros_max <= seen.first_byte_micros);
    }
}
