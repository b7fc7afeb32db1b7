//! Work that takes a while: with a bar for people, and an end by signal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use image::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::invocation::runtime;

/// How long parts of an upload may take to be taken away; parts under way are given 5 s to end.
const TAKEN_AWAY: Duration = Duration::from_secs(10);

/// Runs `work` to its end, or until SIGINT or SIGTERM. A bar tells how far it is, unless it is `hidden`.
pub(crate) fn run<R>(hidden: bool, work: impl AsyncFnOnce(Arc<Progress>) -> Result<R>) -> Result<R> {
    runtime()?.block_on(async {
        let progress = Arc::new(Progress::default());
        let bar = show(&progress, hidden);
        let work = work(Arc::clone(&progress));
        tokio::pin!(work);
        let done = tokio::select! {
            done = &mut work => done,
            stopped = signalled() => match stopped {
                Ok(()) => stop(work, &progress).await,
                Err(error) => Err(error),
            },
        };
        bar.finish_and_clear();
        done
    })
}

/// Stops the work. It is dropped, which ends it where it stands, unless the archive is being written: that ends soon by itself, and it may have
/// been too late to hold it. Then it is there, and we say so. Before, where data is packed, what was uploaded of it is being taken away.
async fn stop<R>(work: impl Future<Output = Result<R>>, progress: &Progress) -> Result<R> {
    progress.cancel();
    let done = match progress.snapshot().phase {
        "archive" => work.await.ok(),
        "data" => tokio::time::timeout(TAKEN_AWAY, work).await.ok().and_then(Result::ok),
        _ => None,
    };
    done.context("stopped by a signal; nothing was written")
}

/// Returns at SIGINT or SIGTERM.
pub(crate) async fn signalled() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// A bar that shows what is going on here.
fn show(progress: &Arc<Progress>, hidden: bool) -> ProgressBar {
    let bar = bar(hidden);
    if bar.is_hidden() {
        return bar;
    }
    let (shown, progress) = (bar.clone(), Arc::clone(progress));
    tokio::spawn(async move {
        while !shown.is_finished() {
            let now = progress.snapshot();
            draw(&shown, now.phase, (now.layers, now.layers_total), (now.bytes, now.bytes_total));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    bar
}

/// A bar on standard error, if that is a terminal.
pub(crate) fn bar(hidden: bool) -> ProgressBar {
    if hidden || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Shows how far the work is: layers and bytes, so many of so many.
pub(crate) fn draw(bar: &ProgressBar, phase: &str, layers: (u64, u64), bytes: (u64, u64)) {
    bar.set_length(bytes.1);
    bar.set_position(bytes.0.min(bytes.1));
    bar.set_message(format!("{phase} {}/{}", layers.0, layers.1));
}
