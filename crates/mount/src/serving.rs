//! Serving a /dev/fuse descriptor: from the first request of the kernel or from where another server left it, and leaving it to the next.
//!
//! fuser wants to hear FUSE_INIT before anything else, and the kernel says it once in the life of a mount. So fuser never talks to the kernel about it:
//! it gets one end of a socket pair, we say FUSE_INIT at the other (the kernel's own, or the one that was kept, see `greeting`), read the reply,
//! and then exchange the socket for the device (`seat`). A first server's reply goes on to the kernel; a successor's does not.
//!
//! What the dead server had read and not answered, the kernel sends again when it is told FUSE_NOTIFY_RESEND (Linux 6.9); what nobody had read still waits in
//! its queue. Requests that are sent again have a bit more in their number, so that a late reply to the first sending meets no request.
//!
//! Leaving is the hard part, as threads in read(2) on /dev/fuse sleep until there is a request, and whoever wakes takes it away from the successor:
//!
//! 1. The device is exchanged for /dev/null, opened for writing only: each further read of a FUSE thread fails, which ends it, and replies vanish.
//! 2. Threads that sleep in read(2) are woken (`wake`), and read again: from /dev/null.
//! 3. When all have ended, whatever they took and did not answer is among what the successor gets sent again.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fuser::{Session, SessionACL};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tokio::sync::watch;

use crate::fuse::Shell;
use crate::greeting::Greeting;
use crate::seat::Seat;
use crate::wake;

/// Room for the first request and its reply. The kernel refuses to be read with less than 8 KiB (FUSE_MIN_READ_BUFFER).
const GREETING_BYTES_MAX: usize = 16 << 10;

/// The notification (in the place of an error in `fuse_out_header`) upon which the kernel sends requests again.
const FUSE_NOTIFY_RESEND: u32 = 7;

/// How long threads are given before they are woken again: one may have been created only after the others were.
const WAKE_AGAIN: Duration = Duration::from_millis(20);

/// How the server comes to know what the kernel can do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hello<'a> {
    /// The kernel says it: nobody has served this mount yet.
    FromKernel,
    /// It told an earlier server.
    Kept(&'a Greeting),
}

/// The threads that serve a mount.
#[derive(Debug)]
pub(crate) struct Serving {
    device: OwnedFd,
    seat: Seat,
    greeting: Greeting,
    session: JoinHandle<io::Result<()>>,
    when_ended: watch::Receiver<bool>,
}

impl Serving {
    /// Serves `device` until the mount behind it is gone. The kernel has been greeted when this returns, and has sent again what an earlier server owed it.
    pub(crate) fn start(device: OwnedFd, shell: Shell, acl: SessionACL, threads: usize, hello: Hello<'_>) -> io::Result<Serving> {
        let mut config = fuser::Config::default();
        config.acl = acl;
        config.n_threads = Some(threads);
        let (ours, its) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let request = first_request(&device, hello)?;
        rustix::net::send(&ours, &request, SendFlags::NOSIGNAL)?;
        let session = Session::from_fd(shell, its, acl, config)?;
        let mut reply = vec![0; GREETING_BYTES_MAX];
        let (length, _) = rustix::net::recv(&ours, &mut reply[..], RecvFlags::DONTWAIT)?;
        reply.truncate(length);

        let seat = Seat::of(&session);
        seat.put(&device)?;
        let greeting = finish(&device, &request, &reply, hello)?;
        let (ended, when_ended) = watch::channel(false);
        let session = thread::Builder::new().name("clip-session".into()).spawn(move || {
            let outcome = session.run();
            // Nobody listening is fine.
            ended.send_replace(true);
            outcome
        })?;
        Ok(Serving { device, seat, greeting, session, when_ended })
    }

    /// The descriptor behind which the mount lives.
    pub(crate) fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// What was said at the beginning of the mount.
    pub(crate) fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Becomes true when the last thread has ended.
    pub(crate) fn when_ended(&self) -> watch::Receiver<bool> {
        self.when_ended.clone()
    }

    /// Waits until the mount is gone.
    pub(crate) fn join(self) -> io::Result<()> {
        self.session.join().unwrap_or_else(|_| Err(io::Error::other("the FUSE thread panicked")))
    }

    /// Waits at most so long for the threads to end, and tells if they did.
    pub(crate) fn ends_within(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        while !self.session.is_finished() && begun.elapsed() < patience {
            thread::sleep(Duration::from_millis(1));
        }
        self.session.is_finished()
    }

    /// Ends the threads and leaves the mount as it is. Replies that come from now on go nowhere; see above.
    ///
    /// An error ([`ErrorKind::TimedOut`]) tells that a thread may still take requests away.
    pub(crate) fn leave(&self, patience: Duration) -> io::Result<()> {
        self.seat.put(File::options().write(true).open("/dev/null")?)?;
        let begun = Instant::now();
        while begun.elapsed() < patience {
            wake::fuse_threads()?;
            if self.ends_within(WAKE_AGAIN) {
                return Ok(());
            }
        }
        Err(ErrorKind::TimedOut.into())
    }
}

fn first_request(device: &OwnedFd, hello: Hello<'_>) -> io::Result<Vec<u8>> {
    match hello {
        Hello::Kept(greeting) => Ok(greeting.request().to_vec()),
        Hello::FromKernel => {
            let mut request = vec![0; GREETING_BYTES_MAX];
            let length = rustix::io::retry_on_intr(|| rustix::io::read(device, &mut request[..]))?;
            request.truncate(length);
            Ok(request)
        }
    }
}

/// Tells the kernel how it goes on.
fn finish(device: &OwnedFd, request: &[u8], reply: &[u8], hello: Hello<'_>) -> io::Result<Greeting> {
    match hello {
        Hello::FromKernel => {
            let greeting = Greeting::of(request, reply)?;
            rustix::io::write(device, reply)?;
            Ok(greeting)
        }
        Hello::Kept(greeting) => {
            let unasked = greeting.unasked(reply)?;
            if unasked != 0 {
                tracing::warn!(
                    unasked = format_args!("{unasked:#x}"),
                    "an earlier version agreed with the kernel on what this one does not know"
                );
            }
            resend(device)?;
            Ok(greeting.clone())
        }
    }
}

/// Has the kernel send again what an earlier server had read and not answered: a `fuse_out_header` with length and code, and no number.
fn resend(device: &OwnedFd) -> io::Result<()> {
    let mut notification = [0; 16];
    notification[..4].copy_from_slice(&16_u32.to_ne_bytes());
    notification[4..8].copy_from_slice(&FUSE_NOTIFY_RESEND.to_ne_bytes());
    match rustix::io::write(device, &notification) {
        Err(Errno::INVAL) => {
            tracing::warn!(
                "this kernel (before 6.9) cannot send requests again: programs that waited for the former server wait until the mount goes"
            );
            Ok(())
        }
        other => Ok(other.map(drop)?),
    }
}
