//! `clipctl config`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{ConfigCommand, Global};
use crate::output;
use crate::settings::Settings;

pub(super) fn run(command: &ConfigCommand, global: &Global) -> Result<ExitCode> {
    match command {
        ConfigCommand::Show => {
            let settings = Settings::load(global, Vec::new())?;
            if global.json { output::json(&settings.effective.json())? } else { output::print(&settings.effective.yaml())? }
        }
    }
    Ok(ExitCode::SUCCESS)
}
