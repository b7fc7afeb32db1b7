#![expect(unsafe_code, reason = "puts another file behind the descriptor of a fuser session, which fuser has no call for")]
//! The place at which a fuser session reads and writes: a descriptor number, behind which the file can be exchanged.
//!
//! fuser takes a descriptor once and for ever. That is enough for a mount that outlives its server, because of what dup3(2) does: it exchanges
//! the file behind a number, atomically, for all threads. A call that is under way keeps the file that it began with; the next gets the new one.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use fuser::{Filesystem, Notifier, Session};
use rustix::io::DupFlags;

/// The descriptor of a session. As long as this lives the number is the session's, also when all its threads have ended.
#[derive(Debug)]
pub(crate) struct Seat {
    number: RawFd,
    /// Shares the ownership of the descriptor with the session: the one thing of fuser's public interface that does.
    _owner: Notifier,
}

impl Seat {
    /// The place of `session`.
    pub(crate) fn of<F: Filesystem>(session: &Session<F>) -> Seat {
        Seat { number: session.as_fd().as_raw_fd(), _owner: session.notifier() }
    }

    /// From now on the session reads from and writes to `file`.
    pub(crate) fn put(&self, file: impl AsFd) -> io::Result<()> {
        // SAFETY: the number is open and stays so during the call, because `_owner` holds a share of its owner. The `OwnedFd` made here is never
        // dropped, so the number is not closed twice. What lies behind the number changes for its owner; that is the purpose, and fuser has no other use
        // for it than read(2), writev(2) and, which we do not call, ioctl(2): it assumes nothing about the file.
        let mut number = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(self.number) });
        // dup2(2) would let programs that are started inherit it.
        Ok(rustix::io::dup3(file, &mut number, DupFlags::CLOEXEC)?)
    }
}
