//! End to end: the real clip-worker, asked over its socket as any client asks it, real registries, real mounts, real deaths.
//!
//! `scripts/test` builds the images, starts the servers and says where they are (`support.rs` reads the variables). One binary, one module for each promise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends where it stands")]
#![allow(clippy::needless_pass_by_value, reason = "documents are written where they are used")]

mod access;
mod deaths;
mod hostile;
mod http;
mod jobs;
mod many;
mod mounts;
mod postgres;
mod pulls;
mod relay;
mod service;
mod support;
mod webhook;
