//! What is written down of a mount.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use keep::Name;
use mount::Handover;
use serde::{Deserialize, Serialize};

/// Largest record that is read, in bytes: paths and ids take a few kilobytes at most.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// A mount, as the next worker needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its name.
    pub id: String,
    /// Where it is, canonical.
    pub mountpoint: PathBuf,
    /// Where its archive is: a path, or `s3://bucket/key`.
    pub archive: String,
    /// The image that it was asked for by.
    pub image: Option<String>,
    /// `v1` or `v2`.
    pub version: String,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: i64,
    /// The request that asked for it.
    pub request_id: Option<String>,
    pub nosuid: bool,
    pub nonempty: bool,
    /// Whether the directory was made for it, and goes with it.
    pub made_directory: bool,
    /// How often a new worker took it over.
    pub resumed: u32,
    /// The boot of the machine that it belongs to.
    pub boot: String,
    /// What a successor must know. None: the worker was about to mount.
    pub handover: Option<Handover>,
}

impl Record {
    /// The name of its descriptor with the keeper.
    pub fn descriptor_name(&self) -> Result<Name, keep::Error> {
        Name::new(format!("mount-{}", self.id))
    }

    /// Writes it into `directory`: whole, or not at all.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(self.path(directory))?;
        File::open(directory)?.sync_all()
    }

    /// Takes it away. That it is not there is fine.
    pub fn forget(&self, directory: &Path) -> io::Result<()> {
        match fs::remove_file(self.path(directory)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.json", self.id))
    }
}

/// All records in `directory`. Those that cannot be read are left alone, with a line in the log.
pub(crate) fn load_all(directory: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match load(&path) {
            Ok(record) => records.push(record),
            Err(error) => tracing::error!("{}: {error}; this mount is not taken over", path.display()),
        }
    }
    records.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(records)
}

fn load(path: &Path) -> io::Result<Record> {
    if fs::metadata(path)?.len() > RECORD_BYTES_MAX {
        return Err(io::Error::other("too large for a record of a mount"));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// The boot of the machine.
pub(crate) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_damaged_ones_hinder_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record {
            id: "0001".into(),
            mountpoint: "/mnt/x".into(),
            archive: "/a.clip".into(),
            image: None,
            version: "v2".into(),
            created_ms: 1,
            request_id: Some("r".into()),
            nosuid: false,
            nonempty: false,
            made_directory: true,
            resumed: 0,
            boot: boot(),
            handover: None,
        };
        record.save(dir.path()).unwrap();
        fs::write(dir.path().join("bad.json"), b"{").unwrap();
        fs::write(dir.path().join("large.json"), vec![b' '; 100_000]).unwrap();
        assert_eq!(load_all(dir.path()).unwrap(), std::slice::from_ref(&record));
        record.forget(dir.path()).unwrap();
        record.forget(dir.path()).unwrap();
        assert!(load_all(dir.path()).unwrap().is_empty());
    }
}
