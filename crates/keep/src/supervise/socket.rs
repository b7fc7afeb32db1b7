//! The socket on which the child is heard.
//!
//! It lies in a directory that only our user can enter, and whoever sends is known by the pid that the kernel vouches for (SCM_CREDENTIALS). Either alone would not do: an
//! abstract address can be flooded by any user, which keeps the child from being heard and its watchdog from being petted; and in the directory
//! there are also the programs that the child starts, which inherit its environment.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::message::BYTES_MAX;
use crate::wire::{self, Datagram};

/// Names that are tried for the directory: one that is taken is left from a supervisor that had our pid and was killed.
const NAMES_MAX: u32 = 100;

/// Removed with its directory when dropped.
#[derive(Debug)]
pub(super) struct NotifySocket {
    directory: PathBuf,
    socket: UnixDatagram,
}

impl NotifySocket {
    /// A socket in a new directory in `base`.
    pub(super) fn bind(base: &Path) -> Result<NotifySocket, Error> {
        let failed = |source| Error::Socket { directory: base.to_owned(), source };
        let directory = private_directory(base).map_err(failed)?;
        let bound = UnixDatagram::bind(directory.join("notify")).and_then(|socket| {
            socket.set_nonblocking(true)?;
            rustix::net::sockopt::set_socket_passcred(&socket, true)?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => Ok(NotifySocket { directory, socket }),
            Err(source) => {
                remove(&directory);
                Err(failed(source))
            }
        }
    }

    /// Its address, for $NOTIFY_SOCKET.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("notify")
    }

    /// The next message, if there is one. What cannot be received is told to the log and is gone.
    pub(super) fn receive(&self) -> Option<Datagram> {
        wire::receive(&self.socket, BYTES_MAX).unwrap_or_else(|error| {
            tracing::warn!(%error, "a message cannot be received");
            None
        })
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

fn private_directory(base: &Path) -> io::Result<PathBuf> {
    for n in 0..NAMES_MAX {
        let directory = base.join(format!("keep-{}-{n}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|()| directory),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Best effort: what stays is an empty directory.
fn remove(directory: &Path) {
    let _ = fs::remove_file(directory.join("notify"));
    let _ = fs::remove_dir(directory);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_private_and_knows_its_senders() {
        let base = tempfile::tempdir().unwrap();
        let (first, second) = (NotifySocket::bind(base.path()).unwrap(), NotifySocket::bind(base.path()).unwrap());
        assert_eq!(fs::metadata(&first.directory).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(first.receive().is_none());
        UnixDatagram::unbound().unwrap().send_to(b"READY=1", first.path()).unwrap();
        let heard = first.receive().unwrap();
        assert_eq!(heard.sender, Some(rustix::process::getpid()));
        drop((first, second));
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
        assert!(matches!(NotifySocket::bind(&base.path().join("none")), Err(Error::Socket { .. })));
    }
}
