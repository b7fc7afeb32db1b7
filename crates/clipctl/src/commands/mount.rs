//! `clipctl mount`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use mount::{Mount, MountOptions, Mounted};
use node::{cache_dir, raise_descriptor_limit};
use read::ReadOptions;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::MountArgs;
use crate::invocation::{Invocation, runtime};
use crate::{background, logging};

pub(super) fn run(args: &MountArgs, call: &Invocation) -> Result<ExitCode> {
    if !args.foreground {
        logging::init(call.global.log_level.as_deref(), None)?;
        if let Some(worker) = call.worker(&args.worker)? {
            worker.mount(args)?;
            return Ok(ExitCode::SUCCESS);
        }
        return background::start(args, &call.global);
    }
    if args.background_server {
        background::leave_session();
    }
    logging::init(call.global.log_level.as_deref(), args.log.as_deref())?;
    raise_descriptor_limit();
    let runtime = runtime()?;
    let deadline = Duration::from_secs(args.read_timeout);
    let options = ReadOptions { deadline, ..ReadOptions::default() };
    let opened = call.opened(&args.archive, &args.cache, &args.registry, &runtime, options)?;
    let traffic = Arc::clone(&opened.traffic);
    let options = MountOptions {
        nonempty: args.nonempty,
        suid_and_devices: !args.nosuid,
        read_deadline: deadline,
        own_files: opened.files.iter().cloned().chain([cache_dir(args.cache.cache_dir.as_deref())]).collect(),
        traffic: Some(Box::new(move || serde_json::to_value(traffic.snapshot()).unwrap_or_default())),
        ..MountOptions::default()
    };
    let mounted =
        Mount::start(Arc::clone(&opened.archive), Arc::clone(&opened.reader), &args.mountpoint, options, runtime.handle().clone())?;
    tracing::info!(archive = %args.archive.display(), mountpoint = %mounted.mountpoint().display(), "mounted");
    if args.background_server {
        background::say_ready()?;
    }
    runtime.block_on(serve(&mounted))?;
    opened.reader.close();
    drop(mounted);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

/// Waits until the mount is gone. SIGINT and SIGTERM unmount it: lazily if it is busy, so that its users are served to the end.
async fn serve(mounted: &Mounted) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        () = mounted.ended() => return Ok(()),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    if let Err(busy) = mounted.unmount(false) {
        tracing::warn!("{busy}; it is unmounted lazily");
        mounted.unmount(true)?;
    }
    tokio::select! {
        () = mounted.ended() => {}
        // Asked twice: who still uses the mount gets errors.
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
