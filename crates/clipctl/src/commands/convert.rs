//! `clipctl convert`.

use std::process::ExitCode;
use std::sync::Arc;

use ::archive::{Archive, ArchiveVersion, FileOutput};
use anyhow::{Context, Result, bail};
use image::{Image, ImageName, IndexOptions};

use super::archive::pack_options;
use super::index::{check_output, layer_options};
use super::{archive, index};
use crate::cli::ConvertArgs;
use crate::invocation::{Invocation, runtime};
use crate::{long_work, output};
use node::Blobs;
use node::Located;
use node::jobs;

pub(super) fn run(args: &ConvertArgs, call: &Invocation) -> Result<ExitCode> {
    check_output(&args.output, args.force)?;
    let located = call.located(&args.archive, args.from.cache_dir.as_deref(), &runtime()?)?;
    let from = Arc::clone(&located.archive);
    let (told, document) = match from.version() {
        ArchiveVersion::V2 => to_v1(args, call, &located)?,
        ArchiveVersion::V1 => to_v2(args, call, &from, &located.name)?,
    };
    output::report(&document, call.global.json, args.quiet, || told)?;
    Ok(ExitCode::SUCCESS)
}

/// What is printed for people and for machines.
type Told = (String, serde_json::Value);

fn to_v1(args: &ConvertArgs, call: &Invocation, located: &Located) -> Result<Told> {
    if args.image.is_some() {
        bail!("--image is for v1 archives; {} is v2 and says itself where its layers are", args.archive.display());
    }
    let out = Box::new(FileOutput::create(&args.output, args.force)?);
    let report = long_work::run(args.quiet || call.global.json, async |progress| {
        let blobs = Blobs::open(located, &args.from.registry.registries()?)?.blobs;
        Ok(image::archive_archive(Arc::clone(&located.archive), blobs, out, pack_options(&args.pack), progress).await?)
    })?;
    Ok((archive::summary(&report), serde_json::to_value(&report)?))
}

fn to_v2(args: &ConvertArgs, call: &Invocation, from: &Archive, path: &str) -> Result<Told> {
    if from.manifest().is_empty() {
        bail!("{path} was made from a directory: there are no layers that a v2 archive could point into");
    }
    let given = args.image.as_deref();
    let given = given.with_context(|| format!("{path} is v1 and does not say where its layers are: name the image with --image"))?;
    let name: ImageName = given.parse()?;
    let host = if let ImageName::Registry(reference) = &name { Some(reference.repository().host()) } else { None };
    let registry = args.from.registry.registries()?.to(host)?;
    let options = IndexOptions { jobs: jobs(args.pack.jobs), overwrite: args.force, ..layer_options(&args.from, None) };
    let report = long_work::run(args.quiet || call.global.json, async |progress| {
        let image = Image::resolve(&name, args.from.platform.as_ref(), &registry, None).await?;
        if image.manifest != from.manifest() {
            bail!("{name} is not the image that {path} was made from: its manifest is {}; name that image by its digest", image.digest);
        }
        Ok(image::index(Arc::new(image), &args.output, &options, progress).await?)
    })?;
    Ok((index::summary(&report), serde_json::to_value(&report)?))
}
