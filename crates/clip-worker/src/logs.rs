//! Where logs go: standard error, as lines for people on a terminal, as JSON elsewhere; how much of them can be changed while the worker runs.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use config::Config;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, registry, reload};

/// Changes what is logged.
#[derive(Clone)]
pub(crate) struct Level(reload::Handle<Targets, Registry>);

impl Level {
    /// From now on what passes `filter` is logged.
    pub fn set(&self, filter: &str) -> Result<()> {
        self.0.reload(parse(filter)?).context("change the level of the log")
    }

    /// What is logged now.
    pub fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }
}

/// Begins to log.
pub(crate) fn init(config: &Config) -> Result<Level> {
    let (filter, handle) = reload::Layer::new(parse(&config.log.level)?);
    let is_json = config.worker.log_format.is_json(std::io::stderr().is_terminal());
    let lines = match is_json {
        true => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
        false => fmt::layer().with_writer(std::io::stderr).with_target(false).boxed(),
    };
    registry().with(filter).with(lines).init();
    Ok(Level(handle))
}

/// A level, or a filter such as `info,read=debug`.
fn parse(filter: &str) -> Result<Targets> {
    filter.parse().with_context(|| format!("'{filter}' is not a log level or filter, such as info or info,read=debug"))
}
