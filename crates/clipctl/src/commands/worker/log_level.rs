//! `clipctl worker log-level`.

use std::process::ExitCode;

use anyhow::Result;
use control::LogLevel;

use super::Asked;
use crate::output;
use crate::worker_args::LogLevelArgs;

pub(super) fn set(args: &LogLevelArgs, asked: &Asked) -> Result<ExitCode> {
    let wanted = LogLevel { level: args.filter.clone() };
    let level: LogLevel = asked.worker.wait(asked.worker.client.put("/log-level", &wanted))?;
    asked.print(&level, || output::printable(&level.level) + "\n")
}
