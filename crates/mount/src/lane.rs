//! The data lane: reads that have to wait for the network, outside of the FUSE threads.
//!
//! Three bounds: how many reads run at once, how many wait for their turn, and how long a program waits in all.
//! A read beyond the second bound is refused at once; every read is answered in the end, whatever happens to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::errno::Failure;
use crate::filesystem::{FarRead, Filesystem};

/// Reads that run at once. Each holds up to 1 MiB of reply, so this bounds the memory to 64 MiB; at 20 ms of round trip it still
/// lets 3 GB/s through. The fetches behind them are merged and bounded by the reader and its backend.
pub(crate) const RUNNING_MAX: usize = 64;

/// Reads that wait for their turn. The kernel bounds read-ahead (`max_background`) but sends one synchronous read for every thread that
/// waits on a page; a waiting read costs about 1 KiB here. More than this many threads stuck on one mount is a machine that is lost anyway.
const WAITING_MAX: usize = 4096;

/// The data lane of one mount.
#[derive(Debug)]
pub(crate) struct Lane {
    filesystem: Arc<Filesystem>,
    runtime: Handle,
    running: Arc<Semaphore>,
    /// Reads that were accepted and not yet answered.
    open: Arc<AtomicUsize>,
    /// Of these, the reads that are left to a successor.
    held: AtomicUsize,
    deadline: Duration,
    stage: watch::Sender<Stage>,
}

/// What becomes of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// What is under way goes on; what comes is held back, for the successor to be asked again.
    Leaving,
    /// All are answered with an error.
    Closed,
}

impl Lane {
    /// A lane whose reads are given up `deadline` after the kernel asked.
    pub(crate) fn new(filesystem: Arc<Filesystem>, runtime: Handle, deadline: Duration) -> Lane {
        Lane {
            filesystem,
            runtime,
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            open: Arc::default(),
            held: AtomicUsize::new(0),
            deadline,
            stage: watch::Sender::new(Stage::Open),
        }
    }

    /// Reads in a task of its own and calls `answer` with the outcome. Never blocks. If the runtime is gone, `answer` is dropped uncalled.
    pub(crate) fn read(&self, far: FarRead, answer: impl FnOnce(Result<Vec<u8>, Failure>) + Send + 'static) {
        let Some(ticket) = Ticket::take(&self.open, RUNNING_MAX + WAITING_MAX) else {
            return answer(Err(Failure::QueueFull { waiting: WAITING_MAX }));
        };
        let (filesystem, running, deadline) = (self.filesystem.clone(), self.running.clone(), self.deadline);
        let mut stage = self.stage.subscribe();
        let held = *stage.borrow() == Stage::Leaving;
        if held {
            self.held.fetch_add(1, AcqRel);
        }
        self.runtime.spawn(async move {
            let read = async {
                if held {
                    return std::future::pending().await;
                }
                let _turn = running.acquire().await.map_err(|_| Failure::Closing)?;
                filesystem.read_far(far).await
            };
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(deadline, read) => outcome.unwrap_or(Err(Failure::Deadline { after: deadline })),
                _ = stage.wait_for(|stage| *stage == Stage::Closed) => Err(Failure::Closing),
            };
            answer(outcome);
            drop(ticket);
        });
    }

    /// Answers all open reads at once, and those that still come: the mount goes away.
    pub(crate) fn close(&self) {
        self.stage.send_replace(Stage::Closed);
    }

    /// Begins no more reads: those that come are held until [`Lane::close`], while those under way are answered.
    pub(crate) fn leave(&self) {
        self.stage.send_replace(Stage::Leaving);
    }

    /// Reads that were begun and not yet answered.
    pub(crate) fn under_way(&self) -> usize {
        // A read that is just being counted may be missed or counted twice; who asks asks again, and whom he misses the kernel asks again.
        self.open.load(Acquire).saturating_sub(self.held.load(Acquire))
    }
}

/// A place in the lane, given back when dropped.
struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    fn take(open: &Arc<AtomicUsize>, open_max: usize) -> Option<Ticket> {
        let ticket = Ticket(open.clone());
        (open.fetch_add(1, AcqRel) < open_max).then_some(ticket)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_run_out_and_come_back() {
        let open = Arc::default();
        let first = Ticket::take(&open, 2);
        let second = Ticket::take(&open, 2);
        assert!(first.is_some() && second.is_some());
        assert!(Ticket::take(&open, 2).is_none());
        drop(first);
        assert!(Ticket::take(&open, 2).is_some());
    }
}
