//! Records of a layer file, written in the order in which the scan finds them and read as often as needed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use archive::record;
use seek::{Codec, Restart, SpanSeek};
use serde::{Deserialize, Serialize};

use crate::tar::TarEntry;

/// Magic and version: a change of any record, of the tar walk or of the scanner must change it.
const MAGIC: &[u8; 8] = b"CLIPLYR3";
const CHECKSUM_BYTES: u64 = 32;

const TAG_ENTRY: u8 = 1;
const TAG_SPAN: u8 = 2;
const TAG_CARRIED: u8 = 3;
const TAG_SUMMARY: u8 = 4;

/// A span of the layer's tar, with its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpanRecord {
    pub offset: u64,
    pub length: u32,
    pub blob_offset: u64,
    pub blob_length: u64,
    restart: (u8, u8),
    pub window: Option<Vec<u8>>,
    pub digest: [u8; 32],
}

impl SpanRecord {
    pub fn new(span: SpanSeek, digest: [u8; 32]) -> SpanRecord {
        let SpanSeek { offset, length, blob_offset, blob_length, restart, window } = span;
        SpanRecord { offset, length, blob_offset, blob_length, restart: restart.code(), window, digest }
    }

    pub fn restart(&self) -> Restart {
        // What else may stand there is what the scanner's codes never are.
        Restart::from_code(self.restart).unwrap_or(Restart::Continue)
    }
}

/// A piece of what the layer carries: a span of the carried stream, as a zstd frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Carried {
    pub length: u32,
    pub frame: Vec<u8>,
    pub digest: [u8; 32],
}

/// What is known of the layer when all of it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    codec: u8,
    pub blob: String,
    pub blob_size: u64,
    pub diff_id: String,
    pub size: u64,
    pub spans: u32,
    pub entries: u64,
    /// Bytes of the carried stream, of its frames, and how many there are.
    pub carried_size: u64,
    pub carried_blob_size: u64,
    pub carried_spans: u32,
}

impl Summary {
    pub fn empty(codec: Codec) -> Summary {
        Summary {
            codec: codec.code(),
            blob: String::new(),
            blob_size: 0,
            diff_id: String::new(),
            size: 0,
            spans: 0,
            entries: 0,
            carried_size: 0,
            carried_blob_size: 0,
            carried_spans: 0,
        }
    }

    pub fn codec(&self) -> Codec {
        Codec::from_code(self.codec).unwrap_or(Codec::Raw)
    }
}

/// A layer file being written.
pub(crate) struct LayerWriter {
    out: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl LayerWriter {
    pub fn new(file: File) -> io::Result<LayerWriter> {
        let mut writer = LayerWriter { out: BufWriter::with_capacity(256 << 10, file), hasher: blake3::Hasher::new() };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    fn record(&mut self, tag: u8, bytes: &[u8]) -> io::Result<()> {
        self.write(&[tag])?;
        self.write(&(bytes.len() as u32).to_le_bytes())?; // records have at most 16 MiB
        self.write(bytes)
    }

    pub fn entry(&mut self, entry: &TarEntry) -> io::Result<()> {
        self.record(TAG_ENTRY, &record::encode(entry).map_err(io::Error::other)?)
    }

    pub fn span(&mut self, span: &SpanRecord) -> io::Result<()> {
        self.record(TAG_SPAN, &record::encode(span).map_err(io::Error::other)?)
    }

    pub fn carried(&mut self, carried: &Carried) -> io::Result<()> {
        self.record(TAG_CARRIED, &record::encode(carried).map_err(io::Error::other)?)
    }

    /// Ends the file.
    pub fn finish(mut self, summary: &Summary) -> io::Result<()> {
        self.record(TAG_SUMMARY, &record::encode(summary).map_err(io::Error::other)?)?;
        let checksum = self.hasher.finalize();
        self.out.write_all(checksum.as_bytes())?;
        self.out.flush()
    }
}

/// A layer file that was found whole. It is held open, so it stays readable when others remove it.
#[derive(Debug, Clone)]
pub(crate) struct LayerFile {
    file: Arc<File>,
    summary: Summary,
}

/// A place in a file that others read at other places.
struct At {
    file: Arc<File>,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(out, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

impl Seek for At {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let offset = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.offset = offset.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}

fn broken(detail: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

impl LayerFile {
    /// Opens the file at `path` and checks all of it against its checksum.
    pub fn open(path: &Path) -> io::Result<LayerFile> {
        LayerFile::of(File::open(path)?)
    }

    /// The layer that an open file holds.
    pub fn of(file: File) -> io::Result<LayerFile> {
        let layer = Arc::new(file);
        let mut file = BufReader::with_capacity(1 << 20, At { file: Arc::clone(&layer), offset: 0 });
        let length = layer.metadata()?.len().checked_sub(CHECKSUM_BYTES).ok_or_else(|| broken("too short"))?;
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut Read::by_ref(&mut file).take(length), &mut hasher)?;
        let mut checksum = [0; CHECKSUM_BYTES as usize];
        file.read_exact(&mut checksum)?;
        if *hasher.finalize().as_bytes() != checksum {
            return Err(broken("the checksum does not match"));
        }
        let mut layer = LayerFile { file: layer, summary: Summary::empty(Codec::Raw) };
        layer.summary = layer.records(TAG_SUMMARY)?.next().ok_or_else(|| broken("no summary"))??;
        Ok(layer)
    }

    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    pub fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<TarEntry>> + use<>> {
        self.records(TAG_ENTRY)
    }

    pub fn spans(&self) -> io::Result<impl Iterator<Item = io::Result<SpanRecord>> + use<>> {
        self.records(TAG_SPAN)
    }

    pub fn carried(&self) -> io::Result<impl Iterator<Item = io::Result<Carried>> + use<>> {
        self.records(TAG_CARRIED)
    }

    fn records<T: for<'de> Deserialize<'de>>(&self, tag: u8) -> io::Result<impl Iterator<Item = io::Result<T>> + use<T>> {
        let mut file = BufReader::with_capacity(256 << 10, At { file: Arc::clone(&self.file), offset: 0 });
        let length = self.file.metadata()?.len().saturating_sub(CHECKSUM_BYTES);
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(broken("another version"));
        }
        let mut at = MAGIC.len() as u64;
        let mut next = move || -> io::Result<Option<T>> {
            while at < length {
                let mut head = [0; 5];
                file.read_exact(&mut head)?;
                let bytes = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
                at += 5 + u64::from(bytes);
                if head[0] == tag {
                    let mut body = vec![0; (bytes as usize).min(record::RECORD_BYTES_MAX)];
                    file.read_exact(&mut body)?;
                    return record::decode(&body).map(Some).map_err(|e| broken(&e));
                }
                file.seek_relative(bytes.into())?;
            }
            Ok(None)
        };
        Ok(std::iter::from_fn(move || next().transpose()))
    }
}
