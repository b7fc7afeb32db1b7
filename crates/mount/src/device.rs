//! How one comes to a /dev/fuse descriptor with a mount behind it: mount(2) as root, fusermount3 for users. Serving it is `session`'s part.

use std::ffi::{CString, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::mount::MountFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::error::Error;
use crate::mountinfo::FSTYPE;

/// The set-uid program by which libfuse lets users mount.
pub(crate) const HELPER: &str = "fusermount3";

/// Its configuration; the line `user_allow_other` lets users open their mounts to others.
const HELPER_CONFIG: &str = "/etc/fuse.conf";

/// How the mount shall look.
#[derive(Clone, Debug)]
pub(crate) struct Wish<'a> {
    /// What the mount table shows as the source: the archive.
    pub(crate) source: &'a Path,
    /// Everybody may enter, as far as the permissions of the files allow; else only who mounted.
    pub(crate) allow_other: bool,
    /// Set-uid bits and device nodes of the image work. Users never get this.
    pub(crate) suid_and_devices: bool,
}

/// True where mount(2) is ours: root, also of a user namespace.
pub(crate) fn acts_as_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// True if a mount of this process may be opened to everybody.
pub(crate) fn may_allow_other() -> bool {
    acts_as_root() || fs::read_to_string(HELPER_CONFIG).is_ok_and(|config| config.lines().any(|line| line.trim() == "user_allow_other"))
}

/// Mounts on `mountpoint` (canonical) and gives the descriptor on which the kernel's requests arrive. Until somebody serves it, whoever enters waits.
pub(crate) fn mount(mountpoint: &Path, wish: &Wish<'_>) -> Result<OwnedFd, Error> {
    if acts_as_root() { mount_as_root(mountpoint, wish) } else { mount_as_user(mountpoint, wish) }
}

fn mount_as_root(mountpoint: &Path, wish: &Wish<'_>) -> Result<OwnedFd, Error> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(|source| Error::FuseDevice { source })?;
    let refused = |source| Error::Mount { path: mountpoint.to_owned(), source };
    let options = CString::new(kernel_options(&device, wish.allow_other)).map_err(|error| refused(error.into()))?;
    let mut flags = MountFlags::RDONLY;
    if !wish.suid_and_devices {
        flags |= MountFlags::NOSUID | MountFlags::NODEV;
    }
    rustix::mount::mount(wish.source, mountpoint, FSTYPE, flags, options.as_c_str()).map_err(|errno| refused(errno.into()))?;
    Ok(device.into())
}

fn kernel_options(device: &File, allow_other: bool) -> String {
    let (fd, uid, gid) = (device.as_raw_fd(), rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let others = if allow_other { ",allow_other" } else { "" };
    format!("fd={fd},rootmode=40000,user_id={uid},group_id={gid},default_permissions{others}")
}

/// fusermount3 mounts, and sends the descriptor over a socket whose number it finds in its environment. The socket is its standard input,
/// so that no other child of this process can inherit it.
fn mount_as_user(mountpoint: &Path, wish: &Wish<'_>) -> Result<OwnedFd, Error> {
    let (ours, theirs) = UnixStream::pair().map_err(|source| Error::HelperMissing { source })?;
    let child = Command::new(HELPER)
        .arg("-o")
        .arg(helper_options(wish))
        .arg("--")
        .arg(mountpoint)
        .env("_FUSE_COMMFD", "0")
        .env("LC_ALL", "C")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::HelperMissing { source })?;
    let received = receive_descriptor(&ours);
    let said = last_words(child);
    received.ok().flatten().ok_or_else(|| Error::Helper { path: mountpoint.to_owned(), message: said })
}

fn helper_options(wish: &Wish<'_>) -> OsString {
    let mut options = b"ro,nosuid,nodev,default_permissions,subtype=clip".to_vec();
    if wish.allow_other {
        options.extend_from_slice(b",allow_other");
    }
    options.extend_from_slice(b",fsname=");
    for byte in wish.source.as_os_str().as_bytes() {
        if matches!(byte, b',' | b'\\') {
            options.push(b'\\');
        }
        options.push(*byte);
    }
    OsString::from_vec(options)
}

/// The descriptor that comes over `socket`, or nothing if it is closed before.
fn receive_descriptor(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let (mut control, mut byte) = (RecvAncillaryBuffer::new(&mut space), [0_u8]);
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptors.next())
}

/// Waits for the helper and gives what it complained about.
fn last_words(child: Child) -> String {
    let output = child.wait_with_output();
    output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_the_archive_path_do_not_become_options() {
        let wish = Wish { source: Path::new("/a,suid\\b"), allow_other: true, suid_and_devices: true };
        assert_eq!(helper_options(&wish), "ro,nosuid,nodev,default_permissions,subtype=clip,allow_other,fsname=/a\\,suid\\\\b");
    }

    #[test]
    fn descriptors_travel_over_the_socket() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        let fds = [std::os::fd::AsFd::as_fd(&ours)];
        assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
        rustix::net::sendmsg(&theirs, &[io::IoSlice::new(b"x")], &mut control, rustix::net::SendFlags::empty()).unwrap();
        assert!(receive_descriptor(&ours).unwrap().is_some());
        drop(theirs);
        assert!(receive_descriptor(&ours).unwrap().is_none());
    }
}
