//! A limit of requests in flight.
//!
//! A permit is held from before the request until the body ends or is dropped: a body that nobody reads still holds a
//! connection. So never hold a body while waiting for another from the same limit.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use crate::{Blob, Body, Error};

/// Lets only so many requests pass as the shared semaphore has permits. Waiters are served in order.
#[derive(Debug)]
pub struct Limit<B> {
    blob: B,
    permits: Arc<Semaphore>,
}

impl<B: Blob> Limit<B> {
    /// Puts `blob` under `permits`, usually shared by all blobs of one registry. They must never be closed.
    pub fn new(blob: B, permits: Arc<Semaphore>) -> Self {
        Self { blob, permits }
    }
}

#[async_trait]
impl<B: Blob> Blob for Limit<B> {
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
        let permit = self.permits.clone().acquire_owned().await.map_err(|closed| Error::unavailable(self.name(), closed))?;
        let body = self.blob.get(range).await?;
        // `unfold` drops its state with the last item, and so the permit.
        let stream = stream::unfold((body.stream, permit), |(mut stream, permit)| async move {
            let item = stream.next().await?;
            Some((item, (stream, permit)))
        });
        Ok(Body { offset: body.offset, stream: stream.boxed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryBlob, conformance, read_all};

    #[tokio::test]
    async fn conforms() {
        let content = conformance::content(50_000);
        let blob = Limit::new(MemoryBlob::new("m", content.clone()), Arc::new(Semaphore::new(2)));
        conformance::check(&blob, &content).await.unwrap();
    }

    #[tokio::test]
    async fn the_permit_lives_as_long_as_the_body() {
        let permits = Arc::new(Semaphore::new(1));
        let blob = Limit::new(MemoryBlob::new("m", vec![1; 10]), permits.clone());
        let mut body = blob.get(0..10).await.unwrap();
        assert_eq!(permits.available_permits(), 0);
        while body.stream.next().await.is_some() {}
        assert_eq!(permits.available_permits(), 1, "given back at the end of the body, before it is dropped");
        drop(blob.get(0..10).await.unwrap());
        assert_eq!(permits.available_permits(), 1);
        assert_eq!(read_all(&blob, 0..10, 10).await.unwrap().len(), 10);
    }
}
