//! Trying again, within bounds.
//!
//! A [`Budget`] decides, without I/O, whether and when to try again; [`attempt`] and the body of [`Retry`] act on
//! it. Everything that talks to a registry or to S3 retries through these.
//!
//! A body that breaks off is resumed where it broke. Attempts and deadline begin anew once a body has made real progress,
//! else a long layer over a poor link could never arrive; a server that gives only crumbs is still given up on.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};

use crate::{Blob, Body, Error, Traffic, check_range, skip_front};

/// Bytes that must have arrived since the last failure for the budget to begin anew.
const PROGRESS_BYTES: u64 = 256 << 10;

/// How often and how long to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first among them.
    pub attempts_max: u32,
    /// The longest first wait; each further one may be twice as long.
    pub wait_first: Duration,
    /// No backoff is longer than this.
    pub wait_max: Duration,
    /// What a server asks for with `Retry-After` is honoured up to this.
    pub retry_after_max: Duration,
    /// No attempt begins or goes on to be opened after this time without progress.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    /// A reader waits on this: six attempts bridge a registry's restart or a failover of some seconds.
    fn default() -> Self {
        Self {
            attempts_max: 6,
            wait_first: Duration::from_millis(100),
            wait_max: Duration::from_secs(5),
            retry_after_max: Duration::from_secs(20),
            deadline: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// Runs `operation` until it succeeds, fails for good, or attempts or time are used up. `what` names it in a timeout. For all
    /// that is not a [`Blob`], which [`Retry`] wraps.
    ///
    /// # Errors
    /// The last error of `operation`, or [`Error::Timeout`].
    pub async fn run<T, F>(&self, traffic: &Traffic, what: &str, operation: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        attempt(&mut Budget::new(self.clone(), Instant::now()), traffic, what, operation).await
    }

    /// The wait before the attempt that follows `failures` failures: exponential, and by chance between half of that
    /// and all of it, so that clients that failed together do not come back together.
    fn backoff(&self, failures: u32, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.wait_first.saturating_mul(1 << doublings).min(self.wait_max);
        let half = whole / 2;
        let span_micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        half + Duration::from_micros(random % span_micros)
    }
}

/// What is left of the attempts and the time of one request.
#[derive(Debug)]
struct Budget {
    policy: RetryPolicy,
    since: Instant,
    failures: u32,
    progress_bytes: u64,
}

impl Budget {
    fn new(policy: RetryPolicy, now: Instant) -> Self {
        Self { policy, since: now, failures: 0, progress_bytes: 0 }
    }

    fn deadline(&self) -> Instant {
        self.since + self.policy.deadline
    }

    fn progress(&mut self, bytes: usize, now: Instant) {
        self.progress_bytes += bytes as u64;
        if self.progress_bytes >= PROGRESS_BYTES {
            (self.since, self.failures, self.progress_bytes) = (now, 0, 0);
        }
    }

    /// After `error`: how long to wait before the next attempt, or `None` to give up.
    fn wait_after(&mut self, error: &Error, now: Instant, random: u64) -> Option<Duration> {
        self.failures += 1;
        self.progress_bytes = 0;
        if !error.is_transient() || self.failures >= self.policy.attempts_max {
            return None;
        }
        let asked = error.retry_after().unwrap_or_default().min(self.policy.retry_after_max);
        let wait = self.policy.backoff(self.failures, random).max(asked);
        (now + wait < self.deadline()).then_some(wait)
    }

    /// Waits as the budget says after `error`, or gives the error back when it is time to give up.
    async fn pause_after(&mut self, error: Error, traffic: &Traffic) -> Result<(), Error> {
        let Some(wait) = self.wait_after(&error, Instant::now(), random()) else {
            return Err(error);
        };
        tracing::debug!(%error, wait_ms = wait.as_millis(), failures = self.failures, "try again");
        traffic.count_retry();
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Runs `operation` until it succeeds, fails for good, or `budget` is used up. `what` names it in a timeout.
async fn attempt<T, F>(budget: &mut Budget, traffic: &Traffic, what: &str, mut operation: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        let deadline = budget.deadline().into();
        let error = match tokio::time::timeout_at(deadline, operation()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => Error::Timeout { what: what.to_owned(), doing: format!("after {:?} with retries", budget.policy.deadline) },
        };
        budget.pause_after(error, traffic).await?;
    }
}

/// Chance for jitter only: the standard library's hash keys are random enough, and need no further crate.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Tries again what fails for a moment, and resumes bodies that break off or come short.
#[derive(Debug)]
pub struct Retry<B> {
    blob: Arc<B>,
    policy: RetryPolicy,
    traffic: Arc<Traffic>,
}

impl<B: Blob + 'static> Retry<B> {
    /// Retries the requests of `blob` as `policy` says, and counts retries into `traffic`.
    pub fn new(blob: B, policy: RetryPolicy, traffic: Arc<Traffic>) -> Self {
        Self { blob: Arc::new(blob), policy, traffic }
    }
}

#[async_trait]
impl<B: Blob + 'static> Blob for Retry<B> {
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
        check_range(self.name(), self.size(), &range)?;
        let mut budget = Budget::new(self.policy.clone(), Instant::now());
        let body = open(&self.blob, &mut budget, &self.traffic, range.clone()).await?;
        let offset = body.offset;
        let resume = Resume {
            blob: self.blob.clone(),
            traffic: self.traffic.clone(),
            budget,
            stream: body.stream,
            skip: 0,
            at: offset,
            end: range.end,
        };
        let stream = stream::unfold(Some(resume), |resume| async {
            let mut resume = resume?;
            match resume.next().await.transpose()? {
                Ok(chunk) => Some((Ok(chunk), Some(resume))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Body { offset, stream: stream.boxed() })
    }
}

async fn open<B: Blob>(blob: &B, budget: &mut Budget, traffic: &Traffic, range: Range<u64>) -> Result<Body, Error> {
    let body = attempt(budget, traffic, blob.name(), || blob.get(range.clone())).await?;
    if body.offset > range.start {
        return Err(Error::protocol(blob.name(), format!("body begins at {}, behind {}", body.offset, range.start)));
    }
    Ok(body)
}

/// A body under way.
struct Resume<B> {
    blob: Arc<B>,
    traffic: Arc<Traffic>,
    budget: Budget,
    stream: BoxStream<'static, Result<Bytes, Error>>,
    /// Bytes of the present stream that were handed out from an earlier one.
    skip: u64,
    /// Where in the blob the next byte to hand out lies.
    at: u64,
    /// Where the range that was asked for ends. A whole blob may go on behind it: that part is not worth a retry.
    end: u64,
}

impl<B: Blob> Resume<B> {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let error = match self.stream.next().await {
                Some(Ok(chunk)) => {
                    let chunk = skip_front(chunk, &mut self.skip);
                    if chunk.is_empty() {
                        continue;
                    }
                    self.at += chunk.len() as u64;
                    self.budget.progress(chunk.len(), Instant::now());
                    return Ok(Some(chunk));
                }
                _ if self.at >= self.end => return Ok(None),
                Some(Err(error)) => error,
                None => Error::unavailable(self.blob.name(), format!("body ended at {} of {}", self.at, self.end)),
            };
            // A broken body still holds its place in the limit, which the next one needs.
            self.stream = stream::empty().boxed();
            self.budget.pause_after(error, &self.traffic).await?;
            let body = open(&*self.blob, &mut self.budget, &self.traffic, self.at..self.end).await?;
            self.skip = self.at - body.offset;
            self.stream = body.stream;
        }
    }
}

#[cfg(test)]
mod tests;
