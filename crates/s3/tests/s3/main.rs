//! Against a real S3 server (s3s with its file system, signatures checked) in this process, and through a relay that spoils answers.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod chain;
mod faults;
mod reading;
mod relay;
mod server;
mod tls;
mod uploads;
mod writing;
