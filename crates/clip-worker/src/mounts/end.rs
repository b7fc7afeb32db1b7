//! Unmounting, idle mounts, and handing all of them over to a successor.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{Code, MountState, Problem};

use super::record::Record;
use super::serve;
use super::table::Served;
use crate::worker::Worker;

/// How long the end of a mount that nobody uses takes at most.
const ENDS_SOON: Duration = Duration::from_secs(2);
/// How often idle mounts are looked for, at most.
const IDLE_LOOK_MIN: Duration = Duration::from_secs(1);
const IDLE_LOOK_MAX: Duration = Duration::from_secs(60);

/// Unmounts. One in use stays, unless `force`: then it disappears at once, and is served until its last user leaves.
pub(crate) async fn unmount(worker: &Arc<Worker>, id: &str, force: bool) -> Result<(), Problem> {
    let (record, served) =
        worker.mounts.get(id).ok_or_else(|| Problem::new(Code::NotFound, format!("there is no mount {}", id.escape_debug())))?;
    let Some(Served { mounted, .. }) = served.clone() else {
        return Err(Problem::new(Code::Busy, format!("{} is not served at the moment; ask again", record.mountpoint.display())));
    };
    worker.mounts.set_state(id, MountState::Leaving);
    let done = tokio::task::spawn_blocking(move || mounted.unmount(force)).await;
    match done.unwrap_or_else(|_| Err(mount::Error::NotMounted { path: record.mountpoint.clone() })) {
        // Somebody else has unmounted it: that is what was wanted.
        Ok(()) | Err(mount::Error::NotMounted { .. }) => {
            serve::remove_directory(worker, id);
            // One that somebody still uses is served to its end, and forgotten then.
            let Some(served) = served else { return Ok(()) };
            if tokio::time::timeout(ENDS_SOON, served.mounted.ended()).await.is_ok() {
                drop(served);
                serve::gone(worker, id).await;
            }
            Ok(())
        }
        Err(error) => {
            worker.mounts.set_state(id, MountState::Serving);
            Err(refused(&record, &error))
        }
    }
}

fn refused(record: &Record, error: &mount::Error) -> Problem {
    let code = if matches!(error, mount::Error::Busy { .. }) { Code::Busy } else { Code::Internal };
    Problem::new(code, format!("{error}; force=true takes it away from under its users")).of_version(&record.version)
}

/// Unmounts all, those in use lazily.
pub(crate) async fn unmount_all(worker: &Arc<Worker>) {
    for id in worker.mounts.ids() {
        if let Err(problem) = unmount(worker, &id, false).await
            && problem.code == Code::Busy
        {
            tracing::warn!("{problem}");
            let _ = unmount(worker, &id, true).await;
        }
    }
}

/// Leaves all mounts to a successor: reads under way are answered, as far as they can be within `patience`; everything else waits for him.
pub(crate) async fn hand_over(worker: &Worker, patience: Duration) {
    let all: Vec<_> =
        worker.mounts.take_all().into_iter().map(|served| tokio::task::spawn_blocking(move || leave(served, patience))).collect();
    for one in all {
        let _ = one.await;
    }
}

fn leave(served: Served, patience: Duration) {
    let Served { mounted, reader, watch, .. } = served;
    watch.abort();
    let begun = Instant::now();
    let mut mounted = mounted;
    // The task that waits for its end lets go when it is aborted; whoever lists mounts, at once.
    while begun.elapsed() < Duration::from_secs(1) {
        match Arc::try_unwrap(mounted) {
            Ok(mounted) => {
                if let Err(error) = mounted.leave(patience) {
                    tracing::debug!(%error, "the end of this process will do");
                }
                reader.close();
                return;
            }
            Err(shared) => mounted = shared,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // Dropping it would unmount. The end of the process closes the descriptor, and the successor gets what was not answered.
    std::mem::forget(mounted);
}

/// Unmounts what nobody has used for as long as the configuration says, until the worker stops. Where it says nothing, this does nothing.
pub(crate) async fn unmount_idle(worker: Arc<Worker>) {
    let mut seen: HashMap<String, (u64, Instant)> = HashMap::new();
    while !worker.is_stopping() {
        let Some(idle) = worker.current().worker().idle_time() else {
            seen.clear();
            tokio::select! {
                () = tokio::time::sleep(IDLE_LOOK_MAX) => continue,
                () = worker.stopping() => return,
            }
        };
        for mount in worker.mounts.list() {
            let (operations, since) = seen.entry(mount.id.clone()).or_insert((mount.figures.operations, Instant::now()));
            if *operations != mount.figures.operations {
                (*operations, *since) = (mount.figures.operations, Instant::now());
            } else if since.elapsed() >= idle {
                // One that has files open is busy, and stays: it is looked at again after as long a time.
                *since = Instant::now();
                if unmount(&worker, &mount.id, false).await.is_ok() {
                    tracing::info!(mountpoint = mount.mountpoint, "unmounted, as nobody has used it");
                }
            }
        }
        let ids = worker.mounts.ids();
        seen.retain(|id, _| ids.contains(id));
        tokio::select! {
            () = tokio::time::sleep((idle / 4).clamp(IDLE_LOOK_MIN, IDLE_LOOK_MAX)) => {}
            () = worker.stopping() => {}
        }
    }
}
