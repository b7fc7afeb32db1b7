//! The daemon's word to its service manager: sd_notify(3), sd_pid_notify_with_fds(3).

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::net::SocketAddrUnix;
use rustix::time::{ClockId, Timespec};

use crate::error::Error;
use crate::message;
use crate::name::Name;
use crate::wire;

/// How long a full socket of the manager may keep the daemon: systemd reads at once, or is stuck.
const SEND_PATIENCE: Duration = Duration::from_secs(5);

/// What became of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The service manager has it in its queue.
    Manager,
    /// There is no service manager ($NOTIFY_SOCKET is not set): nothing was done. What was to be kept will not be.
    Nobody,
}

/// The way to the service manager.
#[derive(Debug)]
pub struct Keeper {
    manager: Option<Manager>,
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddrUnix,
}

impl Keeper {
    /// The service manager that started this process, from $NOTIFY_SOCKET and $WATCHDOG_USEC; or nobody, if there is none.
    pub fn from_environment() -> Result<Keeper, Error> {
        let manager = env::var_os("NOTIFY_SOCKET").filter(|value| !value.is_empty()).map(Manager::at).transpose()?;
        let watchdog = watchdog(env::var("WATCHDOG_USEC").ok(), env::var("WATCHDOG_PID").ok(), std::process::id());
        Ok(Keeper { manager, watchdog })
    }

    /// True if somebody keeps what is stored.
    pub fn has_manager(&self) -> bool {
        self.manager.is_some()
    }

    /// Stores a duplicate of `descriptor`, until it is [`Keeper::remove`]d or the service is stopped. Whoever follows this process finds it in [`crate::received()`].
    ///
    /// The manager does not watch it (FDPOLL=0): one that has hung up stays until it is removed. For /dev/fuse that is a must, because of a watcher the kernel would
    /// wake the manager for each request of the mount.
    ///
    /// Beyond its limit (`FileDescriptorStoreMax=`, by default 0!) the manager refuses, and only its log tells.
    pub fn store(&self, name: &Name, descriptor: impl AsFd) -> Result<Told, Error> {
        self.tell_with(&[("FDSTORE", "1"), ("FDNAME", name.as_str()), ("FDPOLL", "0")], &[descriptor.as_fd()])
    }

    /// Has all descriptors of this name forgotten and closed. It is no error if there are none.
    pub fn remove(&self, name: &Name) -> Result<Told, Error> {
        self.tell(&[("FDSTOREREMOVE", "1"), ("FDNAME", name.as_str())])
    }

    /// The daemon serves.
    pub fn ready(&self) -> Result<Told, Error> {
        self.tell(&[("READY", "1")])
    }

    /// The daemon reads its configuration again; [`Keeper::ready`] is due when it has.
    pub fn reloading(&self) -> Result<Told, Error> {
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&[("RELOADING", "1"), ("MONOTONIC_USEC", &now_us.to_string())])
    }

    /// The daemon is about to end.
    pub fn stopping(&self) -> Result<Told, Error> {
        self.tell(&[("STOPPING", "1")])
    }

    /// What the daemon does at the moment, for people: one line of 1 KiB at most; the rest is cut, and control characters are replaced by spaces.
    pub fn status(&self, text: &str) -> Result<Told, Error> {
        self.tell(&[("STATUS", &message::one_line(text))])
    }

    /// The daemon is alive. Due every [`Keeper::watchdog_interval`].
    pub fn watchdog(&self) -> Result<Told, Error> {
        self.tell(&[("WATCHDOG", "1")])
    }

    /// How often [`Keeper::watchdog`] should be called: half of the time after which the manager kills this process. None if it does not watch.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Waits until the manager has read everything that it was told before, at most so long ([`Error::Unheard`]). After that what was stored is kept,
    /// even if this process is killed the next moment; messages of the dead may be dropped.
    pub fn barrier(&self, patience: Duration) -> Result<Told, Error> {
        let (ours, theirs) = io::pipe().map_err(|source| Error::Notify { source })?;
        let told = self.tell_with(&[("BARRIER", "1")], &[theirs.as_fd()])?;
        drop(theirs);
        // The manager closes its duplicate when it comes to the message.
        match told == Told::Nobody || hangs_up_within(&OwnedFd::from(ours), patience)? {
            true => Ok(told),
            false => Err(Error::Unheard { patience }),
        }
    }

    fn tell(&self, assignments: &[(&str, &str)]) -> Result<Told, Error> {
        self.tell_with(assignments, &[])
    }

    fn tell_with(&self, assignments: &[(&str, &str)], descriptors: &[BorrowedFd<'_>]) -> Result<Told, Error> {
        let Some(Manager { socket, address }) = &self.manager else { return Ok(Told::Nobody) };
        let text = message::compose(assignments);
        wire::send(socket, Some(address), text.as_bytes(), descriptors).map_err(|source| Error::Notify { source })?;
        Ok(Told::Manager)
    }
}

impl Manager {
    fn at(address: OsString) -> Result<Manager, Error> {
        let parsed = parse(&address).ok_or(Error::Address { address })?;
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_write_timeout(Some(SEND_PATIENCE)).map(|()| socket));
        Ok(Manager { socket: socket.map_err(|source| Error::Notify { source })?, address: parsed })
    }
}

/// An absolute path, or an abstract name behind an @.
fn parse(address: &OsStr) -> Option<SocketAddrUnix> {
    match address.as_bytes() {
        [b'/', ..] => SocketAddrUnix::new(address).ok(),
        [b'@', name @ ..] if !name.is_empty() => SocketAddrUnix::new_abstract_name(name).ok(),
        _ => None,
    }
}

/// sd_watchdog_enabled(3): the limit is for us if no pid is named, or ours.
fn watchdog(limit_us: Option<String>, pid: Option<String>, me: u32) -> Option<Duration> {
    let limit_us: u64 = limit_us?.parse().ok().filter(|limit| *limit > 0)?;
    pid.is_none_or(|pid| pid.parse() == Ok(me)).then(|| Duration::from_micros(limit_us))
}

fn hangs_up_within(pipe: &OwnedFd, patience: Duration) -> Result<bool, Error> {
    let timeout = Timespec::try_from(patience).ok();
    let mut asked = [PollFd::new(pipe, PollFlags::empty())];
    let hung_up = rustix::io::retry_on_intr(|| rustix::event::poll(&mut asked, timeout.as_ref()));
    Ok(hung_up.map_err(|errno| Error::Wait { source: errno.into() })? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper_at(address: &str) -> Keeper {
        Keeper { manager: Some(Manager::at(address.into()).unwrap()), watchdog: None }
    }

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        for good in ["/run/systemd/notify", "@abstract/name"] {
            assert!(parse(OsStr::new(good)).is_some(), "{good}");
        }
        for bad in ["", "@", "relative", "vsock:2:1234", &format!("/{}", "x".repeat(200))] {
            assert!(parse(OsStr::new(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_watchdog_is_for_who_is_named() {
        let of = |limit: &str, pid: Option<&str>| watchdog(Some(limit.into()), pid.map(str::to_owned), 42);
        assert_eq!(of("3000000", None), Some(Duration::from_secs(3)));
        assert_eq!(of("3000000", Some("42")), Some(Duration::from_secs(3)));
        for (limit, pid) in [("3000000", Some("43")), ("0", None), ("x", None), ("", Some("42")), ("1", Some("x"))] {
            assert_eq!(of(limit, pid), None, "{limit} {pid:?}");
        }
    }

    #[test]
    fn words_arrive_as_systemd_expects_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let keeper = keeper_at(path.to_str().unwrap());
        let heard = || wire::receive(&manager, 4096).unwrap().unwrap();
        assert_eq!(keeper.store(&Name::new("a b").unwrap(), &manager).unwrap(), Told::Manager);
        let stored = heard();
        assert_eq!(stored.bytes, b"FDSTORE=1\nFDNAME=a b\nFDPOLL=0\n");
        assert_eq!(stored.descriptors.len(), 1);
        keeper.status("all\nwell").unwrap();
        assert_eq!(heard().bytes, b"STATUS=all well\n");
        keeper.reloading().unwrap();
        assert!(heard().bytes.starts_with(b"RELOADING=1\nMONOTONIC_USEC="));
        assert!(matches!(keeper.barrier(Duration::from_millis(10)), Err(Error::Unheard { .. })));
        drop(heard());
        std::thread::scope(|scope| {
            scope.spawn(|| drop(heard()));
            assert_eq!(keeper.barrier(Duration::from_secs(5)).unwrap(), Told::Manager);
        });
        // The stored duplicate is the manager's own socket.
        drop((manager, stored));
        assert!(matches!(keeper.ready(), Err(Error::Notify { .. })));
    }

    #[test]
    fn without_a_manager_nothing_happens_and_is_said() {
        let keeper = Keeper { manager: None, watchdog: None };
        assert!(!keeper.has_manager());
        assert_eq!(keeper.ready().unwrap(), Told::Nobody);
        assert_eq!(keeper.barrier(Duration::ZERO).unwrap(), Told::Nobody);
        assert_eq!(keeper.store(&Name::new("x").unwrap(), io::stdin()).unwrap(), Told::Nobody);
    }
}
