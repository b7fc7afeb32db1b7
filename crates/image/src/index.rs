//! Indexing: all layers scanned, flattened into one tree, written as one archive.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::{ArchiveWriter, Location, Parts, Span, Stream, StreamId, Tree, WindowId};
use backend::Blob;
use bytes::Bytes;
use futures_util::StreamExt;
use seek::{Codec, Restart};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::error::LayerError;
use crate::flatten::{Flattener, LayerStreams, implied_directory};
use crate::layer::{LayerFile, LayerStore, Summary, scan};
use crate::{Error, Image, Layer, Progress};

/// Pieces of a body that wait for the scanner: with pieces of up to 64 KiB, 4 MiB.
const BODY_QUEUE: usize = 64;

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
    let layers = scan_all(&image, options, &progress).await?;
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
    joined(tokio::task::spawn_blocking(assemble).await)
}

/// What a blocking task returned. It cannot be cancelled once it runs, and a panic in it is a bug that goes on here.
fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
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

/// A layer that was scanned, now or before.
struct Scanned {
    file: LayerFile,
    reused: bool,
    /// Keeps a layer file that is not kept in a store.
    _temporary: Option<Arc<tempfile::TempDir>>,
}

/// Scans all layers, some at a time; a layer that occurs twice is scanned once.
async fn scan_all(image: &Image, options: &IndexOptions, progress: &Arc<Progress>) -> Result<Vec<Scanned>, Error> {
    let (dir, temporary) = layer_dir(options)?;
    let store = LayerStore::open(&dir).map_err(|source| Error::Io { path: dir, source })?;
    let permits = Arc::new(Semaphore::new(options.jobs.max(1)));
    let mut tasks = JoinSet::new();
    let mut first_of: HashMap<String, usize> = HashMap::new();
    let mut sources = Vec::new();
    for (i, layer) in image.layers.iter().enumerate() {
        let source = *first_of.entry(layer.digest.clone().unwrap_or_else(|| layer.diff_id.clone())).or_insert(i);
        sources.push(source);
        if source != i {
            continue;
        }
        progress.add_total(1, layer.blob.size());
        let job = Job {
            blob: Arc::clone(&layer.blob),
            digest: layer.digest.clone(),
            diff_id: layer.diff_id.clone(),
            store: store.clone(),
            spacing: options.checkpoint_bytes,
            progress: Arc::clone(progress),
        };
        let permits = Arc::clone(&permits);
        tasks.spawn(async move {
            let _permit = permits.acquire_owned().await;
            (i, job.run().await)
        });
    }
    let mut scanned: HashMap<usize, (LayerFile, bool)> = HashMap::new();
    while let Some(done) = tasks.join_next().await {
        let (i, result) = done.map_err(|e| Error::Image { image: image.name.clone(), detail: format!("a layer's task ended: {e}") })?;
        scanned.insert(i, result.map_err(|source| layer_error(image, i, source))?);
    }
    let take = |source: usize| {
        let (file, reused) = scanned[&source].clone();
        Scanned { file, reused, _temporary: temporary.clone() }
    };
    Ok(sources.into_iter().map(take).collect())
}

/// Where layer files go: the given directory, or one that ends with the work.
fn layer_dir(options: &IndexOptions) -> Result<(PathBuf, Option<Arc<tempfile::TempDir>>), Error> {
    if let Some(dir) = &options.layer_dir {
        return Ok((dir.clone(), None));
    }
    let dir = tempfile::tempdir().map_err(|source| Error::Io { path: std::env::temp_dir(), source })?;
    Ok((dir.path().into(), Some(Arc::new(dir))))
}

fn layer_error(image: &Image, i: usize, source: LayerError) -> Error {
    match source {
        LayerError::Stopped => Error::Cancelled,
        source => Error::Layer { image: image.name.clone(), index: i + 1, digest: name_of(&image.layers[i]), source: Box::new(source) },
    }
}

fn name_of(layer: &Layer) -> String {
    layer.digest.clone().unwrap_or_else(|| layer.diff_id.clone())
}

/// The scan of one layer.
struct Job {
    blob: Arc<dyn Blob>,
    digest: Option<String>,
    diff_id: String,
    store: LayerStore,
    spacing: u32,
    progress: Arc<Progress>,
}

impl Job {
    async fn run(self) -> Result<(LayerFile, bool), LayerError> {
        // A plain tar's digest is its diff_id, so a docker-archive's layers are found too.
        let key = self.digest.as_ref().unwrap_or(&self.diff_id);
        // Without a digest the key is the plain tar's, which is of no use for a blob that is compressed.
        let fits = |file: &LayerFile| self.digest.is_some() || file.summary().blob_size == self.blob.size();
        if let Some(file) = self.store.find(key, self.spacing).filter(fits) {
            self.check(file.summary())?;
            self.progress.add_bytes(self.blob.size());
            self.progress.layer_done();
            return Ok((file, true));
        }
        let (sender, mut receiver) = mpsc::channel(BODY_QUEUE);
        let blob = Arc::clone(&self.blob);
        let mut fetching = JoinSet::new(); // which ends the fetch when it is dropped
        fetching.spawn(async move { fetch(&*blob, &sender).await });
        let scanned = tokio::task::spawn_blocking(move || {
            let result = self.scan(&mut || receiver.blocking_recv());
            receiver.close();
            result
        });
        joined(scanned.await)
    }

    fn scan(&self, input: &mut dyn FnMut() -> Option<Result<Bytes, LayerError>>) -> Result<(LayerFile, bool), LayerError> {
        let temporary = self.store.temporary()?;
        let summary = scan::scan(input, self.spacing, temporary.reopen()?, &self.progress)?;
        self.check(&summary)?;
        let file = self.store.keep(temporary, &summary.blob, self.spacing)?;
        self.progress.layer_done();
        Ok((file, false))
    }

    /// Compares what was read with what the manifest and the config promise.
    fn check(&self, summary: &Summary) -> Result<(), LayerError> {
        if summary.blob_size != self.blob.size() {
            return Err(LayerError::Size { found: summary.blob_size, expected: self.blob.size() });
        }
        if let Some(expected) = self.digest.as_ref().filter(|d| **d != summary.blob) {
            let found = summary.blob.clone();
            return Err(LayerError::Digest { what: "blob's digest", found, by: "manifest", expected: expected.clone() });
        }
        if self.diff_id != summary.diff_id {
            let (found, expected) = (summary.diff_id.clone(), self.diff_id.clone());
            return Err(LayerError::Digest { what: "diff_id", found, by: "config", expected });
        }
        Ok(())
    }
}

/// Passes a blob's bytes on, from first to last.
async fn fetch(blob: &dyn Blob, to: &mpsc::Sender<Result<Bytes, LayerError>>) {
    if blob.size() == 0 {
        return;
    }
    let mut body = match blob.get(0..blob.size()).await {
        Ok(body) => body,
        Err(e) => {
            let _ = to.send(Err(e.into())).await; // a scanner that is gone needs no error
            return;
        }
    };
    while let Some(bytes) = body.stream.next().await {
        if to.send(bytes.map_err(LayerError::from)).await.is_err() {
            return;
        }
    }
}

/// Layers put together: the tree, and the streams that its files point into.
struct Assembly {
    tree: Tree,
    xattrs_dropped: u64,
    streams: Vec<Stream>,
    span_counts: Vec<u32>,
    /// One layer file for each stream of a tar.
    tars: Vec<LayerFile>,
    /// One for each stream that is carried.
    carriers: Vec<LayerFile>,
}

impl Assembly {
    fn new(image: &Image, scanned: &[Scanned]) -> Result<Assembly, Error> {
        let mut assembly = Assembly {
            tree: Tree::new(implied_directory()),
            xattrs_dropped: 0,
            streams: Vec::new(),
            span_counts: Vec::new(),
            tars: Vec::new(),
            carriers: Vec::new(),
        };
        let tars = assembly.add_tars(image, scanned);
        let carried = assembly.add_carried(scanned, &tars);
        let mut flattener = Flattener::new();
        for (i, layer) in scanned.iter().enumerate() {
            flattener.begin_layer(LayerStreams { tar: tars[i], carried: carried[i] });
            let failed = |source| layer_error(image, i, source);
            for entry in layer.file.entries().map_err(|e| failed(e.into()))? {
                flattener.apply(entry.map_err(|e| failed(e.into()))?).map_err(|e| failed(e.into()))?;
            }
        }
        (assembly.tree, assembly.xattrs_dropped) = flattener.finish();
        Ok(assembly)
    }

    /// A stream for each tar. Returns each layer's: a layer that occurs twice has one stream.
    fn add_tars(&mut self, image: &Image, scanned: &[Scanned]) -> Vec<StreamId> {
        let mut known: HashMap<&str, StreamId> = HashMap::new();
        let mut ids = Vec::new();
        for (layer, scanned) in image.layers.iter().zip(scanned) {
            let summary = scanned.file.summary();
            let id = *known.entry(&summary.blob).or_insert_with(|| {
                self.streams.push(Stream {
                    codec: summary.codec(),
                    size: summary.size,
                    blob: summary.blob.clone(),
                    blob_size: summary.blob_size,
                    diff_id: summary.diff_id.clone(),
                    location: layer.location.clone(),
                });
                self.span_counts.push(summary.spans);
                self.tars.push(scanned.file.clone());
                StreamId(self.streams.len() as u16 - 1) // at most 1,000 layers
            });
            ids.push(id);
        }
        ids
    }

    /// A stream for what each layer carries. Returns each layer's, or that of its tar where it carries nothing.
    fn add_carried(&mut self, scanned: &[Scanned], tars: &[StreamId]) -> Vec<StreamId> {
        let mut ids = tars.to_vec();
        let mut at = 0;
        for (i, layer) in scanned.iter().enumerate() {
            let summary = layer.file.summary();
            if summary.carried_spans == 0 {
                continue;
            }
            if let Some(same) = tars[..i].iter().position(|t| *t == tars[i]) {
                ids[i] = ids[same];
                continue;
            }
            ids[i] = StreamId(self.streams.len() as u16);
            self.streams.push(Stream {
                codec: Codec::Zstd,
                size: summary.carried_size,
                blob: format!("carried:{}", summary.blob),
                blob_size: summary.carried_blob_size,
                diff_id: format!("carried:{}", summary.diff_id),
                location: Location::Archive { offset: at },
            });
            at += summary.carried_blob_size;
            self.span_counts.push(summary.carried_spans);
            self.carriers.push(layer.file.clone());
        }
        ids
    }

    /// Writes the archive. Returns its inodes, and how many extended attributes were left out.
    fn write(&self, writer: ArchiveWriter, image: &Image, progress: &Progress) -> Result<(u64, u64), Error> {
        let parts = Parts {
            tree: &self.tree,
            storage: image.storage.clone(),
            streams: self.streams.clone(),
            span_counts: self.span_counts.clone(),
            manifest: &image.manifest,
            config: &image.config,
        };
        let inodes = writer.finish(&parts, self.spans(), self.windows(), &mut self.data(progress))?;
        Ok((inodes, self.xattrs_dropped))
    }

    fn spans(&self) -> impl Iterator<Item = io::Result<Span>> {
        let mut windows = 0;
        let tars = self.tars.iter().flat_map(|file| flatten(file.spans())).map(move |record| {
            let record = record?;
            let window = record.window.is_some().then(|| {
                windows += 1;
                WindowId(windows - 1)
            });
            let restart = record.restart();
            let crate::layer::SpanRecord { offset, length, blob_offset, blob_length, digest, .. } = record;
            Ok(Span { offset, length, blob_offset, blob_length, restart, window, digest })
        });
        tars.chain(self.carriers.iter().flat_map(|file| {
            let (mut offset, mut blob_offset) = (0, 0);
            flatten(file.carried()).map(move |carried| {
                let carried = carried?;
                let blob_length = carried.frame.len() as u64;
                let (length, digest) = (carried.length, carried.digest);
                let span = Span { offset, length, blob_offset, blob_length, restart: Restart::Frame, window: None, digest };
                offset += u64::from(length);
                blob_offset += blob_length;
                Ok(span)
            })
        }))
    }

    fn windows(&self) -> impl Iterator<Item = io::Result<Vec<u8>>> {
        self.tars.iter().flat_map(|file| flatten(file.spans())).filter_map(|record| record.map(|r| r.window).transpose())
    }

    /// What the archive carries: all frames, one after the other. It is asked for last, just before the archive is published: what was
    /// cancelled ends here.
    fn data(&self, progress: &Progress) -> impl io::Read {
        let frames = self.carriers.iter().flat_map(|file| flatten(file.carried())).map(|c| c.map(|c| c.frame));
        Frames { frames, current: io::Cursor::new(Vec::new()), progress }
    }
}

/// An error in opening becomes the only item.
fn flatten<T>(records: io::Result<impl Iterator<Item = io::Result<T>>>) -> impl Iterator<Item = io::Result<T>> {
    let (records, error) = match records {
        Ok(records) => (Some(records), None),
        Err(error) => (None, Some(Err(error))),
    };
    records.into_iter().flatten().chain(error)
}

/// Reads buffers one after the other.
struct Frames<'a, I> {
    progress: &'a Progress,
    frames: I,
    current: io::Cursor<Vec<u8>>,
}

impl<I: Iterator<Item = io::Result<Vec<u8>>>> io::Read for Frames<'_, I> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.progress.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        loop {
            let n = self.current.read(out)?;
            if n > 0 || out.is_empty() {
                return Ok(n);
            }
            match self.frames.next() {
                Some(frame) => self.current = io::Cursor::new(frame?),
                None => return Ok(0),
            }
        }
    }
}
