//! The commands, one file each.

mod archive;
mod cat;
mod completions;
mod config;
mod convert;
mod diff;
mod extract;
mod images;
mod index;
mod inspect;
mod ls;
mod mount;
mod pull;
mod stats;
mod umount;
mod verify;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::{configured, logging};

/// Runs the command.
pub(crate) fn run(mut cli: Cli) -> Result<ExitCode> {
    configured::fill(&mut cli)?;
    let Cli { command, global } = cli;
    if let Command::Mount(args) = &command {
        return mount::run(args, &global);
    }
    logging::init(global.log_level.as_deref(), None)?;
    match command {
        Command::Archive(args) => archive::run(&args, &global),
        Command::Index(args) => index::run(&args, &global),
        Command::Umount(args) => umount::run(&args),
        Command::Inspect(args) => inspect::run(&args, &global),
        Command::Ls(args) => ls::run(&args, &global),
        Command::Cat(args) => cat::run(&args, &global),
        Command::Extract(args) => extract::run(&args, &global),
        Command::Verify(args) => verify::run(&args, &global),
        Command::Pull(args) => pull::run(&args, &global),
        Command::Images => images::list(&global),
        Command::Rmi(args) => images::remove(&args, &global),
        Command::Config(command) => config::run(&command, &global),
        Command::Convert(args) => convert::run(&args, &global),
        Command::Diff(args) => diff::run(&args, &global),
        Command::Stats(args) => stats::run(&args, &global),
        Command::Completions(args) => completions::run(&args),
        Command::Mount(_) => unreachable!("was handled before logging began: its server logs elsewhere"),
    }
}
