//! From a place to an archive.
//!
//! An object's end is fetched in one request: it has the header and, in a v1 archive of up to some ten thousand files, all that a mount needs
//! before the first read. What is missing comes in a second one. Both are kept as a file of the archive's length in which the data is a hole, by the
//! header's digest: the next mount of the same archive has them. A v2 archive is small, and is taken whole.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use archive::header::{HEADER_BYTES, Header, SectionKind};
use archive::{Archive, ArchiveVersion};
use backend::{Blob, read_all};
use s3::S3;

use crate::{Error, Place};

/// Bytes of an object's end that are asked for first.
const TAIL_BYTES: u64 = 1 << 20;
/// Most bytes of an archive but its data: beyond that it is no archive of ours.
const HEAD_BYTES_MAX: u64 = 1 << 30;

/// An archive, and where its data is.
#[derive(Debug)]
pub struct Opened {
    /// The archive: all of it, or its head.
    pub archive: Archive,
    /// What the archive's own data is read from, where that is not the file.
    pub data: Option<Arc<dyn Blob>>,
}

/// Opens the archive at `place`. Heads of objects are kept in `heads`; `s3` is needed for those only.
///
/// # Errors
/// [`Error::Archive`] where what is there is no archive, [`Error::Backend`] where it cannot be had, [`Error::Io`] where a head cannot be kept.
pub async fn open(place: &Place, heads: &Path, s3: Option<&S3>) -> Result<Opened, Error> {
    let location = match place {
        Place::File(path) => return Ok(Opened { archive: Archive::open(path)?, data: None }),
        Place::S3(location) => location,
    };
    let s3 = s3.ok_or_else(|| Error::NoS3(place.to_string()))?;
    let bucket = s3.bucket(location.bucket()).map_err(Error::Location)?;
    let (tail, blob) = bucket.open_with_tail(location.key(), TAIL_BYTES).await?;
    match trailer(&tail, blob.size()) {
        Some(header) => open_head(place, heads, &header, &tail, blob).await,
        None => open_whole(place, heads, &tail, &blob).await,
    }
}

/// The header at an archive's end, if this is the end of a v1 archive of `size` bytes.
fn trailer(tail: &[u8], size: u64) -> Option<Header> {
    let record = tail.get(tail.len().checked_sub(HEADER_BYTES)?..)?;
    Header::read(record, size).filter(|header| header.version == ArchiveVersion::V1)
}

/// A v1 archive: all but its data is kept.
async fn open_head(place: &Place, heads: &Path, header: &Header, tail: &[u8], blob: Arc<dyn Blob>) -> Result<Opened, Error> {
    let path = heads.join(format!("{}.clip", blake3::hash(&header.encode()).to_hex()));
    if let Ok(archive) = Archive::open(&path) {
        return Ok(Opened { archive, data: Some(blob) });
    }
    // Behind the header, the data comes first.
    let start = header.section(SectionKind::Data).map_or(HEADER_BYTES as u64, |data| data.offset + data.length);
    let tail_start = blob.size() - tail.len() as u64;
    let before = if start < tail_start { read_all(&blob, start..tail_start, HEAD_BYTES_MAX).await? } else { bytes::Bytes::new() };
    let pieces =
        [(0, &header.encode()[..]), (start, &before[..]), (tail_start.max(start), &tail[start.saturating_sub(tail_start) as usize..])];
    let archive = keep(place, &path, blob.size(), &pieces)?;
    Ok(Opened { archive, data: Some(blob) })
}

/// A v2 archive, or what is none: taken whole.
async fn open_whole(place: &Place, heads: &Path, tail: &[u8], blob: &Arc<dyn Blob>) -> Result<Opened, Error> {
    let tail_start = blob.size() - tail.len() as u64;
    let begin = if tail_start == 0 {
        tail.to_vec()
    } else {
        read_all(blob, 0..(HEADER_BYTES as u64).min(blob.size()), HEAD_BYTES_MAX).await?.to_vec()
    };
    let record = &begin[..begin.len().min(HEADER_BYTES)];
    // Looked at before all of it is fetched: somebody may have named a database.
    let Some(header) = Header::read(record, blob.size()) else {
        return Err(archive::Error::NotAnArchive { path: place.to_string().into() }.into());
    };
    let path = heads.join(format!("{}.clip", blake3::hash(&header.encode()).to_hex()));
    if let Ok(archive) = Archive::open(&path) {
        return Ok(Opened { archive, data: None });
    }
    let before = if tail_start == 0 { bytes::Bytes::new() } else { read_all(blob, 0..tail_start, HEAD_BYTES_MAX).await? };
    let archive = keep(place, &path, blob.size(), &[(0, &before[..]), (tail_start, tail)])?;
    Ok(Opened { archive, data: None })
}

/// Writes a file of `size` bytes with these pieces, and opens it as an archive before it has its name.
fn keep(place: &Place, path: &Path, size: u64, pieces: &[(u64, &[u8])]) -> Result<Archive, Error> {
    let write = || -> io::Result<tempfile::NamedTempFile> {
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let file = tempfile::Builder::new().prefix(".head-").tempfile_in(dir)?;
        file.as_file().set_len(size)?;
        for (at, bytes) in pieces {
            file.as_file().write_all_at(bytes, *at)?;
        }
        Ok(file)
    };
    let file = write().map_err(Error::io(path))?;
    // In messages it is the object that is damaged.
    let named = |error| match error {
        archive::Error::Corrupt { detail, .. } => archive::Error::Corrupt { path: place.to_string().into(), detail },
        archive::Error::NotAnArchive { .. } => archive::Error::NotAnArchive { path: place.to_string().into() },
        error => error,
    };
    Archive::open(file.path()).map_err(named)?;
    file.persist(path).map_err(|e| Error::io(path)(e.error))?;
    Ok(Archive::open(path)?)
}
