//! The command line of `clipctl worker`, and the flag of the commands that can do without one.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};
use control::State;

use crate::size::parse_size;

/// Whether a worker may do what the command is for.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerChoice {
    /// Do it in this process, also where a worker listens
    #[arg(long, env = "CLIP_NO_WORKER", value_parser = FalseyValueParser::new())]
    pub no_worker: bool,
}

/// Ask the worker of this node (clip-worker) how it is, and tell it what to do
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl worker status
  clipctl worker jobs --state pending,building
  clipctl worker logs -f 0198f2c4-7d1e-7a52-b3f1-0c9a8d2e4b60
  clipctl worker events -f --json")]
pub(crate) struct WorkerArgs {
    /// Where the worker listens [default: as configured, else /run/clip/worker.sock] [env: CLIP_WORKER__SOCKET=]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    #[command(subcommand)]
    pub command: WorkerCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Show how the worker is
    Status,
    /// List the images that were asked for, and those that the store has
    Images,
    Jobs(JobsArgs),
    Job(JobArgs),
    Logs(LogsArgs),
    Cancel(CancelArgs),
    Retry(RetryArgs),
    /// List the mounts of the worker
    Mounts,
    Events(EventsArgs),
    /// Show what the node's cache holds
    Cache,
    Prune(PruneArgs),
    /// Keep what is cached of an image from being evicted
    Pin(PinArgs),
    /// Let what is cached of an image be evicted again
    Unpin(PinArgs),
    LogLevel(LogLevelArgs),
    /// Show which version the worker is, and which archives it makes
    Version,
}

/// List jobs, the latest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl worker jobs --state failed
  clipctl worker jobs --limit 20 --before 0198f2c4-7d1e-7a52-b3f1-0c9a8d2e4b60")]
pub(crate) struct JobsArgs {
    /// Only those that are pending, building, success, failed or cancelled
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
    pub state: Vec<State>,
    /// Only those of this image, by its id or the beginning of that
    #[arg(long, value_name = "ID")]
    pub image: Option<String>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub limit: u16,
    /// Only those before this one: the last of the list before
    #[arg(long, value_name = "JOB")]
    pub before: Option<String>,
}

/// Show a job
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job
    #[arg(value_name = "ID")]
    pub job: String,
}

/// Print what a job says
///
/// With --follow also what it says from now on, to its end, over restarts of the worker: the exit code is 0 if the job succeeded, else 1. Then --json prints
/// one document for each line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl worker logs 0198f2c4-7d1e-7a52-b3f1-0c9a8d2e4b60
  clipctl worker logs --follow 0198f2c4-7d1e-7a52-b3f1-0c9a8d2e4b60")]
pub(crate) struct LogsArgs {
    /// The job
    pub job: String,
    /// To its end
    #[arg(short, long)]
    pub follow: bool,
}

/// Cancel a job
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The job
    pub job: String,
}

/// Do a job that failed or was cancelled once more, as a new one, and print its id
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The job
    pub job: String,
}

/// Print what has happened
///
/// With --follow what happens from now on (or after --after), until SIGINT, over restarts of the worker. Then --json prints one document for each line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl worker events
  clipctl worker events --follow --json | jq -r 'select(.event == \"image.built\").image'
  clipctl worker events --follow --after 1041")]
pub(crate) struct EventsArgs {
    /// Go on with what happens
    #[arg(short, long)]
    pub follow: bool,
    /// Only what happened after this one, by its number
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,
}

/// Evict from the node's cache what was used least recently; what is pinned stays
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl worker prune
  clipctl worker prune --keep 5G")]
pub(crate) struct PruneArgs {
    /// What may stay
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub keep: u64,
}

/// An image, for `pin` and `unpin`.
#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The image, by its id or the beginning of that
    pub image: String,
}

/// Change what the worker logs, until it is restarted
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  clipctl worker log-level debug
  clipctl worker log-level info,read=debug")]
pub(crate) struct LogLevelArgs {
    /// error, warn, info, debug, trace, or a filter such as read=debug
    #[arg(value_name = "LEVEL")]
    pub filter: String,
}

fn parse_state(text: &str) -> Result<State, String> {
    let states = [State::Pending, State::Building, State::Success, State::Failed, State::Cancelled];
    states.into_iter().find(|state| state.to_string() == text).ok_or_else(|| {
        let names = states.map(|state| state.to_string());
        format!("valid options are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> Result<WorkerArgs, String> {
        let cli = Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        if let Command::Worker(args) = cli.command { Ok(args) } else { Err("another command".into()) }
    }

    #[test]
    fn what_the_worker_is_told() {
        let jobs = parse("clipctl worker jobs --state failed,pending --socket /x/y.sock").unwrap();
        assert_eq!(jobs.socket, Some("/x/y.sock".into()));
        assert!(matches!(jobs.command, WorkerCommand::Jobs(args) if args.state == [State::Failed, State::Pending] && args.limit == 100));
        let level = parse("clipctl worker log-level info,read=debug --log-level debug").unwrap();
        assert!(matches!(level.command, WorkerCommand::LogLevel(args) if args.filter == "info,read=debug"));
        assert!(parse("clipctl worker jobs --state done").unwrap_err().contains("valid options are pending"));
        for wrong in ["worker", "worker logs", "worker jobs --limit 501", "worker prune --keep x", "worker bogus"] {
            assert!(parse(&format!("clipctl {wrong}")).is_err(), "{wrong}");
        }
    }
}
