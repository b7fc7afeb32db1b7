//! What the worker's API has no word for.

use std::path::Path;

use crate::cli::{Command, MountArgs, PullArgs, READ_TIMEOUT_SECONDS};
use crate::registry_args::RegistryArgs;

/// The first flag or name of a command that a worker could not be told of: with it, the command does its work itself. To be asked before the
/// configuration fills in what flags left open.
pub(crate) fn unspoken(command: &Command) -> Option<&'static str> {
    match command {
        Command::Pull(args) => of_pull(args),
        Command::Mount(args) => of_mount(args),
        _ => None,
    }
}

fn of_pull(args: &PullArgs) -> Option<&'static str> {
    first(&[
        (args.level.is_some(), "--level"),
        (args.span_kib.is_some(), "--span-kib"),
        (args.no_fallback, "--no-fallback"),
        (args.from.cache_dir.is_some(), "--cache-dir"),
    ])
    .or_else(|| of_registry(&args.from.registry))
}

fn of_mount(args: &MountArgs) -> Option<&'static str> {
    let is_text = |path: &Path| path.to_str().is_some();
    first(&[
        (args.foreground, "--foreground"),
        (args.log.is_some(), "--log"),
        (args.read_timeout != READ_TIMEOUT_SECONDS, "--read-timeout"),
        (args.cache.cache_dir.is_some(), "--cache-dir"),
        (args.cache.cache_size.is_some(), "--cache-size"),
        (!is_text(&args.archive) || !is_text(&args.mountpoint), "a path that is not UTF-8"),
    ])
    .or_else(|| of_registry(&args.registry))
}

fn of_registry(args: &RegistryArgs) -> Option<&'static str> {
    first(&[
        (args.plain_http, "--plain-http"),
        (args.insecure_skip_tls_verify, "--insecure-skip-tls-verify"),
        (args.ca_file.is_some(), "--ca-file"),
        (args.username.is_some(), "--username"),
    ])
}

fn first(given: &[(bool, &'static str)]) -> Option<&'static str> {
    given.iter().find(|(is_given, _)| *is_given).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn only_what_the_worker_can_be_told_goes_to_it() {
        let check = |line: &str| unspoken(&Cli::try_parse_from(format!("clipctl {line}").split(' ')).unwrap().command);
        for spoken in [
            "pull x --platform linux/arm64 --clip-version v2 --force -q --json",
            "mount a b --nonempty --nosuid",
            "mount a b --read-timeout 60",
        ] {
            assert_eq!(check(spoken), None, "{spoken}");
        }
        for flag in ["--level=1", "--span-kib=64", "--no-fallback", "--cache-dir=x", "--insecure-skip-tls-verify", "--ca-file=x"] {
            assert_eq!(check(&format!("pull x {flag}")), flag.split('=').next(), "{flag}");
        }
        for flag in ["--foreground", "--log=x", "--read-timeout=9", "--cache-dir=x", "--cache-size=1G", "--plain-http"] {
            assert_eq!(check(&format!("mount a b {flag}")), flag.split('=').next(), "{flag}");
        }
        assert_eq!(check("mount a b --username x --password-stdin"), Some("--username"));
    }
}
