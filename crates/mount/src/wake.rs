//! Waking FUSE threads that sleep in read(2) on /dev/fuse, so that they read again.
//!
//! What was tried first and cannot be: a notification that makes the kernel send a "request" that awaits no reply (FUSE_NOTIFY_RETRIEVE of no bytes of the root).
//! Linux 6.18 refuses it for anything but a regular file, and which of those the kernel knows at the moment only the kernel knows.
//!
//! So it is a signal, sent to single threads: a handler that does nothing breaks the sleep, and the kernel begins read(2) anew with the same number,
//! behind which lies another file then (`seat`). The signal is SIGURG, which is ignored unless somebody wants it, and which Go uses for the same. Threads of
//! other mounts of this process, which have the same names, are woken too, and sleep again.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

/// What fuser calls its threads: this and a number.
const THREAD_NAME: &str = "fuser-";

/// PIDFD_THREAD of pidfd_open(2), the same as O_EXCL: one thread, not the process. Linux 6.9, as FUSE_NOTIFY_RESEND.
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(0o200);

/// Wakes all FUSE threads of this process that sleep.
pub(crate) fn fuse_threads() -> io::Result<()> {
    handle_signal()?;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end meanwhile; then there is nobody to wake.
        if fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(THREAD_NAME)) {
            wake(&task)?;
        }
    }
    Ok(())
}

fn wake(task: &Path) -> io::Result<()> {
    let number = task.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    let thread = number.and_then(Pid::from_raw).ok_or(ErrorKind::InvalidData)?;
    let sent = rustix::process::pidfd_open(thread, PIDFD_THREAD).and_then(|thread| rustix::process::pidfd_send_signal(thread, Signal::URG));
    match sent {
        Err(Errno::SRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the signal something that wakes, once: what is ignored wakes nobody.
fn handle_signal() -> io::Result<()> {
    static HANDLED: Mutex<bool> = Mutex::new(false);
    // Poisoned only by a panic between two reads of a bool.
    let mut handled = HANDLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*handled {
        signal_hook::flag::register(signal_hook::consts::SIGURG, Arc::default())?;
        *handled = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::thread;
    use std::time::Duration;

    /// A pipe sleeps as /dev/fuse does. That the threads of a mount end is tested with mounts.
    #[test]
    fn who_is_woken_for_nothing_sleeps_again() {
        let (reader, mut writer) = io::pipe().unwrap();
        let read = move || rustix::io::read(&reader, &mut [0; 8][..]);
        let sleeper = thread::Builder::new().name(format!("{THREAD_NAME}0")).spawn(read).unwrap();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(20));
            fuse_threads().unwrap();
        }
        writer.write_all(b"abc").unwrap();
        assert_eq!(sleeper.join().unwrap(), Ok(3), "not EINTR");
    }
}
