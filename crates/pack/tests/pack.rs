//! Files packed and read again.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;

use archive::{Archive, Attributes, Carried, CarryingWriter, Content, FileOutput, Location, Source, Tree};
use pack::{CHUNK_BYTES, Error, Extent, PackOptions, Packer};

/// A file: its bytes, and which of them are data.
struct File {
    bytes: Vec<u8>,
    extents: Vec<Extent>,
}

fn whole(bytes: Vec<u8>) -> File {
    let extents = if bytes.is_empty() { vec![] } else { vec![Extent { offset: 0, length: bytes.len() as u64 }] };
    File { bytes, extents }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

fn attributes() -> Attributes {
    Attributes { mode: 0o644, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0, xattrs: Vec::new() }
}

/// The archive's bytes.
fn pack(dir: &Path, files: &[File], options: PackOptions) -> Vec<u8> {
    let path = dir.join("packed.clip");
    let writer = CarryingWriter::begin(Box::new(FileOutput::create(&path, true).unwrap())).unwrap();
    let mut packer = Packer::new(writer, options).unwrap();
    let mut tree = Tree::new(attributes());
    for (i, file) in files.iter().enumerate() {
        let mut read = |at: u64, out: &mut [u8]| {
            out.copy_from_slice(&file.bytes[at as usize..][..out.len()]);
            Ok(())
        };
        let content = packer.file(Path::new("f"), file.bytes.len() as u64, &file.extents, &mut read).unwrap();
        let inode = tree.inode(attributes(), content).unwrap();
        tree.link(Tree::ROOT, format!("{i}").as_bytes(), inode).unwrap();
    }
    packer.finish().unwrap().finish(&Carried { tree: &tree, manifest: b"", config: b"", fallback: None }).unwrap();
    std::fs::read(path).unwrap()
}

/// Reads every file as a mount would: extents, spans, frames, digests.
fn check(dir: &Path, files: &[File]) -> Archive {
    let archive = Archive::open(&dir.join("packed.clip")).unwrap();
    let raw = std::fs::read(archive.path()).unwrap();
    let data: Vec<u8> = match archive.streams() {
        [] => Vec::new(),
        [stream, ..] => {
            let Location::Archive { offset } = stream.location else { panic!("{:?}", stream.location) };
            let spans = archive.spans(CarryingWriter::STREAM);
            let decode = |i| {
                let span = spans.get(i);
                let frame = &raw[(offset + span.blob_offset) as usize..][..span.blob_length as usize];
                let bytes = seek::decode_span(stream.codec, span.restart, &[], frame, span.length as usize).unwrap();
                assert_eq!(*blake3::hash(&bytes).as_bytes(), span.digest);
                bytes
            };
            (0..spans.len()).flat_map(decode).collect()
        }
    };
    let index = archive.index();
    let root = index.node(index.root()).unwrap();
    for (i, file) in files.iter().enumerate() {
        let node = index.node(index.lookup(&root, format!("{i}").as_bytes()).unwrap().unwrap()).unwrap();
        let mut found = Vec::new();
        for extent in index.extents(&node, 0..node.size).unwrap() {
            match extent.source {
                Source::Hole => found.resize(found.len() + extent.length as usize, 0),
                Source::Stream { offset, .. } => found.extend_from_slice(&data[offset as usize..][..extent.length as usize]),
            }
        }
        assert!(found == file.bytes, "file {i}");
    }
    archive
}

fn sample() -> Vec<File> {
    let mut sparse = vec![0; 5 << 20];
    sparse[3 << 20..][..1000].copy_from_slice(&noise(9, 1000));
    let mut files = vec![
        whole(vec![]),
        whole(b"hello".to_vec()),
        whole(noise(1, 3_500_000)),
        whole(b"hello".to_vec()),
        File { bytes: sparse, extents: vec![Extent { offset: 3 << 20, length: 1000 }] },
        whole(vec![0; 300_000]),
    ];
    files.extend((0..3000).map(|i| whole(noise(100 + i, (i * i % 7000) as usize))));
    files
}

#[test]
fn what_is_packed_is_read_and_threads_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let files = sample();
    let one = pack(dir.path(), &files, PackOptions { jobs: 1, level: 3, ..PackOptions::default() });
    let archive = check(dir.path(), &files);
    assert!(archive.spans(CarryingWriter::STREAM).len() > 10);
    let four = pack(dir.path(), &files, PackOptions { jobs: 4, level: 3, ..PackOptions::default() });
    assert!(one == four, "bytes depend on the number of threads");
    pack(dir.path(), &files, PackOptions { jobs: 3, level: 1, span_bytes: 64 << 10 });
    check(dir.path(), &files);
}

#[test]
fn a_huge_file_with_holes_takes_what_its_data_takes() {
    let dir = tempfile::tempdir().unwrap();
    let writer = CarryingWriter::begin(Box::new(FileOutput::create(&dir.path().join("x.clip"), true).unwrap())).unwrap();
    let mut packer = Packer::new(writer, PackOptions { level: 1, ..PackOptions::default() }).unwrap();
    let mut read = |_: u64, out: &mut [u8]| {
        out.fill(7);
        Ok(())
    };
    let size = 3 << 40;
    let extents = [Extent { offset: (2 << 40) + 5, length: 10 }, Extent { offset: size - 1, length: 1 }];
    let content = packer.file(Path::new("huge"), size, &extents, &mut read).unwrap();
    let Content::Sparse(map) = content else { panic!("{content:?}") };
    assert_eq!((map.chunk, map.chunks.iter().filter(|c| c.is_ok()).count()), (4 << 20, 2));
    assert_eq!(packer.bytes(), 8 << 20);
    let error = packer.file(Path::new("absurd"), i64::MAX as u64, &extents, &mut read).unwrap_err();
    assert!(matches!(error, Error::Holes { .. }), "{error}");
}

#[test]
fn what_is_there_twice_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let chunk = noise(1, CHUNK_BYTES as usize);
    // The second file has the first one's chunks in another order, and a tail.
    let files = [whole([&chunk[..], &noise(2, 1 << 20)].concat()), whole([&noise(2, 1 << 20)[..], &chunk, b"tail"].concat()), whole(chunk)];
    pack(dir.path(), &files, PackOptions::default());
    let archive = check(dir.path(), &files);
    assert_eq!(archive.streams()[0].size, (2 << 20) + 512);
}

#[test]
fn small_files_do_not_straddle_spans() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<File> = (0..100).map(|i| whole(noise(i, 50_000))).collect();
    pack(dir.path(), &files, PackOptions { span_bytes: 256 << 10, ..PackOptions::default() });
    let archive = check(dir.path(), &files);
    let (index, spans) = (archive.index(), archive.spans(CarryingWriter::STREAM));
    let root = index.node(index.root()).unwrap();
    for i in 0..100 {
        let node = index.node(index.lookup(&root, format!("{i}").as_bytes()).unwrap().unwrap()).unwrap();
        let Source::Stream { offset, .. } = index.extents(&node, 0..node.size).unwrap()[0].source else { panic!("a hole") };
        assert_eq!(spans.find(offset), spans.find(offset + 49_999), "file {i}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let writer = CarryingWriter::begin(Box::new(FileOutput::create(&dir.path().join("x.clip"), true).unwrap())).unwrap();
    let mut packer = Packer::new(writer, PackOptions::default()).unwrap();
    let mut read = |_: u64, _: &mut [u8]| Err(std::io::Error::other("gone"));
    let error = packer.file(Path::new("etc/x"), 10, &[Extent { offset: 0, length: 10 }], &mut read).unwrap_err();
    assert!(matches!(&error, Error::Read { name, .. } if name == Path::new("etc/x")), "{error}");
    drop(packer);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
