//! Compressing spans on all cores, and giving them back in order.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Spans on their way for each thread: one that is compressed, and one that waits.
const SPANS_PER_THREAD: usize = 2;

/// A span, compressed.
pub(crate) struct Frame {
    pub bytes: Vec<u8>,
    pub length: u32,
    pub digest: [u8; 32],
}

struct Job {
    span: Vec<u8>,
    to: SyncSender<io::Result<Frame>>,
}

/// The threads, and the spans that are on their way.
pub(crate) struct Compressor {
    jobs: Option<SyncSender<Job>>,
    under_way: VecDeque<Receiver<io::Result<Frame>>>,
    under_way_max: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Compressor {
    /// Starts `threads` threads, at least one.
    pub fn start(level: i32, threads: usize) -> io::Result<Compressor> {
        let threads = threads.max(1);
        let under_way_max = threads * SPANS_PER_THREAD;
        let (jobs, queue) = sync_channel::<Job>(under_way_max);
        let queue = Arc::new(Mutex::new(queue));
        let thread = |i| {
            let (queue, mut compressor) = (Arc::clone(&queue), zstd::bulk::Compressor::new(level)?);
            let work = move || {
                // Which ends when the sender is gone.
                while let Some(job) = next(&queue) {
                    // Nobody listens any more only where the packing was given up.
                    let _ = job.to.send(compress(&mut compressor, &job.span));
                }
            };
            std::thread::Builder::new().name(format!("clip-zstd-{i}")).spawn(work)
        };
        let threads = (0..threads).map(thread).collect::<io::Result<_>>()?;
        Ok(Compressor { jobs: Some(jobs), under_way: VecDeque::new(), under_way_max, threads })
    }

    /// Takes a span; gives one that is done where too many are on their way.
    pub fn push(&mut self, span: Vec<u8>) -> io::Result<Option<Frame>> {
        let done = if self.under_way.len() == self.under_way_max { self.pop()? } else { None };
        let (to, from) = sync_channel(1);
        if let Some(jobs) = &self.jobs {
            jobs.send(Job { span, to }).map_err(|_| gone())?;
        }
        self.under_way.push_back(from);
        Ok(done)
    }

    /// The next span in order, when it is done; none if none is on its way.
    pub fn pop(&mut self) -> io::Result<Option<Frame>> {
        match self.under_way.pop_front() {
            Some(from) => from.recv().map_err(|_| gone())?.map(Some),
            None => Ok(None),
        }
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.jobs = None;
        self.under_way.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // its panic has been told where its frame was missed
        }
    }
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn compress(compressor: &mut zstd::bulk::Compressor<'_>, span: &[u8]) -> io::Result<Frame> {
    let digest = *blake3::hash(span).as_bytes();
    // The packer's spans are far below 4 GiB.
    Ok(Frame { bytes: compressor.compress(span)?, length: span.len() as u32, digest })
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}
