//! `s3://bucket/key`, and what buckets and keys may be called. Pure.

use std::{fmt, str::FromStr};

use backend::Error;

/// S3 allows keys of so many bytes of UTF-8.
const KEY_BYTES_MAX: usize = 1024;
/// What S3 allows for the names of buckets; old ones had up to 255, which nobody else takes.
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;

/// Where an object lies: a bucket, and a key in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    bucket: String,
    key: String,
}

impl Location {
    /// The object `key` of `bucket`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for names that no bucket or object can have.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Result<Self, Error> {
        let (bucket, key) = (bucket.into(), key.into());
        check_bucket(&bucket)?;
        check_key(&key)?;
        Ok(Self { bucket, key })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The object's key: everything behind the bucket's slash, slashes included, as it is (nothing in it is decoded).
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl FromStr for Location {
    type Err = Error;

    /// Reads `s3://bucket/key`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], which says what is missing.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |reason| invalid(format!("'{text}' {reason}; write s3://bucket/key"));
        let rest = text.strip_prefix("s3://").ok_or_else(|| invalid("does not begin with s3://"))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(invalid("names no bucket"));
        }
        if key.is_empty() {
            return Err(invalid("names no key"));
        }
        Self::new(bucket, key)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// Refuses what would not reach a bucket but something else (a path, another host), and what S3 refuses by length.
pub(crate) fn check_bucket(bucket: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = bucket.as_bytes();
    if !BUCKET_BYTES.contains(&bytes.len()) {
        return Err(invalid(format!("'{bucket}' is no bucket's name: it has 3 to 63 characters")));
    }
    if !bytes.iter().copied().all(allowed) || !ends(bytes.first()) || !ends(bytes.last()) || bucket.contains("..") {
        return Err(invalid(format!("'{bucket}' is no bucket's name: it is made of letters, digits, '-', '_' and '.'")));
    }
    Ok(())
}

pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(invalid("the key is empty".to_owned()));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(invalid(format!("the key has {} bytes, and S3 allows {KEY_BYTES_MAX}", key.len())));
    }
    if key.chars().any(char::is_control) {
        return Err(invalid(format!("the key {key:?} holds control characters, which no listing can show")));
    }
    Ok(())
}

fn invalid(reason: String) -> Error {
    Error::InvalidOption { option: "S3 location", reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_and_written() {
        for (text, bucket, key) in [
            ("s3://bucket/key", "bucket", "key"),
            ("s3://my.bucket-1/a/b//c d%20é", "my.bucket-1", "a/b//c d%20é"),
            ("s3://bucket//key", "bucket", "/key"),
            ("s3://Old_Bucket/dir/", "Old_Bucket", "dir/"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!((location.bucket(), location.key()), (bucket, key));
            assert_eq!(location.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_location_says_why() {
        for (text, reason) in [
            ("", "does not begin with s3://"),
            ("https://bucket/key", "does not begin with s3://"),
            ("S3://bucket/key", "does not begin with s3://"),
            ("s3://", "names no bucket"),
            ("s3:///key", "names no bucket"),
            ("s3://bucket", "names no key"),
            ("s3://bucket/", "names no key"),
            ("s3://ab/key", "3 to 63"),
            ("s3://user:secret@host/key", "letters, digits"),
            ("s3://a..b/key", "letters, digits"),
            ("s3://-ab/key", "letters, digits"),
            ("s3://arn:aws:s3:::x/key", "letters, digits"),
            ("s3://bucket/a\nb", "control characters"),
        ] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.starts_with("S3 location: ") && error.contains(reason), "{text}: {error}");
        }
        assert!(Location::new("bucket", "k".repeat(1024)).is_ok());
        assert!(Location::new("bucket", "k".repeat(1025)).is_err());
    }
}
