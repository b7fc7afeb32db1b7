//! Scanning a layer: one pass over its blob, in three threads that hand each other buffers.
//!
//! - this thread inflates, finds restart points and walks the tar;
//! - one hashes the compressed bytes (the blob's digest);
//! - one hashes the uncompressed bytes (diff_id and span digests) and writes the layer file.
//!
//! SHA-256 without hardware support is slower than inflating, so it must not stand in the way of it. All queues are bounded.

use std::cell::RefCell;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use aws_lc_rs::digest;
use bytes::Bytes;
use seek::{Codec, Event, Scanner, SpanSeek};

use super::{Carried, LayerWriter, SpanRecord, Summary};
use crate::error::LayerError;
use crate::progress::Progress;
use crate::tar::{Item, TarEntry, Walker};

/// Buffers of 128 KiB that wait between two threads: enough to even out uneven blocks, 4 MiB at most.
const QUEUE: usize = 32;
/// Bytes of a span of what a layer carries.
const CARRIED_SPAN_BYTES: usize = 1 << 20;
/// zstd level of carried data, which is mostly zeros.
const CARRIED_LEVEL: i32 = 9;

/// What goes to the thread that writes.
enum Message {
    Data(Vec<u8>),
    Span(SpanSeek),
    Entry(TarEntry),
    Carried(Vec<u8>),
}

/// Reads a blob to its end and writes its layer file to `out`. `input` yields the blob's bytes in order, then `None`.
pub(crate) fn scan(
    input: &mut dyn FnMut() -> Option<Result<Bytes, LayerError>>,
    spacing: u32,
    out: std::fs::File,
    progress: &Progress,
) -> Result<Summary, LayerError> {
    let (mut head, codec) = sniff(input)?;
    let writer = LayerWriter::new(out)?;
    thread::scope(|scope| {
        let (blob_tx, blob_rx) = sync_channel::<Bytes>(QUEUE);
        let (out_tx, out_rx) = sync_channel::<Message>(QUEUE);
        let blob_hasher = scope.spawn(move || hash_blob(&blob_rx));
        let finisher = scope.spawn(move || Finisher::new(writer, codec).run(&out_rx));
        let mut next = || head.take().map(Ok).or_else(&mut *input);
        let walked = walk(&mut next, codec, spacing, &blob_tx, &out_tx, progress);
        drop((blob_tx, out_tx)); // which ends the threads
        // A panic in a thread of ours is a bug; it becomes this thread's panic.
        let (blob, blob_size) = blob_hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let finished = finisher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // The writer's error comes first: it is why the walk could not go on.
        let (writer, summary) = finished?;
        walked?;
        let mut summary = summary;
        (summary.blob, summary.blob_size) = (blob, blob_size);
        writer.finish(&summary)?;
        Ok(summary)
    })
}

/// The first bytes, at least 4 if there are so many, and what they say.
fn sniff(input: &mut dyn FnMut() -> Option<Result<Bytes, LayerError>>) -> Result<(Option<Bytes>, Codec), LayerError> {
    let mut head = Vec::new();
    while head.len() < 4 {
        let Some(bytes) = input() else { break };
        head.extend_from_slice(&bytes?);
    }
    let codec = Codec::sniff(&head);
    Ok(((!head.is_empty()).then(|| head.into()), codec))
}

/// This thread's part.
fn walk(
    next: &mut dyn FnMut() -> Option<Result<Bytes, LayerError>>,
    codec: Codec,
    spacing: u32,
    blob: &SyncSender<Bytes>,
    out: &SyncSender<Message>,
    progress: &Progress,
) -> Result<(), LayerError> {
    let mut scanner = Scanner::new(codec, spacing)?;
    let mut walker = Walker::new();
    let failed = RefCell::new(None);
    let mut sink = |event: Event| {
        if failed.borrow().is_some() {
            return;
        }
        // A send fails only where the other thread has ended with an error, which then is the one that counts.
        let message = match event {
            Event::Data(data) => {
                let entries = walker.push(&data, &mut |item| {
                    let _ = out.send(match item {
                        Item::Entry(entry) => Message::Entry(entry),
                        Item::Carried(bytes) => Message::Carried(bytes),
                    });
                });
                failed.replace(entries.err().map(LayerError::from));
                Message::Data(data)
            }
            Event::Span(span) => Message::Span(span),
        };
        if out.send(message).is_err() {
            failed.borrow_mut().get_or_insert(LayerError::Stopped);
        }
    };
    while let Some(bytes) = next() {
        let bytes = bytes?;
        progress.add_bytes(bytes.len() as u64);
        scanner.push(&bytes, &mut sink)?;
        let _ = blob.send(bytes);
        // What is wrong is said at once, not after the rest of the layer.
        if let Some(error) = failed.take() {
            return Err(error);
        }
        if progress.is_cancelled() {
            return Err(LayerError::Stopped);
        }
    }
    scanner.finish(&mut sink)?;
    if let Some(error) = failed.take() {
        return Err(error);
    }
    Ok(walker.finish()?)
}

fn hash_blob(input: &Receiver<Bytes>) -> (String, u64) {
    let (mut hasher, mut size) = (digest::Context::new(&digest::SHA256), 0);
    for bytes in input {
        hasher.update(&bytes);
        size += bytes.len() as u64;
    }
    (crate::digest::sha256_name(hasher), size)
}

/// The thread that hashes what was inflated, and writes.
struct Finisher {
    writer: LayerWriter,
    summary: Summary,
    diff_id: digest::Context,
    span: blake3::Hasher,
    carried: Vec<u8>,
}

impl Finisher {
    fn new(writer: LayerWriter, codec: Codec) -> Finisher {
        let (diff_id, span) = (digest::Context::new(&digest::SHA256), blake3::Hasher::new());
        Finisher { writer, summary: Summary::empty(codec), diff_id, span, carried: Vec::new() }
    }

    fn run(mut self, input: &Receiver<Message>) -> io::Result<(LayerWriter, Summary)> {
        for message in input {
            match message {
                Message::Data(data) => {
                    self.diff_id.update(&data);
                    self.span.update(&data);
                    self.summary.size += data.len() as u64;
                }
                Message::Span(span) => {
                    let digest = *self.span.finalize().as_bytes();
                    self.span.reset();
                    self.writer.span(&SpanRecord::new(span, digest))?;
                    self.summary.spans += 1;
                }
                Message::Entry(entry) => {
                    self.writer.entry(&entry)?;
                    self.summary.entries += 1;
                }
                Message::Carried(bytes) => {
                    self.carried.extend_from_slice(&bytes);
                    while self.carried.len() >= CARRIED_SPAN_BYTES {
                        self.carry(CARRIED_SPAN_BYTES)?;
                    }
                }
            }
        }
        while !self.carried.is_empty() {
            self.carry(self.carried.len().min(CARRIED_SPAN_BYTES))?;
        }
        self.summary.diff_id = crate::digest::sha256_name(self.diff_id);
        Ok((self.writer, self.summary))
    }

    /// Writes the next `bytes` of the carried stream as a frame.
    fn carry(&mut self, bytes: usize) -> io::Result<()> {
        let span: Vec<u8> = self.carried.drain(..bytes).collect();
        let frame = zstd::bulk::compress(&span, CARRIED_LEVEL)?;
        let summary = &mut self.summary;
        summary.carried_size += bytes as u64;
        summary.carried_blob_size += frame.len() as u64;
        summary.carried_spans += 1;
        self.writer.carried(&Carried { length: bytes as u32, frame, digest: *blake3::hash(&span).as_bytes() })
    }
}
