//! What every command has: the flags that all of them take, the configuration that holds, and the ways to an archive and to a worker.

use std::path::Path;

use anyhow::{Context, Result};
use node::{CACHE_BYTES, Located, Opened, Settings, cache_dir, open_cache};
use read::ReadOptions;
use tokio::runtime::Runtime;

use crate::cli::{CacheArgs, Global};
use crate::registry_args::RegistryArgs;
use crate::worker::Worker;
use crate::worker_args::WorkerChoice;

/// One call of clipctl.
pub(crate) struct Invocation {
    pub global: Global,
    pub settings: Settings,
    /// What was given and a worker could not be told of; see [`crate::worker::unspoken`].
    pub unspoken: Option<&'static str>,
}

impl Invocation {
    /// The worker that does what the command is for, if one listens and nothing that was said is against it.
    pub fn worker(&self, choice: &WorkerChoice) -> Result<Option<Worker>> {
        match self.unspoken {
            _ if choice.no_worker => Ok(None),
            Some(given) => {
                tracing::info!("a worker cannot be told of {given}: it is done in this process");
                Ok(None)
            }
            None => Worker::find(&self.settings.effective.config.worker.socket),
        }
    }

    /// Finds the archive that `name` names. What is kept of a far one goes into the directory of caches.
    pub fn located(&self, name: &Path, cache: Option<&Path>, runtime: &Runtime) -> Result<Located> {
        runtime.block_on(Located::open(name, &cache_dir(cache), &self.settings))
    }

    /// Opens the archive that `name` names for reading its files. Of its data nothing is fetched yet.
    pub fn opened(
        &self,
        name: &Path,
        cache: &CacheArgs,
        registry: &RegistryArgs,
        runtime: &Runtime,
        options: ReadOptions,
    ) -> Result<Opened> {
        let located = self.located(name, cache.cache_dir.as_deref(), runtime)?;
        let data = cache_dir(cache.cache_dir.as_deref()).join("data");
        let cache = open_cache(&data, cache.cache_size.unwrap_or(CACHE_BYTES))?;
        Opened::open(&located, &registry.registries()?, cache, runtime.handle().clone(), options)
    }
}

/// Threads that fetch, and, as needed, threads that decode.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("clip").build().context("start the runtime")
}
