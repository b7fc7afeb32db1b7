//! What the tests of this crate share: making archives in memory, chance that can be repeated, and an archive told as text.

#![allow(dead_code, reason = "every test binary uses another part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

pub mod samples;

use std::fmt::Write;
use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use archive::{
    Archive, ArchiveWriter, Attributes, Content, InodeId, Location, Nid, NodeKind, Parts, Source, Span, Storage, Stream, StreamId, Tree,
};
use seek::{Codec, Restart};

/// Attributes with nothing special about them.
pub fn plain(mode: u16) -> Attributes {
    Attributes { mode, uid: 0, gid: 0, mtime: 1_700_000_000, mtime_nsec: 0, xattrs: Vec::new() }
}

/// Makes an inode and its first name.
pub fn add(tree: &mut Tree, dir: InodeId, name: &[u8], attributes: Attributes, content: Content) -> InodeId {
    let inode = tree.inode(attributes, content).unwrap();
    tree.link(dir, name, inode).unwrap();
    inode
}

/// What an archive is made of, but for its tree.
pub struct Material {
    pub storage: Storage,
    pub streams: Vec<Stream>,
    pub spans: Vec<Vec<Span>>,
    pub windows: Vec<Vec<u8>>,
    pub data: Vec<u8>,
    pub manifest: &'static [u8],
    pub config: &'static [u8],
}

impl Material {
    /// Raw streams of these sizes in local files, in spans of 1 MiB whose digests are made up.
    pub fn raw(sizes: &[u64]) -> Material {
        let stream = |(i, size): (usize, &u64)| Stream {
            codec: Codec::Raw,
            size: *size,
            blob: format!("sha256:{i:064x}"),
            blob_size: *size,
            diff_id: format!("sha256:{i:064x}"),
            location: Location::File { path: format!("/images/{i}.tar"), offset: 0 },
        };
        let spans = |size: &u64| {
            let starts = (0..*size).step_by(1 << 20);
            starts
                .map(|offset| span(offset, (*size - offset).min(1 << 20) as u32, offset..offset + (*size - offset).min(1 << 20)))
                .collect()
        };
        Material {
            storage: Storage::Files,
            streams: sizes.iter().enumerate().map(stream).collect(),
            spans: sizes.iter().map(spans).collect(),
            windows: Vec::new(),
            data: Vec::new(),
            manifest: b"{\"manifest\":true}",
            config: b"{\"config\":true}",
        }
    }

    /// The archive's bytes.
    pub fn write(&self, tree: &Tree) -> Vec<u8> {
        fs::read(self.write_file(tree).1).unwrap()
    }

    /// The archive in a file that goes with the directory.
    pub fn write_file(&self, tree: &Tree) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sample.clip");
        self.try_write(tree, &path).unwrap();
        (dir, path)
    }

    pub fn try_write(&self, tree: &Tree, path: &std::path::Path) -> Result<u64, archive::Error> {
        let parts = Parts {
            tree,
            storage: self.storage.clone(),
            streams: self.streams.clone(),
            span_counts: self.spans.iter().map(|s| s.len() as u32).collect(),
            manifest: self.manifest,
            config: self.config,
        };
        let spans = self.spans.iter().flatten().map(|s| Ok(*s));
        ArchiveWriter::create(path, true)?.finish(&parts, spans, self.windows.iter().cloned().map(Ok), &mut Cursor::new(&self.data))
    }
}

/// A span of plain bytes with a made-up digest.
pub fn span(offset: u64, length: u32, blob: std::ops::Range<u64>) -> Span {
    let digest = *blake3::hash(&offset.to_le_bytes()).as_bytes();
    Span { offset, length, blob_offset: blob.start, blob_length: blob.end - blob.start, restart: Restart::Raw, window: None, digest }
}

/// Writes bytes to a file and opens it as an archive.
pub fn open(bytes: &[u8]) -> Result<Archive, archive::Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    Archive::open(file.path())
}

/// Chance that comes out the same every time (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// All that an archive answers, as text.
pub fn describe(archive: &Archive) -> String {
    let mut out = String::new();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    writeln!(
        out,
        "{} {:?} inodes={} xattrs={}",
        archive.version(),
        archive.header().backend,
        archive.index().inodes(),
        archive.index().has_xattrs()
    )
    .unwrap();
    writeln!(out, "storage {:?}", archive.storage()).unwrap();
    writeln!(out, "manifest {}", String::from_utf8_lossy(archive.manifest())).unwrap();
    writeln!(out, "config {}", String::from_utf8_lossy(archive.config())).unwrap();
    for (i, stream) in archive.streams().iter().enumerate() {
        let spans = archive.spans(StreamId(i as u16));
        writeln!(out, "stream {i} {stream:?} key={}", hex(&spans.key())).unwrap();
        for span in spans.iter() {
            let window = span.window.map(|id| hex(blake3::hash(&archive.window(id).unwrap()).as_bytes()));
            let Span { offset, length, blob_offset, blob_length, restart, digest, .. } = span;
            let digest = hex(&digest);
            writeln!(out, "  {offset}+{length} blob {blob_offset}+{blob_length} {restart:?} window={window:?} digest={digest}").unwrap();
        }
    }
    describe_node(archive, archive.index().root(), "/", &mut out);
    out
}

fn describe_node(archive: &Archive, nid: Nid, path: &str, out: &mut String) {
    let index = archive.index();
    let node = index.node(nid).unwrap();
    let times = format!("{}.{:09}", node.mtime, node.mtime_nsec);
    let rdev = format!("{}:{}", node.rdev.major, node.rdev.minor);
    writeln!(
        out,
        "{path} nid={} {:?} {:o} {}:{} size={} nlink={} mtime={times} rdev={rdev} allocated={}",
        nid.0,
        node.kind,
        node.mode,
        node.uid,
        node.gid,
        node.size,
        node.nlink,
        index.allocated(&node).unwrap()
    )
    .unwrap();
    for (name, value) in index.xattrs(&node).unwrap() {
        writeln!(out, "  xattr {} = {:?}", String::from_utf8_lossy(&name), String::from_utf8_lossy(&value)).unwrap();
    }
    match node.kind {
        NodeKind::Symlink => writeln!(out, "  -> {}", String::from_utf8_lossy(&index.read_link(&node).unwrap())).unwrap(),
        NodeKind::File => {
            for extent in index.extents(&node, 0..node.size).unwrap() {
                let from = match extent.source {
                    Source::Hole => "hole".into(),
                    Source::Stream { stream, offset } => format!("stream {} at {offset}", stream.0),
                };
                writeln!(out, "  {}+{} {from}", extent.offset, extent.length).unwrap();
            }
        }
        NodeKind::Directory => {
            for entry in index.read_dir(&node, 0).unwrap() {
                let entry = entry.unwrap();
                if entry.name != b"." && entry.name != b".." {
                    let below = format!("{}/{}", path.trim_end_matches('/'), entry.name.escape_ascii());
                    describe_node(archive, entry.nid, &below, out);
                }
            }
        }
        _ => {}
    }
}
