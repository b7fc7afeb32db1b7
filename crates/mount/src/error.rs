//! What can go wrong for the person who mounts, unmounts or asks. Failures of single requests of programs are in `errno`.
//!
//! Rules: a variant for each thing that the caller can do next; the message names the path and says what to do; sources are kept, not printed twice.

use std::io;
use std::path::PathBuf;

/// Mounting, unmounting, or asking a mount failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Make the directory, or name another.
    #[error("mountpoint {} does not exist", path.display())]
    MountpointMissing {
        /// The mountpoint asked for.
        path: PathBuf,
    },
    /// Name a directory.
    #[error("mountpoint {} is not a directory", path.display())]
    MountpointNotADirectory {
        /// The mountpoint asked for.
        path: PathBuf,
    },
    /// Empty it, name another, or set [`crate::MountOptions::nonempty`].
    #[error("mountpoint {} is not empty: its content would be hidden", path.display())]
    MountpointNotEmpty {
        /// The mountpoint asked for.
        path: PathBuf,
    },
    /// Something is mounted there and alive: unmount it first.
    #[error("{} is a mountpoint already ({fstype}, {source_name})", path.display())]
    MountpointBusy {
        /// The mountpoint asked for.
        path: PathBuf,
        /// The type of the filesystem that lies there.
        fstype: String,
        /// What it names as its source: for our mounts the archive.
        source_name: String,
    },
    /// A mount whose server has died lies there: clean up.
    #[error("a dead mount lies on {0}: its server is gone; clean up with `clipctl umount --lazy {0}` or `umount -l {0}`", path.display())]
    MountpointDead {
        /// The mountpoint asked for.
        path: PathBuf,
    },
    /// The path hangs: a server (FUSE, NFS) on the way to it does not answer.
    #[error("{} does not answer within {seconds} s: a filesystem on the way to it hangs", path.display())]
    MountpointHangs {
        /// The path that was looked at.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The mount would hide files that its own server reads: it would wait for itself.
    #[error("mountpoint {} would hide {}, which the mount itself reads", mountpoint.display(), path.display())]
    MountpointHidesOwnFiles {
        /// The mountpoint asked for.
        mountpoint: PathBuf,
        /// The file or directory that it would hide.
        path: PathBuf,
    },
    /// The mountpoint cannot be looked at.
    #[error("look at mountpoint {}", path.display())]
    MountpointUnreadable {
        /// The mountpoint asked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// FUSE is not there, or not for us.
    #[error("open /dev/fuse (is the fuse module loaded, and the device passed into the container?)")]
    FuseDevice {
        /// Why.
        source: io::Error,
    },
    /// The kernel refused the mount.
    #[error("mount on {}", path.display())]
    Mount {
        /// The mountpoint asked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Users other than root need fusermount3: install the package fuse3, or mount as root.
    #[error("run fusermount3 (package fuse3), which mounts for users other than root")]
    HelperMissing {
        /// Why.
        source: io::Error,
    },
    /// fusermount3 refused.
    #[error("fusermount3 refused {}: {message}", path.display())]
    Helper {
        /// The mountpoint asked for.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// The dialogue with the kernel failed: a fault of this program or an unfit kernel.
    #[error("serve the FUSE session of {}", path.display())]
    Session {
        /// The mountpoint.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing is left to serve again: unmounted, also lazily, or ended by the kernel. Call [`crate::clean_up()`], and forget the mount.
    #[error("the mount on {} is gone: nothing to serve again", path.display())]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// The descriptor is not that of the mount: a mistake of whoever kept it.
    #[error("the descriptor that was kept is not that of the mount on {}", path.display())]
    ForeignDescriptor {
        /// The mountpoint.
        path: PathBuf,
    },
    /// The mount is of another archive: name that one.
    #[error("the mount on {} is not of archive {}", path.display(), archive.display())]
    OtherArchive {
        /// The mountpoint.
        path: PathBuf,
        /// The archive that should have been it.
        archive: PathBuf,
    },
    /// A version began this mount that numbers files in another way: serve it with that version, or unmount it.
    #[error("the mount on {} was begun by another version of clip (contract {theirs}, this one has {ours})", path.display())]
    OtherContract {
        /// The mountpoint.
        path: PathBuf,
        /// What the mount needs.
        theirs: u32,
        /// What this version has.
        ours: u32,
    },
    /// Threads that serve the mount do not end: end the process, before a successor begins.
    #[error("leave the mount on {} to a successor", path.display())]
    StillServed {
        /// The mountpoint.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing to unmount or to ask.
    #[error("{} is not a mountpoint", path.display())]
    NotMounted {
        /// The path asked for.
        path: PathBuf,
    },
    /// A mount lies there, but not one of ours.
    #[error("{} is a mount of type {fstype}, not of clip", path.display())]
    NotOurs {
        /// The path asked for.
        path: PathBuf,
        /// Its type.
        fstype: String,
    },
    /// Programs use the mount: end them, or unmount lazily.
    #[error("{0} is in use; `fuser -vm {0}` names the processes; a lazy unmount detaches it at once and ends when they do", path.display())]
    Busy {
        /// The mountpoint.
        path: PathBuf,
    },
    /// The kernel refused to unmount.
    #[error("unmount {}", path.display())]
    Unmount {
        /// The mountpoint.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// /proc/self/mountinfo cannot be read: no /proc.
    #[error("read the mount table /proc/self/mountinfo")]
    MountTable {
        /// Why.
        source: io::Error,
    },
    /// The directory for the mount's socket is not ours alone.
    #[error("directory {} for the control socket must belong to uid {uid} and be writable by nobody else", path.display())]
    ControlDirectory {
        /// The directory.
        path: PathBuf,
        /// Who should own it.
        uid: u32,
    },
    /// The mount's socket cannot be made, or does not answer: the server is dead, stopped, or of another user.
    #[error("talk to the mount's control socket {}", path.display())]
    Control {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mount's socket answered something else than a JSON document.
    #[error("understand the answer of {}", path.display())]
    ControlAnswer {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}
