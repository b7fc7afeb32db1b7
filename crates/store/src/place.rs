//! Where an archive lies.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use s3::Location;

use crate::Error;

/// Where an archive lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// In an object.
    S3(Location),
}

impl FromStr for Place {
    type Err = Error;

    /// `s3://bucket/key`, or a path.
    fn from_str(text: &str) -> Result<Place, Error> {
        if text.starts_with("s3://") {
            return text.parse().map(Place::S3).map_err(Error::Location);
        }
        Ok(Place::File(text.into()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => path.display().fmt(f),
            Place::S3(location) => location.fmt(f),
        }
    }
}
