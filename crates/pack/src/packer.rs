//! From files to the data section: chunks into spans, spans into frames, frames into the archive.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use archive::{CarryingWriter, Content};

use crate::chunk::{BLOCK_BYTES, CHUNK_BYTES, Extent, Kept, chunk_bytes, content, within};
use crate::frames::{Compressor, Frame};

/// How to pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackOptions {
    /// Level of zstd, 1 to 22.
    pub level: i32,
    /// Threads that compress, at least 1.
    pub jobs: usize,
    /// Uncompressed bytes that a span is meant to have: 64 KiB to 8 MiB. Longer ones are smaller, and bring more than was asked for.
    pub span_bytes: u32,
}

impl Default for PackOptions {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        // Measured (benches/README.md).
        PackOptions { level: 9, jobs, span_bytes: 1 << 20 }
    }
}

/// Why packing ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read: mend it, or leave it out.
    #[error("read {}", name.display())]
    Read {
        /// The file, as the caller named it.
        name: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file whose holes are too large to be told from its data: leave it out.
    #[error("{}: {size} bytes, of which most are holes: files over 1 PiB cannot be carried", name.display())]
    Holes {
        /// The file, as the caller named it.
        name: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Bytes cannot be compressed: out of memory, or a level that zstd does not know.
    #[error("compress with zstd")]
    Compress(#[source] io::Error),
    /// The archive cannot be written.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// More data than 32-bit block addresses reach: 2 TiB.
    #[error("more than 2 TiB of data: split it into several archives")]
    TooLarge,
}

/// Reads bytes of the file that is being packed: fills the buffer from the offset on. Offsets ascend.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'a;

/// Packs one file after the other.
pub struct Packer {
    writer: CarryingWriter,
    compressor: Compressor,
    kept: Kept,
    span: Vec<u8>,
    span_bytes: usize,
    /// Bytes of the stream before `span`.
    flushed: u64,
    /// What a chunk is read into.
    chunk: Vec<u8>,
}

impl Packer {
    /// Packs into `writer`.
    ///
    /// # Errors
    /// [`Error::Compress`] where zstd cannot be set up or threads cannot be started.
    pub fn new(writer: CarryingWriter, options: PackOptions) -> Result<Packer, Error> {
        let compressor = Compressor::start(options.level, options.jobs).map_err(Error::Compress)?;
        let span_bytes = options.span_bytes.clamp(64 << 10, 8 << 20) as usize / BLOCK_BYTES as usize * BLOCK_BYTES as usize;
        Ok(Packer { writer, compressor, kept: Kept::default(), span: Vec::new(), span_bytes, flushed: 0, chunk: Vec::new() })
    }

    /// Packs a file of `size` bytes that has data in `extents`, which are in order and do not overlap. Says where its bytes lie.
    ///
    /// # Errors
    /// [`Error::Read`] with what `read` gave, and whatever stands in the way of the archive.
    pub fn file(&mut self, name: &Path, size: u64, extents: &[Extent], read: &mut ReadAt<'_>) -> Result<Content, Error> {
        let bytes = chunk_bytes(size).ok_or_else(|| Error::Holes { name: name.into(), size })?;
        let mut blocks = Vec::new();
        for start in (0..size).step_by(bytes as usize) {
            let chunk = start..size.min(start + bytes);
            blocks.push(self.chunk(name, chunk, extents, read)?);
        }
        Ok(content(size, bytes, blocks))
    }

    /// The block of a chunk; none if it is nothing but holes.
    fn chunk(&mut self, name: &Path, chunk: Range<u64>, extents: &[Extent], read: &mut ReadAt<'_>) -> Result<Option<u32>, Error> {
        if within(extents, chunk.start, chunk.end).next().is_none() {
            return Ok(None);
        }
        let failed = |source| Error::Read { name: name.into(), source };
        if chunk.end - chunk.start <= CHUNK_BYTES {
            self.read_piece(&chunk, extents, read).map_err(failed)?;
            return self.keep_chunk().map(Some);
        }
        // A long one is not looked for: its pieces must lie one after the other.
        let block = self.block()?;
        for start in chunk.clone().step_by(CHUNK_BYTES as usize) {
            self.read_piece(&(start..chunk.end.min(start + CHUNK_BYTES)), extents, read).map_err(failed)?;
            self.append()?;
        }
        Ok(Some(block))
    }

    /// Reads a chunk, or a piece of one, with its holes.
    fn read_piece(&mut self, piece: &Range<u64>, extents: &[Extent], read: &mut ReadAt<'_>) -> io::Result<()> {
        self.chunk.clear();
        self.chunk.resize((piece.end - piece.start) as usize, 0);
        for data in within(extents, piece.start, piece.end) {
            read(data.offset, &mut self.chunk[(data.offset - piece.start) as usize..][..data.length as usize])?;
        }
        Ok(())
    }

    /// The block of the chunk that was read: where the same one lies, or where it goes now.
    fn keep_chunk(&mut self) -> Result<u32, Error> {
        // The length is part of it: zeros up to the end of the block are no content.
        let digest = *blake3::Hasher::new().update(&self.chunk).update(&(self.chunk.len() as u64).to_le_bytes()).finalize().as_bytes();
        if let Some(block) = self.kept.find(&digest) {
            return Ok(block);
        }
        if self.span.len() + self.chunk.len() > self.span_bytes && self.span.len() >= self.span_bytes / 2 {
            self.end_span()?;
        }
        let block = self.block()?;
        self.append()?;
        self.kept.insert(digest, block);
        Ok(block)
    }

    /// Where the next byte goes.
    fn block(&self) -> Result<u32, Error> {
        u32::try_from(self.bytes() / BLOCK_BYTES).map_err(|_| Error::TooLarge)
    }

    /// Appends what was read, up to the end of a block, and sends off what has become whole spans.
    fn append(&mut self) -> Result<(), Error> {
        self.span.extend_from_slice(&self.chunk);
        self.span.resize(self.span.len().next_multiple_of(BLOCK_BYTES as usize), 0);
        while self.span.len() >= self.span_bytes {
            self.cut_span()?;
        }
        Ok(())
    }

    /// Sends off a span of the intended length.
    fn cut_span(&mut self) -> Result<(), Error> {
        let rest = self.span.split_off(self.span_bytes);
        self.end_span()?;
        self.span.extend_from_slice(&rest);
        Ok(())
    }

    /// Sends off what the span has.
    fn end_span(&mut self) -> Result<(), Error> {
        let span = std::mem::replace(&mut self.span, Vec::with_capacity(self.span_bytes));
        self.flushed += span.len() as u64;
        let done = self.compressor.push(span).map_err(Error::Compress)?;
        self.write(done)
    }

    fn write(&mut self, frame: Option<Frame>) -> Result<(), Error> {
        match frame {
            Some(frame) => Ok(self.writer.span(&frame.bytes, frame.length, frame.digest)?),
            None => Ok(()),
        }
    }

    /// Bytes that were kept so far.
    pub fn bytes(&self) -> u64 {
        self.flushed + self.span.len() as u64
    }

    /// Writes what is on its way. The writer wants the tree now.
    ///
    /// # Errors
    /// As [`Packer::file`].
    pub fn finish(mut self) -> Result<CarryingWriter, Error> {
        if !self.span.is_empty() {
            self.end_span()?;
        }
        while let Some(frame) = self.compressor.pop().map_err(Error::Compress)? {
            self.write(Some(frame))?;
        }
        Ok(self.writer)
    }
}
