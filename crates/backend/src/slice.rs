//! A part of a blob, as a blob: what one object holds for several.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, future};

use crate::{Blob, Body, Error, check_range, skip_front};

/// `size` bytes of another blob, from `offset` on.
#[derive(Debug, Clone)]
pub struct Slice {
    blob: Arc<dyn Blob>,
    offset: u64,
    size: u64,
}

impl Slice {
    /// The part of `blob` that begins at `offset` and has `size` bytes.
    ///
    /// # Errors
    /// [`Error::Range`] where the blob ends before it does.
    pub fn new(blob: Arc<dyn Blob>, offset: u64, size: u64) -> Result<Self, Error> {
        if offset.checked_add(size).is_none_or(|end| end > blob.size()) {
            let (what, end) = (blob.name().to_owned(), offset.saturating_add(size));
            return Err(Error::Range { what, start: offset, end, size: blob.size() });
        }
        Ok(Self { blob, offset, size })
    }
}

#[async_trait]
impl Blob for Slice {
    fn name(&self) -> &str {
        self.blob.name()
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn is_far(&self) -> bool {
        self.blob.is_far()
    }

    async fn get(&self, range: Range<u64>) -> Result<Body, Error> {
        check_range(self.name(), self.size, &range)?;
        let body = self.blob.get(self.offset + range.start..self.offset + range.end).await?;
        // Where the server ignores ranges, what comes before the part is passed over; what comes behind it nobody takes.
        let mut skip = self.offset.saturating_sub(body.offset);
        let stream = body.stream.map_ok(move |chunk| skip_front(chunk, &mut skip)).try_filter(|chunk| future::ready(!chunk.is_empty()));
        let mut left = self.size - body.offset.saturating_sub(self.offset);
        let cut = move |mut chunk: bytes::Bytes| {
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= chunk.len() as u64;
            chunk
        };
        let stream = stream.map_ok(cut).take_while(|chunk| future::ready(!chunk.as_ref().is_ok_and(bytes::Bytes::is_empty)));
        Ok(Body { offset: body.offset.saturating_sub(self.offset), stream: stream.boxed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;
    use crate::faults::{Fault, Faults};
    use crate::{MemoryBlob, read_all};

    fn blob(content: &[u8]) -> MemoryBlob {
        MemoryBlob::new("m", [&[1; 1000][..], content, &[2; 500]].concat())
    }

    #[tokio::test]
    async fn conforms() {
        let content = conformance::content(300_000);
        let slice = Slice::new(Arc::new(blob(&content)), 1000, 300_000).unwrap();
        conformance::check(&slice, &content).await.unwrap();
    }

    #[tokio::test]
    async fn a_server_without_ranges_gives_the_part_alone() {
        let content = conformance::content(5000);
        let faults = Faults::new(blob(&content));
        faults.every(Some(Fault::WholeBlob));
        let slice = Slice::new(Arc::new(faults), 1000, 5000).unwrap();
        let body = slice.get(4000..4010).await.unwrap();
        assert_eq!(body.offset, 0);
        let all: Vec<_> = body.stream.try_collect().await.unwrap();
        assert_eq!(all.concat(), content);
        assert_eq!(read_all(&slice, 4990..5000, 10).await.unwrap(), content[4990..]);
    }

    #[test]
    fn a_part_lies_inside() {
        let whole: Arc<dyn Blob> = Arc::new(MemoryBlob::new("m", vec![0; 10]));
        assert!(Slice::new(Arc::clone(&whole), 3, 7).is_ok());
        assert!(matches!(Slice::new(Arc::clone(&whole), 3, 8), Err(Error::Range { .. })));
        assert!(Slice::new(whole, u64::MAX, 1).is_err());
    }
}
