//! The life of a worker: it takes over from the one before, works, and leaves to the next.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use config::Shutdown;
use jobs::{Options, Place, PostgresUrl, Queue};
use keep::{Keeper, Received};
use node::{Settings, explain, raise_descriptor_limit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::api::{self, Listeners};
use crate::worker::{Current, Worker};
use crate::{logs, memory, mounts, tell, webhook, work};

/// How often a database is tried again that is away at the start.
const QUEUE_PAUSE: Duration = Duration::from_secs(1);
/// What is left of the time to stop for reads under way, when mounts are handed over.
const READS_PATIENCE: Duration = Duration::from_secs(2);

/// Runs a worker until it is told to stop.
pub(crate) fn run(file: Option<PathBuf>) -> Result<ExitCode> {
    // Before there are threads, and before anything is started.
    let received = keep::received().context("take over descriptors")?;
    let settings = Settings::gather(file.as_deref(), Vec::new())?;
    let level = logs::init(&settings.effective.config)?;
    memory::map_large_blocks();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("clip").build().context("start the runtime")?;
    runtime.block_on(async {
        let worker = Worker::new(file, Current::new(settings), Keeper::from_environment()?, level)?;
        Box::pin(live(Arc::new(worker), received)).await
    })?;
    // What still waits for the network is of no use to anybody.
    runtime.shutdown_timeout(Duration::from_millis(500));
    Ok(ExitCode::SUCCESS)
}

async fn live(worker: Arc<Worker>, received: Vec<Received>) -> Result<()> {
    let mut tasks = JoinSet::new();
    let ended = until_told(&worker, received, &mut tasks).await;
    if let Err(error) = &ended {
        tracing::error!(error = explain(error), "the worker cannot go on");
    }
    // Also then: its mounts are its successor's.
    stop(&worker, tasks).await;
    ended
}

/// Takes over, begins to work, and returns when a signal says so.
async fn until_told(worker: &Arc<Worker>, mut received: Vec<Received>, tasks: &mut JoinSet<()>) -> Result<()> {
    let (mut interrupt, mut terminate, mut hangup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let socket = received.iter().position(|received| received.name == api::SOCKET_NAME).map(|i| received.swap_remove(i).descriptor);
    if !worker.keeper.has_manager() {
        tracing::warn!("nobody keeps the mounts of this worker: they end with it (start it by systemd, or by clip-worker supervise)");
    }
    // Programs wait: their mounts come first.
    mounts::take_over(worker, received).await?;
    let listeners = Listeners::open(worker.current().worker(), socket, &worker.keeper).await?;
    tasks.spawn(api::serve(Arc::clone(worker), listeners));
    tasks.spawn(mounts::unmount_idle(Arc::clone(worker)));
    tasks.spawn(pet_watchdog(Arc::clone(worker)));
    let queue = open_queue(worker);
    tokio::pin!(queue);
    let mut is_open = false;
    loop {
        tokio::select! {
            opened = &mut queue, if !is_open => {
                is_open = true;
                begin_work(worker, opened?, tasks);
                worker.keeper.ready()?;
                tracing::info!(worker = worker.name, socket = %worker.current().worker().socket.display(), "ready");
            }
            _ = hangup.recv() => reload(worker)?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
    }
}

fn begin_work(worker: &Arc<Worker>, queue: Queue, tasks: &mut JoinSet<()>) {
    worker.set_queue(queue.clone());
    tasks.spawn(tell::catch_up(Arc::clone(worker), queue.clone()));
    tasks.spawn(work::run(Arc::clone(worker), queue.clone()));
    tasks.spawn(work::tidy(Arc::clone(worker), queue.clone()));
    tasks.spawn(webhook::run(Arc::clone(worker), queue));
}

/// Opens the queue. A database that is away is waited for: mounts are served meanwhile.
async fn open_queue(worker: &Worker) -> Result<Queue> {
    loop {
        match Queue::open(queue_options(worker)?).await {
            Err(error @ jobs::Error::Unavailable { .. }) => tracing::warn!(%error, "the queue cannot be opened yet"),
            opened => return opened.context("open the queue"),
        }
        tokio::time::sleep(QUEUE_PAUSE).await;
    }
}

fn queue_options(worker: &Worker) -> Result<Options> {
    let current = worker.current();
    let config = current.worker();
    let place = match &config.database {
        Some(url) => Place::Postgres(url.expose().parse::<PostgresUrl>().context("worker.database")?),
        None => Place::Sqlite(config.state_dir.join("queue.sqlite")),
    };
    Ok(Options { unfinished_max: config.queue_max, narrator: tell::narrator(), ..Options::new(place) })
}

/// Reads the configuration again; a wrong one changes nothing.
fn reload(worker: &Worker) -> Result<()> {
    worker.keeper.reloading()?;
    match worker.reload() {
        Ok(()) => tracing::info!("the configuration was read again"),
        Err(error) => tracing::error!(error = explain(&error), "the configuration stays as it was"),
    }
    worker.keeper.ready()?;
    Ok(())
}

/// Refuses new work, lets jobs come to a safe point, and leaves the mounts as the configuration says: all within the deadline.
async fn stop(worker: &Arc<Worker>, mut tasks: JoinSet<()>) {
    tracing::info!("stopping");
    if let Err(error) = worker.keeper.stopping() {
        tracing::warn!(%error, "the service manager does not hear");
    }
    worker.stop();
    let time = worker.current().worker().shutdown_time();
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(time.saturating_sub(READS_PATIENCE), all).await.is_err() {
        tracing::warn!("jobs did not come to an end in time; they will be taken over");
    }
    tasks.abort_all();
    let hands_over = worker.current().worker().shutdown == Shutdown::Handover && worker.keeper.has_manager();
    match hands_over {
        true => mounts::hand_over(worker, READS_PATIENCE).await,
        false => mounts::unmount_all(worker).await,
    }
    if let Ok(queue) = worker.queue() {
        queue.close().await;
    }
    tracing::info!("stopped");
}

/// Says that the worker is alive, as often as the service manager wants to hear it: from a task, so that a runtime that hangs is noticed.
async fn pet_watchdog(worker: Arc<Worker>) {
    let Some(interval) = worker.keeper.watchdog_interval() else { return };
    loop {
        if let Err(error) = worker.keeper.watchdog() {
            tracing::warn!(%error, "the watchdog does not hear");
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = worker.stopping() => return,
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("listen for signals")
}
