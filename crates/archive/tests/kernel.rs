//! The referee: the kernel's own EROFS driver mounts what we write and sees the tree that we meant.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use archive::header::SectionKind;
use archive::{Archive, ArchiveWriter, Attributes, Content, Hole, Location, Parts, Rdev, Span, SparseMap, Storage, Stream, StreamId, Tree};
use seek::{Codec, Restart};

fn attributes(mode: u16) -> Attributes {
    Attributes { mode, uid: 0, gid: 0, mtime: 1_700_000_000, mtime_nsec: 0, xattrs: Vec::new() }
}

/// Two streams of plain bytes, and a tree over them.
struct Sample {
    dir: tempfile::TempDir,
    streams: [Vec<u8>; 2],
    tree: Tree,
}

impl Sample {
    fn new() -> Sample {
        let streams = [1u8, 2].map(|seed| (0..1_000_000u32).map(|i| (i / 7) as u8 ^ (i % 251) as u8 ^ seed).collect());
        Sample { dir: tempfile::tempdir().unwrap(), streams, tree: Tree::new(attributes(0o755)) }
    }

    fn add(&mut self, dir: archive::InodeId, name: &str, attributes: Attributes, content: Content) -> archive::InodeId {
        let inode = self.tree.inode(attributes, content).unwrap();
        self.tree.link(dir, name.as_bytes(), inode).unwrap();
        inode
    }

    fn write(&self) -> PathBuf {
        let path = self.dir.path().join("sample.clip");
        let (mut streams, mut spans) = (Vec::new(), Vec::new());
        for (i, bytes) in self.streams.iter().enumerate() {
            let file = self.dir.path().join(format!("stream{i}"));
            fs::write(&file, bytes).unwrap();
            let size = bytes.len() as u64;
            let (blob, location) = (format!("sha256:{i}"), Location::File { path: file.display().to_string(), offset: 0 });
            streams.push(Stream { codec: Codec::Raw, size, diff_id: blob.clone(), blob, blob_size: size, location });
            spans.push(Ok(Span {
                offset: 0,
                length: size as u32,
                blob_offset: 0,
                blob_length: size,
                restart: Restart::Raw,
                window: None,
                digest: *blake3::hash(bytes).as_bytes(),
            }));
        }
        let parts = Parts { tree: &self.tree, storage: Storage::Files, streams, span_counts: vec![1, 1], manifest: b"{}", config: b"{}" };
        ArchiveWriter::create(&path, true).unwrap().finish(&parts, spans.into_iter(), std::iter::empty(), &mut Cursor::new(b"")).unwrap();
        path
    }

    /// Mounts the index with its streams as devices by mount(2): mount(8) would make a loop device of the image.
    fn mount(&self, archive: &Path) -> Mount {
        let opened = Archive::open(archive).unwrap();
        let section = *opened.header().section(SectionKind::Index).unwrap();
        let mut bytes = vec![0; section.length as usize];
        File::open(archive).unwrap().read_exact_at(&mut bytes, section.offset).unwrap();
        let image = self.dir.path().join("index.erofs");
        File::create(&image).unwrap().write_all(&bytes).unwrap();
        let target = self.dir.path().join("mnt");
        fs::create_dir(&target).unwrap();
        let devices: Vec<String> = (0..2).map(|i| format!("device={}", self.dir.path().join(format!("stream{i}")).display())).collect();
        let options = std::ffi::CString::new(devices.join(",")).unwrap();
        rustix::mount::mount(&image, &target, "erofs", rustix::mount::MountFlags::RDONLY, Some(options.as_c_str())).unwrap();
        Mount(target)
    }
}

struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn the_kernel_sees_the_tree() {
    let mut s = Sample::new();
    let root = Tree::ROOT;
    s.add(root, "flat", attributes(0o4755), Content::File { size: 700_123, stream: StreamId(1), block: 3 });
    s.add(root, "empty", attributes(0o644), Content::File { size: 0, stream: StreamId(0), block: 0 });
    let chunks = vec![Ok((StreamId(0), 8)), Err(Hole), Ok((StreamId(1), 16)), Err(Hole)];
    s.add(root, "sparse", attributes(0o600), Content::Sparse(SparseMap { size: 4096 * 3 + 5, chunk: 4096, chunks }));
    s.add(root, "hole", attributes(0o600), Content::Sparse(SparseMap { size: 1 << 33, chunk: 1 << 33, chunks: vec![Err(Hole)] }));
    let old = Attributes { mtime: -5, mtime_nsec: 7, uid: 70_000, gid: 4_000_000_000, ..attributes(0o640) };
    s.add(root, "old", old, Content::File { size: 10, stream: StreamId(0), block: 0 });
    let caps = Attributes { xattrs: vec![(b"user.x".to_vec(), b"value".to_vec())], ..attributes(0o755) };
    let linked = s.add(root, "caps", caps, Content::File { size: 513, stream: StreamId(0), block: 1 });
    s.tree.link(root, b"caps2", linked).unwrap();
    s.add(root, "dev", attributes(0o660), Content::BlockDevice(Rdev { major: 4000, minor: 1_000_000 }));
    s.add(root, "fifo", attributes(0o660), Content::Fifo);
    s.add(root, "short", attributes(0o777), Content::Symlink(b"some/where".to_vec()));
    s.add(root, "long", attributes(0o777), Content::Symlink(vec![b'l'; 500]));
    s.add(root, "longer", attributes(0o777), Content::Symlink(vec![b'm'; 2000]));
    let dir = s.add(root, "dir", attributes(0o1777), Content::Directory);
    for i in 0..3000 {
        let content = Content::File { size: 5, stream: StreamId(0), block: i as u32 % 1000 };
        s.add(dir, &format!("entry-{i:06}-{}", "y".repeat(i % 200)), attributes(0o644), content);
    }
    let archive = s.write();
    let mount = s.mount(&archive);
    let at = |name: &str| mount.0.join(name);
    let stat = |name: &str| fs::symlink_metadata(at(name)).unwrap();

    assert!(fs::read(at("flat")).unwrap() == s.streams[1][1536..][..700_123]);
    assert_eq!(stat("flat").mode() & 0o7777, 0o4755);
    assert_eq!(stat("flat").mtime(), 1_700_000_000, "the kernel (6.15 and later) takes a compact inode's time from it");
    assert_eq!(fs::read(at("empty")).unwrap(), b"");
    let sparse = fs::read(at("sparse")).unwrap();
    assert!(sparse[..4096] == s.streams[0][4096..8192] && sparse[8192..12288] == s.streams[1][8192..12288]);
    assert!(sparse[4096..8192].iter().chain(&sparse[12288..]).all(|b| *b == 0) && sparse.len() == 12293);
    assert_eq!(stat("hole").len(), 1 << 33);
    let (old, caps) = (stat("old"), stat("caps"));
    assert_eq!((old.mtime(), old.mtime_nsec(), old.uid(), old.gid()), (-5, 7, 70_000, 4_000_000_000));
    assert_eq!((caps.nlink(), caps.ino()), (2, stat("caps2").ino()));
    assert_eq!(fs::read(at("caps")).unwrap(), s.streams[0][512..1025]);
    assert!(stat("dev").file_type().is_block_device() && stat("fifo").file_type().is_fifo());
    assert_eq!(stat("dev").rdev(), rustix::fs::makedev(4000, 1_000_000));
    for (name, bytes) in [("short", 10), ("long", 500), ("longer", 2000)] {
        assert_eq!(fs::read_link(at(name)).unwrap().as_os_str().len(), bytes);
    }
    assert_eq!(fs::read_dir(at("dir")).unwrap().count(), 3000);
    assert_eq!(fs::read(at("dir/entry-000007-yyyyyyy")).unwrap(), s.streams[0][7 * 512..][..5]);
    assert!(!at("dir/entry-000007-yyyyyyyy").exists());
    let mut value = [0; 10];
    assert_eq!(rustix::fs::lgetxattr(at("caps"), "user.x", &mut value).unwrap(), 5);
}
