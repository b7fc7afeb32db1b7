//! Three small archives: the worked example of FORMAT.md, one of every kind of node, one that carries data.

#![allow(dead_code, reason = "every test binary uses another part of it")]

use archive::{Attributes, Content, Hole, Location, Rdev, Span, SparseMap, Storage, Stream, StreamId, Tree, WindowId};
use seek::{Codec, Restart};

use super::{Material, add, plain};

/// The tar of the worked example: entries of `dir/`, `dir/hello`, `dir/numbers` and `link`, each header in a block of its own.
pub fn example_tar() -> Vec<u8> {
    let mut tar = Vec::new();
    tar.extend(tar_header("dir/", b'5', 0o755, 0, ""));
    tar.extend(tar_header("dir/hello", b'0', 0o644, 13, ""));
    tar.extend(block(b"hello, world\n"));
    tar.extend(tar_header("dir/numbers", b'0', 0o4755, 700, ""));
    tar.extend(block(&numbers()));
    tar.extend(tar_header("link", b'2', 0o777, 0, "dir/hello"));
    tar.extend([0; 1024]);
    tar
}

/// What `dir/numbers` holds.
pub fn numbers() -> Vec<u8> {
    (0..175).flat_map(|i| format!("{i:03}\n").into_bytes()).collect()
}

fn block(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn tar_header(name: &str, kind: u8, mode: u32, size: u64, link: &str) -> Vec<u8> {
    let mut out = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0001750\x00001750\x00");
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{:011o}", 1_700_000_000).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = out.iter().map(|b| u32::from(*b)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out
}

/// Where the second deflate block of the example begins, in the tar and in the blob.
const CUT: usize = 2048;
const BLOB_CUT: usize = 10 + 5 + CUT;

/// The blob: the tar in a gzip member of two stored deflate blocks.
pub fn example_blob() -> Vec<u8> {
    let tar = example_tar();
    let stored = |last: u8, data: &[u8]| {
        let length = data.len() as u16;
        [&[last][..], &length.to_le_bytes(), &(!length).to_le_bytes(), data].concat()
    };
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let trailer = [crc32(&tar).to_le_bytes(), (tar.len() as u32).to_le_bytes()].concat();
    [&header[..], &stored(0, &tar[..CUT]), &stored(1, &tar[CUT..]), &trailer].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }))
}

/// The worked example.
pub fn example() -> (Material, Tree) {
    let (tar, blob) = (example_tar(), example_blob());
    let span = |range: std::ops::Range<usize>, blob: std::ops::Range<usize>, restart, window| Span {
        offset: range.start as u64,
        length: range.len() as u32,
        blob_offset: blob.start as u64,
        blob_length: blob.len() as u64,
        restart,
        window,
        digest: *blake3::hash(&tar[range]).as_bytes(),
    };
    let spans = vec![
        span(0..CUT, 0..BLOB_CUT, Restart::Frame, None),
        span(CUT..tar.len(), BLOB_CUT..blob.len(), Restart::Deflate { bits: 0 }, Some(WindowId(0))),
    ];
    let stream = Stream {
        codec: Codec::Gzip,
        size: tar.len() as u64,
        // What sha256sum says of the two.
        blob: "sha256:e6952c38822caa3f2af0679481947a5268c7685fa1520729fc2742b51eb238c8".into(),
        blob_size: blob.len() as u64,
        diff_id: "sha256:237262279353b992e87e10d040e64c89b2d1983e9119e23dd9a551cc6f3ff071".into(),
        location: Location::Registry,
    };
    let material = Material {
        storage: Storage::Registry { host: "registry.example:5000".into(), repository: "demo/tiny".into() },
        streams: vec![stream],
        spans: vec![spans],
        // No block refers to what lies before it, so all of the window is zero.
        windows: vec![seek::window::compress(&[0; CUT])],
        data: Vec::new(),
        manifest: b"{\"schemaVersion\":2}",
        config: b"{\"os\":\"linux\"}",
    };
    let user = |mode| Attributes { uid: 1000, gid: 1000, ..plain(mode) };
    let mut tree = Tree::new(Attributes { mtime: 0, ..plain(0o755) });
    let dir = add(&mut tree, Tree::ROOT, b"dir", user(0o755), Content::Directory);
    add(&mut tree, dir, b"hello", user(0o644), Content::File { size: 13, stream: StreamId(0), block: 2 });
    let special = Attributes { mtime_nsec: 500_000_000, xattrs: vec![(b"user.colour".to_vec(), b"blue".to_vec())], ..user(0o4755) };
    add(&mut tree, dir, b"numbers", special, Content::File { size: 700, stream: StreamId(0), block: 4 });
    add(&mut tree, Tree::ROOT, b"link", user(0o777), Content::Symlink(b"dir/hello".to_vec()));
    (material, tree)
}

/// Every kind of node, in every form that an inode can have.
pub fn everything() -> (Material, Tree) {
    let material = Material::raw(&[3 << 20, 1000, 0, 70_000]);
    let mut tree = Tree::new(plain(0o755));
    let root = Tree::ROOT;
    let file = |size, stream, block| Content::File { size, stream: StreamId(stream), block };
    add(&mut tree, root, b"empty", plain(0o644), file(0, 0, 0));
    add(&mut tree, root, b"large", plain(0o644), file((3 << 20) - 512, 0, 1));
    add(&mut tree, root, b"small", plain(0o644), file(488, 1, 1));
    add(&mut tree, root, b"last", plain(0o644), file(1, 3, 136));
    let old = Attributes { mtime: -1, mtime_nsec: 999_999_999, uid: u32::MAX, gid: 65_536, ..plain(0o7777) };
    let linked = add(&mut tree, root, b"old", old, file(5, 3, 0));
    tree.link(root, b"old too", linked).unwrap();
    let chunks = vec![Ok((StreamId(0), 8)), Err(Hole), Ok((StreamId(3), 16)), Ok((StreamId(3), 24)), Err(Hole)];
    add(&mut tree, root, b"sparse", plain(0o600), Content::Sparse(SparseMap { size: 4096 * 4 + 5, chunk: 4096, chunks }));
    let hole = SparseMap { size: 1 << 40, chunk: 1 << 40, chunks: vec![Err(Hole)] };
    add(&mut tree, root, b"hole", plain(0o600), Content::Sparse(hole));
    add(&mut tree, root, b"char", plain(0o666), Content::CharDevice(Rdev { major: 1, minor: 3 }));
    add(&mut tree, root, b"block", plain(0o660), Content::BlockDevice(Rdev { major: 4095, minor: (1 << 20) - 1 }));
    add(&mut tree, root, b"fifo", plain(0o600), Content::Fifo);
    add(&mut tree, root, b"socket", plain(0o600), Content::Socket);
    add(&mut tree, root, b"symlink", plain(0o777), Content::Symlink(b"../else where".to_vec()));
    add(&mut tree, root, b"long symlink", plain(0o777), Content::Symlink(vec![b'x'; 700]));
    add(&mut tree, root, b"\xff\n\x01 name", plain(0o644), file(1, 3, 1));
    let pair = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let xattrs = vec![pair("security.capability", &[1, 0, 0, 2]), pair("system.posix_acl_access", &[2; 28]), pair("trusted.t", b"")];
    add(&mut tree, root, b"labelled", Attributes { xattrs, ..plain(0o755) }, file(1, 3, 2));
    let many = Attributes { xattrs: vec![pair("user.large", &[7; 1500])], ..plain(0o1777) };
    let dir = add(&mut tree, root, b"dir", many, Content::Directory);
    for i in 0..60 {
        add(&mut tree, dir, format!("entry {i:02} {}", "n".repeat(i * 4)).as_bytes(), plain(0o644), file(1, 3, i as u32));
    }
    let mut deep = dir;
    for name in ["a", "b", "c", "d"] {
        deep = add(&mut tree, deep, name.as_bytes(), plain(0o700), Content::Directory);
    }
    (material, tree)
}

/// A zstd layer whose second span continues the first, and a stream that the archive carries.
pub fn carried() -> (Material, Tree) {
    let mut material = Material::raw(&[200_000, 8192]);
    let layer = &mut material.streams[0];
    (layer.codec, layer.blob_size) = (Codec::Zstd, 5000);
    let continued = |offset: u64, length, blob, restart| Span { restart, ..super::span(offset, length, blob) };
    material.spans[0] = vec![continued(0, 131_072, 0..3000, Restart::Frame), continued(131_072, 68_928, 3000..5000, Restart::Continue)];
    let bytes: Vec<u8> = (0..8192u32).map(|i| if !(100..=8000).contains(&i) { i as u8 } else { 0 }).collect();
    // A frame of one raw block and two of RLE would be the same for any zstd; these are written as level 9 of ours writes them.
    material.data = bytes.chunks(4096).flat_map(seek::window::compress).collect();
    let first = seek::window::compress(&bytes[..4096]).len() as u64;
    let stream = &mut material.streams[1];
    (stream.codec, stream.blob_size, stream.location) = (Codec::Zstd, material.data.len() as u64, Location::Archive { offset: 0 });
    (stream.blob, stream.diff_id) = (format!("carried:{}", stream.blob), format!("carried:{}", stream.diff_id));
    let frame = |offset: u64, blob: std::ops::Range<u64>| Span {
        digest: *blake3::hash(&bytes[offset as usize..][..4096]).as_bytes(),
        ..continued(offset, 4096, blob, Restart::Frame)
    };
    material.spans[1] = vec![frame(0, 0..first), frame(4096, first..material.data.len() as u64)];
    let mut tree = Tree::new(plain(0o755));
    add(&mut tree, Tree::ROOT, b"whole", plain(0o644), Content::File { size: 199_000, stream: StreamId(0), block: 1 });
    let chunks = vec![Ok((StreamId(1), 0)), Err(Hole), Ok((StreamId(1), 8))];
    add(&mut tree, Tree::ROOT, b"odd holes", plain(0o644), Content::Sparse(SparseMap { size: 12_000, chunk: 4096, chunks }));
    (material, tree)
}
