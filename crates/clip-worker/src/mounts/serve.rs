//! Opening an archive and serving it; what happens when a mount ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use mount::{Mount, MountOptions, Mounted};
use node::{Located, Opened};
use read::ReadOptions;
use store::Place;
use tokio::runtime::Handle;

use super::record::Record;
use super::table::Served;
use crate::tell;
use crate::worker::Worker;

/// FUSE threads of one mount: two, so that a page fault in the index does not stop everybody; a worker has hundreds of mounts.
const THREADS: usize = 2;
/// How long the keeper may take to hear that it has a descriptor.
const KEEPER_PATIENCE: Duration = Duration::from_secs(5);

/// Opens the archive at `place`: all that a mount reads from.
pub(super) async fn open(worker: &Worker, place: &Place) -> Result<Opened> {
    let current = worker.current();
    let located = Located::at(place, &worker.cache_dir, &current.settings).await?;
    let (cache, runtime) = (worker.cache.clone(), Handle::current());
    let work = move || Opened::open(&located, &current.registries, cache, runtime, ReadOptions::default());
    tokio::task::spawn_blocking(work).await.context("open the archive")?
}

/// How to mount it.
pub(super) fn options(worker: &Worker, record: &Record, opened: &Opened) -> MountOptions {
    let traffic = Arc::clone(&opened.traffic);
    MountOptions {
        nonempty: record.nonempty,
        suid_and_devices: !record.nosuid,
        threads: Some(THREADS),
        own_files: opened.files.iter().cloned().chain([worker.cache_dir.clone()]).collect(),
        traffic: Some(Box::new(move || serde_json::to_value(traffic.snapshot()).unwrap_or_default())),
        ..MountOptions::default()
    }
}

/// Mounts. Blocks for milliseconds.
pub(super) fn start(worker: &Worker, record: &Record, opened: &Opened, runtime: Handle) -> Result<Mounted, mount::Error> {
    let options = options(worker, record, opened);
    Mount::start(Arc::clone(&opened.archive), Arc::clone(&opened.reader), &record.mountpoint, options, runtime)
}

/// Gives a duplicate of the mount's descriptor to the keeper, and waits until he has it. Blocks.
pub(super) fn give_away(worker: &Worker, record: &Record, mounted: &Mounted) -> Result<()> {
    let descriptor = mounted.descriptor().context("the mount has ended")?;
    worker.keeper.store(&record.descriptor_name()?, descriptor)?;
    worker.keeper.barrier(KEEPER_PATIENCE).context("wait for the keeper of descriptors")?;
    Ok(())
}

/// From now on the mount is in the table, and somebody waits for its end.
pub(super) fn settle(worker: &Arc<Worker>, record: &Record, mounted: Mounted, opened: &Opened) {
    let mounted = Arc::new(mounted);
    let (watched, waiting, id) = (Arc::clone(&mounted), Arc::clone(worker), record.id.clone());
    let task = tokio::spawn(async move {
        watched.ended().await;
        drop(watched);
        gone(&waiting, &id).await;
    });
    let served = Served { mounted, reader: Arc::clone(&opened.reader), traffic: Arc::clone(&opened.traffic), watch: task.abort_handle() };
    if !worker.mounts.serve(&record.id, served.clone()) {
        // The worker has left its mounts to its successor meanwhile. Dropping this one would unmount it; the end of the process only closes it.
        task.abort();
        std::mem::forget(served);
    }
}

/// Forgets a mount that is gone, whoever unmounted it, and tells.
pub(super) async fn gone(worker: &Worker, id: &str) {
    let Some((_, served)) = worker.mounts.get(id) else { return };
    remove_directory(worker, id);
    let Some(record) = worker.mounts.forget(id) else { return };
    // Its threads are waited for, which takes up to two seconds.
    tokio::task::spawn_blocking(move || drop(served));
    release(worker, &record);
    tracing::info!(mountpoint = %record.mountpoint.display(), "mount is gone");
    publish(worker, "mount.gone", &record).await;
}

/// Takes away the directory that was made for a mount, as soon as nothing is mounted on it: before anybody else may mount there.
pub(super) fn remove_directory(worker: &Worker, id: &str) {
    if let Some(directory) = worker.mounts.take_directory(id) {
        // Somebody may have put something into it.
        let _ = std::fs::remove_dir(directory);
    }
}

/// The descriptor and the directory of a mount that is gone.
pub(super) fn release(worker: &Worker, record: &Record) {
    if let Err(error) = record.descriptor_name().and_then(|name| worker.keeper.remove(&name)) {
        tracing::warn!(%error, "the keeper keeps a descriptor for nothing");
    }
    if record.made_directory {
        // Somebody may have put something into it.
        let _ = std::fs::remove_dir(&record.mountpoint);
    }
}

/// Tells what happened to a mount. It has happened, whether or not that can be written down.
pub(super) async fn publish(worker: &Worker, name: &str, record: &Record) {
    tell::publish(worker, tell::of_mount(name, record, (now_ms() - record.created_ms).max(0))).await;
}

pub(super) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
