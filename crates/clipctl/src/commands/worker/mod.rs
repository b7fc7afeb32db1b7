//! `clipctl worker`, one file for what is asked about one thing.

mod cache;
mod events;
mod images;
mod job;
mod jobs;
mod log_level;
mod logs;
mod mounts;
mod status;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::cli::Global;
use crate::output;
use crate::worker::Worker;
use crate::worker_args::{WorkerArgs, WorkerCommand};

/// A worker, and how what it answers is printed.
struct Asked {
    worker: Worker,
    json: bool,
}

impl Asked {
    /// Prints the whole answer for programs, or what people want of it.
    fn print(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> Result<ExitCode> {
        output::report(document, self.json, false, text)?;
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn run(args: &WorkerArgs, global: &Global) -> Result<ExitCode> {
    // The configuration has filled it in.
    let socket = args.socket.as_deref().unwrap_or(Path::new(""));
    let asked = Asked { worker: Worker::at(socket)?, json: global.json };
    match &args.command {
        WorkerCommand::Status => status::status(&asked),
        WorkerCommand::Version => status::version(&asked),
        WorkerCommand::Images => images::list(&asked),
        WorkerCommand::Jobs(args) => jobs::list(args, &asked),
        WorkerCommand::Job(args) => job::show(args, &asked),
        WorkerCommand::Cancel(args) => job::cancel(args, &asked),
        WorkerCommand::Retry(args) => job::retry(args, &asked),
        WorkerCommand::Logs(args) => logs::run(args, &asked),
        WorkerCommand::Mounts => mounts::list(&asked),
        WorkerCommand::Events(args) => events::run(args, &asked),
        WorkerCommand::Cache => cache::show(&asked),
        WorkerCommand::Prune(args) => cache::prune(args, &asked),
        WorkerCommand::Pin(args) => cache::pin(args, &asked),
        WorkerCommand::Unpin(args) => cache::unpin(args, &asked),
        WorkerCommand::LogLevel(args) => log_level::set(args, &asked),
    }
}
