//! The child: how it is started, told, and reaped.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::Options;
use super::socket::NotifySocket;
use super::stage;
use super::store::Store;
use crate::error::Error;

/// How long the stage may take to accept what it is passed.
const STAGE_PATIENCE: Duration = Duration::from_secs(5);

/// Killed if it still lives when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    child: std::process::Child,
    pid: Pid,
    /// Becomes readable when it ends.
    pidfd: OwnedFd,
}

impl Child {
    /// Starts the stage (this program once more), which takes what is stored and becomes the program of `command`.
    pub(super) fn start(command: &[OsString], options: &Options, socket: &NotifySocket, store: &Store) -> Result<Child, Error> {
        let failed = |source| Error::Run { program: command.first().cloned().unwrap_or_default(), source };
        let (ours, its) = pair().map_err(failed)?;
        let mut stage = Command::new("/proc/self/exe");
        stage.args(&options.stage).args(command).stdin(its);
        stage.env("NOTIFY_SOCKET", socket.path());
        // What our own service manager told us is not for the child.
        for variable in stage::VARIABLES {
            stage.env_remove(variable);
        }
        if let Some(watchdog) = options.watchdog {
            stage.env(stage::WATCHDOG_USEC, watchdog.as_micros().to_string());
        }
        // A group of its own: what is typed at the terminal (Ctrl-C) comes to us, and once to the child.
        let child = stage.process_group(0).spawn().map_err(failed)?;
        // It holds the other end of the pair until it is dropped.
        drop(stage);
        let child = Child::watch(child).map_err(failed)?;
        // A stage that has died already is found out, and reaped, as any child that dies.
        if let Err(error) = stage::pass(&ours, store) {
            tracing::warn!(%error, "the new child does not take what is stored");
        }
        Ok(child)
    }

    fn watch(mut child: std::process::Child) -> io::Result<Child> {
        let pid = Pid::from_child(&child);
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Child { child, pid, pidfd }),
            Err(errno) => {
                child.kill().and_then(|()| child.wait())?;
                Err(errno.into())
            }
        }
    }

    /// Its process.
    pub(super) fn process(&self) -> Pid {
        self.pid
    }

    /// Its number, for people.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal. One that has ended does not need it.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            tracing::debug!(%error, ?signal, "the child has ended before the signal");
        }
    }

    /// How it ended. To be called when it has.
    pub(super) fn reap(&mut self) -> Result<ExitStatus, Error> {
        self.child.wait().map_err(|source| Error::Wait { source })
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail for one that was reaped, which is how it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, its) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&ours, sockopt::Timeout::Send, Some(STAGE_PATIENCE))?;
    Ok((ours, its))
}
