//! A store in a bucket: `PREFIX/ID.clip` and `PREFIX/ID.json` for each image.

use archive::Output;
use backend::Error as BackendError;
use s3::{Bucket, Condition, Location};

use crate::claim::{self, Claim};
use crate::record::RECORD_BYTES_MAX;
use crate::{Error, ImageId, Place, Record, S3Output};

/// Images that are listed at most.
const IMAGES_MAX: usize = 100_000;

/// A store in a bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    bucket: Bucket,
    prefix: String,
}

impl S3Store {
    /// The store under `prefix`, which may be empty.
    pub fn new(bucket: Bucket, prefix: &str) -> S3Store {
        let prefix = prefix.trim_matches('/');
        S3Store { bucket, prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") } }
    }

    pub(crate) async fn claim(&self, id: &ImageId) -> Result<Claim, Error> {
        claim::object(&self.bucket, &self.key(id, "claim")).await
    }

    fn key(&self, id: &ImageId, kind: &str) -> String {
        format!("{}{id}.{kind}", self.prefix)
    }

    fn location(&self, id: &ImageId) -> Result<Location, Error> {
        Location::new(self.bucket.name(), self.key(id, "clip")).map_err(Error::Location)
    }

    pub(crate) fn place(&self, id: &ImageId) -> Result<Place, Error> {
        Ok(Place::S3(self.location(id)?))
    }

    /// The record, if its archive is there as well.
    pub(crate) async fn find(&self, id: &ImageId) -> Result<Option<Record>, Error> {
        let record = self.record(id).await?;
        if record.is_some() && !self.bucket.exists(&self.key(id, "clip")).await? {
            return Ok(None);
        }
        Ok(record)
    }

    /// The record; its archive was there when it was written.
    async fn record(&self, id: &ImageId) -> Result<Option<Record>, Error> {
        let key = self.key(id, "json");
        match self.bucket.get_small(&key, RECORD_BYTES_MAX).await {
            Ok(bytes) => Record::parse(id, &key, &bytes).map(Some),
            // A bucket that is missing is not an image that is missing.
            Err(BackendError::NotFound { what }) if !what.starts_with("bucket ") => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn list(&self) -> Result<Vec<Record>, Error> {
        let listing = self.bucket.list(&self.prefix, IMAGES_MAX).await?;
        if listing.truncated {
            tracing::warn!("more than {IMAGES_MAX} images: not all are listed");
        }
        let mut records = Vec::new();
        for entry in listing.entries {
            let stem = entry.key.strip_prefix(&self.prefix).and_then(|name| name.strip_suffix(".json"));
            let Some(id) = stem.and_then(|stem| stem.parse().ok()) else { continue };
            match self.record(&id).await {
                Ok(found) => records.extend(found),
                // One that is damaged must not hide the others.
                Err(error @ Error::Record { .. }) => tracing::warn!("{error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    pub(crate) fn output(&self, id: &ImageId) -> Result<Box<dyn Output + Send>, Error> {
        // In place of what somebody left who died before its record, or of what is made anew; never of another's: we have the claim.
        Ok(Box::new(S3Output::create(&self.bucket, &self.location(id)?, true)?))
    }

    pub(crate) async fn commit(&self, record: &Record) -> Result<(), Error> {
        let key = self.key(&record.image_id()?, "json");
        self.bucket.put_small(&key, record.encode().into(), Condition::None).await?;
        Ok(())
    }

    pub(crate) async fn remove(&self, id: &ImageId) -> Result<bool, Error> {
        let mut had_any = false;
        // The record first: what has none is not there.
        for key in ["json", "clip"].map(|kind| self.key(id, kind)) {
            had_any |= self.bucket.exists(&key).await?;
            self.bucket.delete(&key).await?;
        }
        Ok(had_any)
    }
}
