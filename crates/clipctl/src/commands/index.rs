//! `clipctl index`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use backend::Reference;
use image::{Image, ImageName, IndexOptions, Report};

use crate::cli::{ImageArgs, IndexArgs};
use crate::invocation::Invocation;
use crate::{long_work, output, size};
use node::{cache_dir, jobs, layer_dir};

/// Spacing of checkpoints if nothing is said (benches/README.md).
const CHECKPOINT_MIB: f64 = 2.0;

pub(super) fn run(args: &IndexArgs, call: &Invocation) -> Result<ExitCode> {
    check_output(&args.output, args.force)?;
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
    let registry = args.from.registry.registries()?.to(host.map(|r| r.repository().host()))?;
    let options = IndexOptions { jobs: jobs(args.jobs), overwrite: args.force, ..layer_options(&args.from, args.checkpoint_mib) };
    let report = long_work::run(args.quiet || call.global.json, async |progress| {
        let image = Image::resolve(&name, args.from.platform.as_ref(), &registry, storage_image.as_ref()).await?;
        Ok(image::index(Arc::new(image), &args.output, &options, progress).await?)
    })?;
    output::report(&report, call.global.json, args.quiet, || summary(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// How layers are taken in: what the flag says, else the configuration, else the default.
pub(super) fn layer_options(args: &ImageArgs, checkpoint_mib: Option<f64>) -> IndexOptions {
    let mib = checkpoint_mib.or(args.checkpoint_mib).unwrap_or(CHECKPOINT_MIB);
    IndexOptions {
        checkpoint_bytes: (mib * f64::from(1 << 20)) as u32,
        jobs: jobs(None),
        overwrite: false,
        layer_dir: layer_dir(&cache_dir(args.cache_dir.as_deref())),
    }
}

/// Says at once what would be found at the end.
pub(super) fn check_output(output: &Path, force: bool) -> Result<()> {
    if output.is_dir() {
        bail!("{} is a directory: name a file", output.display());
    }
    if output.exists() && !force {
        bail!("{} is there already (--force overwrites it)", output.display());
    }
    Ok(())
}

pub(super) fn summary(report: &Report) -> String {
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
    out.push_str(&left_out(report.xattrs_dropped));
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

/// The line about extended attributes that were left out, if any were.
pub(super) fn left_out(xattrs: u64) -> String {
    if xattrs == 0 { String::new() } else { format!("  {xattrs} extended attributes left out that no Linux filesystem can hold\n") }
}
