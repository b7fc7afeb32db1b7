//! A blob that is already in memory: small archives, and tests.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::{Blob, Body, Error, check_range};

/// Bytes in memory. Reading never fails and never waits.
#[derive(Debug, Clone)]
pub struct MemoryBlob {
    name: String,
    bytes: Bytes,
}

impl MemoryBlob {
    /// A blob of `bytes`, called `name` in messages.
    pub fn new(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

#[async_trait]
impl Blob for MemoryBlob {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn is_far(&self) -> bool {
        false
    }

    async fn get(&self, range: Range<u64>) -> Result<Body, Error> {
        check_range(&self.name, self.size(), &range)?;
        // The range lies within a slice, so its ends fit the machine's word.
        let bytes = self.bytes.slice(range.start as usize..range.end as usize);
        Ok(Body { offset: range.start, stream: stream::once(async { Ok(bytes) }).boxed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[tokio::test]
    async fn conforms() {
        let content = conformance::content(100_000);
        conformance::check(&MemoryBlob::new("memory", content.clone()), &content).await.unwrap();
    }
}
