//! clipctl: index, mount and look into lazily loaded container images.
//!
//! `main` parses, sets up logging, runs one command and turns its outcome into an exit code: 0 done, 1 failed, 2 used wrongly. One
//! command, one file, one `run` (`commands/`). What several commands share is named by what it is: `invocation` leads to an archive, `worker` to
//! the worker that may do the work instead, and the crate `node` wires the way of a read.

mod background;
mod cli;
mod commands;
mod configured;
mod invocation;
mod logging;
mod long_work;
mod mount_helper;
mod output;
mod registry_args;
mod size;
mod table;
mod time;
mod tree_walk;
mod worker;
mod worker_args;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let arguments = match mount_helper::arguments(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("mount.fuse.clip: {message}");
            return ExitCode::from(2);
        }
    };
    let cli = Cli::parse_from(arguments);
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) if error.is::<output::ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clipctl: {}", output::printable(&node::explain(&error)));
            ExitCode::FAILURE
        }
    }
}
