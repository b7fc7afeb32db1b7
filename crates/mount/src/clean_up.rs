//! Taking away what is left of mounts whose server has died and whose descriptor nobody has kept.
//!
//! Such a mount lies in the mount table for ever, and every call on it fails with ENOTCONN. Only mounts that a [`Handover`] names are touched, only if they
//! are of our type, lie on top of their mountpoint and are dead: numbers are used again, and the number of a mount that has gone may be somebody else's now.

use std::path::Path;

use rustix::io::Errno;

use crate::error::Error;
use crate::handover::Handover;
use crate::mountinfo::{self, MountEntry};
use crate::mountpoint::patiently;
use crate::umount;

/// What was found at the place of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// No mount of clip has this number any more.
    Nothing,
    /// It was dead and has been detached, at all of its places.
    Removed,
    /// It answers, or somebody at least holds its descriptor (then it hangs): not touched.
    Alive,
    /// Another mount lies on top of it: not touched.
    Covered,
}

/// Detaches the mount that `handover` names, at all places where it is bound in this mount namespace, if it is dead.
///
/// Blocks for microseconds; up to 5 s where the mount has a descriptor but no server. Never ask about a mount that this process is to serve and does not yet.
pub fn clean_up(handover: &Handover) -> Result<Remains, Error> {
    let mut remains = Remains::Nothing;
    let mut places: Vec<MountEntry> = mountinfo::table()?.into_iter().filter(|entry| handover.is_of(entry)).collect();
    // The latest first: one may lie on another.
    while let Some(entry) = places.pop() {
        let table = mountinfo::table()?;
        if !mountinfo::topmost(&table, &entry.mountpoint).is_some_and(|top| handover.is_of(top)) {
            return Ok(Remains::Covered);
        }
        if !is_dead(&entry.mountpoint)? {
            return Ok(Remains::Alive);
        }
        umount::detach(&entry.mountpoint, true)?;
        remains = Remains::Removed;
    }
    Ok(remains)
}

/// statfs is never answered from the kernel's caches.
fn is_dead(mountpoint: &Path) -> Result<bool, Error> {
    let path = mountpoint.to_owned();
    match patiently(mountpoint, move || rustix::fs::statfs(&path)) {
        Ok(answer) => Ok(answer.is_err_and(|errno| errno == Errno::NOTCONN)),
        Err(Error::MountpointHangs { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
