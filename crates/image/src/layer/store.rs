//! Layer files kept by digest, in a directory that many indexers may share.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::LayerFile;

/// Bytes that kept layer files may have together; a typical one has 1 to 3 MiB. The ones used longest ago go first.
const STORE_BYTES_MAX: u64 = 2 << 30;

/// A directory of layer files.
#[derive(Debug, Clone)]
pub(crate) struct LayerStore {
    dir: PathBuf,
}

impl LayerStore {
    /// Uses `dir`, which is made where it is missing.
    pub fn open(dir: &Path) -> io::Result<LayerStore> {
        fs::create_dir_all(dir)?;
        // What is kept is believed: nobody else may have put it there.
        let seen = fs::symlink_metadata(dir)?;
        if !seen.is_dir() || seen.uid() != rustix::process::geteuid().as_raw() || seen.mode() & 0o022 != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it must be a directory of ours that nobody else can write"));
        }
        Ok(LayerStore { dir: dir.into() })
    }

    fn path(&self, blob: &str, spacing: u32) -> PathBuf {
        self.dir.join(format!("{}-{spacing}.layer", blob.replace(':', "-")))
    }

    /// The file of a blob, if there is a whole one.
    pub fn find(&self, blob: &str, spacing: u32) -> Option<LayerFile> {
        let path = self.path(blob, spacing);
        let found = LayerFile::open(&path);
        match found {
            Ok(layer) if layer.summary().blob == blob => {
                // Its time is that of its last use; without the permission to set it, it merely goes earlier.
                let _ = fs::File::options().write(true).open(&path).and_then(|f| f.set_modified(SystemTime::now()));
                Some(layer)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            _ => {
                tracing::warn!(path = %path.display(), "a kept layer file is damaged; the layer is indexed again");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// A place to write the file of a layer to.
    pub fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new().prefix(".layer-").tempfile_in(&self.dir)
    }

    /// Keeps a finished file.
    pub fn keep(&self, file: tempfile::NamedTempFile, blob: &str, spacing: u32) -> io::Result<LayerFile> {
        let path = self.path(blob, spacing);
        let layer = LayerFile::of(file.reopen()?)?;
        file.persist(&path).map_err(|e| e.error)?;
        self.prune(&path);
        Ok(layer)
    }

    /// Removes what was used longest ago, down to the limit, but never `newest`. A file that another indexer has open stays
    /// readable for it.
    fn prune(&self, newest: &Path) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter(|e| e.path().extension().is_some_and(|x| x == "layer"))
            .filter_map(|e| e.metadata().ok().and_then(|m| Some((m.modified().ok()?, m.len(), e.path()))))
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|f| f.1).sum();
        for (_, bytes, path) in files {
            if total <= STORE_BYTES_MAX {
                break;
            }
            if path != newest && fs::remove_file(&path).is_ok() {
                total -= bytes;
            }
        }
    }
}
