//! The header: 1,024 bytes at offset 0 that say what the file is and where its sections lie (FORMAT.md §2).

use crate::error::{Damage, damaged};
use crate::le;
use crate::meta::Storage;

/// First bytes of every archive. The high bit and the line ends tell a copy that was made in text mode, as PNG does.
pub const MAGIC: [u8; 8] = *b"\x89CLIP\r\n\x1a";
/// The format that this crate writes and reads.
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 1024;
/// Sections that a header has room for.
pub const SECTIONS_MAX: usize = 16;

const TABLE_AT: usize = 64;
const ENTRY_BYTES: usize = 56;
const CHECKSUM_AT: usize = TABLE_AT + SECTIONS_MAX * ENTRY_BYTES;
const ZEROS_AT: usize = CHECKSUM_AT + 32;

/// What an archive carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveVersion {
    /// The data itself.
    V1,
    /// An index of data that lies elsewhere.
    V2,
}

impl std::fmt::Display for ArchiveVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ArchiveVersion::V1 => "v1",
            ArchiveVersion::V2 => "v2",
        })
    }
}

/// Where an archive's data comes from; enough to choose the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// Local files: an OCI layout, an oci-archive or a docker-archive.
    Files,
    /// An OCI registry.
    Registry,
    /// The archive's own file or object, wherever that is.
    Archive,
}

impl BackendKind {
    pub(crate) fn of(storage: &Storage) -> BackendKind {
        match storage {
            Storage::Files => BackendKind::Files,
            Storage::Registry { .. } => BackendKind::Registry,
            Storage::Archive => BackendKind::Archive,
        }
    }
}

/// What a section holds (FORMAT.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// Storage and streams.
    Meta,
    /// The EROFS image.
    Index,
    /// Span records of all streams.
    Spans,
    /// Where each window lies in the windows.
    WindowTable,
    /// Windows, each a zstd frame.
    Windows,
    /// The image's manifest, verbatim.
    Manifest,
    /// The image's config, verbatim.
    Config,
    /// Digests of the pages of paged sections.
    Pages,
    /// Bytes that the archive carries itself.
    Data,
    /// Why it is no v2 archive, where that was asked for: UTF-8. The only section that may be missing.
    Fallback,
}

const KINDS: [(u32, SectionKind, &str); 10] = [
    (1, SectionKind::Meta, "meta"),
    (2, SectionKind::Index, "index"),
    (3, SectionKind::Spans, "spans"),
    (4, SectionKind::WindowTable, "window-table"),
    (5, SectionKind::Windows, "windows"),
    (6, SectionKind::Manifest, "manifest"),
    (7, SectionKind::Config, "config"),
    (8, SectionKind::Pages, "pages"),
    (9, SectionKind::Data, "data"),
    (10, SectionKind::Fallback, "fallback"),
];

impl SectionKind {
    /// Whether the section is verified page by page, as it is read, and not whole when the archive is opened (FORMAT.md §4).
    pub fn paged(self) -> bool {
        matches!(self, SectionKind::Index | SectionKind::Windows)
    }

    /// The name that people see.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|k| k.1 == self).map_or("", |k| k.2)
    }

    fn code(self) -> u32 {
        KINDS.iter().find(|k| k.1 == self).map_or(0, |k| k.0)
    }

    fn from_code(code: u32) -> Option<SectionKind> {
        KINDS.iter().find(|k| k.0 == code).map(|k| k.1)
    }
}

/// A section's entry in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Its first byte in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// BLAKE3 of its bytes; of a paged section: of its page digests. The data section is covered by its span digests and has zeros here.
    pub checksum: [u8; 32],
}

/// A header, parsed and consistent with itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the archive carries.
    pub version: ArchiveVersion,
    /// Where its data comes from.
    pub backend: BackendKind,
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Its sections, by ascending offset, each kind at most once.
    pub sections: Vec<Section>,
}

/// Why bytes are no header of ours.
#[derive(Debug)]
pub(crate) enum HeaderError {
    NotAnArchive,
    Unsupported(u16),
    Damaged(Damage),
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        le::put(&mut out, 0, MAGIC);
        le::put(&mut out, 8, FORMAT_VERSION.to_le_bytes());
        out[10] = match self.version {
            ArchiveVersion::V1 => 1,
            ArchiveVersion::V2 => 2,
        };
        out[11] = match self.backend {
            BackendKind::Files => 1,
            BackendKind::Registry => 2,
            BackendKind::Archive => 3,
        };
        le::put(&mut out, 12, (self.sections.len() as u32).to_le_bytes());
        le::put(&mut out, 16, self.file_bytes.to_le_bytes());
        for (i, section) in self.sections.iter().enumerate() {
            let at = TABLE_AT + i * ENTRY_BYTES;
            le::put(&mut out, at, section.kind.code().to_le_bytes());
            le::put(&mut out, at + 8, section.offset.to_le_bytes());
            le::put(&mut out, at + 16, section.length.to_le_bytes());
            le::put(&mut out, at + 24, section.checksum);
        }
        seal(&mut out);
        out
    }

    /// Parses the first bytes of a file that is `file_bytes` long.
    pub(crate) fn parse(bytes: &[u8], file_bytes: u64) -> Result<Header, HeaderError> {
        if bytes.len() < MAGIC.len() || bytes[..MAGIC.len()] != MAGIC {
            return Err(HeaderError::NotAnArchive);
        }
        let Some(record) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderError::Damaged(Damage("it ends inside the header".into())));
        };
        let format = le::u16(record, 8);
        if format != FORMAT_VERSION {
            return Err(HeaderError::Unsupported(format));
        }
        parse_record(record, file_bytes).map_err(HeaderError::Damaged)
    }

    /// Reads the header of an archive of `file_bytes` bytes, if these are one: for who has no more than that of it. What it says of the rest is as good as
    /// its checksum.
    pub fn read(bytes: &[u8], file_bytes: u64) -> Option<Header> {
        Header::parse(bytes, file_bytes).ok()
    }

    /// The section of a kind.
    pub fn section(&self, kind: SectionKind) -> Option<&Section> {
        self.sections.iter().find(|s| s.kind == kind)
    }
}

/// Writes the header's own checksum.
pub(crate) fn seal(record: &mut [u8; HEADER_BYTES]) {
    let checksum = *blake3::hash(&record[..CHECKSUM_AT]).as_bytes();
    le::put(record, CHECKSUM_AT, checksum);
}

/// Entry `i` of the section table, unchecked, and where its checksum is.
pub(crate) fn entry(record: &[u8; HEADER_BYTES], i: usize) -> Option<(Section, usize)> {
    let at = TABLE_AT + i * ENTRY_BYTES;
    parse_entry(record, at).ok().map(|section| (section, at + 24))
}

fn parse_record(record: &[u8; HEADER_BYTES], file_bytes: u64) -> Result<Header, Damage> {
    if *blake3::hash(&record[..CHECKSUM_AT]).as_bytes() != le::digest(record, CHECKSUM_AT) || record[ZEROS_AT..].iter().any(|b| *b != 0) {
        return damaged!("the header's checksum does not match");
    }
    let version = match record[10] {
        1 => ArchiveVersion::V1,
        2 => ArchiveVersion::V2,
        other => return damaged!("archive version {other} is unknown"),
    };
    let backend = match record[11] {
        1 => BackendKind::Files,
        2 => BackendKind::Registry,
        3 => BackendKind::Archive,
        other => return damaged!("backend kind {other} is unknown"),
    };
    if le::u64(record, 16) != file_bytes {
        return damaged!("it is {file_bytes} bytes long where the header says {}", le::u64(record, 16));
    }
    let count = le::u32(record, 12) as usize;
    if count > SECTIONS_MAX {
        return damaged!("it claims {count} sections");
    }
    let mut sections = Vec::with_capacity(count);
    let mut free_from = HEADER_BYTES as u64;
    for i in 0..count {
        let section = parse_entry(record, TABLE_AT + i * ENTRY_BYTES)?;
        let end = section.offset.checked_add(section.length).filter(|end| *end <= file_bytes);
        let Some(end) = end.filter(|_| section.offset >= free_from) else {
            return damaged!("section {} lies outside the file or over another", section.kind.name());
        };
        if sections.iter().any(|s: &Section| s.kind == section.kind) {
            return damaged!("section {} is there twice", section.kind.name());
        }
        free_from = end;
        sections.push(section);
    }
    Ok(Header { version, backend, file_bytes, sections })
}

fn parse_entry(record: &[u8; HEADER_BYTES], at: usize) -> Result<Section, Damage> {
    let code = le::u32(record, at);
    let Some(kind) = SectionKind::from_code(code) else { return damaged!("section kind {code} is unknown") };
    Ok(Section { kind, offset: le::u64(record, at + 8), length: le::u64(record, at + 16), checksum: le::digest(record, at + 24) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let section = |kind, offset, length| Section { kind, offset, length, checksum: [7; 32] };
        let sections = vec![section(SectionKind::Meta, 1024, 100), section(SectionKind::Index, 4096, 8192)];
        Header { version: ArchiveVersion::V2, backend: BackendKind::Registry, file_bytes: 12288, sections }
    }

    #[test]
    fn encodes_and_parses() {
        assert_eq!(Header::parse(&header().encode(), 12288).unwrap(), header());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = header().encode();
        for at in 0..HEADER_BYTES {
            let mut bad = good;
            bad[at] ^= 1;
            assert!(Header::parse(&bad, 12288).is_err(), "byte {at}");
        }
    }

    #[test]
    fn overlaps_duplicates_and_excess_are_refused() {
        let mut cases = [header(), header(), header(), header()];
        cases[0].sections[1].offset = 1100;
        cases[1].sections[1].length = u64::MAX;
        cases[2].sections[1].kind = SectionKind::Meta;
        cases[3].file_bytes = 12287;
        for case in cases {
            assert!(matches!(Header::parse(&case.encode(), 12288), Err(HeaderError::Damaged(_))), "{case:?}");
        }
        assert!(matches!(Header::parse(b"PK", 2), Err(HeaderError::NotAnArchive)));
    }
}
