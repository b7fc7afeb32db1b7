//! Storing an object, also only if there is none yet.
//!
//! A conditional put that is tried again may meet the object that its first try has stored, when only the answer was lost. So what
//! is put under a condition carries a mark, and on such a meeting the mark of the object that is there is looked at.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use aws_sdk_s3::primitives::ByteStream;
use backend::Error;
use bytes::Bytes;

use crate::{
    Bucket,
    client::{Permission, time_to_send},
    error::{Asked, Failure},
    location::check_key,
};

/// The name of the mark in an object's metadata.
pub(crate) const MARK: &str = "clip-upload";

/// What may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// Another object of this key is replaced.
    #[default]
    None,
    /// Stored only if there is no object of this key.
    Absent,
}

/// How a put ended, other than by failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object is stored, under the condition that was asked.
    Stored,
    /// There is an object of this key, and nothing was stored.
    Exists,
    /// The object is stored, but the server knows no conditions: there was none a moment before, yet another writer's may have
    /// been replaced.
    StoredUnconditionally,
}

/// How one try ended.
pub(crate) enum Try {
    Done,
    Exists,
    ConditionUnknown,
    /// The upload that was to be completed is not there (any more).
    Gone(Error),
}

impl Bucket {
    /// Stores a small object in one request.
    ///
    /// # Errors
    /// [`Error::Denied`], and as the other variants of [`Error`] say.
    pub async fn put_small(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Put, Error> {
        check_key(key)?;
        let asked = &self.inner.asked(&self.name, key, Permission::Put);
        let mark = &mark();
        let length = bytes.len() as u64;
        let send = |conditional: bool| {
            let bytes = bytes.clone();
            async move {
                let mut request = self.inner.client.put_object().bucket(&*self.name).key(key).body(ByteStream::from(bytes));
                if conditional {
                    request = request.if_none_match("*").metadata(MARK, mark);
                }
                self.inner.answer(asked, time_to_send(length), request.send()).await.map(drop)
            }
        };
        self.commit(key, asked, time_to_send(length), condition, mark, send).await
    }

    /// Makes an object visible by `send`, which may take `extra` and is told whether under a condition.
    pub(crate) async fn commit<F: Future<Output = Result<(), Failure>>>(
        &self,
        key: &str,
        asked: &Asked,
        extra: Duration,
        condition: Condition,
        mark: &str,
        send: impl Fn(bool) -> F,
    ) -> Result<Put, Error> {
        let wanted = condition == Condition::Absent;
        let tries = &AtomicU32::new(0);
        let commit = |conditional: bool| {
            let sent = send(conditional);
            async move {
                tries.fetch_add(1, Relaxed);
                outcome(sent.await, conditional)
            }
        };
        let mut end = self.inner.call(&asked.what, extra, || commit(wanted)).await?;
        let mut stored = Put::Stored;
        if matches!(end, Try::ConditionUnknown) {
            if self.exists(key).await? {
                return Ok(Put::Exists);
            }
            tracing::debug!(object = asked.what, "the server knows no conditional put");
            stored = Put::StoredUnconditionally;
            end = self.inner.call(&asked.what, extra, || commit(false)).await?;
        }
        let was_retried = tries.load(Relaxed) > 1;
        match end {
            Try::Done => Ok(stored),
            Try::Exists | Try::Gone(_) if was_retried && self.is_marked(key, mark).await? => Ok(stored),
            Try::Exists => Ok(Put::Exists),
            Try::Gone(_) if wanted && was_retried && self.exists(key).await? => Ok(Put::Exists),
            Try::Gone(error) => Err(error),
            Try::ConditionUnknown => Err(Error::protocol(&asked.what, "a condition refused that was not asked")),
        }
    }

    /// Whether the object that is there carries our mark. Who may not look cannot tell, and does not claim it.
    async fn is_marked(&self, key: &str, mark: &str) -> Result<bool, Error> {
        let asked = &self.inner.asked(&self.name, key, Permission::Get);
        let look = || async move {
            let request = self.inner.client.head_object().bucket(&*self.name).key(key);
            let output = self.inner.answer(asked, Duration::ZERO, request.send()).await?;
            Ok(output.metadata.and_then(|metadata| metadata.get(MARK).map(|found| found == mark)).unwrap_or_default())
        };
        match self.inner.call(&asked.what, Duration::ZERO, look).await {
            Err(Error::NotFound { .. } | Error::Denied { .. }) => Ok(false),
            result => result,
        }
    }
}

/// Tells what a caller wants to know from what is an error, transient or not.
fn outcome(sent: Result<(), Failure>, conditional: bool) -> Result<Try, Error> {
    let Err(failure) = sent else { return Ok(Try::Done) };
    match (failure.status, failure.code.as_str()) {
        (412, _) if conditional => Ok(Try::Exists),
        (501, _) | (400, "NotImplemented" | "InvalidArgument" | "InvalidRequest") if conditional => Ok(Try::ConditionUnknown),
        (_, "NoSuchUpload") => Ok(Try::Gone(failure.error)),
        _ => Err(failure.error),
    }
}

/// A text that no other upload has: the keys of the standard library's hashes are random, and need no further crate.
pub(crate) fn mark() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
