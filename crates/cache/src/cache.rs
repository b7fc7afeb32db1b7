//! The directory: opening it, opening streams in it. Keeping it within its limit is in room.rs.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate};

use crate::Error;
use crate::boot::BootId;
use crate::complaint::Complaints;
use crate::evict;
use crate::key::key_hex;
use crate::ledger::Ledger;
use crate::lock::{self, open_private};
use crate::room::Room;
use crate::stream::StreamCache;
use crate::table::{StreamLayout, Table};

/// Least limit: one span of the usual size, so that the cache is of any use.
pub const BYTES_MAX_MIN: u64 = 1 << 20;

pub(crate) const SPANS_FILE: &str = "spans";
pub(crate) const DATA_FILE: &str = "data";

/// A node's cache. Cheap to share in an `Arc`; any number of processes may have the same directory open.
#[derive(Debug)]
pub struct Cache {
    shared: Arc<Shared>,
}

/// How full the cache is, and how it fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that all spans of all processes occupy, in whole blocks; an estimate that every eviction corrects.
    pub bytes: u64,
    /// The limit of this process.
    pub bytes_max: u64,
    /// Streams that have a directory.
    pub streams: u64,
    /// Spans that this process evicted.
    pub evicted_spans: u64,
    /// Bytes that this process evicted.
    pub evicted_bytes: u64,
    /// Reads, writes and evictions that the operating system refused to this process.
    pub failures: u64,
}

impl Cache {
    /// Opens the directory, making it if need be, to hold at most `bytes_max` bytes (at least [`BYTES_MAX_MIN`]).
    pub fn open(dir: &Path, bytes_max: u64) -> Result<Self, Error> {
        Self::open_in_boot(dir, bytes_max, BootId::current()?)
    }

    pub(crate) fn open_in_boot(dir: &Path, bytes_max: u64, boot: BootId) -> Result<Self, Error> {
        if bytes_max < BYTES_MAX_MIN {
            return Err(Error::LimitTooSmall { bytes_max, least: BYTES_MAX_MIN });
        }
        let paths = Paths { dir: dir.to_owned() };
        for path in [dir.to_owned(), paths.streams(), paths.pins(), paths.aside()] {
            make_private_dir(&path).map_err(Error::io("create", &path))?;
            check_private(&path)?;
        }
        let _lock = lock::wait(&paths.open_lock())?;
        probe_holes(&paths)?;
        empty(&paths.aside())?;
        let ledger = Ledger::open(&paths.ledger())?;
        let shared = Shared {
            paths,
            room: Room::new(bytes_max),
            boot,
            ledger,
            complaints: Complaints::default(),
            evicted_spans: AtomicU64::new(0),
            evicted_bytes: AtomicU64::new(0),
        };
        // Corrects the total, finishes what a dead evictor left, and makes room if the limit was lowered.
        shared.evict(|_| bytes_max);
        evict::remove_unused(&shared.paths)?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Opens the stream that `key` names, or makes it. Everyone who names the same key means the same spans with the same content.
    pub fn stream(&self, key: &[u8; 32], layout: StreamLayout) -> Result<StreamCache, Error> {
        if !layout.is_possible() {
            return Err(Error::StreamTooLarge { size: layout.size, spans: layout.spans });
        }
        let paths = &self.shared.paths;
        let dir = paths.stream(key);
        let _lock = lock::wait(&paths.open_lock())?;
        let opened = match open_stream(&dir, layout) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.exists() => self.create_stream(&dir, layout)?,
            Err(error) if is_misfit(&error) => {
                tracing::warn!(dir = %dir.display(), %error, "stream in the cache does not fit; starting it anew");
                self.set_aside(&dir)?;
                self.create_stream(&dir, layout)?
            }
            Err(error) => return Err(Error::io("open", &dir)(error)),
        };
        let (table, data) = opened;
        // In use from here on: nobody removes it. Never waits, since exclusive locks are taken under `open.lock` only.
        table.file().try_lock_shared().map_err(|error| Error::io("lock", &dir)(error.into()))?;
        table.adopt(self.shared.boot);
        Ok(StreamCache::new(Arc::clone(&self.shared), table, data))
    }

    /// How full the cache is.
    pub fn usage(&self) -> Usage {
        let shared = &self.shared;
        Usage {
            bytes: shared.ledger.bytes(),
            bytes_max: shared.room.bytes_max,
            streams: evict::stream_dirs(&shared.paths).map_or(0, |dirs| dirs.len() as u64),
            evicted_spans: shared.evicted_spans.load(Ordering::Relaxed),
            evicted_bytes: shared.evicted_bytes.load(Ordering::Relaxed),
            failures: shared.complaints.failures(),
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.shared.paths
    }

    fn create_stream(&self, dir: &Path, layout: StreamLayout) -> Result<(Table, fs::File), Error> {
        let create = || -> io::Result<(Table, fs::File)> {
            make_private_dir(dir)?;
            let data = open_private(&dir.join(DATA_FILE), true)?;
            data.set_len(layout.size)?;
            Ok((Table::create(&dir.join(SPANS_FILE), layout, self.shared.boot)?, data))
        };
        create().map_err(Error::io("create", dir))
    }

    /// Takes a stream out of the way without touching its files: another process may have them mapped.
    fn set_aside(&self, dir: &Path) -> Result<(), Error> {
        let aside = self.shared.paths.aside();
        let name = dir.file_name().unwrap_or_default();
        fs::rename(dir, aside.join(name)).map_err(Error::io("set aside", dir))?;
        empty(&aside)
    }
}

/// What the cache and its streams share within a process.
#[derive(Debug)]
pub(crate) struct Shared {
    pub paths: Paths,
    pub room: Room,
    boot: BootId,
    pub ledger: Ledger,
    pub complaints: Complaints,
    pub evicted_spans: AtomicU64,
    pub evicted_bytes: AtomicU64,
}

impl Shared {
    /// Removes streams that have become empty, unless someone is just opening one: then the next time will do.
    pub fn tidy(&self) -> Result<(), Error> {
        match lock::attempt(&self.paths.open_lock())? {
            Some(_lock) => evict::remove_unused(&self.paths),
            None => Ok(()),
        }
    }
}

/// Where everything lies.
#[derive(Debug)]
pub(crate) struct Paths {
    dir: PathBuf,
}

impl Paths {
    pub fn streams(&self) -> PathBuf {
        self.dir.join("streams")
    }

    pub fn pins(&self) -> PathBuf {
        self.dir.join("pins")
    }

    pub fn evict_lock(&self) -> PathBuf {
        self.dir.join("evict.lock")
    }

    fn open_lock(&self) -> PathBuf {
        self.dir.join("open.lock")
    }

    fn ledger(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn aside(&self) -> PathBuf {
        self.dir.join("aside")
    }

    fn stream(&self, key: &[u8; 32]) -> PathBuf {
        self.streams().join(key_hex(key))
    }
}

/// Opens both files of a stream and checks them against each other and the layout.
fn open_stream(dir: &Path, layout: StreamLayout) -> io::Result<(Table, fs::File)> {
    let table = Table::open(&dir.join(SPANS_FILE))?;
    let data = open_private(&dir.join(DATA_FILE), false)?;
    let metadata = data.metadata()?;
    if table.layout() != layout || !metadata.is_file() || metadata.len() != layout.size {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((table, data))
}

/// True if the files are not what they should be, as opposed to the operating system refusing to open them.
fn is_misfit(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    is_link || matches!(error.kind(), NotFound | InvalidData | UnexpectedEof | IsADirectory | NotADirectory)
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Err(error) if !path.is_dir() => Err(error),
        _ => Ok(()),
    }
}

/// Records in the cache are believed: nobody else may have made them.
fn check_private(dir: &Path) -> Result<(), Error> {
    let seen = fs::symlink_metadata(dir).map_err(Error::io("look at", dir))?;
    if seen.is_dir() && seen.uid() == rustix::process::geteuid().as_raw() && seen.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::NotPrivate { dir: dir.to_owned(), owner: seen.uid(), mode: seen.mode() & 0o7777 })
}

/// Removes what was set aside; what a process still has open lives on until it is closed.
fn empty(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        let removed = if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

/// Finds out now, rather than when the disk is full, whether evicted bytes can be given back.
fn probe_holes(paths: &Paths) -> Result<(), Error> {
    let path = paths.aside().join("probe");
    let file = open_private(&path, true).map_err(Error::io("create", &path))?;
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 1).map_err(|_| Error::NoHoles { dir: paths.dir.clone() })
}
