//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use node::Settings;

use crate::service;

/// How the supervisor calls this program for a moment between fork and exec.
const STAGE: &str = "supervise-stage";

/// The daemon of a node: pulls images, mounts archives, answers an API.
///
/// Without a command it runs in the foreground, as systemd's clip-worker.service does. Its mounts outlive it: whoever starts it (systemd, or
/// `clip-worker supervise`) keeps them while it is away. `clipctl` speaks to it.
#[derive(Debug, Parser)]
#[command(name = "clip-worker", version, max_term_width = 110)]
#[command(after_help = "Examples:
  clip-worker --config /etc/clip/worker.yaml
  clip-worker check-config
  clip-worker supervise -- --config /etc/clip/worker.yaml      # where there is no systemd
  kill -HUP $(pidof clip-worker)                               # reads its configuration again")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    configuration: Configuration,
}

#[derive(Debug, Clone, Args)]
struct Configuration {
    /// File of configuration, above /etc/clip/*.yaml [env: CLIP_CONFIG=]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration, print what is wrong with it, and exit
    CheckConfig,
    /// Run the worker, keep its mounts, and start it again whenever it ends: for machines without systemd
    Supervise {
        /// Arguments of the worker
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// What the supervisor starts for a moment
    #[command(name = STAGE, hide = true)]
    Stage {
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli) -> Result<ExitCode> {
    match &cli.command {
        None => service::run(cli.configuration.config.clone()),
        Some(Command::CheckConfig) => check(&cli.configuration),
        Some(Command::Supervise { arguments }) => supervise(&cli.configuration, arguments),
        Some(Command::Stage { command }) => Err(keep::stage(command)).context("start the worker"),
    }
}

fn check(configuration: &Configuration) -> Result<ExitCode> {
    let settings = Settings::gather(configuration.config.as_deref(), Vec::new())?;
    crate::api::check(&settings.effective.config.worker)?;
    println!("the configuration is fine");
    Ok(ExitCode::SUCCESS)
}

fn supervise(configuration: &Configuration, arguments: &[OsString]) -> Result<ExitCode> {
    let settings = Settings::gather(configuration.config.as_deref(), Vec::new())?;
    // By its path, not its inode: a new binary at the same place is what the next start takes.
    let mut command = vec![std::env::current_exe().context("find clip-worker's own program")?.into_os_string()];
    if let Some(file) = &configuration.config {
        command.extend(["--config".into(), std::path::absolute(file).context("resolve the path of the configuration")?.into_os_string()]);
    }
    command.extend(arguments.iter().cloned());
    let options = keep::Options {
        stage: vec![STAGE.into(), "--".into()],
        descriptors_max: crate::mounts::MOUNTS_MAX + 1,
        watchdog: Some(Duration::from_secs(30)),
        // The worker's own deadline, and what the end of a process takes.
        stop_within: settings.effective.config.worker.shutdown_time() + Duration::from_secs(5),
        ..keep::Options::default()
    };
    Ok(keep::exit_code(keep::supervise(&command, options)?))
}
