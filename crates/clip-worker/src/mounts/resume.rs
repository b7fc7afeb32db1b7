//! A new worker takes over what the former has left: mounts whose descriptors were kept are served again, of the others the remains are taken away.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use control::MountState;
use keep::Received;
use mount::{Mount, Remains};
use node::explain;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::record::{self, Record};
use super::serve;
use crate::worker::Worker;

/// Mounts that are opened at the same time.
const AT_ONCE: usize = 16;
/// Wait before the second attempt; each next one waits twice as long, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Why a mount is not served again.
enum Stop {
    /// Nothing is left to serve.
    Gone,
    /// It never will be.
    Never(anyhow::Error),
    /// It may be later: programs wait.
    Later(anyhow::Error),
}

/// Takes over. Returns when all mounts are known; they are served as soon as their archives are open.
pub(crate) async fn take_over(worker: &Arc<Worker>, received: Vec<Received>) -> Result<()> {
    let mut kept: HashMap<String, OwnedFd> = received.into_iter().map(|received| (received.name, received.descriptor)).collect();
    let (boot, turns) = (record::boot(), Arc::new(Semaphore::new(AT_ONCE)));
    for record in worker.mounts.records()? {
        let name = record.descriptor_name()?;
        match kept.remove(name.as_str()) {
            Some(descriptor) if record.boot == boot && record.handover.is_some() => {
                // A mountpoint that two records name: one of them is of a worker that died while mounting.
                if !matches!(worker.mounts.reserve(&record, MountState::Resuming), Ok(None)) {
                    worker.mounts.forget_record(&record);
                    continue;
                }
                let (worker, turns) = (Arc::clone(worker), Arc::clone(&turns));
                tokio::spawn(async move { serve_again(&worker, record, descriptor, &turns).await });
            }
            // Its descriptor closes here, and with that the mount ends.
            _ => clean_up(worker, record, &boot).await,
        }
    }
    for name in kept.keys() {
        tracing::warn!(name, "a descriptor was kept that nothing is known of; it is let go");
        worker.keeper.remove(&keep::Name::new(name.clone())?)?;
    }
    Ok(())
}

/// Tries until the mount is served, or until it is of no use.
async fn serve_again(worker: &Arc<Worker>, record: Record, descriptor: OwnedFd, turns: &Semaphore) {
    let (begun, mut pause) = (Instant::now(), PAUSE);
    loop {
        let attempt = match turns.acquire().await {
            Ok(_turn) => attempt(worker, &record, &descriptor).await,
            Err(_) => return,
        };
        let mountpoint = record.mountpoint.display();
        match attempt {
            Ok(()) => return tracing::info!(%mountpoint, millis = begun.elapsed().as_millis() as u64, "serves again"),
            Err(Stop::Later(error)) => tracing::warn!(%mountpoint, error = explain(&error), "cannot be served yet; programs wait"),
            Err(Stop::Gone) => {
                drop(descriptor);
                return end(worker, record).await;
            }
            Err(Stop::Never(error)) => {
                tracing::error!(%mountpoint, error = explain(&error), "cannot be served again; the mount is taken away");
                drop(descriptor);
                return end(worker, record).await;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            // The keeper still has it, for the next worker.
            () = worker.stopping() => return,
        }
    }
}

async fn attempt(worker: &Arc<Worker>, record: &Record, descriptor: &OwnedFd) -> Result<(), Stop> {
    let later = |error: anyhow::Error| Stop::Later(error);
    let place = record.archive.parse().map_err(|error: store::Error| Stop::Never(error.into()))?;
    let opened = serve::open(worker, &place).await.map_err(later)?;
    let descriptor = descriptor.try_clone().context("duplicate the descriptor").map_err(later)?;
    let (resuming, mut record, runtime) = (Arc::clone(worker), record.clone(), Handle::current());
    let work = move || {
        let options = serve::options(&resuming, &record, &opened);
        let Some(handover) = record.handover.clone() else { return Err(Stop::Gone) };
        let resumed = Mount::resume(Arc::clone(&opened.archive), Arc::clone(&opened.reader), &handover, descriptor, options, runtime);
        let mounted = resumed.map_err(stop)?;
        record.resumed += 1;
        record.handover = Some(mounted.handover().clone());
        if let Err(error) = resuming.mounts.save(&record) {
            tracing::warn!(%error, "the record of the mount stays as it was");
        }
        Ok((record, mounted, opened))
    };
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| Stop::Later(error.into()))?;
    let (record, mounted, opened) = done?;
    serve::settle(worker, &record, mounted, &opened);
    Ok(())
}

fn stop(error: mount::Error) -> Stop {
    match error {
        mount::Error::Gone { .. } => Stop::Gone,
        mount::Error::ForeignDescriptor { .. } | mount::Error::OtherArchive { .. } | mount::Error::OtherContract { .. } => {
            Stop::Never(error.into())
        }
        error => Stop::Later(error.into()),
    }
}

/// A mount that is not served any more: its descriptor is let go, its remains are taken away.
async fn end(worker: &Arc<Worker>, record: Record) {
    worker.mounts.forget(&record.id);
    let boot = record.boot.clone();
    clean_up(worker, record, &boot).await;
}

async fn clean_up(worker: &Arc<Worker>, record: Record, boot: &str) {
    // The keeper's duplicate first: as long as somebody has one, the mount hangs and is not dead.
    if let Err(error) = record.descriptor_name().and_then(|name| worker.keeper.remove(&name)) {
        tracing::warn!(%error, "the keeper keeps a descriptor for nothing");
    }
    if record.boot == boot {
        let remains = record.clone();
        // It touches a mount that is dead, or that hangs.
        match tokio::task::spawn_blocking(move || take_away(&remains)).await {
            Ok(Ok(Remains::Alive)) => {
                tracing::warn!(mountpoint = %record.mountpoint.display(), "somebody else serves this mount; it is left alone");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(mountpoint = %record.mountpoint.display(), %error, "a dead mount stays behind"),
            Err(error) => tracing::warn!(%error, "a dead mount was not looked at"),
        }
    }
    worker.mounts.forget_record(&record);
    serve::release(worker, &record);
    tracing::info!(mountpoint = %record.mountpoint.display(), "mount did not outlive its worker");
    serve::publish(worker, "mount.gone", &record).await;
}

/// What is left of it in the mount table.
fn take_away(record: &Record) -> Result<Remains, mount::Error> {
    if let Some(handover) = &record.handover {
        return mount::clean_up(handover);
    }
    // A worker that died while mounting: whatever of ours lies there and is dead is what it left.
    let is_dead = rustix::fs::statfs(&record.mountpoint).is_err_and(|errno| errno == rustix::io::Errno::NOTCONN);
    if !is_dead {
        return Ok(Remains::Nothing);
    }
    mount::unmount(&record.mountpoint, true).map(|()| Remains::Removed)
}
