//! All mounts of this worker, and their records on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use backend::Traffic;
use control::{Code, Figures, Mount, MountState, Problem};
use mount::Mounted;
use read::Reader;
use tokio::task::AbortHandle;

use super::record::Record;
use super::{MOUNTS_MAX, record};

/// The mounts, by id.
pub(crate) struct Table {
    directory: PathBuf,
    entries: Mutex<BTreeMap<String, Entry>>,
}

struct Entry {
    record: Record,
    state: MountState,
    served: Option<Served>,
}

/// What serves a mount.
#[derive(Clone)]
pub(crate) struct Served {
    pub mounted: Arc<Mounted>,
    pub reader: Arc<Reader>,
    pub traffic: Arc<Traffic>,
    /// The task that waits for its end.
    pub watch: AbortHandle,
}

impl Table {
    /// With its records in `directory`, which is made.
    pub fn open(directory: &Path) -> Result<Table> {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        Ok(Table { directory: directory.into(), entries: Mutex::default() })
    }

    /// What the former worker has written down.
    pub fn records(&self) -> Result<Vec<Record>> {
        record::load_all(&self.directory).with_context(|| format!("read {}", self.directory.display()))
    }

    /// Takes the place of a mount that is to be: nobody else gets its mountpoint. Gives the mount that has it already.
    pub fn reserve(&self, record: &Record, state: MountState) -> Result<Option<Mount>, Problem> {
        let mut entries = self.lock();
        if let Some(there) =
            entries.values().find(|entry| entry.state != MountState::Leaving && entry.record.mountpoint == record.mountpoint)
        {
            return Ok(Some(there.shown()));
        }
        if entries.len() >= MOUNTS_MAX {
            return Err(Problem::new(Code::Conflict, format!("this worker has {MOUNTS_MAX} mounts, which is as many as it takes")));
        }
        entries.insert(record.id.clone(), Entry { record: record.clone(), state, served: None });
        Ok(None)
    }

    /// Writes a mount's record down.
    pub fn save(&self, record: &Record) -> std::io::Result<()> {
        if let Some(entry) = self.lock().get_mut(&record.id) {
            entry.record = record.clone();
        }
        record.save(&self.directory)
    }

    /// It is served now. False: it was forgotten meanwhile.
    pub fn serve(&self, id: &str, served: Served) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(id) else { return false };
        (entry.state, entry.served) = (MountState::Serving, Some(served));
        true
    }

    /// It is being unmounted, or not any more.
    pub fn set_state(&self, id: &str, state: MountState) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.state = state;
        }
    }

    /// The directory that was made for a mount and has to go with it: given once.
    pub fn take_directory(&self, id: &str) -> Option<PathBuf> {
        let mut entries = self.lock();
        let record = &mut entries.get_mut(id)?.record;
        std::mem::take(&mut record.made_directory).then(|| record.mountpoint.clone())
    }

    /// Forgets a mount that is gone. None if that was done already.
    pub fn forget(&self, id: &str) -> Option<Record> {
        let entry = self.lock().remove(id)?;
        self.forget_record(&entry.record);
        Some(entry.record)
    }

    /// Forgets what is written down of a mount.
    pub fn forget_record(&self, record: &Record) {
        if let Err(error) = record.forget(&self.directory) {
            tracing::warn!("the record of mount {} stays behind: {error}", record.id);
        }
    }

    /// What serves a mount, and its record.
    pub fn get(&self, id: &str) -> Option<(Record, Option<Served>)> {
        self.lock().get(id).map(|entry| (entry.record.clone(), entry.served.clone()))
    }

    /// A mount, for people.
    pub fn show(&self, id: &str) -> Option<Mount> {
        self.lock().get(id).map(Entry::shown)
    }

    /// All mounts, by mountpoint.
    pub fn list(&self) -> Vec<Mount> {
        let mut mounts: Vec<Mount> = self.lock().values().map(Entry::shown).collect();
        mounts.sort_by(|a, b| a.mountpoint.cmp(&b.mountpoint));
        mounts
    }

    /// Ids of all mounts.
    pub fn ids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Takes out what serves, and leaves the records: for a successor.
    pub fn take_all(&self) -> Vec<Served> {
        let served = self.lock().values_mut().filter_map(|entry| entry.served.take()).collect();
        self.lock().clear();
        served
    }

    /// Whether an archive is mounted.
    pub fn has_archive(&self, archive: &str) -> bool {
        self.lock().values().any(|entry| entry.record.archive == archive)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn shown(&self) -> Mount {
        let record = &self.record;
        Mount {
            id: record.id.clone(),
            mountpoint: record.mountpoint.to_string_lossy().into_owned(),
            archive: record.archive.clone(),
            image: record.image.clone(),
            version: record.version.clone(),
            state: self.state,
            created_ms: record.created_ms,
            resumed: record.resumed,
            request_id: record.request_id.clone(),
            figures: self.served.as_ref().map(Served::figures).unwrap_or_default(),
        }
    }
}

impl Served {
    fn figures(&self) -> Figures {
        let (ops, reads, traffic) = (self.mounted.ops(), self.reader.stats(), self.traffic.snapshot());
        Figures {
            operations: ops.requests(),
            read_bytes: ops.read_bytes,
            misses: reads.misses,
            errors: ops.faults,
            backend_requests: traffic.requests,
            backend_bytes: traffic.bytes,
        }
    }
}
