//! `clipctl config`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::ConfigCommand;
use crate::invocation::Invocation;
use crate::output;

pub(super) fn run(command: &ConfigCommand, call: &Invocation) -> Result<ExitCode> {
    match command {
        ConfigCommand::Show => {
            if call.global.json {
                output::json(&call.settings.effective.json())?;
            } else {
                output::print(&call.settings.effective.yaml())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
