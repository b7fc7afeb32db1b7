//! How to reach a registry, as flags say.

use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use node::{Registries, RegistryAccess};

/// Longest password that is read from standard input: tokens of cloud registries have up to 8 KiB.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Flags of the commands that may speak to a registry.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct RegistryArgs {
    /// Use plain HTTP (automatic for registries on this machine, unless a CA file is given)
    #[arg(long, env = "CLIP_PLAIN_HTTP")]
    pub plain_http: bool,
    /// Accept any certificate: for tests of your own registry only
    #[arg(long)]
    pub insecure_skip_tls_verify: bool,
    /// Trust the certificates in this PEM file as well [env: CLIP_CA_FILE=]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// User name at the registry that the image, or the archive (see inspect), names; else CLIP_REGISTRY_USER_<HOST> and
    /// _PASS_<HOST>, then Docker's config.json
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    pub username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub password_stdin: bool,
    /// Hosts that the configuration wants plain HTTP for.
    #[arg(skip)]
    pub plain_http_hosts: Vec<String>,
    /// Hosts whose certificates the configuration does not want checked.
    #[arg(skip)]
    pub insecure_hosts: Vec<String>,
}

impl RegistryArgs {
    /// Ways to registries. Reads the password, if there is one to read.
    pub fn registries(&self) -> Result<Registries> {
        let login = match &self.username {
            Some(username) => Some((username.clone(), read_password()?)),
            None => None,
        };
        Ok(Registries::new(RegistryAccess {
            plain_http: self.plain_http,
            insecure_skip_tls_verify: self.insecure_skip_tls_verify,
            ca_file: self.ca_file.clone(),
            login,
            plain_http_hosts: self.plain_http_hosts.clone(),
            insecure_hosts: self.insecure_hosts.clone(),
        }))
    }

    /// The flags again, for a process that is started with them. A password is passed on through its standard input.
    pub fn to_flags(&self) -> Vec<std::ffi::OsString> {
        let mut flags: Vec<std::ffi::OsString> = Vec::new();
        for (set, flag) in [
            (self.plain_http, "--plain-http"),
            (self.insecure_skip_tls_verify, "--insecure-skip-tls-verify"),
            (self.password_stdin, "--password-stdin"),
        ] {
            if set {
                flags.push(flag.into());
            }
        }
        if let Some(file) = &self.ca_file {
            flags.extend(["--ca-file".into(), file.into()]);
        }
        if let Some(name) = &self.username {
            flags.extend(["--username".into(), name.into()]);
        }
        flags
    }
}

fn read_password() -> Result<String> {
    let mut password = String::new();
    io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut password).context("read the password from standard input")?;
    let password = password.trim_end_matches(['\r', '\n']).to_string();
    if password.is_empty() {
        bail!("--password-stdin was given, but standard input is empty");
    }
    Ok(password)
}
