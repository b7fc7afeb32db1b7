//! `clipctl pull`.

use std::process::ExitCode;

use anyhow::Result;
use config::Flag;
use node::{Pull, Settings, cache_dir, layer_dir};

use crate::cli::PullArgs;
use crate::invocation::Invocation;
use crate::{long_work, output};

pub(super) fn run(args: &PullArgs, call: &Invocation) -> Result<ExitCode> {
    let settings = Settings::gather(call.global.config.as_deref(), flags(args))?;
    let pull = Pull {
        name: args.image.parse()?,
        platform: args.from.platform.clone(),
        force: args.force,
        service: settings.image_service().clone(),
        layer_dir: layer_dir(&cache_dir(args.from.cache_dir.as_deref())),
    };
    let registries = args.from.registry.registries()?;
    let quiet = args.quiet || call.global.json;
    let pulled = long_work::run(quiet, async |progress| {
        let store = settings.store().await?;
        pull.run(store, &registries, progress).await
    })?;
    if call.global.json {
        output::json(&pulled)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(reason), false) = (&pulled.record.fallback, args.quiet) {
        eprintln!("clipctl: fell back to v1: {reason}");
    }
    output::print(&format!("{}\n", pulled.record.id))?;
    Ok(ExitCode::SUCCESS)
}

/// The flags that were given and stand for keys of the configuration.
fn flags(args: &PullArgs) -> Vec<Flag> {
    let flag = |key, name: &str, value: Option<String>| value.map(|value| Flag { key, name: name.into(), value });
    let text = |number: Option<u32>| number.map(|number| number.to_string());
    [
        flag("imageService.clipVersion", "--clip-version", args.clip_version.clone()),
        flag("imageService.fallback", "--no-fallback", args.no_fallback.then(|| "false".into())),
        flag("imageService.level", "--level", text(args.level)),
        flag("imageService.spanKib", "--span-kib", text(args.span_kib)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
