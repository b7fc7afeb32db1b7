//! How far a long work is: counters that the worker writes and whoever shows them reads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counters of one work. Shared by reference; nothing in it waits.
#[derive(Debug, Default)]
pub struct Progress {
    bytes_total: AtomicU64,
    bytes: AtomicU64,
    layers_total: AtomicU64,
    layers: AtomicU64,
    cancelled: AtomicBool,
    phase: Mutex<&'static str>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Bytes that the phase must read: of blobs, then of files; 0 while not known.
    pub bytes_total: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Layers of the image.
    pub layers_total: u64,
    /// Layers that are done, those that were known before included.
    pub layers: u64,
    /// What is being done.
    pub phase: &'static str,
}

impl Progress {
    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            bytes_total: get(&self.bytes_total),
            bytes: get(&self.bytes),
            layers_total: get(&self.layers_total),
            layers: get(&self.layers),
            phase: *self.phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        }
    }

    /// Asks the work to stop soon.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_total(&self, layers: u64, bytes: u64) {
        self.layers_total.fetch_add(layers, Ordering::Relaxed);
        self.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn layer_done(&self) {
        self.layers.fetch_add(1, Ordering::Relaxed);
    }

    /// Enters a phase that counts `bytes` of its own.
    pub(crate) fn begin(&self, phase: &'static str, bytes: u64) {
        self.bytes.store(0, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
        self.enter(phase);
    }

    /// Enters a phase.
    pub fn enter(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = phase;
    }
}
