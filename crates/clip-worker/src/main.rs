//! clip-worker: the daemon of a node. It pulls images into the store, mounts archives, and answers an HTTP API; and it can die at any moment.
//!
//! | File | Idea |
//! |---|---|
//! | `cli`, `main` | the command line: run, check-config, supervise |
//! | `service` | the life of a worker, from its start to its end |
//! | `worker` | what all of its parts share |
//! | `work`, `pulls`, `failure` | jobs: claimed and kept alive; what a pull is; what kind of failure it was |
//! | `images` | what was asked for and what the store has, as one list |
//! | `mounts/` | the mount table, and how it outlives the worker |
//! | `tell`, `webhook` | what happened, for those who follow |
//! | `api/` | the HTTP API |
//! | `memory` | how large blocks are allocated |
//! | `logs` | where logs go, and how much of them |

#![allow(unused_qualifications, reason = "utoipa's macros write them")]

mod api;
mod cli;
mod failure;
mod images;
mod logs;
mod memory;
mod mounts;
mod pulls;
mod service;
mod tell;
mod webhook;
mod work;
mod worker;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    memory::keep_large_blocks_apart();
    let cli = cli::Cli::parse();
    match cli::run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("clip-worker: {}", node::explain(&error));
            ExitCode::FAILURE
        }
    }
}
