//! Between fork and exec: the process that becomes the child.
//!
//! The child must find its own pid in $LISTEN_PID, and descriptors at the numbers from 3 on. Both must happen in the child's process. Code between fork(2) and exec(2)
//! is unsafe and may do next to nothing, so the supervisor starts its own program again instead, and that calls [`stage`]. The descriptors
//! come over a socket, its standard input, in messages of two kinds: names (separated by colons) with their descriptors, and one that ends it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::store::Store;
use crate::error::Error;
use crate::numbers;
use crate::wire;

pub(super) const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";
const LISTEN_PID: &str = "LISTEN_PID";
const LISTEN_FDS: &str = "LISTEN_FDS";
const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";

/// What a service manager says through the environment, but for $NOTIFY_SOCKET.
pub(super) const VARIABLES: [&str; 5] = [WATCHDOG_USEC, WATCHDOG_PID, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES];

/// The message that ends it. Names have no colon at their beginning: none is empty.
const END: &[u8] = b":";

/// Descriptors in one message: below the kernel's limit, and with names of 256 bytes each below [`MESSAGE_BYTES_MAX`].
const DESCRIPTORS_AT_ONCE: usize = 200;
const MESSAGE_BYTES_MAX: usize = DESCRIPTORS_AT_ONCE * 256;

/// Passes all that is stored to the stage at the other end of `socket`.
pub(super) fn pass(socket: &OwnedFd, store: &Store) -> io::Result<()> {
    let stored: Vec<(&str, BorrowedFd<'_>)> = store.iter().collect();
    for some in stored.chunks(DESCRIPTORS_AT_ONCE) {
        let (names, descriptors): (Vec<_>, Vec<_>) = some.iter().copied().unzip();
        wire::send(socket, None, names.join(":").as_bytes(), &descriptors)?;
    }
    wire::send(socket, None, END, &[])
}

/// Becomes the program of `command`, with what the supervisor passes. For the hidden subcommand that [`crate::Options::stage`] names, and as the first thing
/// that it does. Returns only if that fails, and the process should end then: its standard input is not what it was.
pub fn stage(command: &[OsString]) -> Error {
    become_child(command).map_or_else(|error| error, |never| match never {})
}

fn become_child(command: &[OsString]) -> Result<std::convert::Infallible, Error> {
    let failed = |source| Error::Stage { source };
    let (program, arguments) = command.split_first().ok_or(Error::NoCommand)?;
    // Before anything is received: a supervisor that dies before this is seen there, as the end of the socket.
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).map_err(|errno| failed(errno.into()))?;
    let (names, descriptors) = receive().map_err(failed)?;
    let pid = std::process::id().to_string();
    let mut child = Command::new(program);
    child.args(arguments).stdin(Stdio::null());
    if std::env::var_os(WATCHDOG_USEC).is_some() {
        child.env(WATCHDOG_PID, &pid);
    }
    if !descriptors.is_empty() {
        child.env(LISTEN_PID, pid).env(LISTEN_FDS, descriptors.len().to_string()).env(LISTEN_FDNAMES, names.join(":"));
    }
    numbers::put_for_exec(descriptors).map_err(failed)?;
    Err(Error::Run { program: program.clone(), source: child.exec() })
}

fn receive() -> io::Result<(Vec<String>, Vec<OwnedFd>)> {
    let (stdin, mut names, mut descriptors) = (io::stdin(), Vec::new(), Vec::new());
    loop {
        let message = wire::receive(stdin.as_fd(), MESSAGE_BYTES_MAX)?.filter(|message| !message.bytes.is_empty() && !message.cut);
        // Nothing is the end of the socket: the supervisor has died.
        let message = message.ok_or(io::ErrorKind::UnexpectedEof)?;
        if message.bytes == END {
            return Ok((names, descriptors));
        }
        let text = String::from_utf8(message.bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        names.extend(text.split(':').map(str::to_owned));
        descriptors.extend(message.descriptors);
        if names.len() != descriptors.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}
