//! Where logs go: standard error for people, a file for servers that stay behind.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

/// Sends logs that pass `filter` to standard error, or, with `file`, to that file as lines of JSON.
pub(crate) fn init(filter: &str, file: Option<&Path>) -> Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("'{filter}' is not a log level or filter"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match file {
        None => builder.with_writer(std::io::stderr).without_time().with_target(false).init(),
        Some(path) => {
            let file = File::options().create(true).append(true).open(path).with_context(|| format!("open log {}", path.display()))?;
            builder.json().with_writer(Mutex::new(file)).init();
        }
    }
    Ok(())
}
