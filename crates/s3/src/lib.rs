//! S3 and what speaks like it: archives read by ranges, uploaded in parts, kept in a store.
//!
//! [`S3`] is the connections and the credentials, [`Bucket`] what can be done with one bucket. An object is opened as a
//! [`backend::Blob`], `Retry(Limit(Counted(S3Blob)))`, that is pinned to the version it had when it was opened: its size and its
//! ETag come with the first bytes, every later request carries `If-Match`, and every answer's ETag is compared. Mixed bytes of two
//! versions cannot be had; an object that was replaced is [`backend::Error::Changed`].
//!
//! Only this crate knows the AWS crates. Their retries are off, and so are checksums that not every server knows. Needed are
//! s3:GetObject to read, s3:PutObject and s3:AbortMultipartUpload to upload, s3:DeleteObject and s3:ListBucket for what is called so;
//! HeadBucket is never asked. Everything runs on the caller's tokio runtime.
//!
//! | File | Idea |
//! |---|---|
//! | `location`, `options` | what users write |
//! | `connect` | the SDK's client, set up |
//! | `client` | what all requests share, and the way of those that are no blob's |
//! | `error` | the one table from S3's codes to what the caller can do next |
//! | `blob` | ranged reads of one version of an object |
//! | `object` | small objects whole; listing, deleting |
//! | `put` | conditional puts, and whose object it is that is there |
//! | `upload` | large objects in parts, with nothing left behind |

mod blob;
mod client;
mod connect;
mod error;
mod location;
mod object;
mod options;
mod put;
mod upload;

use std::{sync::Arc, time::Duration};

use backend::{Blob, Counted, Error, Limit, Retry, Traffic};
use bytes::Bytes;
use tokio::sync::Semaphore;

pub use blob::S3Blob;
pub use location::Location;
pub use object::{Entry, Listing};
pub use options::{Credentials, REGION_DEFAULT, S3Options};
pub use put::{Condition, Put};
pub use upload::{PART_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX, Upload, UploadOptions};

use crate::{
    blob::Object,
    client::{Inner, Permission},
};

/// The most bytes that [`Bucket::open_with_head`] holds in memory: an archive's header and index are far smaller.
pub const HEAD_BYTES_MAX: u64 = 1 << 30;

/// S3 as somebody sees it, through one set of connections. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct S3 {
    inner: Arc<Inner>,
}

/// One bucket. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
    name: Arc<str>,
}

impl S3 {
    /// Prepares to reach S3: reads environment, profile and certificates. Nothing is sent yet, credentials are fetched when first needed.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::InvalidOption`] for options that cannot be used.
    pub async fn new(options: S3Options) -> Result<Self, Error> {
        let permits = options.requests_in_flight_max;
        if !(1..=Semaphore::MAX_PERMITS).contains(&permits) {
            return Err(Error::InvalidOption { option: "requests in flight", reason: format!("{permits} is not usable") });
        }
        let connected = connect::client(&options).await?;
        let inner = Inner {
            client: connected.client,
            region: connected.region,
            endpoint: connected.endpoint,
            anonymous: options.credentials.is_anonymous(),
            permits: Arc::new(Semaphore::new(permits)),
            traffic: Arc::default(),
            retry: options.retry,
            read_timeout: options.read_timeout,
            connect_timeout: options.connect_timeout,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The bucket `name`. Whether it is there shows when it is used.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for what cannot be a bucket's name.
    pub fn bucket(&self, name: &str) -> Result<Bucket, Error> {
        location::check_bucket(name)?;
        Ok(Bucket { inner: self.inner.clone(), name: name.into() })
    }

    /// The same connections and limits, with counters of their own: for one of several mounts.
    pub fn counted_apart(&self) -> Self {
        Self { inner: Arc::new(Inner { traffic: Arc::default(), ..(*self.inner).clone() }) }
    }

    /// What passed through here, all buckets together.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.inner.traffic
    }
}

impl Bucket {
    /// The bucket's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The object `key` as it is now, with retries and resuming, limited and counted: what a mount reads from.
    ///
    /// # Errors
    /// As [`Bucket::open_with_head`], which costs the same one request.
    pub async fn open(&self, key: &str) -> Result<Arc<dyn Blob>, Error> {
        Ok(self.open_with_head(key, 1).await?.1)
    }

    /// The object `key` as it is now, and its first `first_bytes` bytes, or all that it has: in one request.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a bucket or key that is not there, [`Error::Denied`] where the bucket may not be read,
    /// [`Error::TooLarge`] for more than [`HEAD_BYTES_MAX`], [`Error::InvalidOption`] for a key or region that is not right, and
    /// as the other variants of [`Error`] say.
    pub async fn open_with_head(&self, key: &str, first_bytes: u64) -> Result<(Bytes, Arc<dyn Blob>), Error> {
        let object = self.object(key, first_bytes)?;
        let open = || async { S3Blob::open(&self.inner, &object, first_bytes).await.map_err(Error::from) };
        let (first, blob) = self.inner.call(&object.asked.what, Duration::ZERO, open).await?;
        Ok((first, self.wrapped(blob)))
    }

    /// The object `key` as it is now, and its last `last_bytes` bytes, or all that it has: in one request.
    ///
    /// # Errors
    /// As [`Bucket::open_with_head`].
    pub async fn open_with_tail(&self, key: &str, last_bytes: u64) -> Result<(Bytes, Arc<dyn Blob>), Error> {
        let object = self.object(key, last_bytes)?;
        let open = || async { S3Blob::open_at_end(&self.inner, &object, last_bytes.max(1)).await.map_err(Error::from) };
        let (last, blob) = self.inner.call(&object.asked.what, Duration::ZERO, open).await?;
        Ok((last, self.wrapped(blob)))
    }

    fn object(&self, key: &str, bytes: u64) -> Result<Arc<Object>, Error> {
        location::check_key(key)?;
        let asked = self.inner.asked(&self.name, key, Permission::Get);
        if bytes > HEAD_BYTES_MAX {
            return Err(Error::TooLarge { what: asked.what, limit_bytes: HEAD_BYTES_MAX });
        }
        Ok(Arc::new(Object { bucket: self.name.to_string(), key: key.to_owned(), asked }))
    }

    fn wrapped(&self, blob: S3Blob) -> Arc<dyn Blob> {
        let counted = Counted::new(blob, self.inner.traffic.clone());
        let limited = Limit::new(counted, self.inner.permits.clone());
        Arc::new(Retry::new(limited, self.inner.retry.clone(), self.inner.traffic.clone()))
    }
}
