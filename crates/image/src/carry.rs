//! v1 archives: layers or a directory, flattened, with their data inside.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use archive::{Bytes, Carried, CarryingWriter, Content, InodeId, Output, StreamId, Tree, Written};
use pack::{Extent, PackOptions, Packer};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::assembly::{Assembly, Streams};
use crate::contents::Forward;
use crate::directory;
use crate::error::LayerError;
use crate::layers::{Scanned, joined, layer_error, scan_all};
use crate::{Error, Image, IndexOptions, Progress};

/// Bytes of a block, in which addresses of a tree count.
const BLOCK_BYTES: u64 = 512;

/// How to make an archive that carries its data.
#[derive(Debug, Clone)]
pub struct ArchiveOptions {
    /// How layers are scanned; the checkpoints of what was learned of them.
    pub layers: IndexOptions,
    /// How their files are packed.
    pub pack: PackOptions,
    /// Why this is no v2 archive, where that was asked for.
    pub fallback: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct ArchiveReport {
    /// The image or directory, as it was named.
    pub source: String,
    /// Digest of the image's manifest.
    pub manifest: Option<String>,
    /// Where the archive is.
    pub archive: PathBuf,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Bytes of its data, each chunk once.
    pub data_bytes: u64,
    /// The same, compressed.
    pub compressed_bytes: u64,
    /// Bytes of all files, as a listing shows them: holes and repetitions included.
    pub file_bytes: u64,
    /// Nodes of the tree.
    pub inodes: u64,
    /// Extended attributes that were left out because no Linux filesystem can hold them.
    pub xattrs_dropped: u64,
    /// Why this is no v2 archive, where that was asked for.
    pub fallback: Option<String>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Archives `image` with its data. The archive appears when it is whole, or not at all.
///
/// Blobs of a registry are copied beside the layer files meanwhile, as each is read twice: which of its files remain is known when all layers were scanned.
///
/// # Errors
/// As [`crate::index()`]; [`Error::Pack`] where the data cannot be written.
pub async fn archive_image(
    image: Arc<Image>,
    output: Box<dyn Output + Send>,
    options: &ArchiveOptions,
    progress: Arc<Progress>,
) -> Result<ArchiveReport, Error> {
    let start = Instant::now();
    progress.enter("layers");
    let scanned = scan_all(&image, &options.layers, true, &progress).await?;
    let (options, runtime) = (options.clone(), Handle::current());
    let work = move || {
        let assembly = Assembly::new(&image, &scanned)?;
        let (target, writer) = (output.name(), CarryingWriter::begin(output)?);
        let Assembly { mut tree, xattrs_dropped, streams } = assembly;
        let files = Files::of(&tree);
        progress.begin("data", files.bytes);
        let packer = Packer::new(writer, options.pack)?;
        let sources = Sources { image: &image, streams: &streams, scanned: &scanned, runtime: &runtime };
        let writer = files.pack(&sources, &mut tree, packer, &progress)?;
        progress.enter("archive");
        let parts = Carried { tree: &tree, manifest: &image.manifest, config: &image.config, fallback: options.fallback.as_deref() };
        let totals = Totals { file_bytes: files.bytes, xattrs_dropped, start };
        let written = writer.finish(&parts)?;
        Ok(report(&image.name, Some(&image.digest), target, written, &totals, options.fallback.clone()))
    };
    joined(tokio::task::spawn_blocking(work).await)
}

/// Archives the directory `root` as the root of a filesystem. The archive appears when it is whole, or not at all.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read, or that changes while it is; [`Error::Pack`] where the data cannot be written.
pub async fn archive_directory(
    root: PathBuf,
    output: Box<dyn Output + Send>,
    options: PackOptions,
    progress: Arc<Progress>,
) -> Result<ArchiveReport, Error> {
    let start = Instant::now();
    let work = move || {
        let total = directory::count(&root, &progress)?;
        progress.begin("data", total);
        let (target, writer) = (output.name(), CarryingWriter::begin(output)?);
        let packed = directory::pack(&root, Packer::new(writer, options)?, &progress)?;
        progress.enter("archive");
        let written = packed.writer.finish(&Carried { tree: &packed.tree, manifest: b"", config: b"", fallback: None })?;
        let totals = Totals { file_bytes: packed.file_bytes, xattrs_dropped: packed.xattrs_dropped, start };
        Ok(report(&root.display().to_string(), None, target, written, &totals, None))
    };
    joined(tokio::task::spawn_blocking(work).await)
}

struct Totals {
    file_bytes: u64,
    xattrs_dropped: u64,
    start: Instant,
}

fn report(
    source: &str,
    manifest: Option<&str>,
    archive: PathBuf,
    written: Written,
    totals: &Totals,
    fallback: Option<String>,
) -> ArchiveReport {
    ArchiveReport {
        source: source.into(),
        manifest: manifest.map(str::to_owned),
        archive,
        archive_bytes: written.archive_bytes,
        data_bytes: written.data_bytes,
        compressed_bytes: written.compressed_bytes,
        file_bytes: totals.file_bytes,
        inodes: written.inodes,
        xattrs_dropped: totals.xattrs_dropped,
        fallback,
        seconds: totals.start.elapsed().as_secs_f64(),
    }
}

/// Where the files of a tree come from.
struct Sources<'a> {
    image: &'a Image,
    streams: &'a Streams,
    scanned: &'a [Scanned],
    runtime: &'a Handle,
}

impl Sources<'_> {
    fn open(&self, stream: StreamId) -> Result<Forward, Error> {
        let layer = self.streams.layer(stream);
        Forward::open(stream, self.streams, self.scanned, self.runtime).map_err(|source| layer_error(self.image, layer, source))
    }

    /// What a layer is called in messages.
    fn name(&self, stream: StreamId) -> PathBuf {
        format!("layer {} of {}", self.streams.layer(stream) + 1, self.image.name).into()
    }
}

/// The files of a flattened tree, ordered by where their first byte lies: each stream is read once, forward.
struct Files {
    by_place: Vec<(StreamId, u32, InodeId)>,
    bytes: u64,
}

impl Files {
    fn of(tree: &Tree) -> Files {
        let mut by_place: Vec<_> = tree
            .files()
            .map(|inode| {
                let (stream, block) = first_block(tree.bytes(inode)).unwrap_or((StreamId(0), 0));
                (stream, block, inode)
            })
            .collect();
        by_place.sort_unstable();
        let bytes = tree.files().map(|inode| tree.bytes(inode).map_or(0, |bytes| bytes.size())).sum();
        Files { by_place, bytes }
    }

    /// Packs all of them, and has the tree say where they are now.
    fn pack(&self, sources: &Sources<'_>, tree: &mut Tree, mut packer: Packer, progress: &Progress) -> Result<CarryingWriter, Error> {
        let mut open: Option<(StreamId, Forward)> = None;
        let mut last: Option<(Place, Content)> = None;
        for (stream, _, inode) in &self.by_place {
            let Some(place) = tree.bytes(*inode).map(Place::of) else { continue };
            progress.add_bytes(place.size);
            // An entry of a layer that was applied twice may be there as two files.
            let content = match last.take().filter(|(same, _)| *same == place) {
                Some((_, content)) => content,
                None if place.extents.is_empty() => packer.file(Path::new(""), place.size, &[], &mut |_, _| Ok(()))?,
                None => {
                    let forward = match open.take_if(|(id, _)| id == stream) {
                        Some((_, forward)) => forward,
                        None => sources.open(*stream)?,
                    };
                    let (_, forward) = open.insert((*stream, forward));
                    let name = sources.name(*stream);
                    place.pack(&name, &mut packer, forward, progress)?
                }
            };
            tree.set_content(*inode, content.clone()).map_err(|_| archive::Error::Unrepresentable("more than 4 GiB of names".into()))?;
            last = Some((place, content));
        }
        Ok(packer.finish()?)
    }
}

/// Where a file's first byte lies; none if it has only holes.
fn first_block(bytes: Option<Bytes<'_>>) -> Option<(StreamId, u32)> {
    match bytes? {
        Bytes::Blocks { stream, block, size } => (size > 0).then_some((stream, block)),
        Bytes::Sparse(map) => map.chunks.iter().find_map(|chunk| chunk.ok()),
    }
}

/// A file's bytes in its stream.
#[derive(PartialEq, Eq)]
struct Place {
    size: u64,
    /// Bytes of a chunk; all of the file where it is in one piece.
    chunk: u64,
    /// For each chunk, where it lies.
    chunks: Vec<Option<(StreamId, u32)>>,
    extents: Vec<Extent>,
}

impl Place {
    fn of(bytes: Bytes<'_>) -> Place {
        let (size, chunk, chunks) = match bytes {
            Bytes::Blocks { size, stream, block } => (size, size.max(1), vec![Some((stream, block))]),
            Bytes::Sparse(map) => (map.size, map.chunk, map.chunks.iter().map(|chunk| chunk.ok()).collect()),
        };
        let extent = |(i, chunk_at): (u64, &Option<_>)| {
            let offset = i * chunk;
            let length = size.saturating_sub(offset).min(chunk);
            (chunk_at.is_some() && length > 0).then_some(Extent { offset, length })
        };
        let extents = (0..).zip(&chunks).filter_map(extent).collect();
        Place { size, chunk, chunks, extents }
    }

    fn pack(&self, name: &Path, packer: &mut Packer, forward: &mut Forward, progress: &Progress) -> Result<Content, Error> {
        let mut read = |at: u64, out: &mut [u8]| {
            if progress.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            self.read(forward, at, out).map_err(io::Error::other)
        };
        packer
            .file(name, self.size, &self.extents, &mut read)
            .map_err(|e| if progress.is_cancelled() { Error::Cancelled } else { e.into() })
    }

    /// Reads bytes that lie in extents, chunk by chunk.
    fn read(&self, forward: &mut Forward, mut at: u64, mut out: &mut [u8]) -> Result<(), LayerError> {
        while !out.is_empty() {
            let inside = at % self.chunk;
            let n = (self.chunk - inside).min(out.len() as u64) as usize;
            let (now, later) = out.split_at_mut(n);
            if let Some((_, block)) = self.chunks.get((at / self.chunk) as usize).copied().flatten() {
                forward.read(u64::from(block) * BLOCK_BYTES + inside, now)?;
            }
            (at, out) = (at + n as u64, later);
        }
        Ok(())
    }
}
