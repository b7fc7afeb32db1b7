//! A large object, written as it comes: in parts, some of them under way at once.
//!
//! The object becomes visible as a whole, or not at all. What fails or is dropped is aborted, so that no parts are left behind that
//! cost money and show in no listing. Only a process that dies (or a runtime that stops) in between leaves some: a rule of the bucket's
//! lifecycle (AbortIncompleteMultipartUpload) is what takes those away.

use std::{fmt, mem, sync::Arc, time::Duration};

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use backend::Error;
use bytes::Bytes;
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinHandle, JoinSet},
};

use crate::{
    Bucket, Condition, Put,
    client::{Permission, time_to_send},
    error::{Asked, Failure},
    location::check_key,
    put::{self, MARK},
};

/// The most parts of an upload that S3 allows.
pub const PARTS_MAX: u64 = 10_000;
/// The smallest part in bytes that S3 allows, but for the last one.
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// The largest part in bytes that S3 allows.
pub const PART_BYTES_MAX: u64 = 5 << 30;
/// S3 puts the parts of a large object together in minutes.
const COMPLETE_TIME_MAX: Duration = Duration::from_secs(600);
/// How long an abort waits for parts under way to end by themselves. Somebody may have pressed Ctrl-C.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);
/// When S3 should have noticed that a part was cut off.
const ABORT_AGAIN: Duration = Duration::from_secs(1);
/// Parts that grow do so by whole steps of this.
const PART_STEP_BYTES: u64 = 1 << 20;
/// A part's buffer up to here grows as it fills; a larger one is allocated whole.
const SMALL_BYTES: usize = 256 << 10;

/// How to upload.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// Bytes of a part, all but the last alike, from [`PART_BYTES_MIN`] to [`PART_BYTES_MAX`]. An object of at most one part is sent as
    /// one request. Grows if `total_bytes` would need more than [`PARTS_MAX`].
    pub part_bytes: u64,
    /// Parts under way at once, at least 1. So many and one more are in memory, with `head_last` two more.
    pub parallel: usize,
    /// The object's size in bytes, if it is known. Another size is an error. If it is not known, [`PARTS_MAX`] parts must do.
    pub total_bytes: Option<u64>,
    /// What may be there already.
    pub condition: Condition,
    /// The first part is kept in memory to the end, so that [`Upload::finish_with_head`] can change its beginning.
    pub head_last: bool,
}

impl Default for UploadOptions {
    /// 40 MiB of memory for objects of up to 78 GiB, or any of known size.
    fn default() -> Self {
        Self { part_bytes: 8 << 20, parallel: 4, total_bytes: None, condition: Condition::None, head_last: false }
    }
}

impl UploadOptions {
    /// The bytes of a part, so that all fit.
    fn part_bytes(&self) -> Result<u64, Error> {
        let invalid = |reason: String| Error::InvalidOption { option: "upload", reason };
        if self.parallel == 0 {
            return Err(invalid("0 parts at once".to_owned()));
        }
        if !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&self.part_bytes) {
            return Err(invalid(format!("parts of {} bytes; S3 takes {PART_BYTES_MIN} to {PART_BYTES_MAX}", self.part_bytes)));
        }
        let needed = self.total_bytes.unwrap_or_default().div_ceil(PARTS_MAX);
        if needed <= self.part_bytes {
            return Ok(self.part_bytes);
        }
        if needed > PART_BYTES_MAX {
            return Err(invalid(format!("an object of {} bytes; S3 takes {PARTS_MAX} parts of {PART_BYTES_MAX}", needed * PARTS_MAX)));
        }
        Ok(needed.next_multiple_of(PART_STEP_BYTES).min(PART_BYTES_MAX))
    }
}

/// An object on its way. Dropped before [`Upload::finish`] has ended, it is aborted in the background.
pub struct Upload {
    object: Arc<Destination>,
    options: UploadOptions,
    part_bytes: usize,
    buffer: Vec<u8>,
    /// The first part, if it is to be sent last.
    first: Option<Vec<u8>>,
    written: u64,
    parts: Parts,
    failed: Option<Error>,
    runtime: Handle,
}

/// Where it goes.
#[derive(Debug)]
struct Destination {
    bucket: Bucket,
    key: String,
    asked: Asked,
    mark: String,
}

/// What S3 has of it.
#[derive(Debug, Default)]
struct Parts {
    /// A task, so that an ID that is on its way is not lost when whoever waits for it is dropped.
    beginning: Option<JoinHandle<Result<String, Error>>>,
    id: Option<Arc<str>>,
    begun: i32,
    under_way: JoinSet<Result<CompletedPart, Error>>,
    done: Vec<CompletedPart>,
}

impl Bucket {
    /// Begins an object that is written as it comes. Nothing is sent before the first part is full. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a key or options that S3 does not take.
    pub fn upload(&self, key: &str, options: UploadOptions) -> Result<Upload, Error> {
        check_key(key)?;
        let part_bytes = options.part_bytes()?;
        let too_large = |_| Error::InvalidOption { option: "upload", reason: format!("parts of {part_bytes} bytes") };
        let part_bytes = usize::try_from(part_bytes).map_err(too_large)?;
        let runtime = Handle::try_current().map_err(|error| Error::InvalidOption { option: "upload", reason: error.to_string() })?;
        let asked = self.inner.asked(&self.name, key, Permission::Put);
        let object = Arc::new(Destination { bucket: self.clone(), key: key.to_owned(), asked, mark: put::mark() });
        Ok(Upload {
            object,
            options,
            part_bytes,
            buffer: Vec::new(),
            first: None,
            written: 0,
            parts: Parts::default(),
            failed: None,
            runtime,
        })
    }
}

impl Upload {
    /// Takes the next bytes. Waits while as many parts are under way as may be. After an error, or when it was dropped half way,
    /// nothing but dropping is left to do.
    ///
    /// # Errors
    /// That of any part, also one of before; [`Error::TooLarge`] for more than [`PARTS_MAX`] parts or than was announced. All is
    /// aborted then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        // Boxed: the futures of requests are large.
        match Box::pin(self.take(bytes)).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(error).await),
        }
    }

    /// Sends what is left, and makes the object visible.
    ///
    /// # Errors
    /// As [`Upload::write`]; [`Error::InvalidOption`] if fewer bytes came than were announced. All is aborted then.
    pub async fn finish(mut self) -> Result<Put, Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match Box::pin(self.end()).await {
            Ok(Put::Exists) => {
                self.clean_up().await;
                Ok(Put::Exists)
            }
            Ok(put) => {
                self.parts = Parts::default();
                Ok(put)
            }
            Err(error) => Err(self.fail(error).await),
        }
    }

    /// Puts `head` in place of the object's first bytes, and finishes. [`UploadOptions::head_last`] must have been set.
    ///
    /// # Errors
    /// As [`Upload::finish`]; [`Error::InvalidOption`] where the beginning is not there any more, or is shorter than `head`.
    pub async fn finish_with_head(mut self, head: &[u8]) -> Result<Put, Error> {
        let is_sent = self.parts.begun > 0 && self.first.is_none();
        let beginning = self.first.as_mut().unwrap_or(&mut self.buffer);
        match beginning.get_mut(..head.len()).filter(|_| !is_sent) {
            Some(place) => place.copy_from_slice(head),
            None => {
                let reason = format!("the first {} bytes of {} cannot be changed any more", head.len(), self.object.asked.what);
                let error = Error::InvalidOption { option: "upload", reason };
                return Err(self.failed.take().unwrap_or(error));
            }
        }
        self.finish().await
    }

    /// Whether S3 has anything of it that dropping must take away.
    pub fn is_begun(&self) -> bool {
        self.parts.is_something()
    }

    /// Gives up, and waits until nothing is left behind. What cannot be aborted is logged.
    pub async fn abort(mut self) {
        self.clean_up().await;
    }

    async fn take(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        let limit_bytes = self.options.total_bytes.unwrap_or(self.part_bytes as u64 * PARTS_MAX);
        self.written += bytes.len() as u64;
        if self.written > limit_bytes {
            return Err(Error::TooLarge { what: self.object.asked.what.clone(), limit_bytes });
        }
        while !bytes.is_empty() {
            // Only now: an object of exactly one part needs no upload in parts.
            if self.buffer.len() == self.part_bytes {
                self.send_part().await?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.part_bytes - self.buffer.len()));
            if self.buffer.len() + now.len() > SMALL_BYTES {
                self.buffer.reserve_exact(self.part_bytes - self.buffer.len());
            }
            self.buffer.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<Put, Error> {
        if let Some(total) = self.options.total_bytes.filter(|total| *total != self.written) {
            let reason = format!("{} of {total} announced bytes came for {}", self.written, self.object.asked.what);
            return Err(Error::InvalidOption { option: "upload", reason });
        }
        if self.parts.begun == 0 {
            let bytes = Bytes::from(mem::take(&mut self.buffer));
            return self.object.bucket.put_small(&self.object.key, bytes, self.options.condition).await;
        }
        self.send_part().await?;
        if let Some(first) = self.first.take() {
            self.send(1, first).await?;
        }
        while self.part_done().await? {}
        let id = self.id().await?;
        let mut done = self.parts.done.clone();
        done.sort_by_key(CompletedPart::part_number);
        self.object.complete(&id, done, self.options.condition).await
    }

    /// Makes the buffer the next part, and sends it unless it is to be the last.
    async fn send_part(&mut self) -> Result<(), Error> {
        if self.options.head_last && self.parts.begun == 0 {
            self.parts.begun = 1;
            self.first = Some(mem::take(&mut self.buffer));
            return Ok(());
        }
        // Taken when nothing can come between: who is dropped while waiting loses no bytes.
        self.room().await?;
        self.parts.begun += 1;
        let bytes = mem::take(&mut self.buffer);
        self.send(self.parts.begun, bytes).await
    }

    /// Waits until another part may be under way.
    async fn room(&mut self) -> Result<(), Error> {
        self.id().await?;
        while self.parts.under_way.len() >= self.options.parallel {
            self.part_done().await?;
        }
        Ok(())
    }

    /// Sends a part as soon as there is room for one.
    async fn send(&mut self, number: i32, bytes: Vec<u8>) -> Result<(), Error> {
        self.room().await?;
        let id = self.id().await?;
        let (object, bytes) = (self.object.clone(), Bytes::from(bytes));
        self.parts.under_way.spawn(async move { object.send_part(&id, number, bytes).await });
        Ok(())
    }

    /// Waits for any part that is under way. `false` if none is.
    async fn part_done(&mut self) -> Result<bool, Error> {
        let Some(joined) = self.parts.under_way.join_next().await else { return Ok(false) };
        let part = joined.map_err(|error| self.object.lost(error))??;
        self.parts.done.push(part);
        Ok(true)
    }

    /// The upload's ID, which is asked for once.
    async fn id(&mut self) -> Result<Arc<str>, Error> {
        if let Some(id) = &self.parts.id {
            return Ok(id.clone());
        }
        let object = self.object.clone();
        let beginning = self.parts.beginning.get_or_insert_with(|| self.runtime.spawn(async move { object.begin().await }));
        let id: Arc<str> = beginning.await.map_err(|error| self.object.lost(error)).flatten()?.into();
        self.parts.beginning = None;
        self.parts.id = Some(id.clone());
        Ok(id)
    }

    /// Aborts, and gives the error back, also to those who go on in spite of it.
    async fn fail(&mut self, error: Error) -> Error {
        self.failed = Some(error.clone());
        self.clean_up().await;
        error
    }

    /// In a task, so that it is done also if nobody waits for it.
    async fn clean_up(&mut self) {
        (self.buffer, self.first) = (Vec::new(), None);
        let (object, parts) = (self.object.clone(), mem::take(&mut self.parts));
        if parts.is_something()
            && let Err(error) = self.runtime.spawn(object.abort(parts)).await
        {
            tracing::warn!(%error, object = self.object.asked.what, "abort an upload");
        }
    }
}

impl fmt::Debug for Upload {
    /// Without what is in memory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("object", &self.object.asked.what).field("written", &self.written).finish_non_exhaustive()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let parts = mem::take(&mut self.parts);
        if parts.is_something() {
            drop(self.runtime.spawn(self.object.clone().abort(parts)));
        }
    }
}

impl Parts {
    fn is_something(&self) -> bool {
        self.beginning.is_some() || self.id.is_some()
    }
}

impl Destination {
    async fn begin(&self) -> Result<String, Error> {
        let inner = &self.bucket.inner;
        let begin = || async {
            let request = inner.client.create_multipart_upload().bucket(self.bucket.name()).key(&self.key).metadata(MARK, &self.mark);
            let id = inner.answer(&self.asked, Duration::ZERO, request.send()).await?.upload_id.filter(|id| !id.is_empty());
            id.ok_or_else(|| Error::protocol(&self.asked.what, "an upload without an ID"))
        };
        inner.call(&self.asked.what, Duration::ZERO, begin).await
    }

    async fn send_part(&self, id: &str, number: i32, bytes: Bytes) -> Result<CompletedPart, Error> {
        let inner = &self.bucket.inner;
        let length = bytes.len() as u64;
        let send = || async {
            let request = inner.client.upload_part().bucket(self.bucket.name()).key(&self.key).upload_id(id).part_number(number);
            let output = inner.answer(&self.asked, time_to_send(length), request.body(ByteStream::from(bytes.clone())).send()).await?;
            let etag = output.e_tag.ok_or_else(|| Failure::protocol(&self.asked, "a part without ETag"))?;
            Ok(CompletedPart::builder().part_number(number).e_tag(etag).build())
        };
        inner.call(&self.asked.what, time_to_send(length), send).await
    }

    async fn complete(&self, id: &str, parts: Vec<CompletedPart>, condition: Condition) -> Result<Put, Error> {
        let all = &CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let send = |conditional: bool| async move {
            let request = self.bucket.inner.client.complete_multipart_upload().bucket(self.bucket.name()).key(&self.key).upload_id(id);
            let request = request.multipart_upload(all.clone()).set_if_none_match(conditional.then(|| "*".to_owned()));
            self.bucket.inner.answer(&self.asked, COMPLETE_TIME_MAX, request.send()).await.map(drop)
        };
        self.bucket.commit(&self.key, &self.asked, COMPLETE_TIME_MAX, condition, &self.mark, send).await
    }

    /// Takes away what has arrived. A part that arrives behind an abort would stay, so those under way are waited for a while; if they
    /// must be cut off, S3 may still be busy with them, and is told twice.
    async fn abort(self: Arc<Self>, mut parts: Parts) {
        let ended = async { while parts.under_way.join_next().await.is_some() {} };
        let was_cut = tokio::time::timeout(ABORT_PATIENCE, ended).await.is_err();
        parts.under_way.shutdown().await;
        let id = match (parts.id, parts.beginning) {
            (Some(id), _) => id,
            (None, Some(beginning)) => match beginning.await {
                Ok(Ok(id)) => id.into(),
                // It never began.
                _ => return,
            },
            (None, None) => return,
        };
        self.abort_upload(&id).await;
        if was_cut {
            tokio::time::sleep(ABORT_AGAIN).await;
            self.abort_upload(&id).await;
        }
    }

    async fn abort_upload(&self, id: &str) {
        let inner = &self.bucket.inner;
        let abort = || async {
            let request = inner.client.abort_multipart_upload().bucket(self.bucket.name()).key(&self.key).upload_id(id);
            match inner.answer(&self.asked, Duration::ZERO, request.send()).await {
                Ok(_) => Ok(()),
                Err(failure) if failure.code == "NoSuchUpload" => Ok(()),
                Err(failure) => Err(failure.error),
            }
        };
        if let Err(error) = inner.call(&self.asked.what, Duration::ZERO, abort).await {
            tracing::warn!(%error, object = self.asked.what, "abort an upload: its parts stay until the bucket's lifecycle takes them");
        }
    }

    /// A task that did not end by itself: the runtime stops, or it panicked.
    fn lost(&self, error: JoinError) -> Error {
        Error::unavailable(&self.asked.what, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_all_fit() {
        let part = |total_bytes, part_bytes| UploadOptions { part_bytes, total_bytes, ..UploadOptions::default() }.part_bytes().ok();
        assert_eq!(part(None, 8 << 20), Some(8 << 20));
        assert_eq!(part(Some(0), 8 << 20), Some(8 << 20));
        assert_eq!(part(Some((8 << 20) * PARTS_MAX), 8 << 20), Some(8 << 20));
        assert_eq!(part(Some((8 << 20) * PARTS_MAX + 1), 8 << 20), Some(9 << 20));
        assert_eq!(part(Some(PART_BYTES_MAX * PARTS_MAX), 8 << 20), Some(PART_BYTES_MAX));
        assert_eq!(part(Some(PART_BYTES_MAX * PARTS_MAX + 1), 8 << 20), None);
        assert_eq!((part(None, PART_BYTES_MIN - 1), part(None, PART_BYTES_MAX + 1)), (None, None));
        let none = UploadOptions { parallel: 0, ..UploadOptions::default() };
        assert!(none.part_bytes().is_err());
    }
}
