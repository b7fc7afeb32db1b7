//! Checks of a mountpoint before anything is mounted on it, each with an error that says what to do.
//!
//! Whatever touches the path does so in a thread that may be left behind: a path can lie on a mount whose server hangs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io, thread};

use rustix::io::Errno;

use crate::error::Error;
use crate::mountinfo::{MountEntry, table, topmost};

/// How long a path may take to be looked at. Local disks take microseconds, a sleeping network disk a second or two.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of a mountpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demands {
    /// Directories that hold something are fine too.
    pub(crate) nonempty: bool,
    /// Files and directories that the server opens while it serves: the mount must not hide them.
    pub(crate) own_files: Vec<PathBuf>,
}

/// The canonical path of `path`, if it is fit to be mounted on.
pub(crate) fn check(path: &Path, demands: &Demands) -> Result<PathBuf, Error> {
    let asked = path.to_owned();
    let looked = patiently(path, move || look(&asked))?;
    let (canonical, empty) = match looked {
        Ok(seen) => seen,
        Err(source) => return Err(explain(path, source)),
    };
    if let Some(entry) = topmost(&table()?, &canonical).filter(|entry| entry.is_fuse()) {
        return Err(busy(&canonical, entry));
    }
    if let Some(hidden) = demands.own_files.iter().find(|own| own.starts_with(&canonical)) {
        return Err(Error::MountpointHidesOwnFiles { mountpoint: canonical, path: hidden.clone() });
    }
    match empty || demands.nonempty {
        true => Ok(canonical),
        false => Err(Error::MountpointNotEmpty { path: canonical }),
    }
}

/// Runs `look`, which touches `path`, in a thread of its own, and gives up waiting after a while. The thread then stays until the path answers.
pub(crate) fn patiently<T: Send + 'static>(path: &Path, look: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let hangs = || Error::MountpointHangs { path: path.to_owned(), seconds: PATIENCE.as_secs() };
    thread::Builder::new()
        .name("clip-look".into())
        // A failed send means that nobody waits any more.
        .spawn(move || drop(sender.send(look())))
        .map_err(|source| Error::MountpointUnreadable { path: path.to_owned(), source })?;
    receiver.recv_timeout(PATIENCE).map_err(|_| hangs())
}

/// The canonical path and whether the directory is empty.
///
/// statfs is what finds a dead server out: the kernel never caches it, while it lists the directories of a dead mount of ours for hours.
fn look(path: &Path) -> io::Result<(PathBuf, bool)> {
    let canonical = path.canonicalize()?;
    rustix::fs::statfs(&canonical)?;
    let empty = fs::read_dir(&canonical)?.next().is_none();
    Ok((canonical, empty))
}

fn explain(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound => Error::MountpointMissing { path },
        ErrorKind::NotADirectory => Error::MountpointNotADirectory { path },
        _ if source.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => Error::MountpointDead { path },
        _ => Error::MountpointUnreadable { path, source },
    }
}

fn busy(path: &Path, entry: &MountEntry) -> Error {
    let source_name = entry.source.to_string_lossy().into_owned();
    Error::MountpointBusy { path: path.to_owned(), fstype: entry.fstype.clone(), source_name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(path: &Path) -> Result<PathBuf, Error> {
        check(path, &Demands::default())
    }

    #[test]
    fn an_empty_directory_is_fit() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(checked(directory.path()).unwrap(), directory.path().canonicalize().unwrap());
    }

    #[test]
    fn unfit_paths_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(checked(&directory.path().join("none")), Err(Error::MountpointMissing { .. })));
        assert!(matches!(checked(&file), Err(Error::MountpointNotADirectory { .. })));
        assert!(matches!(checked(directory.path()), Err(Error::MountpointNotEmpty { .. })));
        let nonempty = Demands { nonempty: true, own_files: Vec::new() };
        assert!(check(directory.path(), &nonempty).is_ok());
        let own = Demands { nonempty: true, own_files: vec![file] };
        assert!(matches!(check(directory.path(), &own), Err(Error::MountpointHidesOwnFiles { .. })));
    }

    #[test]
    fn a_dead_mount_is_recognised() {
        let dead = io::Error::from(Errno::NOTCONN);
        assert!(matches!(explain(Path::new("/x"), dead), Error::MountpointDead { .. }));
    }
}
