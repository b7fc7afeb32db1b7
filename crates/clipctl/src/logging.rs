//! Where logs go: standard error for people, a file for servers that stay behind.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

/// Sends logs that pass `filter` to standard error, or, with `file`, to that file as lines of JSON.
pub(crate) fn init(filter: Option<&str>, file: Option<&Path>) -> Result<()> {
    let filter = filter.unwrap_or("warn");
    // Not an EnvFilter: its regular expressions take as long to compile as all else that a mount does.
    let filter: Targets = filter.parse().with_context(|| format!("'{filter}' is not a log level or filter"))?;
    match file {
        None => registry().with(filter).with(fmt::layer().with_writer(std::io::stderr).without_time().with_target(false)).init(),
        Some(path) => {
            let file = File::options().create(true).append(true).open(path).with_context(|| format!("open log {}", path.display()))?;
            registry().with(filter).with(fmt::layer().json().with_writer(Mutex::new(file))).init();
        }
    }
    Ok(())
}
