//! The stand-in for systemd: starts a daemon, keeps its descriptors, and starts it again whenever it ends.
//!
//! One thread, one loop around poll(2): messages, signals, the end of the child, and the next thing that is due by the clock.
//!
//! As systemd does, it: passes what is stored to each new child ($LISTEN_FDS); drops it on FDSTOREREMOVE=1 and, unless FDPOLL=0 was said, when it has hung up;
//! kills a child that does not pet its watchdog (SIGABRT, then SIGKILL); stops by SIGTERM, then SIGKILL; listens to nobody but the child.
//! Other than systemd: it starts the child again after *every* end (Restart=always) and never gives up; it does not recognise that the same descriptor
//! is stored twice; it knows neither EXTEND_TIMEOUT_USEC nor MAINPID.

mod backoff;
mod child;
mod life;
mod signals;
mod socket;
mod stage;
mod store;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use rustix::time::Timespec;

use crate::error::Error;
use crate::message::Message;
use crate::name::Name;
use crate::wire::Datagram;
use backoff::Backoff;
use child::Child;
use life::{Due, Life};
use signals::Signals;
use socket::NotifySocket;
pub use stage::stage;
use store::Store;

/// How often descriptors are asked if they have hung up. They are asked and not watched: a watcher of /dev/fuse is woken for each request.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Messages that are read in a row before the clock and the signals are looked at.
const MESSAGES_IN_A_ROW: usize = 64;

/// Messages that are read of a child that has ended: all that can be in the queue (`net.unix.max_dgram_qlen`, 10 by default, 512 where systemd sets it).
const LAST_MESSAGES: usize = 4096;

/// The name of descriptors that came without one, or with an invalid one: systemd's.
const NAMELESS: &str = "stored";

/// How to supervise.
#[derive(Clone, Debug)]
pub struct Options {
    /// Arguments with which this program (/proc/self/exe) calls [`stage()`] with the arguments that follow these. Between fork and exec somebody must write the pid
    /// of the child into its environment and put descriptors at their numbers; it is this program itself, started once more for a moment.
    pub stage: Vec<OsString>,
    /// Where the private directory with the socket is made. Default: $XDG_RUNTIME_DIR, else /run for root, else the directory for temporary files.
    pub directory: PathBuf,
    /// Descriptors that are kept at most, as FileDescriptorStoreMax=. Default: 512.
    pub descriptors_max: usize,
    /// A child that does not say WATCHDOG=1 for so long, once it is ready, is killed. The child can change it (WATCHDOG_USEC=). Default: no watchdog.
    pub watchdog: Option<Duration>,
    /// A child that does not say READY=1 for so long is stopped and started again. Default: it need not say it.
    pub ready_within: Option<Duration>,
    /// How long a child that was told to end may take. Default: 30 s.
    pub stop_within: Duration,
}

impl Default for Options {
    fn default() -> Options {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|directory| directory.is_absolute());
        let root = rustix::process::geteuid().is_root().then(|| PathBuf::from("/run"));
        Options {
            stage: Vec::new(),
            directory: runtime.or(root).unwrap_or_else(std::env::temp_dir),
            descriptors_max: 512,
            watchdog: None,
            ready_within: None,
            stop_within: Duration::from_secs(30),
        }
    }
}

/// Runs `command` (program and arguments), again and again, until told to stop by SIGTERM or SIGINT; then gives how the last child ended. Blocks all the while.
///
/// The program is looked up anew at each start, so a new version at the same place is taken with the next one. SIGTERM, SIGINT and SIGHUP are passed on.
/// When the supervisor itself dies the child gets SIGTERM. Descriptors are closed when this returns.
///
/// It changes how the process handles these three signals, and is meant for one that does nothing else.
pub fn supervise(command: &[OsString], options: Options) -> Result<ExitStatus, Error> {
    if command.is_empty() {
        return Err(Error::NoCommand);
    }
    let socket = NotifySocket::bind(&options.directory)?;
    let signals = Signals::handle()?;
    let store = Store::new(options.descriptors_max);
    Supervisor { command, options, socket, signals, store, stopping: false }.run()
}

/// What a shell makes of such an end: the code, or 128 and the number of the signal.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

struct Supervisor<'a> {
    command: &'a [OsString],
    options: Options,
    socket: NotifySocket,
    signals: Signals,
    store: Store,
    /// We were told to stop.
    stopping: bool,
}

impl Supervisor<'_> {
    fn run(mut self) -> Result<ExitStatus, Error> {
        let mut backoff = Backoff::default();
        // How a child ended that could not even be started.
        let mut status = ExitStatus::from_raw(127 << 8);
        while !self.stopping {
            let begun = Instant::now();
            let mut served = false;
            match Child::start(self.command, &self.options, &self.socket, &self.store) {
                Ok(mut child) => {
                    (status, served) = self.attend(&mut child)?;
                    tracing::info!(pid = child.pid(), %status, kept = self.store.len(), "the child has ended");
                }
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the child cannot be started"),
            }
            self.pause(backoff.after(begun.elapsed(), served))?;
        }
        Ok(status)
    }

    /// Everything that happens during the life of a child. Gives how it ended and if it was ever ready.
    fn attend(&mut self, child: &mut Child) -> Result<(ExitStatus, bool), Error> {
        let mut life = Life::new(Instant::now(), &self.options);
        tracing::info!(pid = child.pid(), passed = self.store.len(), "the child has started");
        loop {
            let ended = self.wait(Some(child), life.next())?;
            self.pass_signals_on(child, &mut life);
            self.hear(child, &mut life, if ended { LAST_MESSAGES } else { MESSAGES_IN_A_ROW });
            if ended {
                return Ok((child.reap()?, life.is_ready()));
            }
            match life.due(Instant::now()) {
                Due::Nothing => {}
                Due::Signal { signal, why } => {
                    tracing::error!(pid = child.pid(), ?signal, "{why}");
                    child.signal(signal);
                }
            }
        }
    }

    /// Waits for signals, messages, the end of the child, at the latest until `due`. Tells if the child has ended.
    fn wait(&mut self, child: Option<&Child>, due: Option<Instant>) -> Result<bool, Error> {
        self.store.sweep();
        let now = Instant::now();
        let sweep = self.store.is_watching().then(|| now + SWEEP_INTERVAL);
        let until = due.into_iter().chain(sweep).min().map(|until| until.saturating_duration_since(now));
        // Up to a whole millisecond more, so that what is due is so when we wake.
        let timeout = until.and_then(|until| Timespec::try_from(until.saturating_add(Duration::from_millis(1))).ok());
        let mut asked = vec![PollFd::new(&self.socket, PollFlags::IN)];
        asked.extend(self.signals.pipes().map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        asked.extend(child.map(|child| PollFd::new(child, PollFlags::IN)));
        match rustix::event::poll(&mut asked, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::Wait { source: errno.into() }),
        }
        Ok(child.is_some() && asked.last().is_some_and(|child| !child.revents().is_empty()))
    }

    /// The time between two children, which a signal to stop ends.
    fn pause(&mut self, pause: Duration) -> Result<(), Error> {
        let end = Instant::now() + pause;
        loop {
            self.stopping |= self.signals.take().any(is_stop);
            // Nobody is there who may say anything.
            (0..MESSAGES_IN_A_ROW).map_while(|_| self.socket.receive()).for_each(drop);
            if self.stopping || Instant::now() >= end {
                return Ok(());
            }
            self.wait(None, Some(end))?;
        }
    }

    fn pass_signals_on(&mut self, child: &Child, life: &mut Life) {
        for signal in self.signals.take() {
            tracing::info!(pid = child.pid(), ?signal, "signal passed on");
            child.signal(signal);
            if is_stop(signal) {
                self.stopping = true;
                life.end(Instant::now(), self.options.stop_within);
            }
        }
    }

    fn hear(&mut self, child: &Child, life: &mut Life, messages_max: usize) {
        for _ in 0..messages_max {
            let Some(datagram) = self.socket.receive() else { return };
            // The kernel vouches for the sender's pid, which nobody else gets before the child is reaped.
            if datagram.sender != Some(child.process()) {
                tracing::warn!(
                    sender = datagram.sender.map(|pid| pid.as_raw_nonzero().get()),
                    "a message that is not from the child: ignored"
                );
            } else if datagram.cut {
                tracing::warn!("a message of the child with too much text or too many descriptors: ignored");
            } else {
                self.obey(datagram, life);
            }
        }
    }

    fn obey(&mut self, datagram: Datagram, life: &mut Life) {
        let Datagram { bytes, descriptors, .. } = datagram;
        let Some(message) = Message::parse(&bytes) else { return tracing::warn!("a message of the child with NUL bytes: ignored") };
        life.hear(&message, Instant::now());
        if let Some(status) = message.get("STATUS") {
            tracing::info!(status, "the child says");
        }
        let name = message.get("FDNAME").and_then(|name| Name::new(name).ok());
        if message.says("FDSTOREREMOVE") {
            self.store.remove(name.as_ref().map_or(NAMELESS, Name::as_str));
        } else if message.says("FDSTORE") {
            let name = name.map_or_else(|| NAMELESS.to_owned(), |name| name.as_str().to_owned());
            let watched = message.get("FDPOLL") != Some("0");
            self.store.add(&name, descriptors, watched);
        }
        // Descriptors of other messages are closed here; for BARRIER=1 that is the answer.
    }
}

fn is_stop(signal: Signal) -> bool {
    signal == Signal::TERM || signal == Signal::INT
}
