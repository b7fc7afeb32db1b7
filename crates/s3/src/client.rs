//! What all requests share: the client, the limit, the counters, and the way of a request that is not a blob's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
};
use backend::{Error, RetryPolicy, Traffic};
use tokio::sync::Semaphore;

use crate::{
    error::{self, Asked, Failure},
    options::Credentials,
};

/// Sending is given the time that this rate needs, which any link that is of use exceeds: 512 kbit/s.
const SEND_BYTES_PER_SECOND_MIN: u64 = 64 << 10;

/// What is behind every clone of [`S3`](crate::S3).
#[derive(Debug, Clone)]
pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) region: String,
    /// For the names of things; `None` at Amazon's.
    pub(crate) endpoint: Option<String>,
    pub(crate) anonymous: bool,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) retry: RetryPolicy,
    /// For an answer that needs no connection to begin, and each piece of it to follow.
    pub(crate) read_timeout: Duration,
    pub(crate) connect_timeout: Duration,
}

/// What somebody must be allowed to, in the words of a policy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Permission {
    Get,
    Put,
    Delete,
    List,
}

impl Inner {
    /// The words for requests about `key` of `bucket`, or the keys that begin with it.
    pub(crate) fn asked(&self, bucket: &str, key: &str, permission: Permission) -> Asked {
        let at = self.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
        Asked {
            what: format!("s3://{bucket}/{key}{at}"),
            bucket: format!("bucket '{bucket}'{at}"),
            hint: self.hint(bucket, key, permission),
            region: self.region.clone(),
        }
    }

    fn hint(&self, bucket: &str, key: &str, permission: Permission) -> String {
        let needed = match permission {
            Permission::Get => format!("s3:GetObject on arn:aws:s3:::{bucket}/{key} is needed, or the object does not exist"),
            Permission::Put => format!("s3:PutObject and s3:AbortMultipartUpload on arn:aws:s3:::{bucket}/{key} are needed"),
            Permission::Delete => format!("s3:DeleteObject on arn:aws:s3:::{bucket}/{key} is needed"),
            Permission::List => format!("s3:ListBucket on arn:aws:s3:::{bucket} is needed"),
        };
        if self.anonymous { format!("{needed} (nobody's credentials were given)") } else { needed }
    }

    /// Waits for the answer to a request that may take `extra` longer than one that sends nothing.
    pub(crate) fn answer<T, E>(
        &self,
        asked: &Asked,
        extra: Duration,
        request: impl Future<Output = Result<T, SdkError<E>>> + Send,
    ) -> impl Future<Output = Result<T, Failure>> + Send
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        // The SDK's futures are of 20 KB: boxed before anything else holds them.
        let request = Box::pin(request);
        let patience = self.connect_timeout + self.read_timeout + extra;
        async move {
            match tokio::time::timeout(patience, request).await {
                Ok(answer) => answer.map_err(|error| error::failure(asked, error)),
                Err(_) => Err(Failure { status: 0, code: String::new(), error: error::timeout(asked, "waiting for the answer") }),
            }
        }
    }

    /// Runs a request that may take `extra`, and reads its answer: within the limit, with retries, counted. For all that is no `Blob`.
    pub(crate) async fn call<T, F: Future<Output = Result<T, Error>>>(
        &self,
        what: &str,
        extra: Duration,
        request: impl Fn() -> F,
    ) -> Result<T, Error> {
        // Outside of the retries: waiting for others takes nothing of the time that they are given.
        let _permit = self.permits.acquire().await.map_err(|closed| Error::unavailable(what, closed))?;
        let once = || async {
            let begun = Instant::now();
            self.traffic.count_request();
            let result = request().await;
            match &result {
                Ok(_) => self.traffic.count_first_byte(begun),
                Err(_) => self.traffic.count_error(),
            }
            result
        };
        let policy = RetryPolicy { deadline: self.retry.deadline + extra, ..self.retry.clone() };
        // Boxed: the future of a request is large, and it is kept here only once.
        policy.run(&self.traffic, what, || Box::pin(once())).await
    }
}

/// What may be added to the time of a request that sends so many bytes.
pub(crate) fn time_to_send(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SEND_BYTES_PER_SECOND_MIN)
}

impl Credentials {
    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}
