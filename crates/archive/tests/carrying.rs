//! v1 archives: what is written is read, at both ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use archive::{Archive, ArchiveVersion, Carried, CarryingWriter, Content, FileOutput, Location, Source, Storage, Tree};
use support::{add, plain};

const BLOCK: u64 = 512;

fn write(path: &std::path::Path, files: &[(&str, &[u8])], fallback: Option<&str>) -> archive::Written {
    let mut writer = CarryingWriter::begin(Box::new(FileOutput::create(path, false).unwrap())).unwrap();
    let mut tree = Tree::new(plain(0o755));
    for (name, bytes) in files {
        let block = u32::try_from(writer.size() / BLOCK).unwrap();
        let content = Content::File { size: bytes.len() as u64, stream: CarryingWriter::STREAM, block };
        add(&mut tree, Tree::ROOT, name.as_bytes(), plain(0o644), content);
        let mut span = bytes.to_vec();
        span.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        if !span.is_empty() {
            writer.span(&zstd::bulk::compress(&span, 3).unwrap(), span.len() as u32, *blake3::hash(&span).as_bytes()).unwrap();
        }
    }
    writer.finish(&Carried { tree: &tree, manifest: b"{}", config: b"{}", fallback }).unwrap()
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v1.clip");
    let written = write(&path, &[("a", b"alpha"), ("b", &[7; 2000]), ("empty", b"")], Some("no ranges"));
    let archive = Archive::open(&path).unwrap();
    assert_eq!((archive.version(), archive.storage(), archive.fallback()), (ArchiveVersion::V1, &Storage::Archive, Some("no ranges")));
    assert_eq!((written.inodes, written.data_bytes), (4, 512 + 2048));
    assert_eq!(written.archive_bytes, path.metadata().unwrap().len());
    let index = archive.index();
    let b = index.lookup(&index.node(index.root()).unwrap(), b"b").unwrap().unwrap();
    let extents = index.extents(&index.node(b).unwrap(), 0..2000).unwrap();
    assert!(matches!(extents[..], [archive::Extent { source: Source::Stream { offset: 512, .. }, .. }]), "{extents:?}");
    let (stream, span) = (&archive.streams()[0], archive.spans(CarryingWriter::STREAM).get(1));
    let Location::Archive { offset } = stream.location else { panic!("{:?}", stream.location) };
    let bytes = std::fs::read(&path).unwrap();
    let frame = &bytes[(offset + span.blob_offset) as usize..][..span.blob_length as usize];
    let decoded = seek::decode_span(stream.codec, span.restart, &[], frame, span.length as usize).unwrap();
    assert_eq!(&decoded[..2000], &[7; 2000]);
}

#[test]
fn an_archive_of_nothing_has_no_stream() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v1.clip");
    write(&path, &[("empty", b"")], None);
    let archive = Archive::open(&path).unwrap();
    assert!(archive.streams().is_empty() && archive.fallback().is_none());
}

#[test]
fn the_end_must_repeat_the_header() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v1.clip");
    write(&path, &[("a", b"alpha")], None);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(Archive::open(&path).unwrap_err().to_string().contains("copy of its header"));
}

#[test]
fn what_is_there_is_replaced_only_when_asked_and_a_dropped_writer_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v1.clip");
    std::fs::write(&path, b"mine").unwrap();
    let writer = CarryingWriter::begin(Box::new(FileOutput::create(&path, false).unwrap())).unwrap();
    let tree = Tree::new(plain(0o755));
    let refused = writer.finish(&Carried { tree: &tree, manifest: b"", config: b"", fallback: None }).unwrap_err();
    assert!(refused.to_string().contains("exists"), "{refused}");
    drop(CarryingWriter::begin(Box::new(FileOutput::create(&path, true).unwrap())).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
