//! Serving a mount again whose server has died or left.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use archive::Archive;
use read::Reader;
use rustix::event::{PollFd, PollFlags};
use rustix::time::Timespec;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::handover::Handover;
use crate::mountinfo::{self, MountEntry};
use crate::serving::Hello;
use crate::session::{Mount, MountOptions, Mounted, Parts};

/// Device number of /dev/fuse (Documentation/admin-guide/devices.txt: misc, 229).
const FUSE_DEVICE: (u32, u32) = (10, 229);

impl Mount {
    /// Serves a mount that lives and whose server does not: it was killed, or it left ([`Mounted::leave`]). Programs that wait for an answer get it.
    ///
    /// `handover` and `descriptor` are what [`Mounted::handover`] and [`Mounted::descriptor`] of any earlier server of the mount gave; `archive` and `reader`
    /// are for the same archive as then, by its id. Of `options` those are ignored that concern a mountpoint (`nonempty`, `suid_and_devices`, `own_files`).
    /// The user must be the same where only the mounting user may enter.
    ///
    /// Only one process may serve a mount. The former must have *ended* (waitpid(2), or systemd's word for it) or have returned from `leave`: a request that
    /// it reads after this call is lost to the program that waits for it.
    ///
    /// It needs Linux 6.9. On older kernels, requests that the former server had read and not answered stay unanswered; a warning tells so.
    ///
    /// Errors: [`Error::Gone`] where nothing is left to serve; the caller should then call [`crate::clean_up()`]. After every other error the mount is as
    /// before, and lives if the caller has kept another duplicate of the descriptor.
    pub fn resume(
        archive: Arc<Archive>,
        reader: Arc<Reader>,
        handover: &Handover,
        descriptor: OwnedFd,
        options: MountOptions,
        runtime: Handle,
    ) -> Result<Mounted, Error> {
        handover.check(&archive)?;
        let entry = find_again(handover, &descriptor)?;
        let parts = Parts::new(archive, reader, &options, runtime, handover.allow_other());
        let serving = parts
            .serve(descriptor, options.threads, Hello::Kept(handover.greeting()))
            .map_err(|source| Error::Session { path: entry.mountpoint.clone(), source })?;
        Ok(parts.mounted(entry, serving, options.traffic))
    }
}

/// The line of the mount table for the mount behind `descriptor`: at its old place if it is there, else wherever it is now.
fn find_again(handover: &Handover, descriptor: &OwnedFd) -> Result<MountEntry, Error> {
    let gone = || Error::Gone { path: handover.mountpoint().to_owned() };
    check_descriptor(handover, descriptor)?;
    if !is_connected(descriptor) {
        return Err(gone());
    }
    let mut places: Vec<MountEntry> = mountinfo::table()?.into_iter().filter(|entry| handover.is_of(entry)).collect();
    let place = places.iter().position(|entry| entry.mountpoint == handover.mountpoint()).unwrap_or(0);
    match places.is_empty() {
        true => Err(gone()),
        false => Ok(places.swap_remove(place)),
    }
}

/// Refuses descriptors of something else, or of another mount: what is written to them would be answers to questions that nobody asked.
fn check_descriptor(handover: &Handover, descriptor: &OwnedFd) -> Result<(), Error> {
    let foreign = || Error::ForeignDescriptor { path: handover.mountpoint().to_owned() };
    let stat = rustix::fs::fstat(descriptor).map_err(|_| foreign())?;
    if (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) != FUSE_DEVICE {
        return Err(foreign());
    }
    let (major, minor) = handover.device();
    match connection(descriptor) {
        Some(number) if number != (major << 20 | minor) => Err(foreign()),
        _ => Ok(()),
    }
}

/// The device number of the mount behind a /dev/fuse descriptor, as the kernel counts inside (20 bits for the minor). Older kernels do not tell.
fn connection(descriptor: &OwnedFd) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("fuse_connection:"))?.trim().parse().ok()
}

/// False if the mount behind the descriptor has ended: then, and only then, the kernel reports an error (fs/fuse/dev.c, `fuse_dev_poll`).
fn is_connected(descriptor: &OwnedFd) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::empty())];
    let answered = rustix::event::poll(&mut asked, Some(&Timespec::default()));
    answered.is_ok() && !asked[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_device_without_a_mount_is_not_connected() {
        let Ok(device) = File::options().read(true).write(true).open("/dev/fuse") else { return };
        let device = device.into();
        assert!(!is_connected(&device));
        assert_eq!(connection(&device), None);
    }
}
