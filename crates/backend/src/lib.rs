//! Where bytes come from: local files, memory and OCI registries behind one trait.
//!
//! Everything above this crate sees a [`Blob`]: immutable bytes with a name, a size and ranged reads. What makes a
//! blob dependable is stacked around it as wrappers of the same trait, for a registry
//! `Retry(Limit(Counted(RegistryBlob)))`, which [`Registry::open`] builds.
//!
//! Only this crate knows `oci-client`, `docker_credential` and `reqwest`; the crate `s3` adds a source, and knows the SDK of AWS. It never verifies content: digests are
//! checked by those who know them.
//!
//! | File | Idea |
//! |---|---|
//! | `error` | what the caller can do next |
//! | `file`, `memory`, `registry` | the sources |
//! | `retry`, `limit`, `counted`, `slice`, `faults` | the wrappers |
//! | `conformance` | what every source and wrapper must hold |
//! | `reference`, `credentials` | which image, and who asks for it |

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};

pub mod conformance;
mod counted;
mod credentials;
mod error;
pub mod faults;
mod file;
mod limit;
mod memory;
mod reference;
mod registry;
mod retry;
mod slice;

pub use counted::{Counted, Traffic, TrafficSnapshot};
pub use credentials::{Credentials, Login};
pub use error::{Error, Source};
pub use file::FileBlob;
pub use limit::Limit;
pub use memory::MemoryBlob;
pub use reference::{Reference, Repository};
pub use registry::{MANIFEST_BYTES_MAX, RawManifest, Registry, RegistryBlob, RegistryOptions, Transport, content_range, retry_after};
pub use retry::{Retry, RetryPolicy};
pub use slice::Slice;

/// Immutable bytes that can be read by ranges, many at a time.
#[async_trait]
pub trait Blob: Send + Sync + fmt::Debug {
    /// What this is, for messages: `sha256:… from registry.example/app`.
    fn name(&self) -> &str;

    /// The number of bytes.
    fn size(&self) -> u64;

    /// Whether a request takes long enough that one should bring more than was asked for: there is a network between.
    fn is_far(&self) -> bool;

    /// Opens the bytes `range`, which must not be empty and must lie within the size, else [`Error::Range`].
    ///
    /// The body begins at [`Body::offset`], at `range.start` or before it, and holds at least the bytes up to
    /// `range.end`, or ends with an error. It is safe to drop a body anywhere.
    async fn get(&self, range: Range<u64>) -> Result<Body, Error>;
}

/// The bytes of one answer.
pub struct Body {
    /// Where in the blob the first byte lies. Smaller than asked for where the server ignores ranges: then this is the
    /// whole blob, and whoever reads it may use all that passes by.
    pub offset: u64,
    /// The bytes in order. After an error there is nothing more.
    pub stream: BoxStream<'static, Result<Bytes, Error>>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("offset", &self.offset).finish_non_exhaustive()
    }
}

#[async_trait]
impl<B: Blob + ?Sized> Blob for Arc<B> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn size(&self) -> u64 {
        (**self).size()
    }

    fn is_far(&self) -> bool {
        (**self).is_far()
    }

    async fn get(&self, range: Range<u64>) -> Result<Body, Error> {
        (**self).get(range).await
    }
}

/// Reads exactly the bytes `range` into memory.
///
/// # Errors
/// [`Error::TooLarge`] if the range is longer than `limit_bytes`, [`Error::Unavailable`] if the body ends early, and
/// whatever [`Blob::get`] and its body give.
pub async fn read_all(blob: &dyn Blob, range: Range<u64>, limit_bytes: u64) -> Result<Bytes, Error> {
    check_range(blob.name(), blob.size(), &range)?;
    let too_large = || Error::TooLarge { what: blob.name().to_owned(), limit_bytes };
    let wanted = range.end - range.start;
    if wanted > limit_bytes {
        return Err(too_large());
    }
    let wanted = usize::try_from(wanted).map_err(|_| too_large())?;
    let mut body = blob.get(range.clone()).await?;
    let mut skip = range.start.saturating_sub(body.offset);
    let mut out = BytesMut::with_capacity(wanted);
    while out.len() < wanted {
        let Some(chunk) = body.stream.next().await else {
            return Err(Error::unavailable(blob.name(), format!("body ended after {} of {wanted} bytes", out.len())));
        };
        let mut chunk = skip_front(chunk?, &mut skip);
        chunk.truncate(wanted - out.len());
        out.extend_from_slice(&chunk);
    }
    Ok(out.freeze())
}

/// What every [`Blob::get`] checks before anything else.
///
/// # Errors
/// [`Error::Range`] for a range that is empty or not within `size`.
pub fn check_range(what: &str, size: u64, range: &Range<u64>) -> Result<(), Error> {
    if range.start < range.end && range.end <= size {
        return Ok(());
    }
    Err(Error::Range { what: what.to_owned(), start: range.start, end: range.end, size })
}

/// Drops up to `skip` bytes from the front of `chunk`, and takes them off `skip`.
pub(crate) fn skip_front(mut chunk: Bytes, skip: &mut u64) -> Bytes {
    let drop = usize::try_from(*skip).unwrap_or(usize::MAX).min(chunk.len());
    *skip -= drop as u64;
    chunk.advance(drop);
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Fault, Faults};

    #[tokio::test]
    async fn read_all_gives_exactly_the_range() {
        let blob = MemoryBlob::new("m", &b"0123456789"[..]);
        assert_eq!(read_all(&blob, 2..7, 5).await.unwrap(), "23456");
        assert!(matches!(read_all(&blob, 2..7, 4).await, Err(Error::TooLarge { .. })));
        assert!(matches!(read_all(&blob, 5..11, 99).await, Err(Error::Range { .. })));
    }

    #[tokio::test]
    async fn read_all_skips_what_comes_before_the_range() {
        let blob = Faults::new(MemoryBlob::new("m", &b"0123456789"[..]));
        blob.every(Some(Fault::WholeBlob));
        assert_eq!(read_all(&blob, 8..10, 5).await.unwrap(), "89");
    }

    #[tokio::test]
    async fn read_all_refuses_a_short_body() {
        let blob = Faults::new(MemoryBlob::new("m", &b"0123456789"[..]));
        blob.next(Fault::Short { after: 3 });
        assert!(read_all(&blob, 0..10, 10).await.unwrap_err().is_transient());
    }
}
