//! The meta section: where the data comes from, and the streams (FORMAT.md §5).

use seek::Codec;
use serde::{Deserialize, Serialize};

use crate::error::{Damage, damaged};
use crate::record;

/// Most streams that an archive may have: EROFS counts devices in 16 bits, and images have at most a few hundred layers.
pub(crate) const STREAMS_MAX: usize = 4096;

/// Where the blobs of an archive are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Storage {
    /// In local files, named by each stream's [`Location`].
    Files,
    /// In an OCI registry.
    Registry {
        /// Host and port, as in a reference: `registry.example:5000`.
        host: String,
        /// Repository: `library/python`.
        repository: String,
    },
    /// In the archive itself.
    Archive,
}

/// Where one stream's blob is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// In the registry of [`Storage::Registry`], by its digest.
    Registry,
    /// In a local file.
    File {
        /// Absolute path.
        path: String,
        /// The blob's first byte in the file.
        offset: u64,
    },
    /// In the archive's own file.
    Archive {
        /// The blob's first byte in the file. (In the section: from the beginning of the data section.)
        offset: u64,
    },
}

/// An uncompressed byte space that files point into: the tar of a layer, or data that the archive carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// How the blob is compressed.
    pub codec: Codec,
    /// Uncompressed bytes.
    pub size: u64,
    /// Digest of the blob, `sha256:…`.
    pub blob: String,
    /// Bytes of the blob.
    pub blob_size: u64,
    /// Digest of the uncompressed bytes, `sha256:…`.
    pub diff_id: String,
    /// Where the blob is.
    pub location: Location,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    storage: Storage,
    streams: Vec<StoredStream>,
}

#[derive(Serialize, Deserialize)]
struct StoredStream {
    codec: u8,
    size: u64,
    blob: String,
    blob_size: u64,
    diff_id: String,
    location: Location,
    spans: u32,
}

/// A meta section, parsed: storage, streams, and how many spans each stream has.
pub(crate) struct Meta {
    pub storage: Storage,
    pub streams: Vec<Stream>,
    pub span_counts: Vec<u32>,
}

impl Meta {
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let streams = self.streams.iter().zip(&self.span_counts).map(|(s, spans)| StoredStream {
            codec: s.codec.code(),
            size: s.size,
            blob: s.blob.clone(),
            blob_size: s.blob_size,
            diff_id: s.diff_id.clone(),
            location: s.location.clone(),
            spans: *spans,
        });
        let stored = Stored { storage: self.storage.clone(), streams: streams.collect() };
        record::encode(&stored)
    }

    pub fn parse(bytes: &[u8]) -> Result<Meta, Damage> {
        let stored: Stored = record::decode(bytes).map_err(|e| Damage(format!("its meta section cannot be read: {e}")))?;
        if stored.streams.len() > STREAMS_MAX {
            return damaged!("it claims {} streams", stored.streams.len());
        }
        let span_counts = stored.streams.iter().map(|s| s.spans).collect();
        let streams = stored.streams.into_iter().map(StoredStream::stream).collect::<Result<_, _>>()?;
        Ok(Meta { storage: stored.storage, streams, span_counts })
    }
}

impl StoredStream {
    fn stream(self) -> Result<Stream, Damage> {
        let Some(codec) = Codec::from_code(self.codec) else { return damaged!("codec {} of a stream is unknown", self.codec) };
        let StoredStream { size, blob, blob_size, diff_id, location, .. } = self;
        let start = if let Location::File { offset, .. } | Location::Archive { offset } = location { offset } else { 0 };
        if start.checked_add(blob_size).is_none_or(|end| i64::try_from(end).is_err()) {
            return damaged!("stream {blob} lies behind the end of any file");
        }
        Ok(Stream { codec, size, blob, blob_size, diff_id, location })
    }
}
