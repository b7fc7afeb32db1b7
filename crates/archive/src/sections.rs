//! Sections being written: one after the other, each hashed as it goes by, and noted for the header.

use std::io::{self, Write};

use crate::erofs::IndexWriter;
use crate::header::{BackendKind, HEADER_BYTES, Header, Section, SectionKind};
use crate::meta::Meta;
use crate::paged::PAGE_BYTES;
use crate::spans::SPAN_BLOB_BYTES_MAX;
use crate::{ArchiveVersion, Span, Storage};

/// The index begins on a page, so that it can be mapped and mounted where it lies.
const INDEX_ALIGNMENT: u64 = 4096;

/// The sections of an archive that is being written to `out`.
pub(crate) struct SectionWriter<W> {
    out: W,
    at: u64,
    sections: Vec<Section>,
    /// Digests of the pages of paged sections.
    pages: Vec<u8>,
}

/// What every archive has beside its data.
pub(crate) struct Front<'a> {
    pub meta: &'a Meta,
    pub manifest: &'a [u8],
    pub config: &'a [u8],
    pub index: &'a IndexWriter<'a>,
}

impl<W: Write> SectionWriter<W> {
    /// Begins an archive: leaves room for its header.
    pub fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(&[0; HEADER_BYTES])?;
        Ok(Self { out, at: HEADER_BYTES as u64, sections: Vec::new(), pages: Vec::new() })
    }

    /// Writes everything but the data, which comes before or after.
    pub fn front(
        &mut self,
        front: &Front<'_>,
        spans: impl Iterator<Item = io::Result<Span>>,
        windows: impl Iterator<Item = io::Result<Vec<u8>>>,
    ) -> io::Result<()> {
        let meta = front.meta.encode().map_err(io::Error::other)?;
        self.section(SectionKind::Meta, |out| out.write_all(&meta))?;
        self.section(SectionKind::Manifest, |out| out.write_all(front.manifest))?;
        self.section(SectionKind::Config, |out| out.write_all(front.config))?;
        self.section(SectionKind::Spans, |out| write_spans(out, spans))?;
        let padding = self.at.next_multiple_of(INDEX_ALIGNMENT) - self.at;
        self.out.write_all(&[0; INDEX_ALIGNMENT as usize][..padding as usize])?;
        self.at += padding;
        self.section(SectionKind::Index, |out| front.index.write(out))?;
        let mut table = Vec::new();
        self.section(SectionKind::Windows, |out| write_windows(out, windows, &mut table))?;
        self.section(SectionKind::WindowTable, |out| out.write_all(&table))?;
        let pages = std::mem::take(&mut self.pages);
        self.section(SectionKind::Pages, |out| out.write_all(&pages))
    }

    /// Writes a section and notes it.
    pub fn section(&mut self, kind: SectionKind, fill: impl FnOnce(&mut Hashed<'_, W>) -> io::Result<()>) -> io::Result<()> {
        let pages = kind.paged().then(Vec::new);
        let mut hashed = Hashed { out: &mut self.out, length: 0, hasher: blake3::Hasher::new(), pages };
        fill(&mut hashed)?;
        let (length, checksum, pages) = hashed.finish();
        self.pages.extend(pages);
        // The spans' digests cover the data.
        self.note(kind, length, if kind == SectionKind::Data { [0; 32] } else { checksum });
        Ok(())
    }

    /// Writes bytes of the data section, which [`SectionWriter::note_data`] ends.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Notes the data section, of which `length` bytes were written.
    pub fn note_data(&mut self, length: u64) {
        self.note(SectionKind::Data, length, [0; 32]);
    }

    /// Bytes so far.
    pub fn position(&self) -> u64 {
        self.at
    }

    fn note(&mut self, kind: SectionKind, length: u64, checksum: [u8; 32]) {
        self.sections.push(Section { kind, offset: self.at, length, checksum });
        self.at += length;
    }

    /// The header; with `trailer` it is written once more, as the archive's last bytes.
    pub fn header(mut self, version: ArchiveVersion, storage: &Storage, trailer: bool) -> io::Result<(W, [u8; HEADER_BYTES])> {
        let file_bytes = self.at + if trailer { HEADER_BYTES as u64 } else { 0 };
        let backend = BackendKind::of(storage);
        let header = Header { version, backend, file_bytes, sections: self.sections }.encode();
        if trailer {
            self.out.write_all(&header)?;
        }
        Ok((self.out, header))
    }
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
pub(crate) struct Hashed<'a, W> {
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
