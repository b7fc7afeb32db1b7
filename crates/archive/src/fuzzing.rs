//! Entry points for the fuzzers (fuzz/) and for the tests that replay what they found; not an interface.
//!
//! The invariant: whatever the bytes, opening an archive and asking it everything ends soon, without a panic, and each answer is an
//! error or lies inside what the archive describes.

use std::path::Path;

use crate::header::{HEADER_BYTES, SectionKind};
use crate::map::Map;
use crate::paged::{PAGE_BYTES, page_count};
use crate::{Archive, Entry, Error, Nid, Node, NodeKind, SPAN_BYTES_MAX, Source, StreamId, WindowId, header, le};

/// Nodes that one archive is asked about: loops in hostile directories end here.
const NODES_MAX: usize = 400;
/// Entries of one directory that are read.
const ENTRIES_MAX: usize = 2000;
/// Bytes of a file whose extents are asked for at once: the largest read that FUSE makes.
const READ_BYTES: u64 = 1 << 20;

/// Opens `bytes` as if they were a file, and asks everything. Says whether they were an archive.
///
/// # Panics
/// Where the invariant does not hold.
pub fn open(bytes: &[u8]) -> bool {
    // An empty map cannot be made, an empty file can: it is too short for a magic in either case.
    let Ok(map) = Map::of(if bytes.is_empty() { &[0] } else { bytes }) else { return false };
    let Ok(archive) = Archive::of(Path::new("fuzzed"), map) else { return false };
    ask_spans(&archive);
    ask_nodes(&archive);
    let _ = archive.verify_pages();
    true
}

/// Makes the digests of altered bytes right again, as far as they look like an archive, so that what is behind them is tried too.
pub fn seal(bytes: &mut [u8]) {
    let total = bytes.len();
    let Some(mut record) = bytes.first_chunk::<HEADER_BYTES>().copied() else { return };
    le::put(&mut record, 16, (total as u64).to_le_bytes());
    let count = (le::u32(&record, 12) as usize).min(header::SECTIONS_MAX);
    let sections: Vec<_> = (0..count).filter_map(|i| section(&record, i, total)).collect();
    let mut digests_at = sections.iter().find(|s| s.kind == SectionKind::Pages).map_or(total, |s| s.range.start);
    for kind in [SectionKind::Index, SectionKind::Windows] {
        let Some(section) = sections.iter().find(|s| s.kind == kind) else { continue };
        let digests: Vec<u8> =
            bytes[section.range.clone()].chunks(PAGE_BYTES as usize).flat_map(|page| *blake3::hash(page).as_bytes()).collect();
        debug_assert_eq!(digests.len() as u64, 32 * page_count(section.range.len() as u64));
        if let Some(place) = bytes.get_mut(digests_at..digests_at + digests.len()) {
            place.copy_from_slice(&digests);
        }
        digests_at += digests.len();
        le::put(&mut record, section.checksum_at, *blake3::hash(&digests).as_bytes());
    }
    for section in sections.iter().filter(|s| !s.kind.paged() && s.kind != SectionKind::Data) {
        le::put(&mut record, section.checksum_at, *blake3::hash(&bytes[section.range.clone()]).as_bytes());
    }
    header::seal(&mut record);
    bytes[..HEADER_BYTES].copy_from_slice(&record);
}

struct Place {
    kind: SectionKind,
    range: std::ops::Range<usize>,
    checksum_at: usize,
}

/// Entry `i` of the section table, if it lies inside the file and not over the header.
fn section(record: &[u8; HEADER_BYTES], i: usize, total: usize) -> Option<Place> {
    let (found, checksum_at) = header::entry(record, i)?;
    let end = found.offset.checked_add(found.length).filter(|end| *end <= total as u64)?;
    let inside = found.offset >= HEADER_BYTES as u64;
    inside.then_some(Place { kind: found.kind, range: found.offset as usize..end as usize, checksum_at })
}

fn ask_spans(archive: &Archive) {
    for (i, stream) in archive.streams().iter().enumerate() {
        let spans = archive.spans(StreamId(i as u16));
        let mut end = 0;
        for span in spans.iter() {
            assert!(span.offset == end && (1..=SPAN_BYTES_MAX).contains(&span.length));
            assert!(span.blob_range().end <= stream.blob_size);
            assert_eq!(spans.get(spans.find(span.end() - 1)), span);
            end = span.end();
        }
        assert_eq!(end, stream.size, "the spans cover the stream");
        spans.key();
    }
    for id in 0..archive.windows().min(1000) {
        if let Ok(window) = archive.window(WindowId(id)) {
            assert!(window.len() <= seek::WINDOW_BYTES);
        }
    }
    assert!(archive.window(WindowId(archive.windows())).is_err() && archive.window(WindowId(u32::MAX)).is_err());
    let _ = (archive.id(), archive.version(), archive.storage(), archive.manifest(), archive.config());
}

fn ask_nodes(archive: &Archive) {
    let index = archive.index();
    let mut ahead = vec![index.root(), Nid(1), Nid(u64::MAX), Nid(index.image_bytes() / 32 - 1), Nid(index.image_bytes() / 32)];
    for _ in 0..NODES_MAX {
        let Some(nid) = ahead.pop() else { break };
        let Ok(node) = index.node(nid) else { continue };
        assert!(node.nid == nid && node.mode <= 0o7777 && node.mtime_nsec < 1_000_000_000);
        let _ = index.xattrs(&node);
        if let Ok(target) = index.read_link(&node) {
            assert_eq!(target.len() as u64, node.size);
        }
        ask_file(archive, &node);
        if let Ok(entries) = ask_directory(archive, &node) {
            ahead.extend(entries.iter().filter(|e| e.name != b"." && e.name != b"..").map(|e| e.nid));
        }
    }
}

fn ask_file(archive: &Archive, node: &Node) {
    let index = archive.index();
    if let Ok(allocated) = index.allocated(node) {
        assert!(allocated <= node.size.next_multiple_of(512));
    }
    for start in [0, node.size / 2, node.size.saturating_sub(READ_BYTES), node.size, u64::MAX - READ_BYTES] {
        let Ok(extents) = index.extents(node, start..start + READ_BYTES) else { continue };
        assert_eq!(node.kind, NodeKind::File);
        let mut at = start;
        for extent in &extents {
            assert!(extent.offset == at && extent.length > 0, "without gaps and overlaps");
            at += extent.length;
            if let Source::Stream { stream, offset } = extent.source {
                let size = archive.streams()[usize::from(stream.0)].size;
                assert!(offset.checked_add(extent.length).is_some_and(|end| end <= size), "inside the stream");
            }
        }
        assert_eq!(at, start.max(node.size.min(start + READ_BYTES)), "as far as the file goes");
    }
}

/// The entries, each seen again from the cookie before it.
fn ask_directory<'a>(archive: &'a Archive, node: &Node) -> Result<Vec<Entry<'a>>, Error> {
    let index = archive.index();
    let entries: Vec<Entry> = index.read_dir(node, 0)?.take(ENTRIES_MAX).collect::<Result<_, _>>()?;
    let _ = index.lookup(node, b"");
    let mut cookie = 0;
    for entry in entries.iter().take(50) {
        assert!(!entry.name.is_empty() && entry.name.len() <= 255 && !entry.name.contains(&b'/'));
        assert_eq!(index.read_dir(node, cookie)?.next().transpose()?.as_ref(), Some(entry));
        // Found, unless the names are not sorted.
        let _ = index.lookup(node, entry.name);
        cookie = entry.cookie;
    }
    assert!(index.read_dir(node, u64::MAX)?.next().is_none());
    Ok(entries)
}
