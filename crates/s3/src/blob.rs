//! An object as a blob: one ranged GET per `get`, one attempt each, all of the same version of the object.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_s3::{operation::get_object::GetObjectOutput, primitives::ByteStream};
use backend::{Blob, Body, Error, check_range, content_range};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};

use crate::{
    client::Inner,
    error::{self, Asked, Failure},
};

/// An object of a bucket, as it was when it was opened: no retries, no limit. [`Bucket::open`](crate::Bucket::open) adds those.
#[derive(Debug, Clone)]
pub struct S3Blob {
    inner: Arc<Inner>,
    object: Arc<Object>,
    size: u64,
    /// As the server wrote it, quotes and all. Empty for an empty object, which is never asked for again.
    etag: String,
}

/// Which object, and the words for it.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) asked: Asked,
}

impl S3Blob {
    /// Reads up to `last_bytes` (at least 1) from the end of an object, and learns its size and its version from the answer.
    pub(crate) async fn open_at_end(inner: &Arc<Inner>, object: &Arc<Object>, last_bytes: u64) -> Result<(Bytes, Self), Failure> {
        let asked = &object.asked;
        let output = match get(inner, object, &format!("-{last_bytes}"), None).await {
            // An object of which there is no last byte, or a server that does not give more than there is (RFC 9110 §14.1.2 says it should).
            Err(failure) if matches!(failure.status, 416 | 500) => return Self::open_behind_front(inner, object, last_bytes).await,
            output => output?,
        };
        let (extent, size) = Head::of(&output).end(last_bytes).map_err(|detail| Failure::protocol(asked, detail))?;
        let etag = etag(asked, output.e_tag)?;
        let patience = inner.read_timeout;
        let transfer = Transfer { what: asked.what.clone(), body: output.body, at: extent.start, end: extent.end, wanted: size, patience };
        let last = transfer.collect(extent.end - extent.start).await?;
        inner.traffic.count_bytes(last.len());
        Ok((last, Self { inner: inner.clone(), object: object.clone(), size, etag }))
    }

    /// The same in two requests.
    async fn open_behind_front(inner: &Arc<Inner>, object: &Arc<Object>, last_bytes: u64) -> Result<(Bytes, Self), Failure> {
        let (_, blob) = Self::open(inner, object, 1).await?;
        if blob.size == 0 {
            return Ok((Bytes::new(), blob));
        }
        let range = blob.size.saturating_sub(last_bytes)..blob.size;
        let last = backend::read_all(&blob, range, last_bytes).await.map_err(|error| Failure { status: 0, code: String::new(), error })?;
        Ok((last, blob))
    }

    /// Reads up to `first_bytes` from the front of an object, and learns its size and its version from the answer.
    pub(crate) async fn open(inner: &Arc<Inner>, object: &Arc<Object>, first_bytes: u64) -> Result<(Bytes, Self), Failure> {
        let asked = &object.asked;
        let wanted = 0..first_bytes.max(1);
        let blob = |size, etag| Self { inner: inner.clone(), object: object.clone(), size, etag };
        let output = match get(inner, object, &span(&wanted), None).await {
            // An object of which there is no first byte.
            Err(failure) if failure.status == 416 => return Ok((Bytes::new(), blob(0, String::new()))),
            output => output?,
        };
        let head = Head::of(&output);
        let (extent, size) = head.extent(&wanted, None).map_err(|detail| Failure::protocol(asked, detail))?;
        let etag = etag(asked, output.e_tag)?;
        let length = wanted.end.min(size);
        if extent.end < length {
            return Err(Failure::protocol(asked, format!("{extent:?} of {size} bytes to a GET of {wanted:?}")));
        }
        let patience = inner.read_timeout;
        let transfer = Transfer { what: asked.what.clone(), body: output.body, at: 0, end: extent.end, wanted: length, patience };
        let first = transfer.collect(length.min(first_bytes)).await?;
        inner.traffic.count_bytes(first.len());
        Ok((first, blob(size, etag)))
    }

    /// Whether an answer is of the version that was opened. A server that does not know `If-Match` gives another's bytes.
    fn is_same(&self, output: &GetObjectOutput) -> bool {
        output.e_tag.as_ref() == Some(&self.etag)
    }

    fn changed(&self) -> Error {
        Error::Changed { what: self.object.asked.what.clone() }
    }
}

#[async_trait]
impl Blob for S3Blob {
    fn name(&self) -> &str {
        &self.object.asked.what
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn is_far(&self) -> bool {
        true
    }

    async fn get(&self, range: Range<u64>) -> Result<Body, Error> {
        check_range(self.name(), self.size, &range)?;
        let output = match get(&self.inner, &self.object, &span(&range), Some(&self.etag)).await {
            // Another version is shorter, and the server looked at the range first.
            Err(failure) if failure.status == 416 => return Err(self.changed()),
            output => output?,
        };
        if !self.is_same(&output) {
            return Err(self.changed());
        }
        let extent = Head::of(&output).extent(&range, Some(self.size)).map_err(|detail| Error::protocol(self.name(), detail))?.0;
        let transfer = Transfer {
            what: self.name().to_owned(),
            body: output.body,
            at: extent.start,
            end: extent.end,
            wanted: range.end,
            patience: self.inner.read_timeout,
        };
        let stream = stream::unfold(Some(transfer), |transfer| async {
            let mut transfer = transfer?;
            match transfer.next().await.transpose()? {
                Ok(chunk) => Some((Ok(chunk), Some(transfer))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Body { offset: extent.start, stream: stream.boxed() })
    }
}

/// A range as HTTP writes it (RFC 9110 §14.1.2).
fn span(range: &Range<u64>) -> String {
    format!("{}-{}", range.start, range.end - 1)
}

/// The version of an object that an answer is of.
fn etag(asked: &Asked, etag: Option<String>) -> Result<String, Failure> {
    let detail = "an answer without ETag, by which a changed object is known; is that S3, and is no login page before it?";
    etag.filter(|etag| !etag.is_empty()).ok_or_else(|| Failure::protocol(asked, detail))
}

async fn get(inner: &Inner, object: &Object, range: &str, etag: Option<&str>) -> Result<GetObjectOutput, Failure> {
    let mut request = inner.client.get_object().bucket(&object.bucket).key(&object.key);
    request = request.range(format!("bytes={range}"));
    // A weak ETag never matches; the answer's is compared all the same.
    if let Some(etag) = etag.filter(|etag| !etag.starts_with("W/")) {
        request = request.if_match(etag);
    }
    inner.answer(&object.asked, Duration::ZERO, request.send()).await
}

/// What the head of an answer says about its body.
#[derive(Debug)]
struct Head<'a> {
    content_range: Option<&'a str>,
    length: Option<u64>,
}

impl<'a> Head<'a> {
    fn of(output: &'a GetObjectOutput) -> Self {
        let length = output.content_length.and_then(|length| u64::try_from(length).ok());
        Self { content_range: output.content_range.as_deref(), length }
    }

    /// Where the body of an answer to "the last `wanted` bytes" begins and ends, and the size of the object, which is where it ends.
    fn end(&self, wanted: u64) -> Result<(Range<u64>, u64), String> {
        let Some(text) = self.content_range else {
            return match self.length {
                // All of it, which is not more than was asked for.
                Some(length) if length <= wanted => Ok((0..length, length)),
                _ => Err(format!("no Content-Range to a GET of the last {wanted} bytes; it must be a server that knows ranges")),
            };
        };
        let wrong = || format!("Content-Range '{text}' to a GET of the last {wanted} bytes");
        let (got, total) = content_range(text).ok_or_else(wrong)?;
        let (start, end) = (*got.start(), got.end().saturating_add(1));
        let fits = total == Some(end) && start == end.saturating_sub(wanted) && self.length.is_none_or(|length| length == end - start);
        if fits { Ok((start..end, end)) } else { Err(wrong()) }
    }

    /// Where the body begins and ends, and the size of the object. Without a Content-Range the body is the whole object, whatever was
    /// asked. A server may give less than `wanted` (the rest is asked for again), but from where it was asked.
    fn extent(&self, wanted: &Range<u64>, size: Option<u64>) -> Result<(Range<u64>, u64), String> {
        let (extent, total) = match self.content_range {
            None => {
                let total = self.length.ok_or_else(|| format!("neither Content-Range nor Content-Length to a GET of {wanted:?}"))?;
                (0..total, total)
            }
            Some(text) => {
                let wrong = || format!("Content-Range '{text}' to a GET of {wanted:?}");
                let (got, total) = content_range(text).ok_or_else(wrong)?;
                let total = total.or(size).ok_or_else(wrong)?;
                if *got.start() != wanted.start || *got.end() >= wanted.end {
                    return Err(wrong());
                }
                (*got.start()..*got.end() + 1, total)
            }
        };
        if size.is_some_and(|size| size != total) {
            return Err(format!("an object of {total} bytes instead of {}", size.unwrap_or_default()));
        }
        match self.length {
            Some(length) if length != extent.end - extent.start => Err(format!("{length} bytes instead of {extent:?}")),
            _ => Ok((extent, total)),
        }
    }
}

/// A body that must end where the head said.
struct Transfer {
    what: String,
    body: ByteStream,
    at: u64,
    end: u64,
    /// Where the range that was asked for ends.
    wanted: u64,
    patience: Duration,
}

impl Transfer {
    /// The first `length` bytes of the body.
    async fn collect(mut self, length: u64) -> Result<Bytes, Failure> {
        let mut collected = BytesMut::new();
        while (collected.len() as u64) < length {
            let chunk = self.next().await.map_err(|error| Failure { status: 0, code: String::new(), error })?;
            let Some(chunk) = chunk else { break };
            let missing = usize::try_from(length - collected.len() as u64).unwrap_or(usize::MAX);
            collected.extend_from_slice(&chunk[..chunk.len().min(missing)]);
        }
        Ok(collected.freeze())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match next_chunk(&mut self.body, &self.what, self.patience).await? {
            Some(chunk) if chunk.len() as u64 > self.end - self.at => {
                Err(Error::protocol(&self.what, format!("body goes on after {} where it must end", self.end)))
            }
            Some(chunk) => {
                self.at += chunk.len() as u64;
                Ok(Some(chunk))
            }
            None if self.at < self.end.max(self.wanted) => {
                Err(Error::unavailable(&self.what, format!("body ended at {} instead of {}", self.at, self.end.max(self.wanted))))
            }
            None => Ok(None),
        }
    }
}

/// The next piece of a body, if it comes in time.
pub(crate) async fn next_chunk(body: &mut ByteStream, what: &str, patience: Duration) -> Result<Option<Bytes>, Error> {
    match tokio::time::timeout(patience, body.next()).await {
        Ok(chunk) => chunk.transpose().map_err(|error| error::body(what, &error)),
        Err(_) => Err(Error::Timeout { what: what.to_owned(), doing: "waiting for data".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(content_range: Option<&str>, length: Option<u64>, size: Option<u64>) -> Result<(Range<u64>, u64), String> {
        Head { content_range, length }.extent(&(10..20), size)
    }

    #[test]
    fn heads_that_fit() {
        assert_eq!(extent(Some("bytes 10-19/100"), Some(10), None), Ok((10..20, 100)));
        assert_eq!(extent(Some("bytes 10-19/100"), None, Some(100)), Ok((10..20, 100)));
        assert_eq!(extent(Some("bytes 10-14/100"), Some(5), Some(100)), Ok((10..15, 100)), "less than was asked");
        assert_eq!(extent(Some("bytes 10-19/*"), Some(10), Some(100)), Ok((10..20, 100)));
        assert_eq!(extent(None, Some(100), Some(100)), Ok((0..100, 100)), "the range was ignored");
    }

    #[test]
    fn ends() {
        let end = |content_range, length| Head { content_range, length }.end(10);
        assert_eq!(end(Some("bytes 90-99/100"), Some(10)), Ok((90..100, 100)));
        assert_eq!(end(Some("bytes 0-4/5"), None), Ok((0..5, 5)), "it has less than was asked for");
        assert_eq!(end(None, Some(5)), Ok((0..5, 5)));
        for (content_range, length) in [
            (Some("bytes 89-98/100"), None),
            (Some("bytes 91-99/100"), None),
            (Some("bytes 90-99/*"), None),
            (Some("bytes 90-99/100"), Some(9)),
            (Some("octets"), None),
            (None, Some(100)),
            (None, None),
        ] {
            assert!(end(content_range, length).is_err(), "{content_range:?} {length:?}");
        }
    }

    #[test]
    fn heads_that_do_not_fit() {
        for (content_range, length, size) in [
            (Some("bytes 11-20/100"), None, None),
            (Some("bytes 9-19/100"), None, None),
            (Some("bytes 10-20/100"), None, None),
            (Some("bytes 10-19/101"), None, Some(100)),
            (Some("bytes 10-19/100"), Some(9), Some(100)),
            (Some("bytes 10-19/*"), Some(10), None),
            (Some("octets"), None, None),
            (None, None, None),
            (None, Some(99), Some(100)),
        ] {
            assert!(extent(content_range, length, size).is_err(), "{content_range:?} {length:?} {size:?}");
        }
    }
}
