//! What can go wrong with one request of the kernel, and the one table from there to the errno that the program sees.
//!
//! A `Failure` concerns one system call of somebody else; [`crate::Error`] concerns the person who mounts. The two never mix.
//! Failures that a healthy mount produces all day (no such name, no such attribute) are not worth a line in the log; `is_fault` tells them apart.

use std::time::Duration;

use fuser::Errno;

/// Why a request was not granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no such name")]
    NotFound,
    #[error("not a directory")]
    NotADirectory,
    #[error("is a directory")]
    IsADirectory,
    #[error("not a regular file")]
    NotAFile,
    #[error("not a symbolic link")]
    NotASymlink,
    #[error("no such extended attribute")]
    NoSuchXattr,
    #[error("the caller's buffer is too small for the extended attribute")]
    XattrBufferTooSmall,
    #[error("no data or hole behind this offset")]
    BehindLastExtent,
    #[error("unknown kind of seek {whence}")]
    UnknownSeek { whence: i32 },
    #[error("the mount is read-only")]
    ReadOnly,
    #[error("an entry of the archive points at the reserved node 1")]
    NodeReserved,
    #[error("read {read} bytes where {wanted} were asked for and exist")]
    ShortRead { read: usize, wanted: usize },
    #[error("too many reads wait already ({waiting})")]
    QueueFull { waiting: usize },
    #[error("gave up after {} s", .after.as_secs())]
    Deadline { after: Duration },
    #[error("the mount is being taken down")]
    Closing,
    #[error("read archive")]
    Archive(#[from] archive::Error),
    #[error("read data")]
    Read(#[from] read::Error),
}

impl Failure {
    /// The errno of the reply.
    ///
    /// A full queue is EIO and not EAGAIN: POSIX gives EAGAIN a meaning (O_NONBLOCK) that regular files do not have, programs that
    /// see it for a file treat it as a broken disk anyway or spin, and exec and mmap cannot pass it on.
    /// A bad archive is EIO too, and not EUCLEAN, which few programs know: the log tells what is damaged.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Failure::NotFound => Errno::ENOENT,
            Failure::NotADirectory => Errno::ENOTDIR,
            Failure::IsADirectory => Errno::EISDIR,
            Failure::NotAFile | Failure::NotASymlink | Failure::UnknownSeek { .. } => Errno::EINVAL,
            Failure::NoSuchXattr => Errno::NO_XATTR,
            Failure::XattrBufferTooSmall => Errno::ERANGE,
            Failure::BehindLastExtent => Errno::ENXIO,
            Failure::ReadOnly => Errno::EROFS,
            Failure::Deadline { .. } => Errno::ETIMEDOUT,
            // What a mount without its server answers.
            Failure::Closing => Errno::ENOTCONN,
            Failure::NodeReserved | Failure::ShortRead { .. } | Failure::QueueFull { .. } | Failure::Archive(_) => Errno::EIO,
            Failure::Read(error) => read_errno(error),
        }
    }

    /// True where whoever found the failure has told the log about it, once for however many requests.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Failure::Read(read::Error::Corrupt { .. }))
    }

    /// True where something is wrong with the mount, false where the program only asked for what is not there.
    pub(crate) fn is_fault(&self) -> bool {
        match self {
            Failure::NotFound
            | Failure::NotADirectory
            | Failure::IsADirectory
            | Failure::NotAFile
            | Failure::NotASymlink
            | Failure::NoSuchXattr
            | Failure::XattrBufferTooSmall
            | Failure::BehindLastExtent
            | Failure::UnknownSeek { .. }
            | Failure::ReadOnly
            | Failure::Closing
            | Failure::Read(read::Error::Closed) => false,
            Failure::NodeReserved
            | Failure::ShortRead { .. }
            | Failure::QueueFull { .. }
            | Failure::Deadline { .. }
            | Failure::Archive(_)
            | Failure::Read(_) => true,
        }
    }
}

/// The errno for what the reader reports. `Overload` is EIO for the reason given above.
fn read_errno(error: &read::Error) -> Errno {
    match error {
        read::Error::TimedOut { .. } => Errno::ETIMEDOUT,
        read::Error::Closed => Errno::ENOTCONN,
        read::Error::Corrupt { .. }
        | read::Error::Backend { .. }
        | read::Error::Archive { .. }
        | read::Error::Overload { .. }
        | read::Error::Blobs { .. } => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_see() {
        let second = Duration::from_secs(1);
        let table = [
            (Failure::NotFound, Errno::ENOENT, false),
            (Failure::NoSuchXattr, Errno::ENODATA, false),
            (Failure::BehindLastExtent, Errno::ENXIO, false),
            (Failure::ReadOnly, Errno::EROFS, false),
            (Failure::Closing, Errno::ENOTCONN, false),
            (Failure::Read(read::Error::Closed), Errno::ENOTCONN, false),
            (Failure::Read(read::Error::TimedOut { after: second }), Errno::ETIMEDOUT, true),
            (Failure::Read(read::Error::Overload { reads: 9 }), Errno::EIO, true),
            (Failure::Deadline { after: second }, Errno::ETIMEDOUT, true),
            (Failure::QueueFull { waiting: 9 }, Errno::EIO, true),
            (Failure::ShortRead { read: 1, wanted: 2 }, Errno::EIO, true),
        ];
        for (failure, errno, fault) in table {
            assert_eq!((failure.errno(), failure.is_fault()), (errno, fault), "{failure}");
        }
    }
}
