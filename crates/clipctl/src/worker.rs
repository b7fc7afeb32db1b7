//! Finding the worker of this node. What it is asked for goes on when the command that asked is gone, so plain commands go to it where there is one.

mod follow;
mod found;
pub(crate) mod images;
mod mounts;
pub(crate) mod pull;
mod unspoken;

use std::io;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use control::Client;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::invocation::runtime;

pub(crate) use follow::Following;
pub(crate) use found::resolve;
pub(crate) use unspoken::unspoken;

/// A worker that answers.
pub(crate) struct Worker {
    pub client: Client,
    runtime: Runtime,
}

impl Worker {
    /// The worker that listens at `socket`, if one does. Decided at once: a socket that was left behind is no worker. Who listens and does not answer is an
    /// error: what it has begun must not be done a second time beside it.
    pub fn find(socket: &Path) -> Result<Option<Worker>> {
        // Most calls have no worker: they need not pay for threads.
        if !socket.exists() {
            return Ok(None);
        }
        let runtime = runtime()?;
        match runtime.block_on(listens(socket)) {
            Ok(()) => Worker::greet(socket, runtime).context("--no-worker does without the worker").map(Some),
            Err(error) => {
                tracing::info!(socket = %socket.display(), %error, "no worker listens");
                Ok(None)
            }
        }
    }

    /// The worker that listens at `socket`. There must be one.
    pub fn at(socket: &Path) -> Result<Worker> {
        let runtime = runtime()?;
        runtime.block_on(listens(socket)).map_err(|error| {
            anyhow!("no worker listens at {}: {error} (is clip-worker running? --socket names another)", socket.display())
        })?;
        Worker::greet(socket, runtime)
    }

    fn greet(socket: &Path, runtime: Runtime) -> Result<Worker> {
        let client = Client::new(socket)?;
        let version = runtime.block_on(client.version())?;
        tracing::debug!(socket = %socket.display(), version = version.version, "the worker answers");
        Ok(Worker { client, runtime })
    }

    /// Waits for what the worker is asked.
    pub fn wait<R>(&self, asked: impl Future<Output = R>) -> R {
        self.runtime.block_on(asked)
    }
}

/// Whether somebody accepts connections.
async fn listens(socket: &Path) -> io::Result<()> {
    match UnixStream::connect(socket).await {
        // Somebody does, and has more of them waiting than fit.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        connected => connected.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_that_was_left_behind_is_no_worker() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        assert!(Worker::find(&socket).unwrap().is_none());
        drop(UnixListener::bind(&socket).unwrap());
        assert!(socket.exists() && Worker::find(&socket).unwrap().is_none());
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(Worker::find(&dir.path().join("file")).unwrap().is_none());
        assert!(Worker::at(&socket).is_err_and(|error| error.to_string().contains("no worker listens at")));
    }
}
