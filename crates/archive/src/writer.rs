//! Writing a v2 archive: its sections in order, what it carries last.

use std::io::{self, Read};
use std::path::Path;

use crate::erofs::IndexWriter;
use crate::header::SectionKind;
use crate::meta::Meta;
use crate::output::{FileOutput, Output};
use crate::sections::{Front, SectionWriter};
use crate::{ArchiveVersion, Error, Span, Storage, Stream, Tree};

/// What an archive is made of.
pub struct Parts<'a> {
    /// The flattened tree; its files point into `streams`.
    pub tree: &'a Tree,
    /// Where the blobs are.
    pub storage: Storage,
    /// The streams, with offsets of [`crate::Location::Archive`] counted from the beginning of `data`.
    pub streams: Vec<Stream>,
    /// How many spans each stream has.
    pub span_counts: Vec<u32>,
    /// The image's manifest and config, verbatim.
    pub manifest: &'a [u8],
    /// See `manifest`.
    pub config: &'a [u8],
}

/// An archive being written. It exists under its own name only when [`ArchiveWriter::finish`] has returned; before, and if it is
/// dropped, there is at most a temporary file beside it, which is removed.
pub struct ArchiveWriter {
    output: FileOutput,
}

impl ArchiveWriter {
    /// Begins an archive that will be at `path`, in place of what is there only with `overwrite`.
    ///
    /// # Errors
    /// [`Error::Io`] where the directory cannot be written.
    pub fn create(path: &Path, overwrite: bool) -> Result<ArchiveWriter, Error> {
        Ok(ArchiveWriter { output: FileOutput::create(path, overwrite)? })
    }

    /// Writes everything and publishes the archive. Returns how many nodes it has. `spans` yields the spans of all streams in order, `windows` their windows as
    /// [`seek::window::compress`] made them, `data` what the archive carries itself.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Unrepresentable`] where the format cannot hold the image.
    pub fn finish(
        self,
        parts: &Parts<'_>,
        spans: impl Iterator<Item = io::Result<Span>>,
        windows: impl Iterator<Item = io::Result<Vec<u8>>>,
        data: &mut dyn Read,
    ) -> Result<u64, Error> {
        let Parts { tree, storage, streams, span_counts, manifest, config } = parts;
        let index = IndexWriter::new(tree, streams, uuid(manifest, streams, tree))?;
        let meta = Meta { storage: storage.clone(), streams: streams.clone(), span_counts: span_counts.clone() };
        let front = Front { meta: &meta, manifest, config, index: &index };
        let path = self.output.name();
        let write = || -> io::Result<()> {
            let mut sections = SectionWriter::begin(self.output)?;
            sections.front(&front, spans, windows)?;
            sections.section(SectionKind::Data, |out| io::copy(data, out).map(drop))?;
            let (output, header) = sections.header(ArchiveVersion::V2, storage, false)?;
            Box::new(output).publish(&header)
        };
        write().map_err(|source| Error::Io { path, source })?;
        Ok(index.inodes())
    }
}

/// The image's id in its superblock: the beginning of the BLAKE3 of manifest and streams. Its lowest bit is ours: whether any node
/// has extended attributes (FORMAT.md §8).
pub(crate) fn uuid(manifest: &[u8], streams: &[Stream], tree: &Tree) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(manifest);
    for stream in streams {
        hasher.update(stream.diff_id.as_bytes());
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid[0] = uuid[0] & !1 | u8::from(tree.has_xattrs());
    uuid
}
