//! Layers put together: one tree, and the streams that its files point into.

use std::collections::HashMap;
use std::io;

use archive::{ArchiveWriter, Location, Parts, Span, Stream, StreamId, Tree, WindowId};
use seek::{Codec, Restart};

use crate::flatten::{Flattener, LayerStreams};
use crate::layer::LayerFile;
use crate::layers::{Scanned, layer_error};
use crate::{Error, Image, Progress};

/// Layers put together: the tree, and the streams that its files point into.
pub(crate) struct Assembly {
    pub tree: Tree,
    pub xattrs_dropped: u64,
    pub streams: Streams,
}

/// The streams: those of the tars, then those that are carried.
#[derive(Default)]
pub(crate) struct Streams {
    streams: Vec<Stream>,
    span_counts: Vec<u32>,
    /// For each stream of a tar: its layer's number and file.
    pub tars: Vec<(usize, LayerFile)>,
    /// For each stream that is carried: the same of the layer that carries it.
    pub carriers: Vec<(usize, LayerFile)>,
}

impl Assembly {
    /// Applies all entries of all layers to one tree.
    pub fn new(image: &Image, scanned: &[Scanned]) -> Result<Assembly, Error> {
        let mut streams = Streams::default();
        let tars = streams.add_tars(image, scanned);
        let carried = streams.add_carried(scanned, &tars);
        let mut flattener = Flattener::new();
        for (i, layer) in scanned.iter().enumerate() {
            flattener.begin_layer(LayerStreams { tar: tars[i], carried: carried[i] });
            let failed = |source| layer_error(image, i, source);
            for entry in layer.file.entries().map_err(|e| failed(e.into()))? {
                flattener.apply(entry.map_err(|e| failed(e.into()))?).map_err(|e| failed(e.into()))?;
            }
        }
        let (tree, xattrs_dropped) = flattener.finish();
        Ok(Assembly { tree, xattrs_dropped, streams })
    }

    /// Writes the archive. Returns its inodes, and how many extended attributes were left out.
    pub fn write(&self, writer: ArchiveWriter, image: &Image, progress: &Progress) -> Result<(u64, u64), Error> {
        let streams = &self.streams;
        let parts = Parts {
            tree: &self.tree,
            storage: image.storage.clone(),
            streams: streams.streams.clone(),
            span_counts: streams.span_counts.clone(),
            manifest: &image.manifest,
            config: &image.config,
        };
        let inodes = writer.finish(&parts, streams.spans(), streams.windows(), &mut streams.data(progress))?;
        Ok((inodes, self.xattrs_dropped))
    }
}

impl Streams {
    /// The number of the layer that a stream is of.
    pub fn layer(&self, stream: StreamId) -> usize {
        let i = usize::from(stream.0);
        let tars = self.tars.iter().chain(&self.carriers);
        tars.map(|(layer, _)| *layer).nth(i).unwrap_or(0)
    }

    /// A stream for each tar. Returns each layer's: a layer that occurs twice has one stream.
    fn add_tars(&mut self, image: &Image, scanned: &[Scanned]) -> Vec<StreamId> {
        let mut known: HashMap<&str, StreamId> = HashMap::new();
        let mut ids = Vec::new();
        for (i, (layer, scanned)) in image.layers.iter().zip(scanned).enumerate() {
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
                self.tars.push((i, scanned.file.clone()));
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
            self.carriers.push((i, layer.file.clone()));
        }
        ids
    }

    fn spans(&self) -> impl Iterator<Item = io::Result<Span>> {
        let mut windows = 0;
        let tars = self.tars.iter().flat_map(|(_, file)| flatten(file.spans())).map(move |record| {
            let record = record?;
            let window = record.window.is_some().then(|| {
                windows += 1;
                WindowId(windows - 1)
            });
            let restart = record.restart();
            let crate::layer::SpanRecord { offset, length, blob_offset, blob_length, digest, .. } = record;
            Ok(Span { offset, length, blob_offset, blob_length, restart, window, digest })
        });
        tars.chain(self.carriers.iter().flat_map(|(_, file)| {
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
        self.tars.iter().flat_map(|(_, file)| flatten(file.spans())).filter_map(|record| record.map(|r| r.window).transpose())
    }

    /// What the archive carries: all frames, one after the other. It is asked for last, just before the archive is published: what was
    /// cancelled ends here.
    fn data(&self, progress: &Progress) -> impl io::Read {
        let frames = self.carriers.iter().flat_map(|(_, file)| flatten(file.carried())).map(|c| c.map(|c| c.frame));
        Frames { frames, current: io::Cursor::new(Vec::new()), progress }
    }
}

/// An error in opening becomes the only item.
pub(crate) fn flatten<T>(records: io::Result<impl Iterator<Item = io::Result<T>>>) -> impl Iterator<Item = io::Result<T>> {
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
