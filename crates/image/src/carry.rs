//! v1 archives: layers or a directory, flattened, with their data inside.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use archive::{Archive, Carried, CarryingWriter, Output, StreamId, Written};
use backend::Blob;
use pack::{PackOptions, Packer};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::assembly::Assembly;
use crate::contents::Forward;
use crate::directory;
use crate::error::LayerError;
use crate::files::Files;
use crate::layers::{joined, layer_error, scan_all};
use crate::{Error, Image, IndexOptions, Progress};

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
        let files = Files::of_layers(&tree);
        progress.begin("data", files.bytes);
        let packer = Packer::new(writer, options.pack)?;
        let mut open = |stream| {
            let layer = streams.layer(stream);
            let forward = Forward::of_layer(stream, &streams, &scanned, &runtime).map_err(|source| layer_error(&image, layer, source))?;
            Ok((format!("layer {} of {}", layer + 1, image.name).into(), forward))
        };
        let writer = files.pack(&mut open, &mut tree, packer, &progress)?;
        last_chance(&progress)?;
        let parts = Carried { tree: &tree, manifest: &image.manifest, config: &image.config, fallback: options.fallback.as_deref() };
        let totals = Totals { file_bytes: files.bytes, xattrs_dropped, start };
        let written = writer.finish(&parts)?;
        Ok(report(&image.name, Some(&image.digest), target, written, &totals, options.fallback.clone()))
    };
    joined(tokio::task::spawn_blocking(work).await).unwrap_or(Err(Error::Cancelled))
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
        last_chance(&progress)?;
        let written = packed.writer.finish(&Carried { tree: &packed.tree, manifest: b"", config: b"", fallback: None })?;
        let totals = Totals { file_bytes: packed.file_bytes, xattrs_dropped: packed.xattrs_dropped, start };
        Ok(report(&root.display().to_string(), None, target, written, &totals, None))
    };
    joined(tokio::task::spawn_blocking(work).await).unwrap_or(Err(Error::Cancelled))
}

/// Archives with its data what a v2 archive shows. `blobs` are those of its streams, each of which is read once, forward: a v1 archive's, where files
/// share chunks, cannot be read so.
///
/// # Errors
/// As [`archive_image`]; [`Error::Pack`] with the blob's name where its bytes are not those that the archive was made from.
pub async fn archive_archive(
    from: Arc<Archive>,
    blobs: Vec<Arc<dyn Blob>>,
    output: Box<dyn Output + Send>,
    options: PackOptions,
    progress: Arc<Progress>,
) -> Result<ArchiveReport, Error> {
    let (start, runtime) = (Instant::now(), Handle::current());
    let work = move || {
        let (mut tree, files) = Files::of_archive(&from)?;
        progress.begin("data", files.bytes);
        let (target, writer) = (output.name(), CarryingWriter::begin(output)?);
        let mut open = |stream: StreamId| {
            let blob = &blobs[usize::from(stream.0)];
            let name = PathBuf::from(blob.name());
            let forward = Forward::of_archive(&from, stream, blob, &runtime).map_err(|e| failed(&name, e))?;
            Ok((name, forward))
        };
        let writer = files.pack(&mut open, &mut tree, Packer::new(writer, options)?, &progress)?;
        last_chance(&progress)?;
        let written = writer.finish(&Carried { tree: &tree, manifest: from.manifest(), config: from.config(), fallback: None })?;
        let totals = Totals { file_bytes: files.bytes, xattrs_dropped: 0, start };
        Ok(report(&from.path().display().to_string(), None, target, written, &totals, None))
    };
    joined(tokio::task::spawn_blocking(work).await).unwrap_or(Err(Error::Cancelled))
}

/// Enters the phase that whoever cancels waits for; who cancelled before it is heard here.
fn last_chance(progress: &Progress) -> Result<(), Error> {
    progress.enter("archive");
    if progress.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
}

fn failed(name: &Path, source: LayerError) -> Error {
    pack::Error::Read { name: name.into(), source: io::Error::other(source) }.into()
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
