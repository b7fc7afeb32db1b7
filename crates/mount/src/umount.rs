//! Taking mounts down: umount2(2) as root, fusermount3 for users.

use std::io;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::device::{HELPER, acts_as_root};
use crate::error::Error;
use crate::mountinfo;

/// Unmounts the clip mount at `path`. With `lazy` it disappears at once and ends when its last user leaves, also when its server is dead or stuck;
/// without, a mount in use stays and [`Error::Busy`] tells so.
pub fn unmount(path: &Path, lazy: bool) -> Result<(), Error> {
    let entry = mountinfo::find(path)?.ok_or_else(|| Error::NotMounted { path: path.to_owned() })?;
    if !entry.is_clip() {
        return Err(Error::NotOurs { path: entry.mountpoint, fstype: entry.fstype });
    }
    detach(&entry.mountpoint, lazy)
}

/// Unmounts whatever lies at `mountpoint`, a path as the mount table has it.
pub(crate) fn detach(mountpoint: &Path, lazy: bool) -> Result<(), Error> {
    if acts_as_root() { detach_as_root(mountpoint, lazy) } else { detach_as_user(mountpoint, lazy) }
}

fn detach_as_root(mountpoint: &Path, lazy: bool) -> Result<(), Error> {
    let flags = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    rustix::mount::unmount(mountpoint, flags | UnmountFlags::NOFOLLOW).map_err(|errno| {
        let path = mountpoint.to_owned();
        match errno {
            Errno::BUSY => Error::Busy { path },
            Errno::INVAL => Error::NotMounted { path },
            _ => Error::Unmount { path, source: errno.into() },
        }
    })
}

fn detach_as_user(mountpoint: &Path, lazy: bool) -> Result<(), Error> {
    let mut helper = Command::new(HELPER);
    helper.arg("-u").args(lazy.then_some("-z")).arg("--").arg(mountpoint).env("LC_ALL", "C");
    let output = helper.output().map_err(|source| Error::HelperMissing { source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let path = mountpoint.to_owned();
    match said.contains("busy") {
        true => Err(Error::Busy { path }),
        false => Err(Error::Unmount { path, source: io::Error::other(said) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(unmount(directory.path(), false), Err(Error::NotMounted { .. })));
        assert!(matches!(unmount(Path::new("/proc"), true), Err(Error::NotOurs { .. })));
    }
}
