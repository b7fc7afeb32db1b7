//! `clipctl index`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use backend::Reference;
use image::{Image, ImageName, IndexOptions, Progress, Report};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Global, IndexArgs};
use crate::opened::{cache_dir, runtime};
use crate::{output, size};

/// Layers that are indexed at the same time if nothing is said: more than one link can feed.
const JOBS_MAX: usize = 16;

pub(super) fn run(args: &IndexArgs, global: &Global) -> Result<ExitCode> {
    if args.output.is_dir() {
        bail!("{} is a directory: name a file", args.output.display());
    }
    if args.output.exists() && !args.force {
        bail!("{} is there already (--force overwrites it)", args.output.display());
    }
    let name: ImageName = args.image.parse()?;
    let storage_image: Option<Reference> = args.storage_image.as_deref().map(str::parse).transpose()?;
    if storage_image.is_some() && matches!(name, ImageName::Registry(_)) {
        bail!("--storage-image is for images in local files; {name} is in a registry already");
    }
    if storage_image.is_some() && matches!(name, ImageName::DockerArchive { .. }) {
        bail!(
            "--storage-image needs the digests of the layers as a registry has them; a docker-archive need not have those: save the image as oci-archive"
        );
    }
    let host = match &name {
        ImageName::Registry(reference) => Some(reference),
        _ => storage_image.as_ref(),
    };
    let registry = args.registry.registry(host.map(|r| r.repository().host()))?;
    let options = IndexOptions {
        checkpoint_bytes: (args.checkpoint_mib * f64::from(1 << 20)) as u32,
        jobs: args.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from).min(JOBS_MAX), usize::from),
        overwrite: args.force,
        layer_dir: Some(layer_dir(args)?),
    };
    let report = runtime()?.block_on(async {
        let progress = Arc::new(Progress::default());
        let bar = show(&progress, args.quiet || global.json);
        let work = async {
            let image = Image::resolve(&name, args.platform.as_ref(), &registry, storage_image.as_ref()).await?;
            anyhow::Ok(image::index(Arc::new(image), &args.output, &options, Arc::clone(&progress)).await?)
        };
        tokio::pin!(work);
        let report = tokio::select! {
            report = &mut work => report,
            stopped = signalled() => match stopped {
                Ok(()) => stop(work, &progress).await,
                Err(error) => Err(error),
            },
        };
        bar.finish_and_clear();
        report
    })?;
    if global.json {
        output::json(&report)?;
    } else if !args.quiet {
        output::print(&summary(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops the work. It is dropped, which ends it where it stands, unless the archive is being written: that ends soon by itself, and it may have
/// been too late to hold it. Then it is there, and we say so.
async fn stop(work: impl Future<Output = Result<Report>>, progress: &Progress) -> Result<Report> {
    progress.cancel();
    if progress.snapshot().phase == "archive"
        && let Ok(report) = work.await
    {
        return Ok(report);
    }
    bail!("stopped by a signal; nothing was written")
}

/// Where layers are kept. Without a directory to write to, indexing works all the same.
fn layer_dir(args: &IndexArgs) -> Result<PathBuf> {
    let dir = cache_dir(args.cache_dir.as_deref()).join("layers");
    std::fs::create_dir_all(&dir)
        .with_context(|| format!("make the cache directory {} (choose another with --cache-dir)", dir.display()))?;
    Ok(dir)
}

/// Returns at SIGINT or SIGTERM.
async fn signalled() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// A bar on standard error, if that is a terminal.
fn show(progress: &Arc<Progress>, hidden: bool) -> ProgressBar {
    if hidden || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (shown, progress) = (bar.clone(), Arc::clone(progress));
    tokio::spawn(async move {
        while !shown.is_finished() {
            let now = progress.snapshot();
            shown.set_length(now.bytes_total);
            shown.set_position(now.bytes.min(now.bytes_total));
            shown.set_message(format!("{} {}/{}", now.phase, now.layers, now.layers_total));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    bar
}

fn summary(report: &Report) -> String {
    let mut out = format!("{}\n", report.image);
    for (i, layer) in report.layers.iter().enumerate() {
        out.push_str(&format!(
            "  layer {:>2}  {}  {:>10} {:<4} -> {:>10}  {:>7} entries  {:>5} spans{}\n",
            i + 1,
            layer.digest.get(..19).unwrap_or(&layer.digest),
            size::human(layer.compressed_bytes),
            layer.compression,
            size::human(layer.uncompressed_bytes),
            layer.entries,
            layer.spans,
            if layer.reused { "  (known)" } else { "" },
        ));
    }
    if report.xattrs_dropped > 0 {
        out.push_str(&format!("  {} extended attributes left out that no Linux filesystem can hold\n", report.xattrs_dropped));
    }
    let percent = report.archive_bytes as f64 * 100.0 / report.uncompressed_bytes.max(1) as f64;
    out.push_str(&format!(
        "{}: {} ({percent:.2} % of {}), {} nodes, {:.2} s\n",
        report.archive.display(),
        size::human(report.archive_bytes),
        size::human(report.uncompressed_bytes),
        report.inodes,
        report.seconds,
    ));
    out
}
