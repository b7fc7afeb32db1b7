//! Indexing: all layers scanned, flattened into one tree, written as one archive.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::ArchiveWriter;
use seek::Codec;
use serde::Serialize;

use crate::assembly::Assembly;
use crate::layers::{Scanned, joined, scan_all};
use crate::{Error, Image, Progress};

/// How to index.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// Uncompressed bytes between two restart points: 64 KiB to 8 MiB.
    pub checkpoint_bytes: u32,
    /// Layers that are scanned at the same time, at least 1.
    pub jobs: usize,
    /// Whether the archive may take the place of a file that is there.
    pub overwrite: bool,
    /// Where what was learned of layers is kept; nowhere if `None`.
    pub layer_dir: Option<PathBuf>,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The image, as it was named.
    pub image: String,
    /// Digest of its manifest.
    pub manifest: String,
    /// The archive.
    pub archive: PathBuf,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Bytes of the image's blobs.
    pub compressed_bytes: u64,
    /// Bytes of its layers, uncompressed.
    pub uncompressed_bytes: u64,
    /// Nodes of the flattened tree.
    pub inodes: u64,
    /// Layers, the lowest first.
    pub layers: Vec<LayerReport>,
    /// Extended attributes that were left out because no Linux filesystem can hold them.
    pub xattrs_dropped: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// What was learned of a layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerReport {
    /// Digest of the blob.
    pub digest: String,
    /// How it is compressed: `gzip`, `zstd` or `none`.
    pub compression: &'static str,
    /// Bytes of the blob.
    pub compressed_bytes: u64,
    /// Bytes of the tar.
    pub uncompressed_bytes: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// Spans that it was cut into.
    pub spans: u32,
    /// Whether it was known from before.
    pub reused: bool,
}

/// Indexes `image` into an archive at `output`. The file appears when it is whole, or not at all.
///
/// # Errors
/// [`Error::Layer`] for the first layer that is not what the manifest and the config say or cannot be read; [`Error::Archive`] and
/// [`Error::Io`] where files cannot be written.
///
/// Dropping the future stops the work: fetches end at once, and with them the scans, whose files are removed.
pub async fn index(image: Arc<Image>, output: &Path, options: &IndexOptions, progress: Arc<Progress>) -> Result<Report, Error> {
    let start = Instant::now();
    let writer = ArchiveWriter::create(output, options.overwrite)?; // fails early where the directory cannot be written
    progress.enter("layers");
    let layers = scan_all(&image, options, false, &progress).await?;
    progress.enter("archive");
    let output = output.to_path_buf();
    let assemble = move || {
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let assembled = Assembly::new(&image, &layers)?;
        let (inodes, xattrs_dropped) = assembled.write(writer, &image, &progress)?;
        let archive_bytes = std::fs::metadata(&output).map_err(|source| Error::Io { path: output.clone(), source })?.len();
        Ok(report(&image, &layers, &output, archive_bytes, inodes, xattrs_dropped, start.elapsed()))
    };
    joined(tokio::task::spawn_blocking(assemble).await).unwrap_or(Err(Error::Cancelled))
}

fn report(
    image: &Image,
    layers: &[Scanned],
    output: &Path,
    archive_bytes: u64,
    inodes: u64,
    xattrs_dropped: u64,
    elapsed: Duration,
) -> Report {
    let of_layer = |scanned: &Scanned| {
        let summary = scanned.file.summary();
        LayerReport {
            digest: summary.blob.clone(),
            compression: match summary.codec() {
                Codec::Gzip => "gzip",
                Codec::Zstd => "zstd",
                Codec::Raw => "none",
            },
            compressed_bytes: summary.blob_size,
            uncompressed_bytes: summary.size,
            entries: summary.entries,
            spans: summary.spans,
            reused: scanned.reused,
        }
    };
    let layers: Vec<LayerReport> = layers.iter().map(of_layer).collect();
    Report {
        image: image.name.clone(),
        manifest: image.digest.clone(),
        archive: output.into(),
        archive_bytes,
        compressed_bytes: layers.iter().map(|l| l.compressed_bytes).sum(),
        uncompressed_bytes: layers.iter().map(|l| l.uncompressed_bytes).sum(),
        inodes,
        layers,
        xattrs_dropped,
        seconds: elapsed.as_secs_f64(),
    }
}
