//! The registry client against a server of our own, for faults on demand, and against a real `docker-registry`.

use std::{sync::Arc, time::Duration};

use super::*;

mod access;
mod real;
mod server;
mod transfer;

/// Options that wait for nothing long and see no credentials of the machine.
fn options() -> RegistryOptions {
    RegistryOptions {
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_millis(500),
        retry: RetryPolicy {
            attempts_max: 4,
            wait_first: Duration::from_millis(1),
            wait_max: Duration::from_millis(5),
            retry_after_max: Duration::from_millis(50),
            deadline: Duration::from_secs(10),
        },
        credentials: Credentials::anonymous(),
        ..RegistryOptions::default()
    }
}

fn registry() -> Registry {
    Registry::new(options()).unwrap()
}

fn with_login(host: &str, username: &str, password: &str) -> Registry {
    let login = crate::Login { host: host.into(), username: username.into(), password: password.into() };
    Registry::new(RegistryOptions { credentials: Credentials::anonymous().with_login(login), ..options() }).unwrap()
}

fn repository(host: &str) -> Repository {
    Repository::new(host, "a/b").unwrap()
}

fn reference(host: &str) -> Reference {
    format!("{host}/a/b:1").parse().unwrap()
}

const DIGEST: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
