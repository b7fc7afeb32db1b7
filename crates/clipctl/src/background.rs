//! A mount that stays behind: the command starts a server process, waits until it says that it is ready, and returns.
//!
//! The server is clipctl itself, in a session of its own, with `--background-server`. It says `ready` on its standard output; what
//! it writes to standard error before that is its failure, which becomes ours. Then it lets go of both.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use node::cache_dir;

use crate::cli::{Global, MountArgs};

const READY: &str = "ready\n";

/// Starts the server and waits for it. Its output is bounded by what one failure prints.
pub(crate) fn start(args: &MountArgs, global: &Global) -> Result<ExitCode> {
    let program = std::env::current_exe().context("find clipctl's own program")?;
    let mut server = Command::new(program)
        .args(server_arguments(args, global)?)
        .stdin(Stdio::inherit()) // a password may come this way
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the server process")?;
    let mut said = String::new();
    if let Some(out) = server.stdout.take() {
        out.take(READY.len() as u64).read_to_string(&mut said).context("wait for the server process")?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let mut complaint = Vec::new();
    if let Some(err) = server.stderr.take() {
        err.take(64 << 10).read_to_end(&mut complaint).context("read what the server process says")?;
    }
    std::io::stderr().write_all(&complaint)?;
    let status = server.wait().context("wait for the server process")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1)))
}

/// What the server is called with. Its paths are absolute, as it works in `/`.
fn server_arguments(args: &MountArgs, global: &Global) -> Result<Vec<OsString>> {
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("resolve {}", path.display()));
    let cache = absolute(&cache_dir(args.cache.cache_dir.as_deref()))?;
    let log = match &args.log {
        Some(log) => absolute(log)?,
        None => default_log(&cache),
    };
    let mut out: Vec<OsString> = vec!["mount".into(), "--foreground".into(), "--background-server".into()];
    out.extend(["--log".into(), log.into(), "--cache-dir".into(), cache.into()]);
    if let Some(size) = args.cache.cache_size {
        out.push(format!("--cache-size={size}").into());
    }
    out.push(format!("--read-timeout={}", args.read_timeout).into());
    if let Some(level) = &global.log_level {
        out.push(format!("--log-level={level}").into());
    }
    for (set, flag) in [(args.nonempty, "--nonempty"), (args.nosuid, "--nosuid")] {
        if set {
            out.push(flag.into());
        }
    }
    out.extend(args.registry.to_flags());
    let archive = node::absolute(&args.archive).with_context(|| format!("resolve {}", args.archive.display()))?;
    if let Some(file) = &global.config {
        out.extend(["--config".into(), absolute(file)?.into()]);
    }
    out.extend(["--".into(), archive.into(), absolute(&args.mountpoint)?.into()]);
    Ok(out)
}

/// The log in the cache directory; nowhere, if that cannot be written: the mount is worth more than its log.
fn default_log(cache: &Path) -> PathBuf {
    let log = cache.join("mount.log");
    let made = std::fs::create_dir_all(cache).and_then(|()| File::options().create(true).append(true).open(&log));
    match made {
        Ok(_) => log,
        Err(error) => {
            let cache = cache.display();
            eprintln!(
                "clipctl: warning: cannot write to cache directory {cache}: {error}; mounting without a cache and without a log (--cache-dir and --log name others)"
            );
            "/dev/null".into()
        }
    }
}

/// In the server: becomes the leader of a session, so that no terminal's signal reaches it.
pub(crate) fn leave_session() {
    // Fails only for one who leads a group already, who then has left.
    let _ = rustix::process::setsid();
}

/// In the server: tells the command that the mount is there, and lets go of terminal and directory.
pub(crate) fn say_ready() -> Result<()> {
    std::io::stdout().write_all(READY.as_bytes()).context("tell that the mount is ready")?;
    let null = File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    std::env::set_current_dir("/").context("change to /")
}
