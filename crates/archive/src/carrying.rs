//! Writing a v1 archive: its data as it comes, then everything that points into it, then the header, at both ends.
//!
//! Nothing is held back but the spans' records, and nothing is written twice but the header: an archive of any size can go to a place that
//! takes bytes only in order, as long as the first 1,024 may be given last.

use std::io::{self, Write};

use seek::{Codec, Restart};

use crate::erofs::IndexWriter;
use crate::header::{HEADER_BYTES, SectionKind};
use crate::meta::Meta;
use crate::output::Output;
use crate::sections::{Front, SectionWriter};
use crate::writer::uuid;
use crate::{ArchiveVersion, Error, Location, Span, Storage, Stream, StreamId, Tree};

/// Name of the one stream of a v1 archive, in messages; behind it comes its digest.
const STREAM: &str = "data";

/// What a v1 archive is made of, beside its data.
pub struct Carried<'a> {
    /// The tree; its files point into [`CarryingWriter::STREAM`].
    pub tree: &'a Tree,
    /// The image's manifest and config, verbatim; empty for what was no image.
    pub manifest: &'a [u8],
    /// See `manifest`.
    pub config: &'a [u8],
    /// Why this is no v2 archive, where that was asked for.
    pub fallback: Option<&'a str>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Nodes of the tree.
    pub inodes: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Bytes of its data, uncompressed and compressed.
    pub data_bytes: u64,
    /// See `data_bytes`.
    pub compressed_bytes: u64,
}

/// A v1 archive being written. Dropped, it leaves nothing behind.
pub struct CarryingWriter {
    sections: SectionWriter<Box<dyn Output>>,
    name: std::path::PathBuf,
    spans: Vec<Span>,
    size: u64,
    blob_size: u64,
}

impl CarryingWriter {
    /// The stream that files point into.
    pub const STREAM: StreamId = StreamId(0);

    /// Begins an archive.
    ///
    /// # Errors
    /// [`Error::Io`] where the output cannot be written.
    pub fn begin(output: Box<dyn Output>) -> Result<CarryingWriter, Error> {
        let name = output.name();
        let sections = SectionWriter::begin(output).map_err(|source| Error::Io { path: name.clone(), source })?;
        Ok(CarryingWriter { sections, name, spans: Vec::new(), size: 0, blob_size: 0 })
    }

    /// Bytes of the stream so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a span of `length` uncompressed bytes with the BLAKE3 `digest`: one whole zstd frame.
    ///
    /// # Errors
    /// [`Error::Io`] where the output cannot be written.
    pub fn span(&mut self, frame: &[u8], length: u32, digest: [u8; 32]) -> Result<(), Error> {
        self.sections.data(frame).map_err(|source| Error::Io { path: self.name.clone(), source })?;
        let blob_length = frame.len() as u64;
        let (offset, blob_offset) = (self.size, self.blob_size);
        self.spans.push(Span { offset, length, blob_offset, blob_length, restart: Restart::Frame, window: None, digest });
        self.size += u64::from(length);
        self.blob_size += blob_length;
        Ok(())
    }

    /// Writes the rest and publishes the archive.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Unrepresentable`] where the format cannot hold the tree.
    pub fn finish(mut self, parts: &Carried<'_>) -> Result<Written, Error> {
        let streams = self.streams();
        let span_counts = streams.iter().map(|_| self.spans.len() as u32).collect();
        let meta = Meta { storage: Storage::Archive, streams, span_counts };
        let index = IndexWriter::new(parts.tree, &meta.streams, uuid(parts.manifest, &meta.streams, parts.tree))?;
        let front = Front { meta: &meta, manifest: parts.manifest, config: parts.config, index: &index };
        let (spans, blob_size) = (&self.spans, self.blob_size);
        let write = || -> io::Result<u64> {
            self.sections.note_data(blob_size);
            self.sections.front(&front, spans.iter().copied().map(Ok), std::iter::empty())?;
            if let Some(reason) = parts.fallback {
                self.sections.section(SectionKind::Fallback, |out| out.write_all(reason.as_bytes()))?;
            }
            let archive_bytes = self.sections.position() + HEADER_BYTES as u64;
            let (output, header) = self.sections.header(ArchiveVersion::V1, &meta.storage, true)?;
            output.publish(&header)?;
            Ok(archive_bytes)
        };
        let archive_bytes = write().map_err(|source| Error::Io { path: self.name, source })?;
        Ok(Written { inodes: index.inodes(), archive_bytes, data_bytes: self.size, compressed_bytes: blob_size })
    }

    /// The one stream; none where no file has any bytes.
    fn streams(&self) -> Vec<Stream> {
        if self.spans.is_empty() {
            return Vec::new();
        }
        let mut digests = blake3::Hasher::new();
        for span in &self.spans {
            digests.update(&span.digest);
        }
        let name = format!("{STREAM}:{}", digests.finalize().to_hex());
        let location = Location::Archive { offset: 0 };
        vec![Stream { codec: Codec::Zstd, size: self.size, blob: name.clone(), blob_size: self.blob_size, diff_id: name, location }]
    }
}
