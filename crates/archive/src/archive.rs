//! An archive, open: its parts, checked and ready to be asked.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Damage, damaged};
use crate::header::{HEADER_BYTES, Header, HeaderError, Section, SectionKind};
use crate::map::Map;
use crate::meta::Meta;
use crate::paged::{Paged, page_count};
use crate::spans::RECORD_BYTES;
use crate::windows::WindowTable;
use crate::{ArchiveVersion, Error, Index, Location, Spans, Storage, Stream, StreamId, WindowId, header};

/// An archive, mapped. Opening takes about a millisecond whatever its size: small sections are checked whole, the index and the
/// windows page by page as they are read.
pub struct Archive {
    path: PathBuf,
    map: Map,
    header: Header,
    meta: Meta,
    span_ranges: Vec<Range<usize>>,
    window_table: WindowTable,
    windows: Paged,
    index: Index,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Archive {
    /// Opens the archive at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::NotAnArchive`], [`Error::Unsupported`], and [`Error::Corrupt`] where any
    /// part contradicts its digest or another part.
    pub fn open(path: &Path) -> Result<Archive, Error> {
        Archive::of(path, Map::open(path)?)
    }

    /// The archive that a map holds.
    pub(crate) fn of(path: &Path, map: Map) -> Result<Archive, Error> {
        let header = Header::parse(&map[..map.len().min(HEADER_BYTES)], map.len() as u64).map_err(|e| match e {
            HeaderError::NotAnArchive => Error::NotAnArchive { path: path.into() },
            HeaderError::Unsupported(found) => Error::Unsupported { path: path.into(), found, supported: header::FORMAT_VERSION },
            HeaderError::Damaged(damage) => damage.at(path),
        })?;
        Archive::parse(path, map, header).map_err(|damage| damage.at(path))
    }

    fn parse(path: &Path, map: Map, header: Header) -> Result<Archive, Damage> {
        // What a reader of the end alone goes by.
        if header.version == ArchiveVersion::V1 && map[map.len() - HEADER_BYTES..] != map[..HEADER_BYTES] {
            return damaged!("it does not end with a copy of its header");
        }
        for section in header.sections.iter().filter(|s| !s.kind.paged() && s.kind != SectionKind::Data) {
            if *blake3::hash(&map[range(section)]).as_bytes() != section.checksum {
                return damaged!("section {} does not match its checksum", section.kind.name());
            }
        }
        let mut meta = Meta::parse(&map[needed(&header, SectionKind::Meta)?])?;
        resolve_locations(&header, &mut meta)?;
        let index = paged(&map, &header, SectionKind::Index)?;
        let windows = paged(&map, &header, SectionKind::Windows)?;
        let window_table = WindowTable::parse(&map[needed(&header, SectionKind::WindowTable)?], windows.len())?;
        let span_ranges = span_ranges(&header, &meta)?;
        for (stream, range) in meta.streams.iter().zip(&span_ranges) {
            Spans::new(&map, range.clone(), stream).check(window_table.len())?;
        }
        needed(&header, SectionKind::Manifest)?;
        needed(&header, SectionKind::Config)?;
        let index = Index::parse(path, index, &meta.streams)?;
        Ok(Archive { path: path.into(), map, header, meta, span_ranges, window_table, windows, index })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it carries its data.
    pub fn version(&self) -> ArchiveVersion {
        self.header.version
    }

    /// Its header, for those who look in.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// A name for its contents: BLAKE3 of the header, which covers all digests.
    pub fn id(&self) -> [u8; 32] {
        *blake3::hash(&self.map[..HEADER_BYTES]).as_bytes()
    }

    /// The tree.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The streams that files point into, by [`StreamId`].
    pub fn streams(&self) -> &[Stream] {
        &self.meta.streams
    }

    /// Where the streams' blobs are.
    pub fn storage(&self) -> &Storage {
        &self.meta.storage
    }

    /// Why this is no v2 archive, where that was asked for.
    pub fn fallback(&self) -> Option<&str> {
        std::str::from_utf8(self.verbatim(SectionKind::Fallback)).ok().filter(|reason| !reason.is_empty())
    }

    /// The span table of a stream.
    ///
    /// # Panics
    /// If there is no such stream.
    pub fn spans(&self, stream: StreamId) -> Spans<'_> {
        let i = usize::from(stream.0);
        Spans::new(&self.map, self.span_ranges[i].clone(), &self.meta.streams[i])
    }

    /// The 32 KiB (or fewer) before a restart point; bytes that its span does not refer to are zero.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the window does not match its digest.
    pub fn window(&self, id: WindowId) -> Result<Vec<u8>, Error> {
        self.window_table.window(&self.windows, id).map_err(|damage| damage.at(&self.path))
    }

    /// How many windows there are.
    pub fn windows(&self) -> u32 {
        self.window_table.len()
    }

    /// The image's manifest, as the registry has it.
    pub fn manifest(&self) -> &[u8] {
        self.verbatim(SectionKind::Manifest)
    }

    /// The image's config, as the registry has it.
    pub fn config(&self) -> &[u8] {
        self.verbatim(SectionKind::Config)
    }

    fn verbatim(&self, kind: SectionKind) -> &[u8] {
        self.header.section(kind).map_or(&[], |s| &self.map[range(s)])
    }

    /// Reads every page of the paged sections once.
    ///
    /// # Errors
    /// [`Error::Corrupt`] at the first that does not match its digest.
    pub fn verify_pages(&self) -> Result<(), Error> {
        let at = |damage: Damage| damage.at(&self.path);
        self.windows.get(0..self.windows.len()).map_err(at)?;
        self.index.verify_pages()
    }
}

fn range(section: &Section) -> Range<usize> {
    section.offset as usize..(section.offset + section.length) as usize
}

fn needed(header: &Header, kind: SectionKind) -> Result<Range<usize>, Damage> {
    match header.section(kind) {
        Some(section) => Ok(range(section)),
        None => damaged!("it has no section {}", kind.name()),
    }
}

/// A paged section, with its place in the page digests: those of the index come first, then those of the windows.
fn paged(map: &Map, header: &Header, kind: SectionKind) -> Result<Paged, Damage> {
    let section = needed(header, kind)?;
    let digests = needed(header, SectionKind::Pages)?;
    let before = match kind {
        SectionKind::Windows => page_count(needed(header, SectionKind::Index)?.len() as u64),
        _ => 0,
    };
    let bytes = |pages: u64| pages as usize * 32;
    let (start, length) = (digests.start + bytes(before), bytes(page_count(section.len() as u64)));
    if start + length > digests.end {
        return damaged!("digests of section {} are missing", kind.name());
    }
    let checksum = header.section(kind).map(|s| s.checksum);
    if checksum != Some(*blake3::hash(&map[start..start + length]).as_bytes()) {
        return damaged!("the page digests of section {} do not match its checksum", kind.name());
    }
    Ok(Paged::new(map.clone(), section, start, kind.name()))
}

/// Turns offsets in the data section into offsets in the file.
fn resolve_locations(header: &Header, meta: &mut Meta) -> Result<(), Damage> {
    let data = header.section(SectionKind::Data);
    for stream in &mut meta.streams {
        if let Location::Archive { offset } = &mut stream.location {
            let inside = |s: &&Section| offset.checked_add(stream.blob_size).is_some_and(|end| end <= s.length);
            let Some(data) = data.filter(inside) else {
                return damaged!("stream {} lies outside the data section", stream.blob);
            };
            *offset += data.offset;
        }
        if stream.location == Location::Registry && !matches!(meta.storage, Storage::Registry { .. }) {
            return damaged!("stream {} lies in a registry that is not named", stream.blob);
        }
    }
    Ok(())
}

/// Each stream's part of the spans section.
fn span_ranges(header: &Header, meta: &Meta) -> Result<Vec<Range<usize>>, Damage> {
    let section = needed(header, SectionKind::Spans)?;
    let mut ranges = Vec::with_capacity(meta.span_counts.len());
    let mut at = section.start;
    for count in &meta.span_counts {
        let end = at.saturating_add(*count as usize * RECORD_BYTES);
        if end > section.end {
            return damaged!("its spans section is too short");
        }
        ranges.push(at..end);
        at = end;
    }
    if at != section.end {
        return damaged!("its spans section is too long");
    }
    Ok(ranges)
}
