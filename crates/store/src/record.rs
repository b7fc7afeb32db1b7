//! What is known of an archive in a store without opening it.

use serde::{Deserialize, Serialize};

use crate::{Error, ImageId};

/// Bytes that a record may have.
pub(crate) const RECORD_BYTES_MAX: u64 = 64 << 10;

/// An image in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// The image, as it was named when it was pulled.
    pub image: String,
    /// Digest of its manifest.
    pub manifest: String,
    /// What it is for: `linux/amd64`.
    pub platform: String,
    /// Version of the archive: `v1`, or `v2`.
    pub version: String,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Why it is v1, where v2 was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

impl Record {
    /// The id, checked.
    ///
    /// # Errors
    /// [`Error::Id`].
    pub fn image_id(&self) -> Result<ImageId, Error> {
        self.id.parse()
    }

    /// Reads the record that lies at `what` for `id`.
    pub(crate) fn parse(id: &ImageId, what: &str, bytes: &[u8]) -> Result<Record, Error> {
        let damaged = |detail: String| Error::Record { what: what.into(), detail };
        let record: Record = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if record.id != id.as_str() {
            return Err(damaged(format!("it is of image {}", record.id)));
        }
        Ok(record)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        // Strings and numbers: there is nothing that JSON cannot hold.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}
