//! A small image for tests: streams of every codec, files that lie in them, and a plain copy of the data to compare with.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use archive::{
    Archive, ArchiveWriter, Attributes, Content, Hole, Location, Nid, Node, Parts, Segment, Span, SparseMap, Storage, Stream, StreamId,
    Tree, WindowId,
};
use backend::faults::Faults;
use backend::{Blob, MemoryBlob};
use cache::Cache;
use seek::{Codec, Event, Scanner};
use tokio::runtime::Handle;

use crate::{Error, ReadOptions, Reader};

/// Uncompressed bytes of each stream, in spans of about 64 KiB.
pub const STREAM_BYTES: usize = 3 << 20;

/// How a test's stream is compressed.
#[derive(Clone, Copy, Debug)]
pub enum Packing {
    Raw,
    Gzip,
    /// One frame: no restart point but the first.
    ZstdSingle,
    /// A frame for every 50,000 bytes.
    ZstdMany,
}

pub const PACKINGS: [Packing; 4] = [Packing::Raw, Packing::Gzip, Packing::ZstdSingle, Packing::ZstdMany];

/// A seeded generator (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Bytes that compress to about half.
pub fn content(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..STREAM_BYTES).map(|_| b"0123456789abcdef"[random.below(16) as usize]).collect()
}

fn pack(packing: Packing, bytes: &[u8]) -> (Codec, Vec<u8>) {
    match packing {
        Packing::Raw => (Codec::Raw, bytes.to_vec()),
        Packing::Gzip => (Codec::Gzip, gzip(bytes)),
        Packing::ZstdSingle => (Codec::Zstd, zstd::bulk::compress(bytes, 1).unwrap()),
        Packing::ZstdMany => (Codec::Zstd, bytes.chunks(50_000).flat_map(|chunk| zstd::bulk::compress(chunk, 1).unwrap()).collect()),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

/// An archive over in-memory blobs, with a cache directory.
pub struct Image {
    pub dir: tempfile::TempDir,
    pub archive: Arc<Archive>,
    pub blobs: Vec<Arc<Faults<MemoryBlob>>>,
    /// Uncompressed content, by stream.
    pub data: Vec<Vec<u8>>,
    pub options: ReadOptions,
    pub cache_bytes: u64,
}

impl Image {
    /// One stream per packing, each with one file that is the whole stream, called by its number.
    pub fn new(packings: &[Packing]) -> Image {
        let dir = tempfile::tempdir().unwrap();
        let data: Vec<Vec<u8>> = (0..packings.len() as u64).map(content).collect();
        let packed: Vec<_> = packings.iter().zip(&data).map(|(packing, bytes)| pack(*packing, bytes)).collect();
        let path = dir.path().join("image.clip");
        write_archive(&path, &data, &packed);
        let archive = Arc::new(Archive::open(&path).unwrap());
        let blob = |(i, (_, bytes)): (usize, &(Codec, Vec<u8>))| Arc::new(Faults::new(MemoryBlob::new(format!("blob {i}"), bytes.clone())));
        let blobs = packed.iter().enumerate().map(blob).collect();
        let options = ReadOptions { readahead_bytes_max: 0, neighbours_bytes_max: 0, ..ReadOptions::default() };
        Image { dir, archive, blobs, data, options, cache_bytes: 1 << 30 }
    }

    pub fn reader(&self) -> Reader {
        let blobs = self.blobs.iter().map(|blob| Arc::clone(blob) as Arc<dyn Blob>).collect();
        self.reader_of(blobs)
    }

    pub fn reader_of(&self, blobs: Vec<Arc<dyn Blob>>) -> Reader {
        let cache = Arc::new(Cache::open(&self.dir.path().join("cache"), self.cache_bytes).unwrap());
        Reader::new(Arc::clone(&self.archive), blobs, Some(cache), Handle::current(), self.options.clone()).unwrap()
    }

    pub fn node(&self, name: &str) -> Node {
        let index = self.archive.index();
        let root = index.node(index.root()).unwrap();
        let nid: Nid = index.lookup(&root, name.as_bytes()).unwrap().unwrap();
        index.node(nid).unwrap()
    }

    /// Requests so far, of all blobs.
    pub fn requests(&self) -> usize {
        self.blobs.iter().map(|blob| blob.ranges().len()).sum()
    }

    /// Reads and compares.
    pub async fn check(&self, reader: &Reader, stream: usize, offset: usize, length: usize) {
        self.try_check(reader, stream, offset, length).await.unwrap();
    }

    pub async fn try_check(&self, reader: &Reader, stream: usize, offset: usize, length: usize) -> Result<(), Error> {
        let bytes = reader.read(&self.node(&stream.to_string()), offset as u64, length).await?;
        let end = (offset + length).min(STREAM_BYTES);
        assert!(bytes == self.data[stream][offset.min(end)..end], "stream {stream}, {offset}+{length}");
        Ok(())
    }
}

fn attributes() -> Attributes {
    Attributes { mode: 0o755, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0, xattrs: Vec::new() }
}

fn write_archive(path: &Path, data: &[Vec<u8>], packed: &[(Codec, Vec<u8>)]) {
    let mut tree = Tree::new(attributes());
    let (mut spans, mut windows, mut span_counts, mut streams) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, (codec, blob)) in packed.iter().enumerate() {
        let before = spans.len();
        scan(*codec, blob, &data[i], &mut spans, &mut windows);
        span_counts.push((spans.len() - before) as u32);
        let digest = format!("sha256:{:064x}", i + 1);
        streams.push(Stream {
            codec: *codec,
            size: data[i].len() as u64,
            blob: digest.clone(),
            blob_size: blob.len() as u64,
            diff_id: digest,
            location: Location::Registry,
        });
        let file = Content::File { size: data[i].len() as u64, stream: StreamId(i as u16), block: 0 };
        let file = tree.inode(attributes(), file).unwrap();
        tree.link(Tree::ROOT, i.to_string().as_bytes(), file).unwrap();
    }
    let first = StreamId(0);
    let chunks: Vec<Segment> = vec![Ok((first, 8)), Err(Hole), Ok((first, 800)), Err(Hole)];
    let sparse = tree.inode(attributes(), Content::Sparse(SparseMap { size: 15_000, chunk: 4096, chunks })).unwrap();
    tree.link(Tree::ROOT, b"sparse", sparse).unwrap();
    let storage = Storage::Registry { host: "registry.example".into(), repository: "app".into() };
    let parts = Parts { tree: &tree, storage, streams, span_counts, manifest: b"{}", config: b"{}" };
    let writer = ArchiveWriter::create(path, true).unwrap();
    writer.finish(&parts, spans.into_iter().map(Ok), windows.into_iter().map(Ok), &mut std::io::empty()).unwrap();
}

fn scan(codec: Codec, blob: &[u8], data: &[u8], spans: &mut Vec<Span>, windows: &mut Vec<Vec<u8>>) {
    let mut scanner = Scanner::new(codec, 64 << 10).unwrap();
    let mut sink = |event| {
        let Event::Span(span) = event else { return };
        let window = span.window.map(|window| {
            windows.push(window);
            WindowId(windows.len() as u32 - 1)
        });
        let bytes = &data[span.offset as usize..span.offset as usize + span.length as usize];
        spans.push(Span {
            offset: span.offset,
            length: span.length,
            blob_offset: span.blob_offset,
            blob_length: span.blob_length,
            restart: span.restart,
            window,
            digest: *blake3::hash(bytes).as_bytes(),
        });
    };
    scanner.push(blob, &mut sink).unwrap();
    scanner.finish(&mut sink).unwrap();
}
