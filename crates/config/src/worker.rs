//! The section of the daemon, `worker`, and its defaults.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::choice::{LogFormat, Shutdown};
use crate::listen::Listen;
use crate::mode::SocketMode;
use crate::secret::Secret;

/// The daemon `clip-worker`: its queue of images to make, its mounts, and who may ask it for what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Worker {
    /// Directory of the queue's database and the table of mounts. Default `/var/lib/clip/worker`.
    pub state_dir: PathBuf,
    /// A PostgreSQL database for the queue, `postgres://…` or `postgresql://…`; never shown, it may have a password. Default none: SQLite
    /// in `stateDir`.
    pub database: Option<Secret>,
    /// The Unix socket of the API. Default `/run/clip/worker.sock`.
    pub socket: PathBuf,
    /// Who may connect to `socket`: `0600` to `0777`. Default `0660`.
    pub socket_mode: SocketMode,
    /// TCP address of the API, `HOST:PORT`. Needs a token, and a certificate unless only this machine can come. Default none.
    pub listen: Option<Listen>,
    /// PEM file of the certificate chain for `listen`; with `tlsKey`, both or neither. Default none.
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the key of `tlsCert`. Default none.
    pub tls_key: Option<PathBuf>,
    /// Bearer token of those who may look: at least 16 visible ASCII characters. Default none.
    pub read_token: Option<Secret>,
    /// Bearer token of those who may do everything: at least 16 visible ASCII characters, another one than `readToken`. Default none.
    pub admin_token: Option<Secret>,
    /// Directories below which mounts may be asked for over the API: absolute, without `.` and `..`, at most 256; none: nowhere.
    /// Default `/mnt`, `/run/clip/mnt`, `/var/lib/clip/mnt`.
    pub mount_roots: Vec<PathBuf>,
    /// Jobs at work at the same time: 1 to 64. Default 2.
    pub jobs: u32,
    /// Most jobs that wait: 1 to 1,000,000. Default 10,000.
    pub queue_max: u32,
    /// How often a job is tried when what failed may pass: 1 to 100. Default 5.
    pub attempts: u32,
    /// What becomes of mounts when the daemon stops: `handover` or `unmount`. Default `handover`.
    pub shutdown: Shutdown,
    /// Seconds that stopping may take: 1 to 3,600. Default 30. See [`Worker::shutdown_time`].
    pub shutdown_seconds: u32,
    /// Seconds after which a mount that nobody reads is unmounted: up to 31,536,000 (a year), 0 = never. Default 0.
    /// See [`Worker::idle_time`].
    pub idle_unmount_after: u32,
    /// URL that is told of what happens, http:// or https://; shown as it is, so a secret belongs into `webhookToken`. Default none.
    pub webhook: Option<String>,
    /// Bearer token that is sent to `webhook`: visible ASCII characters, none of our own tokens. Default none.
    pub webhook_token: Option<Secret>,
    /// How lines of the log look: `auto`, `human` or `json`. Default `auto`.
    pub log_format: LogFormat,
}

impl Worker {
    /// How long stopping may take.
    pub fn shutdown_time(&self) -> Duration {
        Duration::from_secs(self.shutdown_seconds.into())
    }

    /// After how long a mount that nobody reads is unmounted; `None`: never.
    pub fn idle_time(&self) -> Option<Duration> {
        (self.idle_unmount_after > 0).then(|| Duration::from_secs(self.idle_unmount_after.into()))
    }
}

impl Default for Worker {
    fn default() -> Self {
        Worker {
            state_dir: "/var/lib/clip/worker".into(),
            database: None,
            socket: "/run/clip/worker.sock".into(),
            socket_mode: SocketMode::DEFAULT,
            listen: None,
            tls_cert: None,
            tls_key: None,
            read_token: None,
            admin_token: None,
            mount_roots: ["/mnt", "/run/clip/mnt", "/var/lib/clip/mnt"].map(PathBuf::from).into(),
            jobs: 2,
            queue_max: 10_000,
            attempts: 5,
            shutdown: Shutdown::Handover,
            shutdown_seconds: 30,
            idle_unmount_after: 0,
            webhook: None,
            webhook_token: None,
            log_format: LogFormat::Auto,
        }
    }
}
