#![expect(unsafe_code, reason = "descriptors that are known by number only: received and passed over exec")]
//! The only unsafe code of the crate: descriptors by their number.
//!
//! A process that is started finds descriptors at numbers, not as values; here numbers become owned values, and values are put at numbers.

use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};

use rustix::io::{DupFlags, FdFlags};

/// The first number of the descriptors that a service manager passes (SD_LISTEN_FDS_START, sd_listen_fds(3)).
pub(crate) const FIRST: RawFd = 3;

/// Takes the `count` descriptors from [`FIRST`] on, which the service manager has put there before this program began; once in the life of the process.
/// None if they were taken before. They will not be inherited by programs that are started.
pub(crate) fn take_inherited(count: RawFd) -> Option<Vec<Result<OwnedFd, (RawFd, io::Error)>>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, AcqRel) {
        return None;
    }
    Some((FIRST..FIRST + count).map(|number| take(number).map_err(|error| (number, error))).collect())
}

/// To be called once for a number, and only for those that were passed to this program by exec.
fn take(number: RawFd) -> io::Result<OwnedFd> {
    // Not followed: what it points to may hang.
    fs::symlink_metadata(format!("/proc/self/fd/{number}"))?;
    // SAFETY: the number is open, as was just seen. The environment says that it was passed to this process (its pid is named there) at exec, so before
    // any code of this program ran and could own it; and TAKEN lets each number through once. So nobody else owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

/// Puts descriptors at the numbers from [`FIRST`] on, to be inherited by the program that this process becomes. Whatever lay there is closed:
/// only for a process that owns no other descriptors and is about to exec.
pub(crate) fn put_for_exec(descriptors: Vec<OwnedFd>) -> io::Result<()> {
    let above = FIRST + descriptors.len() as RawFd;
    // First out of the way: one may lie where another shall.
    let aside = descriptors.into_iter().map(|descriptor| Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, above)?));
    let aside: Vec<OwnedFd> = aside.collect::<io::Result<_>>()?;
    for (number, descriptor) in (FIRST..).zip(&aside) {
        // SAFETY: nothing is closed through the `OwnedFd` made here, it is never dropped. Nobody owns the number: the caller has no descriptors but
        // those given, and all of these lie at `above` or higher.
        let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
        rustix::io::dup3(descriptor, &mut place, DupFlags::empty())?;
    }
    Ok(())
}
