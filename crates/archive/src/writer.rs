//! Writing an archive: its sections in order to a temporary file, then the header, then one rename.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::erofs::IndexWriter;
use crate::header::{BackendKind, HEADER_BYTES, Header, Section, SectionKind};
use crate::meta::Meta;
use crate::paged::PAGE_BYTES;
use crate::spans::SPAN_BLOB_BYTES_MAX;
use crate::{ArchiveVersion, Error, Span, Storage, Stream, Tree};

/// The index begins on a page, so that it can be mapped and mounted where it lies.
const INDEX_ALIGNMENT: u64 = 4096;

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
    path: PathBuf,
    overwrite: bool,
    temporary: tempfile::NamedTempFile,
    sections: Vec<Section>,
}

impl ArchiveWriter {
    /// Begins an archive that will be at `path`, in place of what is there only with `overwrite`.
    ///
    /// # Errors
    /// [`Error::Io`] where the directory cannot be written.
    pub fn create(path: &Path, overwrite: bool) -> Result<ArchiveWriter, Error> {
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(".clip-")
            .suffix(".tmp")
            .permissions(std::fs::Permissions::from_mode(0o666)) // less the umask, as any new file
            .tempfile_in(directory);
        let temporary = temporary.map_err(|source| Error::Io { path: path.into(), source })?;
        Ok(ArchiveWriter { path: path.into(), overwrite, temporary, sections: Vec::new() })
    }

    /// Writes everything and publishes the archive. Returns how many nodes it has. `spans` yields the spans of all streams in order, `windows` their windows as
    /// [`seek::window::compress`] made them, `data` what the archive carries itself.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Unrepresentable`] where the format cannot hold the image.
    pub fn finish(
        mut self,
        parts: &Parts<'_>,
        spans: impl Iterator<Item = io::Result<Span>>,
        windows: impl Iterator<Item = io::Result<Vec<u8>>>,
        data: &mut dyn Read,
    ) -> Result<u64, Error> {
        let backend = if matches!(parts.storage, Storage::Registry { .. }) { BackendKind::Registry } else { BackendKind::Files };
        let uuid = uuid(parts);
        let index = IndexWriter::new(parts.tree, &parts.streams, uuid)?;
        let path = self.path.clone();
        let write = || -> io::Result<()> {
            let file = self.temporary.as_file_mut();
            let mut out = BufWriter::with_capacity(1 << 20, &mut *file);
            out.write_all(&[0; HEADER_BYTES])?;
            let mut at = HEADER_BYTES as u64;
            let (sections, mut pages) = (&mut self.sections, Vec::new());
            let meta = Meta { storage: parts.storage.clone(), streams: parts.streams.clone(), span_counts: parts.span_counts.clone() };
            let meta = meta.encode().map_err(io::Error::other)?;
            section(&mut out, &mut at, sections, SectionKind::Meta, |out| out.write_all(&meta))?;
            section(&mut out, &mut at, sections, SectionKind::Manifest, |out| out.write_all(parts.manifest))?;
            section(&mut out, &mut at, sections, SectionKind::Config, |out| out.write_all(parts.config))?;
            section(&mut out, &mut at, sections, SectionKind::Spans, |out| write_spans(out, spans))?;
            let padding = at.next_multiple_of(INDEX_ALIGNMENT) - at;
            out.write_all(&[0; INDEX_ALIGNMENT as usize][..padding as usize])?;
            at += padding;
            pages.extend(section(&mut out, &mut at, sections, SectionKind::Index, |out| index.write(out))?);
            let mut table = Vec::new();
            pages.extend(section(&mut out, &mut at, sections, SectionKind::Windows, |out| write_windows(out, windows, &mut table))?);
            section(&mut out, &mut at, sections, SectionKind::WindowTable, |out| out.write_all(&table))?;
            section(&mut out, &mut at, sections, SectionKind::Pages, |out| out.write_all(&pages))?;
            section(&mut out, &mut at, sections, SectionKind::Data, |out| io::copy(data, out).map(drop))?;
            out.flush()?;
            drop(out);
            let header = Header { version: ArchiveVersion::V2, backend, file_bytes: at, sections: self.sections.clone() };
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header.encode())?;
            file.sync_all()
        };
        write().map_err(|source| Error::Io { path: path.clone(), source })?;
        let persist = if self.overwrite { tempfile::NamedTempFile::persist } else { tempfile::NamedTempFile::persist_noclobber };
        persist(self.temporary, &path).map_err(|e| Error::Io { path: path.clone(), source: e.error })?;
        sync_directory(&path).map_err(|source| Error::Io { path, source })?;
        Ok(index.inodes())
    }
}

/// The rename itself must survive a power cut.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// The image's id in its superblock: the beginning of the BLAKE3 of manifest and streams. Its lowest bit is ours: whether any node
/// has extended attributes (FORMAT.md §8).
fn uuid(parts: &Parts<'_>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(parts.manifest);
    for stream in &parts.streams {
        hasher.update(stream.diff_id.as_bytes());
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid[0] = uuid[0] & !1 | u8::from(parts.tree.has_xattrs());
    uuid
}

/// Writes a section and notes it. Returns its page digests, if it is paged.
fn section<W: Write>(
    out: &mut W,
    at: &mut u64,
    sections: &mut Vec<Section>,
    kind: SectionKind,
    fill: impl FnOnce(&mut Hashed<'_, W>) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    let mut hashed = Hashed { out, length: 0, hasher: blake3::Hasher::new(), pages: kind.paged().then(Vec::new) };
    fill(&mut hashed)?;
    let (length, checksum, pages) = hashed.finish();
    let checksum = if kind == SectionKind::Data { [0; 32] } else { checksum };
    sections.push(Section { kind, offset: *at, length, checksum });
    *at += length;
    Ok(pages)
}

fn write_spans(out: &mut impl Write, spans: impl Iterator<Item = io::Result<Span>>) -> io::Result<()> {
    for span in spans {
        let span = span?;
        if span.blob_length > SPAN_BLOB_BYTES_MAX {
            let detail = format!("a span of {} compressed bytes (at most {SPAN_BLOB_BYTES_MAX})", span.blob_length);
            return Err(io::Error::other(detail));
        }
        out.write_all(&span.encode())?;
    }
    Ok(())
}

fn write_windows(out: &mut impl Write, windows: impl Iterator<Item = io::Result<Vec<u8>>>, table: &mut Vec<u8>) -> io::Result<()> {
    let mut at = 0u64;
    for window in windows {
        let window = window?;
        table.extend_from_slice(&at.to_le_bytes());
        at += window.len() as u64;
        out.write_all(&window)?;
    }
    if !table.is_empty() {
        table.extend_from_slice(&at.to_le_bytes());
    }
    Ok(())
}

/// Hashes what goes through: whole, or page by page.
struct Hashed<'a, W> {
    out: &'a mut W,
    length: u64,
    hasher: blake3::Hasher,
    pages: Option<Vec<u8>>,
}

impl<W: Write> Hashed<'_, W> {
    fn end_page(&mut self) {
        if let Some(pages) = &mut self.pages {
            pages.extend_from_slice(self.hasher.finalize().as_bytes());
            self.hasher.reset();
        }
    }

    /// Length, checksum and page digests.
    fn finish(mut self) -> (u64, [u8; 32], Vec<u8>) {
        if !self.length.is_multiple_of(PAGE_BYTES) {
            self.end_page();
        }
        match self.pages {
            Some(pages) => (self.length, *blake3::hash(&pages).as_bytes(), pages),
            None => (self.length, *self.hasher.finalize().as_bytes(), Vec::new()),
        }
    }
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let to_page_end = (PAGE_BYTES - self.length % PAGE_BYTES) as usize;
        let limit = if self.pages.is_some() { bytes.len().min(to_page_end) } else { bytes.len() };
        let written = self.out.write(&bytes[..limit])?;
        self.hasher.update(&bytes[..written]);
        self.length += written as u64;
        if self.length.is_multiple_of(PAGE_BYTES) && written > 0 {
            self.end_page();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
