//! `clipctl umount`.

use std::process::ExitCode;

use anyhow::Result;
use node::Settings;

use crate::cli::{Global, UmountArgs};
use crate::worker::Worker;

pub(super) fn run(args: &UmountArgs, global: &Global) -> Result<ExitCode> {
    if args.worker.no_worker || !by_worker(args, global)? {
        ::mount::unmount(&args.mountpoint, args.lazy)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a worker has done it.
fn by_worker(args: &UmountArgs, global: &Global) -> Result<bool> {
    let (socket, broken) = match Settings::gather(global.config.as_deref(), Vec::new()) {
        Ok(settings) => (settings.effective.config.worker.socket, None),
        Err(error) => (config::Config::default().worker.socket, Some(error)),
    };
    let asked = Worker::find(&socket).and_then(|worker| worker.map_or(Ok(false), |worker| worker.unmount(args)));
    match (asked, broken) {
        // A mount can be undone whatever is wrong with a file of configuration.
        (Err(error), Some(broken)) => {
            tracing::info!("{error:#}; and the configuration cannot be used: {broken:#}");
            Ok(false)
        }
        (asked, _) => asked,
    }
}
