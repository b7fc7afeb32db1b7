//! End to end: the real clipctl, real registries, real images, real mounts.
//!
//! `scripts/test` builds the images, starts the registries and says where they are (`support.rs` lists the variables). One binary,
//! one module for each promise of the product.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends where it stands")]

mod cached;
mod carried;
mod cli;
mod codecs;
mod config;
mod damaged;
mod extract;
mod fidelity;
mod forge;
mod forged;
mod hostile;
mod interrupted;
mod kernel;
mod listing;
mod mounts;
mod objects;
mod outages;
mod proxy;
mod redirects;
mod registries;
mod s3_server;
mod service;
mod snapshots;
mod stand_in;
mod store;
mod support;
mod worker_faults;
