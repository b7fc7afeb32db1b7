//! Where an archive is written to: bytes in order, and the header when everything else is known.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::header::HEADER_BYTES;

/// A destination. Dropped before [`Output::publish`] has returned, it leaves nothing behind.
pub trait Output: Write {
    /// What this is, for messages: a path, a URL.
    fn name(&self) -> PathBuf;

    /// Puts `header` in place of the first [`HEADER_BYTES`] that were written, and gives the archive its name: whole, or not at all.
    ///
    /// # Errors
    /// Where the destination cannot be written; [`io::ErrorKind::AlreadyExists`] if something is there that must not be replaced.
    fn publish(self: Box<Self>, header: &[u8; HEADER_BYTES]) -> io::Result<()>;
}

/// An archive in a local file: written under another name in the same directory, synced, renamed.
pub struct FileOutput {
    path: PathBuf,
    overwrite: bool,
    out: BufWriter<tempfile::NamedTempFile>,
}

impl FileOutput {
    /// Begins a file that will be at `path`, in place of what is there only with `overwrite`.
    ///
    /// # Errors
    /// [`Error::Io`] where the directory cannot be written.
    pub fn create(path: &Path, overwrite: bool) -> Result<FileOutput, Error> {
        let temporary = tempfile::Builder::new()
            .prefix(".clip-")
            .suffix(".tmp")
            .permissions(std::fs::Permissions::from_mode(0o666)) // less the umask, as any new file
            .tempfile_in(directory(path));
        let temporary = temporary.map_err(|source| Error::Io { path: path.into(), source })?;
        Ok(FileOutput { path: path.into(), overwrite, out: BufWriter::with_capacity(1 << 20, temporary) })
    }
}

impl Write for FileOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Output for FileOutput {
    fn name(&self) -> PathBuf {
        self.path.clone()
    }

    fn publish(self: Box<Self>, header: &[u8; HEADER_BYTES]) -> io::Result<()> {
        let FileOutput { path, overwrite, out } = *self;
        let temporary = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        temporary.as_file().write_all_at(header, 0)?;
        temporary.as_file().sync_all()?;
        let persist = if overwrite { tempfile::NamedTempFile::persist } else { tempfile::NamedTempFile::persist_noclobber };
        persist(temporary, &path).map_err(|e| e.error)?;
        // The rename itself must survive a power cut.
        File::open(directory(&path))?.sync_all()
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
