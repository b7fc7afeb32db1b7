//! Locks between processes: flock on files that are never removed, so that everyone locks the same inode.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// How long to wait for a process that creates or adopts a stream: that takes milliseconds, so ten seconds mean that it is stuck.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// A lock that is held until dropped (the kernel lets go of it when the process dies).
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock, waiting a bounded time.
pub(crate) fn wait(path: &Path) -> Result<Lock, Error> {
    let start = Instant::now();
    loop {
        if let Some(lock) = attempt(path)? {
            return Ok(lock);
        }
        if start.elapsed() > WAIT_MAX {
            return Err(Error::Busy { path: path.to_owned() });
        }
        thread::sleep(PAUSE);
    }
}

/// Takes the lock if nobody else (in this process or another) has it.
pub(crate) fn attempt(path: &Path) -> Result<Option<Lock>, Error> {
    let file = open_private(path, true).map_err(Error::io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", path)(source)),
    }
}

/// Opens a file of the cache for reading and writing; never through a symbolic link, never for anyone else to see.
pub(crate) fn open_private(path: &Path, create: bool) -> std::io::Result<File> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).custom_flags(no_follow).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_exclusive_within_one_process_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = attempt(&path).unwrap().unwrap();
        assert!(attempt(&path).unwrap().is_none());
        drop(held);
        assert!(wait(&path).is_ok());
    }

    #[test]
    fn does_not_follow_links() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(open_private(&path, true).is_err());
    }
}
