//! A store in a directory: `ID.clip` and `ID.json` for each image.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use archive::{FileOutput, Output};

use crate::record::RECORD_BYTES_MAX;
use crate::{Error, ImageId, Record};

/// A store in a directory.
#[derive(Debug, Clone)]
pub struct LocalStore {
    dir: PathBuf,
}

impl LocalStore {
    /// The store in `dir`, which is made if need be.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(dir: &Path) -> Result<LocalStore, Error> {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        Ok(LocalStore { dir: dir.into() })
    }

    /// Where an image's archive is, if it is there.
    pub fn path(&self, id: &ImageId) -> PathBuf {
        self.dir.join(format!("{id}.clip"))
    }

    /// The lock of who makes the image.
    pub(crate) fn lock_path(&self, id: &ImageId) -> PathBuf {
        self.dir.join("locks").join(id.as_str())
    }

    fn record_path(&self, id: &ImageId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    pub(crate) fn find(&self, id: &ImageId) -> Result<Option<Record>, Error> {
        let path = self.record_path(id);
        let bytes = match fs::metadata(&path).and_then(|data| if data.len() > RECORD_BYTES_MAX { Ok(Vec::new()) } else { fs::read(&path) })
        {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path)(e)),
        };
        // Who removes an image takes the record first; an archive that somebody else has taken is not there either.
        if !self.path(id).exists() {
            return Ok(None);
        }
        Record::parse(id, &path.display().to_string(), &bytes).map(Some)
    }

    pub(crate) fn list(&self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(Error::io(&self.dir))? {
            let name = entry.map_err(Error::io(&self.dir))?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json")).and_then(|stem| stem.parse().ok());
            let Some(id) = id else { continue };
            match self.find(&id) {
                Ok(found) => records.extend(found),
                // One that is damaged must not hide the others.
                Err(error) => tracing::warn!("{error}"),
            }
        }
        Ok(records)
    }

    pub(crate) fn output(&self, id: &ImageId) -> Result<Box<dyn Output + Send>, Error> {
        // An archive without a record was left by a process that died between the two: it is replaced.
        Ok(Box::new(FileOutput::create(&self.path(id), true)?))
    }

    pub(crate) fn commit(&self, record: &Record) -> Result<(), Error> {
        let path = self.record_path(&record.image_id()?);
        let write = || -> io::Result<()> {
            let anybody = fs::Permissions::from_mode(0o666); // less the umask: who may read archives may list them
            let mut file = tempfile::Builder::new().prefix(".record-").permissions(anybody).tempfile_in(&self.dir)?;
            file.write_all(&record.encode())?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            fs::File::open(&self.dir)?.sync_all()
        };
        write().map_err(Error::io(&path))
    }

    pub(crate) fn remove(&self, id: &ImageId) -> Result<bool, Error> {
        let take = |path: PathBuf| match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(&path)(e)),
        };
        let had_record = take(self.record_path(id))?;
        Ok(take(self.path(id))? || had_record)
    }
}
