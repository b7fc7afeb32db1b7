//! An archive that becomes an object: written in parts as it comes, its header last.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use archive::Output;
use archive::header::HEADER_BYTES;
use s3::{Bucket, Condition, Location, Put, Upload, UploadOptions};
use tokio::runtime::Handle;

use crate::Error;

/// An object on its way. Dropped before it is published, it is aborted, and that is waited for: the process may end behind it.
pub struct S3Output {
    name: String,
    /// None: published, or about to be.
    upload: Option<Upload>,
    runtime: Handle,
}

impl S3Output {
    /// Begins the object at `location`, in place of what is there only with `overwrite`. Must be called on a tokio runtime, and written to
    /// from a thread that may block.
    ///
    /// # Errors
    /// [`Error::Location`] for a key that S3 does not take.
    pub fn create(bucket: &Bucket, location: &Location, overwrite: bool) -> Result<S3Output, Error> {
        let condition = if overwrite { Condition::None } else { Condition::Absent };
        let options = UploadOptions { condition, head_last: true, ..UploadOptions::default() };
        let upload = bucket.upload(location.key(), options).map_err(Error::Location)?;
        Ok(S3Output { name: location.to_string(), upload: Some(upload), runtime: Handle::current() })
    }
}

impl fmt::Debug for S3Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Output").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Write for S3Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let upload = self.upload.as_mut().ok_or_else(|| io::Error::other("written to after it was published"))?;
        self.runtime.block_on(upload.write(bytes)).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for S3Output {
    fn name(&self) -> PathBuf {
        self.name.clone().into()
    }

    fn publish(mut self: Box<Self>, header: &[u8; HEADER_BYTES]) -> io::Result<()> {
        let upload = self.upload.take().ok_or_else(|| io::Error::other("published twice"))?;
        let name = &self.name;
        match self.runtime.block_on(upload.finish_with_head(header)).map_err(io::Error::other)? {
            Put::Exists => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already")),
            Put::Stored => Ok(()),
            Put::StoredUnconditionally => {
                tracing::warn!(object = name, "the server knows no conditional put: another writer's object may have been replaced");
                Ok(())
            }
        }
    }
}

impl Drop for S3Output {
    fn drop(&mut self) {
        // What has begun was written to, so this is a thread that may block, too.
        if let Some(upload) = self.upload.take().filter(Upload::is_begun) {
            self.runtime.block_on(upload.abort());
        }
    }
}
