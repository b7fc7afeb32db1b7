//! A blob that lies in a local file: a layer in an OCI layout or a tar archive, or the data of an archive of ours.
//!
//! Reads happen on tokio's blocking threads, one chunk at a time, so that a slow disk holds up no task. The file
//! is opened once: a blob stays readable when its file is renamed or deleted.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::{Blob, Body, Error, check_range};

/// Bytes per read. Large enough that handing over to a blocking thread is lost in the copy, small enough for a queue of them.
const CHUNK_BYTES: u64 = 512 << 10;

/// A part of a local file.
#[derive(Debug, Clone)]
pub struct FileBlob {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    path: PathBuf,
    file: File,
    offset: u64,
    size: u64,
}

impl FileBlob {
    /// The `size` bytes at `offset` of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened or ends before the part does. Opening blocks for a moment, as files do.
    pub fn open(path: &Path, offset: u64, size: u64) -> Result<Self, Error> {
        let fail = |source| Error::Io { path: path.to_owned(), source: Arc::new(source) };
        // Looked at before it is opened: the path may come from an archive, and opening a FIFO waits, opening a watchdog starts it.
        if !std::fs::metadata(path).map_err(fail)?.is_file() {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let file = File::open(path).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        if offset.checked_add(size).is_none_or(|end| end > length) {
            let text = format!("file has {length} bytes, the blob needs {size} at {offset}");
            return Err(fail(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        let name = format!("{} at {offset}", path.display());
        Ok(Self { shared: Arc::new(Shared { name, path: path.to_owned(), file, offset, size }) })
    }
}

#[async_trait]
impl Blob for FileBlob {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn size(&self) -> u64 {
        self.shared.size
    }

    fn is_far(&self) -> bool {
        false
    }

    async fn get(&self, range: Range<u64>) -> Result<Body, Error> {
        check_range(self.name(), self.size(), &range)?;
        let start = (Some(self.shared.clone()), range.start);
        let end = range.end;
        let stream = stream::unfold(start, move |(shared, at)| async move {
            let shared = shared.filter(|_| at < end)?;
            let next = at.saturating_add(CHUNK_BYTES).min(end);
            match read(shared.clone(), at..next).await {
                Ok(chunk) => Some((Ok(chunk), (Some(shared), next))),
                Err(error) => Some((Err(error), (None, end))),
            }
        });
        Ok(Body { offset: range.start, stream: stream.boxed() })
    }
}

async fn read(shared: Arc<Shared>, range: Range<u64>) -> Result<Bytes, Error> {
    let path = shared.path.clone();
    let fail = |source| Error::Io { path, source: Arc::new(source) };
    let task = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; (range.end - range.start) as usize];
        shared.file.read_exact_at(&mut buffer, shared.offset + range.start)?;
        Ok(buffer)
    });
    // A join error means that the runtime is stopping.
    task.await.unwrap_or_else(|error| Err(io::Error::other(error))).map(Bytes::from).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conformance, read_all};

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[tokio::test]
    async fn conforms_also_within_a_larger_file() {
        let content = conformance::content(2_000_000);
        let file = file(&content);
        conformance::check(&FileBlob::open(file.path(), 0, 2_000_000).unwrap(), &content).await.unwrap();
        conformance::check(&FileBlob::open(file.path(), 513, 700_001).unwrap(), &content[513..700_514]).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_shrinks_is_an_error_that_names_it() {
        let file = file(&[7; 5000]);
        let blob = FileBlob::open(file.path(), 1000, 4000).unwrap();
        file.as_file().set_len(3000).unwrap();
        let error = read_all(&blob, 0..4000, 4000).await.unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if path == file.path()), "{error:?}");
    }

    #[test]
    fn a_part_beyond_the_end_is_refused() {
        let file = file(&[7; 100]);
        assert!(FileBlob::open(file.path(), 50, 50).is_ok());
        for (offset, size) in [(50, 51), (101, 0), (u64::MAX, 2)] {
            assert!(matches!(FileBlob::open(file.path(), offset, size), Err(Error::Io { .. })), "{offset} {size}");
        }
    }
}
