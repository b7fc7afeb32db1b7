//! The mount's own socket: whoever connects gets one JSON document about the mount, and the end of the stream.
//!
//! The socket is named after the minor device number of the mount, which the mount table tells to anybody without asking the server:
//! `/run/clip/mount-<minor>.sock` for mounts of root, the same name under `$XDG_RUNTIME_DIR/clip/` or `/tmp/clip-<uid>/` for users.
//! One thread answers, one client at a time, each within a time limit: nobody can keep it busy, and the FUSE threads know nothing of it.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::Error;
use crate::mountinfo::{self, MountEntry};

/// How long one side waits for the other. The answer is made from counters in memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest answer that a client takes: a hundred times what one is.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The server side. Answers until dropped, which also removes the socket.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    listener: Arc<UnixListener>,
    thread: Option<JoinHandle<()>>,
}

/// Held while a socket is made. Whoever looks for dead ones could otherwise take one away that another mount of this process has just made in a dead one's place.
static MAKING: Mutex<()> = Mutex::new(());

impl Server {
    /// Answers for the mount with that device number.
    pub(crate) fn open(minor: u32, document: impl Fn() -> serde_json::Value + Send + 'static) -> Result<Server, Error> {
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        Server::start(server_path(minor)?, document)
    }

    /// Answers at `path` with what `document` says at that moment. A socket that lies there from a mount that has died is replaced.
    fn start(path: PathBuf, document: impl Fn() -> serde_json::Value + Send + 'static) -> Result<Server, Error> {
        let listener = Arc::new(listen(&path).map_err(|source| Error::Control { path: path.clone(), source })?);
        let accepting = listener.clone();
        let thread = thread::Builder::new()
            .name("clip-control".into())
            .spawn(move || answer_all(&accepting, &document))
            .map_err(|source| Error::Control { path: path.clone(), source })?;
        Ok(Server { path, listener, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort, all three: the process may be ending in any state, and a socket that stays behind is replaced by the next mount.
        let _ = fs::remove_file(&self.path);
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What the mount at `mountpoint` says about itself: process, archive, counters of requests, reads and backend traffic.
pub fn stats(mountpoint: &Path) -> Result<serde_json::Value, Error> {
    let entry = mountinfo::find(mountpoint)?.ok_or_else(|| Error::NotMounted { path: mountpoint.to_owned() })?;
    if !entry.is_clip() {
        return Err(Error::NotOurs { path: entry.mountpoint, fstype: entry.fstype });
    }
    let path = client_path(&entry);
    let answer = ask(&path, entry.user_id.unwrap_or(0)).map_err(|source| Error::Control { path: path.clone(), source: explain(source) })?;
    serde_json::from_slice(&answer).map_err(|source| Error::ControlAnswer { path, source })
}

/// Where this process makes the socket of its mount with that device number. The directory is made, its owner checked, and dead sockets removed.
fn server_path(minor: u32) -> Result<PathBuf, Error> {
    let uid = rustix::process::geteuid().as_raw();
    let directory = own_directory(uid);
    prepare_directory(&directory, uid)?;
    remove_dead_sockets(&directory);
    Ok(directory.join(socket_name(minor)))
}

fn socket_name(minor: u32) -> String {
    format!("mount-{minor}.sock")
}

fn own_directory(uid: u32) -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|_| uid != 0) {
        Some(runtime) => PathBuf::from(runtime).join("clip"),
        None => other_directories(uid).remove(0),
    }
}

/// Where a mount of `uid` may have its socket, as anybody can tell.
fn other_directories(uid: u32) -> Vec<PathBuf> {
    match uid {
        0 => vec![PathBuf::from("/run/clip")],
        _ => vec![PathBuf::from(format!("/tmp/clip-{uid}")), PathBuf::from(format!("/run/user/{uid}/clip"))],
    }
}

/// The socket of a mount, for one who asks: perhaps another user (root).
fn client_path(entry: &MountEntry) -> PathBuf {
    let (owner, name) = (entry.user_id.unwrap_or(0), socket_name(entry.minor));
    let mut candidates = other_directories(owner);
    if owner == rustix::process::geteuid().as_raw() {
        candidates.insert(0, own_directory(owner));
    }
    let first = candidates[0].join(&name);
    candidates.into_iter().map(|directory| directory.join(&name)).find(|path| path.exists()).unwrap_or(first)
}

fn prepare_directory(directory: &Path, uid: u32) -> Result<(), Error> {
    let control = |source| Error::Control { path: directory.to_owned(), source };
    // Root's is shared with clip-worker, and others may learn its names; a user's lies in /tmp among strangers.
    let mode = if uid == 0 { 0o755 } else { 0o700 };
    match DirBuilder::new().mode(mode).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(control(error)),
        _ => {}
    }
    let seen = fs::symlink_metadata(directory).map_err(control)?;
    match seen.is_dir() && seen.uid() == uid && seen.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(Error::ControlDirectory { path: directory.to_owned(), uid }),
    }
}

/// Sockets on which nobody listens are left from servers that were killed.
fn remove_dead_sockets(directory: &Path) {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    for path in names.map(|entry| entry.path()).filter(|path| is_mount_socket(path)) {
        if UnixStream::connect(&path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            // Best effort: it may be gone already.
            let _ = fs::remove_file(&path);
        }
    }
}

fn is_mount_socket(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix("mount-").and_then(|rest| rest.strip_suffix(".sock")).is_some_and(|minor| minor.parse::<u32>().is_ok())
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Ends when the listener is shut down.
fn answer_all(listener: &UnixListener, document: &impl Fn() -> serde_json::Value) {
    while let Ok((client, _)) = listener.accept() {
        if let Err(error) = answer(client, &document()) {
            tracing::debug!(%error, "a client of the control socket left early");
        }
    }
}

fn answer(mut client: UnixStream, document: &serde_json::Value) -> io::Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    client.write_all(&serde_json::to_vec(document)?)?;
    client.shutdown(Shutdown::Write)
}

/// All that the server behind `path` says, if it belongs to `owner`: /tmp is open to everybody, and so are names in it.
fn ask(path: &Path, owner: u32) -> io::Result<Vec<u8>> {
    if fs::symlink_metadata(path)?.uid() != owner {
        return Err(io::Error::new(ErrorKind::PermissionDenied, format!("the socket does not belong to uid {owner}, who mounted")));
    }
    let client = UnixStream::connect(path)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let mut said = Vec::new();
    client.take(ANSWER_BYTES_MAX).read_to_end(&mut said)?;
    Ok(said)
}

/// A read that ran out of time says "Resource temporarily unavailable"; people should hear what it means.
fn explain(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, format!("the server does not answer within {} s", PATIENCE.as_secs())),
        ErrorKind::ConnectionRefused => {
            io::Error::new(error.kind(), "nobody listens: the server is dead, clean up with `clipctl umount --lazy`")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    fn uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn every_client_gets_the_document_of_its_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mount-1.sock");
        let asked = AtomicU64::new(0);
        let server = Server::start(path.clone(), move || serde_json::json!({ "asked": asked.fetch_add(1, Relaxed) })).unwrap();
        for n in 0..3 {
            assert_eq!(ask(&path, uid()).unwrap(), format!("{{\"asked\":{n}}}").into_bytes());
        }
        assert!(ask(&path, uid() + 1).is_err(), "of somebody else");
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn a_silent_client_does_not_keep_the_others_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mount-1.sock");
        let _server = Server::start(path.clone(), || serde_json::json!({ "long": "x".repeat(900_000) })).unwrap();
        let _silent = UnixStream::connect(&path).unwrap();
        let begun = std::time::Instant::now();
        let _ = ask(&path, uid());
        assert!(begun.elapsed() < 3 * PATIENCE);
    }

    #[test]
    fn dead_sockets_are_replaced_and_swept() {
        let directory = tempfile::tempdir().unwrap();
        let (dead, strange) = (directory.path().join("mount-7.sock"), directory.path().join("worker.sock"));
        drop(UnixListener::bind(&dead).unwrap());
        drop(UnixListener::bind(&strange).unwrap());
        let live = Server::start(directory.path().join("mount-8.sock"), || serde_json::json!(null)).unwrap();
        remove_dead_sockets(directory.path());
        assert!(!dead.exists() && strange.exists() && live.path.exists());
        drop(UnixListener::bind(&dead).unwrap());
        let _server = Server::start(dead.clone(), || serde_json::json!(1)).unwrap();
        assert_eq!(ask(&dead, uid()).unwrap(), b"1");
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clip");
        prepare_directory(&path, uid()).unwrap();
        prepare_directory(&path, uid()).unwrap();
        assert!(matches!(prepare_directory(&path, uid() + 1), Err(Error::ControlDirectory { .. })));
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(prepare_directory(&path, uid()), Err(Error::ControlDirectory { .. })));
    }

    #[test]
    fn nothing_to_ask_where_nothing_is_mounted() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(stats(directory.path()), Err(Error::NotMounted { .. })));
        assert!(matches!(stats(Path::new("/proc")), Err(Error::NotOurs { .. })));
    }
}
