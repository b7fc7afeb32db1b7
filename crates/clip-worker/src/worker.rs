//! What all parts of the worker share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use anyhow::{Context, Result};
use cache::Cache;
use config::ClipVersion;
use jobs::Queue;
use keep::Keeper;
use node::{Registries, RegistryAccess, Settings, cache_dir, layer_dir};
use tokio::sync::watch;

use crate::logs::Level;
use crate::mounts::Table;
use crate::tell::Untold;

/// The worker.
pub(crate) struct Worker {
    /// Its name among workers that share a queue.
    pub name: String,
    /// What can be reloaded.
    current: RwLock<Arc<Current>>,
    /// The file of the configuration, if one was named.
    file: Option<PathBuf>,
    queue: OnceLock<Queue>,
    pub cache: Option<Arc<Cache>>,
    pub cache_dir: PathBuf,
    pub layer_dir: Option<PathBuf>,
    pub mounts: Table,
    pub keeper: Keeper,
    pub level: Level,
    /// What could not be written down yet.
    pub untold: Untold,
    pub started: Instant,
    phase: watch::Sender<Phase>,
    /// Requests by what came of them, for /metrics.
    pub answers: Mutex<std::collections::BTreeMap<(String, u16), u64>>,
}

/// The configuration, and what is made of it.
pub(crate) struct Current {
    pub settings: Settings,
    pub registries: Registries,
}

/// Where the worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// It takes everything.
    Running,
    /// It takes no new work, and brings what it has to a safe point.
    Stopping,
}

impl Current {
    pub fn new(settings: Settings) -> Current {
        let registries = Registries::new(RegistryAccess::configured(&settings.effective.config.registry));
        Current { settings, registries }
    }

    /// What concerns the worker itself.
    pub fn worker(&self) -> &config::Worker {
        &self.settings.effective.config.worker
    }

    /// The version of new archives, if nothing is said.
    pub fn clip_version(&self) -> &'static str {
        version_name(self.settings.image_service().clip_version)
    }
}

/// As people write it.
pub(crate) fn version_name(version: ClipVersion) -> &'static str {
    match version {
        ClipVersion::V1 => "v1",
        ClipVersion::V2 => "v2",
    }
}

impl Worker {
    pub fn new(file: Option<PathBuf>, current: Current, keeper: Keeper, level: Level) -> Result<Worker> {
        let config = &current.settings.effective.config;
        let cache_dir = cache_dir(config.cache.dir.as_deref());
        let cache = node::open_cache(&cache_dir.join("data"), config.cache.size.0)?;
        let mounts = Table::open(&config.worker.state_dir.join("mounts"))?;
        Ok(Worker {
            name: name(),
            layer_dir: layer_dir(&cache_dir),
            current: RwLock::new(Arc::new(current)),
            file,
            queue: OnceLock::new(),
            cache,
            cache_dir,
            mounts,
            keeper,
            level,
            untold: Untold::default(),
            started: Instant::now(),
            phase: watch::Sender::new(Phase::Running),
            answers: Mutex::default(),
        })
    }

    /// The configuration that holds now.
    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the configuration again: how images are made and reached, mount roots, limits and the log. Where the worker listens, its queue and its
    /// cache stay until it is started anew. A configuration that is wrong changes nothing.
    pub fn reload(&self) -> Result<()> {
        let settings = Settings::gather(self.file.as_deref(), Vec::new()).context("reload the configuration; the old one holds")?;
        self.level.set(&settings.effective.config.log.level)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Current::new(settings));
        Ok(())
    }

    /// The queue, once it is open: a database that is away must not keep mounts from being served.
    ///
    /// # Errors
    /// [`jobs::Error::Unavailable`] before.
    pub fn queue(&self) -> Result<&Queue, jobs::Error> {
        self.queue.get().ok_or_else(|| jobs::Error::Unavailable { database: "the queue".into(), detail: "it is not open yet".into() })
    }

    /// The queue is open now.
    pub fn set_queue(&self, queue: Queue) {
        // It is opened once.
        let _ = self.queue.set(queue);
    }

    /// From now on no new work is taken.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopping);
    }

    pub fn is_stopping(&self) -> bool {
        *self.phase.borrow() != Phase::Running
    }

    /// Returns when the worker is stopping.
    pub async fn stopping(&self) {
        // An error means that the worker is gone.
        let _ = self.phase.subscribe().wait_for(|phase| *phase != Phase::Running).await;
    }
}

/// Unique among the workers of all nodes, and readable.
fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}-{}", std::process::id())
}
