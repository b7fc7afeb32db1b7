//! What goes in. The only file that reads files.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::origin::Origin;

/// Where the machine's configuration lies, in files `*.yaml`.
pub const DIRECTORY: &str = "/etc/clip";
/// Most files in the directory: a person could still know what is in them.
pub const FILES_MAX: usize = 64;
/// Largest file, in bytes: a thousand times what a complete configuration needs.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The variable that names a file, if no flag does.
const FILE_VARIABLE: &str = "CLIP_CONFIG";
/// The flag that names a file.
const FILE_FLAG: &str = "flag --config";

/// What a configuration is made of, besides the defaults. `Debug` shows no values: they may be secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// Files, weakest first.
    pub files: Vec<SourceFile>,
    /// The whole environment; what is not ours is passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags that were given; of two for one key the later holds.
    pub flags: Vec<Flag>,
}

/// A file that was read. `Debug` shows its path only.
#[derive(Clone)]
pub struct SourceFile {
    /// What it is called in messages.
    pub path: PathBuf,
    /// Its contents.
    pub text: String,
}

/// A flag that stands for a key. `Debug` does not show the value.
#[derive(Clone)]
pub struct Flag {
    /// The key, with dots: `imageService.clipVersion`.
    pub key: &'static str,
    /// The flag as people write it, with dashes: `--clip-version`.
    pub name: String,
    /// What was given; items of a list with commas between them.
    pub value: String,
}

impl Sources {
    /// Reads the files of a `directory`, which need not exist ([`DIRECTORY`], where there is no test), and then the one that is
    /// `named` by `--config` or else by `CLIP_CONFIG` in the `environment`, which must.
    ///
    /// From the directory come `*.yaml` in the order of their names' bytes, without those that begin with a dot.
    ///
    /// # Errors
    ///
    /// A file that is missing, too large, no file, not UTF-8 or not readable; too many files; a directory that cannot be read.
    pub fn gather(
        directory: &Path,
        named: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Vec<Flag>,
    ) -> Result<Sources, Error> {
        let environment: Vec<_> = environment.into_iter().collect();
        let mut files = read_directory(directory)?;
        let variable = environment.iter().find(|(name, _)| name == FILE_VARIABLE).map(|(_, path)| Path::new(path));
        match (named, variable) {
            (Some(path), _) => files.push(read_named(path, FILE_FLAG)?),
            (None, Some(path)) => files.push(read_named(path, FILE_VARIABLE)?),
            (None, None) => {}
        }
        Ok(Sources { files, environment, flags })
    }
}

fn read_directory(directory: &Path) -> Result<Vec<SourceFile>, Error> {
    let refused = |source| Error::Read { path: directory.into(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refused(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(refused)?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.ends_with(b".yaml") && !name.starts_with(b".") {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            return Err(Error::TooManyFiles { path: directory.into(), max: FILES_MAX });
        }
    }
    paths.sort();
    let named_by = directory.display().to_string();
    paths.iter().map(|path| read_regular(path, &named_by)).collect()
}

/// A file that nobody named in person: opening a pipe would wait for ever.
fn read_regular(path: &Path, named_by: &str) -> Result<SourceFile, Error> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(Error::NotAFile { path: path.into(), named_by: named_by.into() }),
        _ => read_named(path, named_by),
    }
}

/// A file that somebody named; a pipe is fine, it keeps secrets off the disk.
fn read_named(path: &Path, named_by: &str) -> Result<SourceFile, Error> {
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::NoFile { path: path.into(), named_by: named_by.into() },
        io::ErrorKind::IsADirectory => Error::NotAFile { path: path.into(), named_by: named_by.into() },
        _ => Error::Read { path: path.into(), source },
    };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(refused)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::TooLarge { path: path.into(), max: FILE_BYTES_MAX });
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::NotText { place: Origin::File(path.into()).into() })?;
    Ok(SourceFile { path: path.into(), text })
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("files", &self.files).field("flags", &self.flags).finish_non_exhaustive()
    }
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flag").field("key", &self.key).field("name", &self.name).finish_non_exhaustive()
    }
}
