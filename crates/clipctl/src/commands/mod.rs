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
mod worker;

use std::process::ExitCode;

use anyhow::Result;
use node::Settings;

use crate::cli::{Cli, Command};
use crate::invocation::Invocation;
use crate::{configured, logging, worker as workers};

/// Runs the command. Those that undo something work whatever is wrong with a file of configuration.
pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    let Cli { mut command, mut global } = cli;
    match &command {
        Command::Umount(args) => {
            logging::init(global.log_level.as_deref(), None)?;
            return umount::run(args, &global);
        }
        Command::Stats(args) => {
            logging::init(global.log_level.as_deref(), None)?;
            return stats::run(args, &global);
        }
        Command::Completions(args) => return completions::run(args),
        _ => {}
    }
    let unspoken = workers::unspoken(&command);
    let settings = Settings::gather(global.config.as_deref(), Vec::new())?;
    configured::fill(&mut command, &mut global, &settings);
    let call = Invocation { global, settings, unspoken };
    // The server of a mount logs elsewhere.
    if let Command::Mount(args) = &command {
        return mount::run(args, &call);
    }
    logging::init(call.global.log_level.as_deref(), None)?;
    match command {
        Command::Archive(args) => archive::run(&args, &call),
        Command::Index(args) => index::run(&args, &call),
        Command::Inspect(args) => inspect::run(&args, &call),
        Command::Ls(args) => ls::run(&args, &call),
        Command::Cat(args) => cat::run(&args, &call),
        Command::Extract(args) => extract::run(&args, &call),
        Command::Verify(args) => verify::run(&args, &call),
        Command::Pull(args) => pull::run(&args, &call),
        Command::Images(args) => images::list(&args, &call),
        Command::Rmi(args) => images::remove(&args, &call),
        Command::Worker(args) => worker::run(&args, &call.global),
        Command::Config(command) => config::run(&command, &call),
        Command::Convert(args) => convert::run(&args, &call),
        Command::Diff(args) => diff::run(&args, &call),
        Command::Umount(_) | Command::Stats(_) | Command::Completions(_) | Command::Mount(_) => unreachable!("were run above"),
    }
}
