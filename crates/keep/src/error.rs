//! What can go wrong. A variant for each thing that the caller can do next; sources are kept, not printed twice.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Keeping descriptors, or a process, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Choose another name.
    #[error("{name:?} cannot name a descriptor: 1 to 255 printable ASCII characters without ':' can")]
    Name {
        /// The name.
        name: String,
    },
    /// $NOTIFY_SOCKET is neither a path nor an abstract name ("@name"), or too long.
    #[error("$NOTIFY_SOCKET is {address:?}, which is no address of a Unix socket")]
    Address {
        /// Its value.
        address: OsString,
    },
    /// The service manager could not be told. It may be restarting: try again, or go on.
    #[error("tell the service manager ($NOTIFY_SOCKET)")]
    Notify {
        /// Why.
        source: io::Error,
    },
    /// The service manager has not read what it was told before.
    #[error("the service manager did not answer within {} s", patience.as_secs_f32())]
    Unheard {
        /// How long it was waited for.
        patience: Duration,
    },
    /// $LISTEN_FDS and its companions are not what the service manager writes.
    #[error("understand ${variable}, which is {value:?}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// A descriptor that was announced cannot be had.
    #[error("take descriptor {number}, which the service manager announced")]
    Descriptor {
        /// Its number.
        number: i32,
        /// Why.
        source: io::Error,
    },
    /// No place for the socket on which the supervisor hears its child.
    #[error("make a private socket in {}", directory.display())]
    Socket {
        /// Where it was tried.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Signals cannot be heard, or waited for.
    #[error("wait for signals and messages")]
    Wait {
        /// Why.
        source: io::Error,
    },
    /// Nothing to run: a mistake of the caller.
    #[error("no command to run")]
    NoCommand,
    /// The child process was not started by a supervisor, or its supervisor has died.
    #[error("receive descriptors from the supervisor")]
    Stage {
        /// Why.
        source: io::Error,
    },
    /// The program cannot be run.
    #[error("run {program:?}")]
    Run {
        /// Its name or path.
        program: OsString,
        /// Why.
        source: io::Error,
    },
}
