//! A queue in a file of SQLite, which one process has for itself.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{Database, Pools, fault};
use crate::{Error, Options};

/// Readers do not wait for the writer, and for each other only when there are more.
const READERS_MAX: u32 = 4;

/// What the write-ahead log is cut to when it was longer, in bytes.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// Opens the file, or makes it. Payloads may hold what not everybody should read: file and directory are the owner's alone.
pub(super) async fn open(path: &Path, options: &Options) -> Result<Database, Error> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(Error::io(directory))?;
    }
    let lock = lock(path)?;
    make(path).map_err(Error::io(path))?;
    let name = path.display().to_string().into();
    let write = pool_options(options, 1).connect_with(connect_options(path, options)).await;
    let write = write.map_err(|error| fault::explain(&name, error))?;
    let read = pool_options(options, READERS_MAX).connect_lazy_with(connect_options(path, options).pragma("query_only", "on"));
    Ok(Database { name, pools: Pools::Sqlite { write, read, _lock: lock } })
}

/// The lock beside the file; it holds as long as it is open. SQLite's own locks cannot tell an idle owner from none.
fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let beside = PathBuf::from(name);
    let file = private().open(&beside).map_err(Error::io(&beside))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Error::InUse { path: path.into() }),
        Err(errno) => Err(Error::io(&beside)(errno.into())),
    }
}

/// Makes sure of the file and its mode, which SQLite gives the files beside it too. It must be closed before SQLite opens it: locks of
/// fcntl(2) end when a process closes any of its descriptors of the file.
fn make(path: &Path) -> io::Result<()> {
    private().open(path)?.set_permissions(Permissions::from_mode(0o600))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn connect_options(path: &Path, options: &Options) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // What was accepted survives a power cut: the log is synced at each commit.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(options.patience)
        .pragma("journal_size_limit", LOG_BYTES_MAX.to_string())
        .disable_statement_logging()
}

fn pool_options(options: &Options, connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(options.patience)
        .acquire_slow_threshold(options.patience)
        // They end with the process and not before: there is nobody else at the other end.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}
