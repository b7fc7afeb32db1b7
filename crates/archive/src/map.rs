//! A file mapped for reading.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};

use crate::Error;

/// The bytes of a file. Cheap to clone.
///
/// Archives are published whole by rename and never changed after; who truncates one while it is mapped gets SIGBUS, as with a
/// running program's text. Other changes are caught by the digests, as long as they come before the first look.
#[derive(Clone)]
pub(crate) struct Map(Arc<Mmap>);

impl Map {
    pub fn open(path: &Path) -> Result<Map, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        // Looked at before it is opened: opening a FIFO would wait for a writer.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(Error::NotAnArchive { path: path.into() });
        }
        let file = File::open(path).map_err(io)?;
        // SAFETY: see the type's documentation: published archives do not change, and the mapping is only read, as bytes.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Map(Arc::new(map)))
    }
}

impl Map {
    /// Bytes in memory as if they were a file's.
    pub fn of(bytes: &[u8]) -> io::Result<Map> {
        let mut map = MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        Ok(Map(Arc::new(map.make_read_only()?)))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
