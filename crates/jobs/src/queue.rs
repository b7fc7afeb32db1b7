//! The queue as one thing: how it is opened, how long a call may take, and who is woken by it. What it does is in the files beside this one.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use crate::database::{Database, Transaction};
use crate::{Error, Options};

/// The queue. Its clones are the same queue.
///
/// Every call ends within [`Options::patience`] times three. A call that is dropped midway leaves nothing half done; one that fails with
/// [`Error::Unavailable`] may have been done if the connection broke at the end of it: it can be made again, see each.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    options: Options,
    /// Counts what happened in this process.
    version: watch::Sender<u64>,
}

impl Queue {
    /// Opens the queue, makes or updates its tables, and recovers the jobs of dead workers: see [`Queue::recover`]. In a file of SQLite, which is
    /// this process's alone, those are all jobs that somebody had.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Damaged`], [`Error::TooNew`], [`Error::Refused`], [`Error::Disk`], [`Error::Io`]; [`Error::Unavailable`] where
    /// PostgreSQL cannot be reached now.
    pub async fn open(options: Options) -> Result<Queue, Error> {
        let database = Database::open(&options).await?;
        let queue = Queue { inner: Arc::new(Inner { database, options, version: watch::Sender::new(0) }) };
        queue.recover_at_start().await?;
        Ok(queue)
    }

    /// Ends all connections; calls fail from then on. Claims are neither released nor lost by it. A file stays locked as long as a clone is left.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }

    /// Tells when something changes: jobs, logs or events, through this queue and its clones. What other processes do is not told: look every few
    /// seconds, too.
    pub fn changes(&self) -> Changes {
        Changes(self.inner.version.subscribe())
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Bounds a call in time.
    pub(crate) async fn within<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.database().within(self.options().patience, call).await
    }

    /// Makes a transaction true and wakes those who wait for changes.
    pub(crate) async fn commit(&self, transaction: Transaction) -> Result<(), Error> {
        transaction.commit().await?;
        self.wake();
        Ok(())
    }

    pub(crate) fn wake(&self) {
        self.inner.version.send_modify(|version| *version = version.wrapping_add(1));
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queue").field(&self.inner.database.name).finish()
    }
}

/// Wakes who waits for changes; see [`Queue::changes`].
#[derive(Debug, Clone)]
pub struct Changes(watch::Receiver<u64>);

impl Changes {
    /// Returns when something has changed since the last time, or since this was made: at once if it has. None is missed, several may be one.
    /// False: the queue is gone, nothing will change any more.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
