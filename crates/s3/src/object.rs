//! Small objects as a whole, whether they are there, what else is there, and taking them away.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use backend::Error;
use bytes::{Bytes, BytesMut};

use crate::{
    Bucket,
    blob::{Object, S3Blob, next_chunk},
    client::Permission,
    error::Asked,
    location::check_key,
};

/// S3 lists no more at once.
const PAGE_ENTRIES_MAX: usize = 1000;
/// A server may give pages without entries while it passes over deleted ones, but not for ever.
const EMPTY_PAGES_MAX: usize = 100;

/// What a bucket holds under a prefix, or the beginning of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of their keys' bytes.
    pub entries: Vec<Entry>,
    /// Whether there is more than was asked for.
    pub truncated: bool,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its whole key, prefix included.
    pub key: String,
    /// Its bytes.
    pub size: u64,
    /// When it was stored, if the server says so.
    pub modified: Option<SystemTime>,
}

impl Bucket {
    /// All of a small object.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond `limit_bytes`, [`Error::NotFound`], and as the other variants of [`Error`] say.
    pub async fn get_small(&self, key: &str, limit_bytes: u64) -> Result<Bytes, Error> {
        check_key(key)?;
        let asked = self.inner.asked(&self.name, key, Permission::Get);
        self.inner.call(&asked.what, Duration::ZERO, || self.get_whole(key, &asked, limit_bytes)).await
    }

    async fn get_whole(&self, key: &str, asked: &Asked, limit_bytes: u64) -> Result<Bytes, Error> {
        let request = self.inner.client.get_object().bucket(&*self.name).key(key);
        let mut output = self.inner.answer(asked, Duration::ZERO, request.send()).await?;
        let too_large = || Error::TooLarge { what: asked.what.clone(), limit_bytes };
        let length = output.content_length.and_then(|length| u64::try_from(length).ok());
        if length.is_some_and(|length| length > limit_bytes) {
            return Err(too_large());
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = next_chunk(&mut output.body, &asked.what, self.inner.read_timeout).await? {
            if (bytes.len() + chunk.len()) as u64 > limit_bytes {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        match length {
            Some(length) if length != bytes.len() as u64 => {
                Err(Error::unavailable(&asked.what, format!("body ended at {} instead of {length}", bytes.len())))
            }
            _ => {
                self.inner.traffic.count_bytes(bytes.len());
                Ok(bytes.freeze())
            }
        }
    }

    /// Whether there is an object `key`: its first byte is asked for. Without s3:ListBucket, S3 says "denied" for what is not there.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a bucket that is not there, and as the other variants of [`Error`] say.
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        check_key(key)?;
        let asked = self.inner.asked(&self.name, key, Permission::Get);
        let object = Arc::new(Object { bucket: self.name.to_string(), key: key.to_owned(), asked });
        let open = || async {
            match S3Blob::open(&self.inner, &object, 1).await {
                Ok(_) => Ok(true),
                Err(failure) if failure.status == 404 && failure.code != "NoSuchBucket" => Ok(false),
                Err(failure) => Err(failure.error),
            }
        };
        self.inner.call(&object.asked.what, Duration::ZERO, open).await
    }

    /// Takes an object away. One that is not there is no error.
    ///
    /// # Errors
    /// As the variants of [`Error`] say.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        check_key(key)?;
        let asked = self.inner.asked(&self.name, key, Permission::Delete);
        let delete = || async {
            let request = self.inner.client.delete_object().bucket(&*self.name).key(key);
            match self.inner.answer(&asked, Duration::ZERO, request.send()).await {
                Ok(_) => Ok(()),
                Err(failure) if failure.code == "NoSuchKey" => Ok(()),
                Err(failure) => Err(failure.error),
            }
        };
        self.inner.call(&asked.what, Duration::ZERO, delete).await
    }

    /// The objects whose keys begin with `prefix`, at most `entries_max` of them.
    ///
    /// # Errors
    /// As the variants of [`Error`] say; s3:ListBucket is needed.
    pub async fn list(&self, prefix: &str, entries_max: usize) -> Result<Listing, Error> {
        let asked = self.inner.asked(&self.name, prefix, Permission::List);
        let (mut listing, mut token, mut empty_pages) = (Listing::default(), None, 0);
        loop {
            let wanted = (entries_max - listing.entries.len()).min(PAGE_ENTRIES_MAX);
            if wanted == 0 {
                listing.truncated = true;
                return Ok(listing);
            }
            let page = self.inner.call(&asked.what, Duration::ZERO, || self.list_page(prefix, &asked, token.clone(), wanted)).await?;
            let entries = page.contents.unwrap_or_default().into_iter().filter_map(entry);
            let before = listing.entries.len();
            listing.entries.extend(entries.take(wanted));
            if page.is_truncated != Some(true) {
                return Ok(listing);
            }
            empty_pages = if listing.entries.len() == before { empty_pages + 1 } else { 0 };
            token = page.next_continuation_token;
            if token.is_none() || empty_pages > EMPTY_PAGES_MAX {
                return Err(Error::protocol(&asked.what, "a listing that neither goes on nor ends"));
            }
        }
    }

    async fn list_page(&self, prefix: &str, asked: &Asked, token: Option<String>, entries: usize) -> Result<ListObjectsV2Output, Error> {
        let request = self.inner.client.list_objects_v2().bucket(&*self.name).prefix(prefix);
        let request = request.max_keys(entries as i32).set_continuation_token(token);
        Ok(self.inner.answer(asked, Duration::ZERO, request.send()).await?)
    }
}

/// `None` for what has no key or a size below zero, which no object has.
fn entry(object: aws_sdk_s3::types::Object) -> Option<Entry> {
    let modified = object.last_modified.and_then(|time| SystemTime::try_from(time).ok());
    Some(Entry { key: object.key?, size: u64::try_from(object.size.unwrap_or_default()).ok()?, modified })
}
