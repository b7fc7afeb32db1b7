//! The layers of an image, each scanned once, some at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::Location;
use backend::{Blob, FileBlob};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::error::LayerError;
use crate::layer::{LayerFile, LayerStore, Summary, scan};
use crate::{Error, Image, IndexOptions, Layer, Progress};

/// Pieces of a body that wait for the scanner: with pieces of up to 64 KiB, 4 MiB.
pub(crate) const BODY_QUEUE: usize = 64;

/// A layer that was scanned, now or before.
pub(crate) struct Scanned {
    pub file: LayerFile,
    pub reused: bool,
    /// Its compressed bytes: where they came from, or the copy that was made meanwhile.
    pub blob: Arc<dyn Blob>,
    /// Keeps files that go with the work.
    _workspace: Arc<Workspace>,
}

/// Where layer files and copies of blobs go.
struct Workspace {
    store: LayerStore,
    /// Where blobs of a registry are copied to, if they are wanted again.
    copies: Option<tempfile::TempDir>,
    /// Layer files that are not to be kept.
    _layers: Option<tempfile::TempDir>,
}

impl Workspace {
    fn open(layer_dir: Option<&Path>, keep_blobs: bool) -> Result<Workspace, Error> {
        let temporary = |path: &Path| tempfile::tempdir_in(path).map_err(|source| Error::Io { path: path.into(), source });
        let layers = if layer_dir.is_none() { Some(temporary(&std::env::temp_dir())?) } else { None };
        let dir = layer_dir.or(layers.as_ref().map(tempfile::TempDir::path)).unwrap_or(Path::new("."));
        let store = LayerStore::open(dir).map_err(|source| Error::Io { path: dir.into(), source })?;
        // Beside the layer files: the system's directory for temporary files may be in memory.
        let copies = if keep_blobs { Some(temporary(dir)?) } else { None };
        Ok(Workspace { store, copies, _layers: layers })
    }
}

/// Scans all layers, some at a time; a layer that occurs twice is scanned once. With `keep_blobs` what comes from a registry is also copied
/// to a file, for who has to read it again.
pub(crate) async fn scan_all(
    image: &Image,
    options: &IndexOptions,
    keep_blobs: bool,
    progress: &Arc<Progress>,
) -> Result<Vec<Scanned>, Error> {
    let workspace = Arc::new(Workspace::open(options.layer_dir.as_deref(), keep_blobs)?);
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
        let copies = workspace.copies.as_ref().filter(|_| layer.location == Location::Registry);
        let job = Job {
            blob: Arc::clone(&layer.blob),
            digest: layer.digest.clone(),
            diff_id: layer.diff_id.clone(),
            store: workspace.store.clone(),
            copy: copies.map(|dir| dir.path().join(i.to_string())),
            spacing: options.checkpoint_bytes,
            progress: Arc::clone(progress),
        };
        let permits = Arc::clone(&permits);
        let work = async move {
            let _permit = permits.acquire_owned().await;
            (i, job.run().await)
        };
        // Of the job that wants it, down to the fetch: what is logged there is of that job.
        tasks.spawn(work.in_current_span());
    }
    let mut scanned: HashMap<usize, Done> = HashMap::new();
    while let Some(done) = tasks.join_next().await {
        let (i, result) = done.map_err(|e| Error::Image { image: image.name.clone(), detail: format!("a layer's task ended: {e}") })?;
        scanned.insert(i, result.map_err(|source| layer_error(image, i, source))?);
    }
    let take = |source: usize| {
        let Done { file, reused, blob } = scanned[&source].clone();
        Scanned { file, reused, blob, _workspace: Arc::clone(&workspace) }
    };
    Ok(sources.into_iter().map(take).collect())
}

pub(crate) fn layer_error(image: &Image, i: usize, source: LayerError) -> Error {
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
    /// Where the blob is copied to.
    copy: Option<PathBuf>,
    spacing: u32,
    progress: Arc<Progress>,
}

/// What came of it.
#[derive(Clone)]
struct Done {
    file: LayerFile,
    reused: bool,
    blob: Arc<dyn Blob>,
}

impl Job {
    async fn run(self) -> Result<Done, LayerError> {
        let known = self.known()?;
        if let (Some(file), None) = (&known, &self.copy) {
            self.progress.add_bytes(self.blob.size());
            self.progress.layer_done();
            return Ok(Done { file: file.clone(), reused: true, blob: self.blob });
        }
        let (sender, mut receiver) = mpsc::channel(BODY_QUEUE);
        let blob = Arc::clone(&self.blob);
        let mut fetching = JoinSet::new(); // which ends the fetch when it is dropped
        fetching.spawn(async move { fetch(&*blob, 0, &sender).await }.in_current_span());
        let work = move || {
            let result = self.take_in(known, &mut || receiver.blocking_recv());
            receiver.close();
            result
        };
        joined(tokio::task::spawn_blocking(work).await).unwrap_or(Err(LayerError::Stopped))
    }

    /// What was learned of the layer before.
    fn known(&self) -> Result<Option<LayerFile>, LayerError> {
        // A plain tar's digest is its diff_id, so a docker-archive's layers are found too.
        let key = self.digest.as_ref().unwrap_or(&self.diff_id);
        // Without a digest the key is the plain tar's, which is of no use for a blob that is compressed.
        let fits = |file: &LayerFile| self.digest.is_some() || file.summary().blob_size == self.blob.size();
        let known = self.store.find(key, self.spacing).filter(fits);
        if let Some(file) = &known {
            self.check(file.summary())?;
        }
        Ok(known)
    }

    /// Scans the blob, unless that is known, and copies it, if that is wanted.
    fn take_in(&self, known: Option<LayerFile>, input: &mut Input<'_>) -> Result<Done, LayerError> {
        let mut copy = self.copy.as_ref().map(File::create_new).transpose()?;
        let mut input = || {
            let piece = input()?;
            Some(piece.and_then(|bytes| {
                if let Some(copy) = &mut copy {
                    copy.write_all(&bytes)?;
                }
                Ok(bytes)
            }))
        };
        let reused = known.is_some();
        let file = match known {
            Some(file) => self.only_copy(file, &mut input)?,
            None => self.scan(&mut input)?,
        };
        self.progress.layer_done();
        let blob = match &self.copy {
            Some(path) => Arc::new(FileBlob::open(path, 0, self.blob.size())?),
            None => Arc::clone(&self.blob),
        };
        Ok(Done { file, reused, blob })
    }

    fn only_copy(&self, file: LayerFile, input: &mut Input<'_>) -> Result<LayerFile, LayerError> {
        while let Some(bytes) = input() {
            self.progress.add_bytes(bytes?.len() as u64);
            if self.progress.is_cancelled() {
                return Err(LayerError::Stopped);
            }
        }
        Ok(file)
    }

    fn scan(&self, input: &mut Input<'_>) -> Result<LayerFile, LayerError> {
        let temporary = self.store.temporary()?;
        let summary = scan::scan(input, self.spacing, temporary.reopen()?, &self.progress)?;
        self.check(&summary)?;
        Ok(self.store.keep(temporary, &summary.blob, self.spacing)?)
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

/// Gives the bytes of a blob, piece by piece.
pub(crate) type Input<'a> = dyn FnMut() -> Option<Result<Bytes, LayerError>> + 'a;

/// Passes a blob's bytes on, from `start` to the last.
pub(crate) async fn fetch(blob: &dyn Blob, start: u64, to: &mpsc::Sender<Result<Bytes, LayerError>>) {
    if start >= blob.size() {
        return;
    }
    let mut body = match blob.get(start..blob.size()).await {
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

/// What a blocking task returned; none if the runtime went down before it began. A panic in it is a bug that goes on here.
pub(crate) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Option<T> {
    match result {
        Ok(returned) => Some(returned),
        Err(error) => {
            if let Ok(panic) = error.try_into_panic() {
                std::panic::resume_unwind(panic);
            }
            None
        }
    }
}
