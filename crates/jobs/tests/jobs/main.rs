//! The queue on both databases: every test of behaviour runs on each, and says the same of both.
//!
//! `CLIP_TEST_POSTGRES` is the URL of a PostgreSQL server (scripts/postgres) in which every test makes a schema of its own; without it the tests run
//! on SQLite only, and say so.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod cancelling;
mod claims;
mod crash;
mod events;
mod limits;
mod listing;
mod logs;
mod model;
mod postgres;
mod rates;
mod sqlite;
mod submitting;
mod support;
mod takeover;
