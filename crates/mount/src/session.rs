//! Putting a mount together, and taking it down.
//!
//! Two things are kept apart that fuser's `Session::new` does in one: coming to a /dev/fuse descriptor with a mount behind it (`device`), and
//! serving such a descriptor (`serving`). For three reasons:
//!
//! - fuser mounts with the type "fuse"; ours says "fuse.clip", by which `umount` and `stats` know our mounts from others.
//! - Unmounting is ours: lazily or not, with an error that names what to do, and never of a stranger that took the place.
//! - A mount can outlive its server: whoever keeps the descriptor (systemd's fd store) hands it to the next server, which serves it as it is (`resume`).
//!
//! The second server finds everything as the first left it, because the server has no state: inode numbers are places in the archive, nothing
//! is ever opened (see `fuse`). For the same reason the FUSE threads share one descriptor: with a clone for each (FUSE_DEV_IOC_CLONE)
//! the kernel answers the requests that were read from a clone with ECONNABORTED when the clone is closed, and a successor cannot have
//! them sent again (tried: eight SIGKILLs under four programs that stat: no error with one descriptor, all four failed with clones).
//! What a clone saves is a spinlock held for nanoseconds by two to four threads.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use archive::{Archive, ArchiveVersion};
use foresight::Foresight;
use read::Reader;
use serde_json::json;
use tokio::runtime::Handle;

use crate::control;
use crate::device::{self, Wish};
use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::fuse::{REQUEST_BYTES_MAX, Shell};
use crate::handover::Handover;
use crate::lane::Lane;
use crate::mountinfo::{self, MountEntry};
use crate::mountpoint::{self, Demands};
use crate::ops::{Ops, OpsSnapshot};
use crate::serving::{Hello, Serving};
use crate::umount;

/// FUSE threads: they only copy from memory and the page cache, so more than cores gain nothing; two at least, so that a page fault in the
/// index does not stop everybody; four at most, because with more they only contend for the kernel's one queue.
const THREADS: std::ops::RangeInclusive<usize> = 2..=4;

/// How long a program may wait for a read: long enough for a backend to retry through a short outage, short enough that a person sees an error
/// and not a hang.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// How long taking down waits for the FUSE threads. The kernel ends them at once, unless somebody still holds the mount (another namespace).
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Tells the traffic of the backend for `stats`: this crate does not know what a backend is.
pub type TrafficSource = Box<dyn Fn() -> serde_json::Value + Send + Sync>;

/// How to mount.
pub struct MountOptions {
    /// Mount also on a directory that holds something, which is then hidden. Default: refuse, it is mostly a mistake.
    pub nonempty: bool,
    /// Set-uid bits and device nodes work, as in an image that was unpacked. Only root's mounts can have it. Default: yes.
    pub suid_and_devices: bool,
    /// How long a read waits at most before it gets an error (ETIMEDOUT). Default: 60 s. A program may wait twice as long: the kernel asks first
    /// as read-ahead, whose error it drops, and then again for the page that the program waits for.
    pub read_deadline: Duration,
    /// Number of FUSE threads; none = chosen by the number of cores.
    pub threads: Option<usize>,
    /// Files and directories that are opened while the mount serves (cache, local blobs): the mount must not hide them. The archive is always one.
    pub own_files: Vec<PathBuf>,
    /// The traffic of the backend, for `stats`.
    pub traffic: Option<TrafficSource>,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            nonempty: false,
            suid_and_devices: true,
            read_deadline: READ_DEADLINE,
            threads: None,
            own_files: Vec::new(),
            traffic: None,
        }
    }
}

impl std::fmt::Debug for MountOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MountOptions")
            .field("nonempty", &self.nonempty)
            .field("suid_and_devices", &self.suid_and_devices)
            .field("read_deadline", &self.read_deadline)
            .field("threads", &self.threads)
            .field("own_files", &self.own_files)
            .finish_non_exhaustive()
    }
}

/// The way to a [`Mounted`].
#[derive(Debug)]
pub struct Mount;

impl Mount {
    /// Mounts `archive` on `mountpoint` and serves it from threads of its own. Reads that have to wait run on `runtime`.
    ///
    /// When this returns the mount answers. It blocks for milliseconds (seconds where the mountpoint's own filesystem is slow).
    /// Drop the [`Mounted`] before the runtime: reads that wait in a runtime that ends are answered with EIO.
    pub fn start(
        archive: Arc<Archive>,
        reader: Arc<Reader>,
        mountpoint: &Path,
        options: MountOptions,
        runtime: Handle,
    ) -> Result<Mounted, Error> {
        let mountpoint = mountpoint::check(mountpoint, &demands(&archive, &options))?;
        let allow_other = device::may_allow_other();
        if !allow_other {
            tracing::info!("only the mounting user can enter the mount: /etc/fuse.conf does not say user_allow_other");
        }
        let parts = Parts::new(archive, reader, &options, runtime, allow_other);
        parts.filesystem.mounted();
        let wish = Wish { source: parts.archive.path(), allow_other, suid_and_devices: options.suid_and_devices };
        let descriptor = device::mount(&mountpoint, &wish)?;
        let served = our_entry(&mountpoint).and_then(|entry| {
            let serving = parts.serve(descriptor, options.threads, Hello::FromKernel);
            Ok((entry, serving.map_err(|source| Error::Session { path: mountpoint.clone(), source })?))
        });
        // A mount that nobody serves must not stay.
        let (entry, serving) = served.or_else(|error| umount::detach(&mountpoint, true).and(Err(error)))?;
        Ok(parts.mounted(entry, serving, options.traffic))
    }
}

/// What answers the requests of a mount, however its descriptor was come by.
pub(crate) struct Parts {
    archive: Arc<Archive>,
    reader: Arc<Reader>,
    filesystem: Arc<Filesystem>,
    lane: Arc<Lane>,
    ops: Arc<Ops>,
    allow_other: bool,
}

impl Parts {
    pub(crate) fn new(archive: Arc<Archive>, reader: Arc<Reader>, options: &MountOptions, runtime: Handle, allow_other: bool) -> Parts {
        let foresight = Foresight::new(archive.clone(), reader.clone(), runtime.clone());
        let filesystem = Arc::new(Filesystem::new(archive.clone(), reader.clone(), foresight));
        let lane = Arc::new(Lane::new(filesystem.clone(), runtime, options.read_deadline));
        Parts { archive, reader, filesystem, lane, ops: Arc::default(), allow_other }
    }

    /// Serves the kernel's requests that come over `descriptor` until the mount behind it is gone.
    pub(crate) fn serve(&self, descriptor: OwnedFd, threads: Option<usize>, hello: Hello<'_>) -> io::Result<Serving> {
        let acl = if self.allow_other { fuser::SessionACL::All } else { fuser::SessionACL::Owner };
        let shell = Shell::new(self.filesystem.clone(), self.lane.clone(), self.ops.clone(), self.allow_other);
        Serving::start(descriptor, shell, acl, threads.unwrap_or_else(threads_by_cores).max(1), hello)
    }

    /// The running mount, with what makes it comfortable.
    pub(crate) fn mounted(self, entry: MountEntry, serving: Serving, traffic: Option<TrafficSource>) -> Mounted {
        let handover = Handover::new(&self.archive, &entry, self.allow_other, serving.greeting().clone());
        let Parts { archive, reader, lane, ops, .. } = self;
        let mut mounted = Mounted { entry, handover, reader, lane, ops, serving: Some(serving), left: false, control: None };
        mounted.widen_read_ahead();
        mounted.open_control(archive, traffic);
        mounted
    }
}

/// A running mount. Dropping it takes the mount down; [`Mounted::leave`] does not.
#[derive(Debug)]
pub struct Mounted {
    /// Our line of the mount table.
    entry: MountEntry,
    handover: Handover,
    reader: Arc<Reader>,
    lane: Arc<Lane>,
    ops: Arc<Ops>,
    /// None after [`Mounted::wait`].
    serving: Option<Serving>,
    /// The mount is a successor's.
    left: bool,
    control: Option<control::Server>,
}

impl Mounted {
    /// The canonical path of the mountpoint.
    pub fn mountpoint(&self) -> &Path {
        &self.entry.mountpoint
    }

    /// The minor device number of the mount: names it in the mount table and names its control socket.
    pub fn minor(&self) -> u32 {
        self.entry.minor
    }

    /// What the kernel asked for so far.
    pub fn ops(&self) -> OpsSnapshot {
        self.ops.snapshot()
    }

    /// What a successor must know ([`Mount::resume`]), for the whole life of the mount. To be kept where it outlives this process and not the machine: in /run.
    pub fn handover(&self) -> &Handover {
        &self.handover
    }

    /// The /dev/fuse descriptor behind which the mount lives. Whoever keeps a duplicate (sent over a socket, say to systemd's fd store, or made with
    /// `try_clone_to_owned`) keeps the mount alive without a server; when the last is closed the mount is dead, and calls on it fail with ENOTCONN.
    /// `None` after the mount has ended.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.serving.as_ref().map(Serving::device)
    }

    /// Stops serving without unmounting. Reads under way are answered, as far as they can be within `patience`; what comes meanwhile and needs the
    /// backend waits for the successor, as does everything that comes after this. The caller keeps a duplicate of [`Mounted::descriptor`] elsewhere, or the
    /// mount dies here. Blocks for `patience` and two seconds at most, a few milliseconds if no read is under way: not for async code.
    ///
    /// When this returns without an error no thread of this process reads requests of the mount any more, and its descriptors are closed: a successor
    /// can begin, in another process or in this one. [`Error::StillServed`] tells that threads did not end (on kernels before 6.9): end the process first.
    /// The first call makes SIGURG, if nobody handles it, a signal that does nothing but wake.
    pub fn leave(mut self, patience: Duration) -> Result<(), Error> {
        self.left = true;
        let Some(serving) = self.serving.take() else { return Ok(()) };
        self.lane.leave();
        let begun = Instant::now();
        while self.lane.under_way() > 0 && begun.elapsed() < patience {
            thread::sleep(Duration::from_millis(1));
        }
        serving.leave(END_PATIENCE).map_err(|source| Error::StillServed { path: self.entry.mountpoint.clone(), source })
    }

    /// Waits until the mount is gone, whoever unmounted it. Can be dropped and called again.
    pub async fn ended(&self) {
        let Some(mut when_ended) = self.serving.as_ref().map(Serving::when_ended) else { return };
        // An error means that the sender is gone, and with it the server.
        let _ = when_ended.wait_for(|ended| *ended).await;
    }

    /// Blocks until the mount is gone, and tells if its server ended by a fault. Not for async code: see [`Mounted::ended`].
    pub fn wait(mut self) -> Result<(), Error> {
        let Some(serving) = self.serving.take() else { return Ok(()) };
        serving.join().map_err(|source| Error::Session { path: self.entry.mountpoint.clone(), source })
    }

    /// Unmounts. A mount in use stays, and [`Error::Busy`] tells so, unless `lazy`: then it disappears at once, and is served until its last user leaves.
    pub fn unmount(&self, lazy: bool) -> Result<(), Error> {
        match self.is_attached()? {
            true => umount::detach(&self.entry.mountpoint, lazy),
            false => Err(Error::NotMounted { path: self.entry.mountpoint.clone() }),
        }
    }

    /// True while our filesystem, and not another that came later, lies at the mountpoint.
    fn is_attached(&self) -> Result<bool, Error> {
        let table = mountinfo::table()?;
        let top = mountinfo::topmost(&table, &self.entry.mountpoint);
        Ok(top.is_some_and(|top| (top.major, top.minor) == (self.entry.major, self.entry.minor)))
    }

    /// Lets the kernel read ahead in requests of 1 MiB instead of 128 KiB. Only root may; for others reading is as right and slower.
    fn widen_read_ahead(&self) {
        let path = format!("/sys/class/bdi/{}:{}/read_ahead_kb", self.entry.major, self.entry.minor);
        if let Err(error) = fs::write(&path, (REQUEST_BYTES_MAX / 1024).to_string()) {
            tracing::debug!(path, %error, "read-ahead stays at the kernel's default");
        }
    }

    /// A mount without its socket works, only nobody can ask it.
    fn open_control(&mut self, archive: Arc<Archive>, traffic: Option<TrafficSource>) {
        let document = document(archive, self.reader.clone(), self.ops.clone(), self.entry.mountpoint.clone(), traffic);
        match control::Server::open(self.entry.minor, document) {
            Ok(server) => self.control = Some(server),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no control socket: stats of this mount cannot be asked");
            }
        }
    }

    /// Unmounts in the way that is left.
    fn take_down(&self) {
        if !self.is_attached().unwrap_or(false) {
            return;
        }
        let Err(error) = umount::detach(&self.entry.mountpoint, false) else { return };
        tracing::warn!(%error, "detaching the mount from under its users");
        if let Err(error) = umount::detach(&self.entry.mountpoint, true) {
            tracing::error!(error = &error as &dyn std::error::Error, "the mount stays behind, dead");
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.left {
            self.take_down();
        }
        self.lane.close();
        self.reader.close();
        if let Some(serving) = self.serving.take() {
            serving.ends_within(END_PATIENCE);
        }
    }
}

/// The line of the mount table for what was just mounted.
fn our_entry(mountpoint: &Path) -> Result<MountEntry, Error> {
    let table = mountinfo::table()?;
    let entry = mountinfo::topmost(&table, mountpoint).filter(|entry| entry.is_clip()).cloned();
    entry.ok_or_else(|| Error::NotMounted { path: mountpoint.to_owned() })
}

fn threads_by_cores() -> usize {
    let cores = thread::available_parallelism().map_or(*THREADS.start(), usize::from);
    cores.clamp(*THREADS.start(), *THREADS.end())
}

fn demands(archive: &Archive, options: &MountOptions) -> Demands {
    let own_files = options.own_files.iter().map(PathBuf::as_path).chain([archive.path()]);
    // What cannot be found now is not opened by its path later either.
    let own_files = own_files.filter_map(|path| path.canonicalize().ok()).collect();
    Demands { nonempty: options.nonempty, own_files }
}

/// What the control socket says.
fn document(
    archive: Arc<Archive>,
    reader: Arc<Reader>,
    ops: Arc<Ops>,
    mountpoint: PathBuf,
    traffic: Option<TrafficSource>,
) -> impl Fn() -> serde_json::Value + Send + 'static {
    let begun = Instant::now();
    move || {
        let version = match archive.version() {
            ArchiveVersion::V1 => 1,
            ArchiveVersion::V2 => 2,
        };
        let id: String = archive.id().iter().map(|byte| format!("{byte:02x}")).collect();
        json!({
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": begun.elapsed().as_secs(),
            "mountpoint": mountpoint.to_string_lossy(),
            "archive": { "id": id, "path": archive.path().to_string_lossy(), "version": version },
            "operations": ops.snapshot(),
            "read": reader.stats(),
            "backend": traffic.as_ref().map(|traffic| traffic()),
        })
    }
}
