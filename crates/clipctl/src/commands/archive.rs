//! `clipctl archive`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ::archive::{FileOutput, Output};
use anyhow::{Result, bail};
use image::{ArchiveOptions, ArchiveReport, Image, ImageName, IndexOptions};
use pack::PackOptions;
use store::{Place, S3Output};

use super::index::{check_output, layer_options, left_out};
use crate::cli::{ArchiveArgs, PackArgs};
use crate::invocation::Invocation;
use crate::{long_work, output, size};
use node::jobs;

/// What is archived.
enum Source {
    Image(ImageName),
    Directory(PathBuf),
}

pub(super) fn run(args: &ArchiveArgs, call: &Invocation) -> Result<ExitCode> {
    let target: Place = args.output.to_str().map_or_else(|| Ok(Place::File(args.output.clone())), str::parse)?;
    if let Place::File(path) = &target {
        check_output(path, args.force)?;
    }
    let source = source(&args.source)?;
    let pack = pack_options(&args.pack);
    let report = long_work::run(args.quiet || call.global.json, async |progress| {
        let out = output_to(&target, args.force, call).await?;
        let name = match source {
            Source::Directory(root) => return Ok(image::archive_directory(root, out, pack, progress).await?),
            Source::Image(name) => name,
        };
        let host = if let ImageName::Registry(reference) = &name { Some(reference.repository().host()) } else { None };
        let registry = args.from.registry.registries()?.to(host)?;
        let image = Arc::new(Image::resolve(&name, args.from.platform.as_ref(), &registry, None).await?);
        let layers = IndexOptions { jobs: pack.jobs, ..layer_options(&args.from, None) };
        Ok(image::archive_image(image, out, &ArchiveOptions { layers, pack, fallback: None }, progress).await?)
    })?;
    output::report(&report, call.global.json, args.quiet, || summary(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// Where the archive goes. Fails early where that cannot be written.
async fn output_to(target: &Place, overwrite: bool, call: &Invocation) -> Result<Box<dyn Output + Send>> {
    Ok(match target {
        Place::File(path) => Box::new(FileOutput::create(path, overwrite)?),
        Place::S3(location) => {
            let bucket = call.settings.s3().await?.bucket(location.bucket())?;
            if !overwrite && bucket.exists(location.key()).await? {
                bail!("{location} is there already (--force overwrites it)");
            }
            Box::new(S3Output::create(&bucket, location, overwrite)?)
        }
    })
}

/// How the arguments say to pack.
pub(super) fn pack_options(args: &PackArgs) -> PackOptions {
    {
        let default = PackOptions::default();
        let span_bytes = args.span_kib.map_or(default.span_bytes, |kib| kib << 10);
        PackOptions { level: args.level.unwrap_or(default.level), jobs: jobs(args.jobs), span_bytes }
    }
}

/// A directory must look like one: a bare word is an image, whatever lies in the working directory.
fn source(text: &str) -> Result<Source> {
    let looks = text == "." || text == ".." || ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    let path = text.strip_prefix("dir:").or(looks.then_some(text)).map(Path::new);
    match path {
        Some(path) if path.is_dir() => Ok(Source::Directory(path.into())),
        Some(path) => bail!("{} is not a directory", path.display()),
        None => Ok(Source::Image(text.parse()?)),
    }
}

pub(super) fn summary(report: &ArchiveReport) -> String {
    let mut out = format!("{}\n", report.source);
    out.push_str(&left_out(report.xattrs_dropped));
    out.push_str(&format!(
        "{}: {} for {} of files, {} nodes, {:.2} s\n",
        report.archive.display(),
        size::human(report.archive_bytes),
        size::human(report.file_bytes),
        report.inodes,
        report.seconds,
    ));
    out
}
