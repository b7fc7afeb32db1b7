//! `clipctl pull`.

use std::process::ExitCode;

use anyhow::Result;
use config::{Entry, Flag, Origin};
use control::PullRequest;
use node::{Pull, Pulled, Settings, cache_dir, layer_dir};

use crate::cli::PullArgs;
use crate::invocation::Invocation;
use crate::worker::pull::name_for_worker;
use crate::{long_work, output};

/// The key of the version that archives have.
const VERSION: &str = "imageService.clipVersion";

pub(super) fn run(args: &PullArgs, call: &Invocation) -> Result<ExitCode> {
    let settings = Settings::gather(call.global.config.as_deref(), flags(args))?;
    let pulled = match call.worker(&args.worker)? {
        Some(worker) => worker.pull(&request(args, &settings)?, is_quiet(args, call))?,
        None => here(args, call, &settings)?,
    };
    if call.global.json {
        output::json(&pulled)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(reason), false) = (&pulled.record.fallback, args.quiet) {
        eprintln!("clipctl: fell back to v1: {}", output::printable(reason));
    }
    output::print(&format!("{}\n", pulled.record.id))?;
    Ok(ExitCode::SUCCESS)
}

fn is_quiet(args: &PullArgs, call: &Invocation) -> bool {
    args.quiet || call.global.json
}

/// Pulls in this process.
fn here(args: &PullArgs, call: &Invocation, settings: &Settings) -> Result<Pulled> {
    let pull = Pull {
        name: args.image.parse()?,
        platform: args.from.platform.clone(),
        force: args.force,
        service: settings.image_service().clone(),
        layer_dir: layer_dir(&cache_dir(args.from.cache_dir.as_deref())),
    };
    let registries = args.from.registry.registries()?;
    long_work::run(is_quiet(args, call), async |progress| {
        let store = settings.store().await?;
        pull.run(store, &registries, progress).await
    })
}

/// What a worker is asked for. Of the version it is told if anybody has said one; its own default may be another.
fn request(args: &PullArgs, settings: &Settings) -> Result<PullRequest> {
    let version = settings.effective.entries().iter().find(|entry| entry.key == VERSION && entry.origin != Origin::Default);
    Ok(PullRequest {
        image: name_for_worker(&args.image.parse()?, &args.image)?,
        platform: args.from.platform.as_ref().map(ToString::to_string),
        clip_version: version.map(Entry::shown),
        force: args.force,
        priority: 0,
    })
}

/// The flags that were given and stand for keys of the configuration.
fn flags(args: &PullArgs) -> Vec<Flag> {
    let flag = |key, name: &str, value: Option<String>| value.map(|value| Flag { key, name: name.into(), value });
    let text = |number: Option<u32>| number.map(|number| number.to_string());
    [
        flag(VERSION, "--clip-version", args.clip_version.clone()),
        flag("imageService.fallback", "--no-fallback", args.no_fallback.then(|| "false".into())),
        flag("imageService.level", "--level", text(args.level)),
        flag("imageService.spanKib", "--span-kib", text(args.span_kib)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
