//! A mounted archive: `Archive` + `Reader` in, a directory that any program can read out.
//!
//! Only this crate knows fuser, mount(2) and fusermount3. From the inside to the outside:
//!
//! - `filesystem`: names, attributes, directories and bytes of an archive. Knows no FUSE.
//! - `ino`: the only place where node ids of the archive and inode numbers of the kernel are converted.
//! - `lane`: reads that must wait for the network, outside of the FUSE threads, bounded in number and time.
//! - `fuse`: the shell that turns requests of the kernel into calls of the filesystem. Holds no logic.
//! - `errno`: what can go wrong with a request, and the one table that says which errno the kernel gets.
//! - `device`: how one comes to a /dev/fuse descriptor with a mount behind it, as root or as a user.
//! - `serving`, `greeting`, `seat`, `wake`: how such a descriptor is served, from the first request or from where another server left it, and how it is left.
//! - `session`: [`Mount::start`] puts the parts together; [`Mounted`] is the running mount.
//! - `handover`, `resume`: what a server leaves behind, and [`Mount::resume`], which serves again a mount whose server has died.
//! - `clean_up`: what happens to mounts that cannot be served again.
//! - `mountpoint`, `mountinfo`, `umount`: the mount table and what may be done to it.
//! - `control`: the mount's own socket, on which `clipctl stats` asks.

mod attributes;
mod clean_up;
mod control;
mod device;
mod errno;
mod error;
mod filesystem;
mod fuse;
mod greeting;
mod handover;
mod ino;
mod lane;
mod mountinfo;
mod mountpoint;
mod ops;
mod report;
mod resume;
mod seat;
mod serving;
mod session;
mod umount;
mod wake;

pub use clean_up::{Remains, clean_up};
pub use control::stats;
pub use error::Error;
pub use handover::Handover;
pub use mountinfo::{MountEntry, find, list};
pub use ops::OpsSnapshot;
pub use session::{Mount, MountOptions, Mounted, TrafficSource};
pub use umount::unmount;
