//! For tests, here and in the crates above: a blob that fails when told to.
//!
//! One fault is taken per [`Blob::get`]: first those queued by [`Faults::next`], then the one set by [`Faults::every`].

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::{Blob, Body, Error, read_all};

/// Bytes per chunk of a body: small, so that faults hit between chunks too.
const CHUNK_BYTES: usize = 4096;

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// `get` itself gives this error.
    Refuse(Error),
    /// The body gives a transient error after so many bytes.
    Reset {
        /// Bytes of the range that still arrive.
        after: usize,
    },
    /// The body ends without an error after so many bytes.
    Short {
        /// Bytes of the range that still arrive.
        after: usize,
    },
    /// All bits of the byte at this offset of the blob arrive inverted.
    Flip {
        /// Offset in the blob.
        at: u64,
    },
    /// `get` waits so long before it goes on.
    Delay(Duration),
    /// Ranges are ignored: the body is the whole blob.
    WholeBlob,
}

/// Wraps a blob and spoils its answers as told.
#[derive(Debug)]
pub struct Faults<B> {
    blob: B,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    queue: VecDeque<Fault>,
    every: Option<Fault>,
    ranges: Vec<Range<u64>>,
}

impl<B: Blob> Faults<B> {
    /// Wraps `blob`; without faults it answers as the blob does.
    pub fn new(blob: B) -> Self {
        Self { blob, plan: Mutex::default() }
    }

    /// Spoils the next request that no earlier call has spoken for.
    pub fn next(&self, fault: Fault) {
        self.plan().queue.push_back(fault);
    }

    /// Spoils every request that the queue does not, until told otherwise.
    pub fn every(&self, fault: Option<Fault>) {
        self.plan().every = fault;
    }

    /// The ranges of all requests so far, in order.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        self.plan().ranges.clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, range: &Range<u64>) -> Option<Fault> {
        let mut plan = self.plan();
        plan.ranges.push(range.clone());
        plan.queue.pop_front().or_else(|| plan.every.clone())
    }
}

#[async_trait]
impl<B: Blob> Blob for Faults<B> {
    fn name(&self) -> &str {
        self.blob.name()
    }

    fn size(&self) -> u64 {
        self.blob.size()
    }

    fn is_far(&self) -> bool {
        true // it stands for a server
    }

    async fn get(&self, range: Range<u64>) -> Result<Body, Error> {
        let fault = self.take(&range);
        let (mut end, mut error, mut flip, mut wanted) = (usize::MAX, None, None, range.clone());
        match fault {
            Some(Fault::Refuse(error)) => return Err(error),
            Some(Fault::Reset { after }) => (end, error) = (after, Some(Error::unavailable(self.name(), "connection reset (injected)"))),
            Some(Fault::Short { after }) => end = after,
            Some(Fault::Flip { at }) => flip = Some(at),
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::WholeBlob) => {
                crate::check_range(self.name(), self.size(), &range)?;
                wanted = 0..self.size();
            }
            None => {}
        }
        let mut bytes = read_all(&self.blob, wanted.clone(), u64::MAX).await?.to_vec();
        if let Some(at) = flip.filter(|at| wanted.contains(at)) {
            let index = (at - wanted.start) as usize;
            bytes[index] = !bytes[index];
        }
        bytes.truncate(end);
        let chunks: Vec<_> = bytes.chunks(CHUNK_BYTES).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).chain(error.map(Err)).collect();
        Ok(Body { offset: wanted.start, stream: stream::iter(chunks).boxed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryBlob, conformance};

    #[tokio::test]
    async fn conforms_while_nothing_is_spoilt_and_while_ranges_are_ignored() {
        let content = conformance::content(50_000);
        let blob = Faults::new(MemoryBlob::new("m", content.clone()));
        conformance::check(&blob, &content).await.unwrap();
        blob.every(Some(Fault::WholeBlob));
        conformance::check(&blob, &content).await.unwrap();
    }

    #[tokio::test]
    async fn each_fault_hits_one_request() {
        let blob = Faults::new(MemoryBlob::new("m", vec![0; 100]));
        blob.next(Fault::Flip { at: 12 });
        blob.next(Fault::Reset { after: 5 });
        assert_eq!(read_all(&blob, 10..14, 9).await.unwrap()[..], [0, 0, 255, 0]);
        assert!(read_all(&blob, 10..20, 99).await.unwrap_err().is_transient());
        assert_eq!(read_all(&blob, 10..20, 99).await.unwrap()[..], [0; 10]);
        assert_eq!(blob.ranges(), [10..14, 10..20, 10..20]);
    }
}
