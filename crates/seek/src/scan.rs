//! Reading a compressed layer once, in order, and cutting it into spans: what indexing does.
//!
//! [`Scanner::push`] takes compressed bytes as they come and hands out [`Event`]s: the uncompressed bytes, and after a span's last
//! byte the span. Nothing is kept but the current span's beginning, so memory does not grow with the layer.

use crate::gzip::{Header, TRAILER_BYTES};
use crate::inflate::{At, Inflate};
use crate::zst::Zstd;
use crate::{Codec, Error, Restart, WINDOW_BYTES, window};

/// Uncompressed bytes are handed out in pieces of at most this size: large enough that passing them between threads costs
/// nothing, small enough to stay in the cache until they are hashed.
const CHUNK_BYTES: usize = 128 << 10;
/// Compressed bytes kept to learn what a window is needed for; 32 KiB of output seldom take more than that of input, and where
/// they do (thousands of empty blocks) the window is kept whole.
const PROBE_BYTES_MAX: usize = 128 << 10;

/// Compressed bytes are decoded in pieces of exactly this size: how much input libzstd has taken when it puts out a byte depends
/// on the pieces that it gets, and an index must depend on nothing but the blob.
const PIECE_BYTES: usize = 64 << 10;

/// What comes out of a scan, in order.
#[derive(Debug)]
pub enum Event {
    /// The next uncompressed bytes; never empty.
    Data(Vec<u8>),
    /// The bytes since the last span's end are a span.
    Span(SpanSeek),
}

/// A span, and how to begin decoding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanSeek {
    /// First uncompressed byte.
    pub offset: u64,
    /// Uncompressed bytes; at least 1.
    pub length: u32,
    /// First compressed byte.
    pub blob_offset: u64,
    /// Compressed bytes that decoding the span consumes; the first and the last may be shared with the neighbours.
    pub blob_length: u64,
    /// How to begin.
    pub restart: Restart,
    /// For [`Restart::Deflate`]: the window, sparse and compressed ([`window::decompress`]).
    pub window: Option<Vec<u8>>,
}

/// Cuts a compressed layer into spans while it streams by.
///
/// The same blob is cut in the same places however it comes in: see [`PIECE_BYTES`].
pub struct Scanner {
    decoder: Decoder,
    cutter: Cutter,
    pending: Vec<u8>,
}

enum Decoder {
    Raw,
    Gzip { inflate: Inflate, part: Part },
    Zstd { zstd: Zstd, inside: bool },
}

enum Part {
    Header(Header),
    Body,
    Trailer {
        left: usize,
    },
    /// Zeros behind the last member: bsdtar fills its output up to whole records, and gzip(1) reads over them.
    Padding,
}

/// What one call of a decoder did.
struct Step {
    consumed: usize,
    /// Whether another call can do more. A block's or stream's end is progress though it may take and yield no whole byte.
    progress: bool,
}

impl Step {
    fn of(consumed: usize, produced: usize) -> Step {
        Step { consumed, progress: consumed > 0 || produced > 0 }
    }
}

impl Scanner {
    /// `spacing`: uncompressed bytes that a span should have (64 KiB to 8 MiB; it is cut at the first restart point after that, and
    /// at twice as much in any case).
    ///
    /// # Errors
    /// [`Error::Invalid`] where libzstd cannot make a decoder.
    pub fn new(codec: Codec, spacing: u32) -> Result<Scanner, Error> {
        Scanner::with_spacing(codec, spacing.clamp(64 << 10, 8 << 20).into())
    }

    /// A scanner whose spacing may be anything up to 8 MiB.
    pub(crate) fn with_spacing(codec: Codec, spacing: u64) -> Result<Scanner, Error> {
        let decoder = match codec {
            Codec::Raw => Decoder::Raw,
            Codec::Gzip => Decoder::Gzip { inflate: Inflate::new(), part: Part::Header(Header::default()) },
            Codec::Zstd => {
                Decoder::Zstd { zstd: Zstd::new().map_err(|detail| Error::Invalid { codec: "zstd", offset: 0, detail })?, inside: false }
            }
        };
        let restart = if codec == Codec::Raw { Restart::Raw } else { Restart::Frame };
        Ok(Scanner { decoder, cutter: Cutter::new(spacing, restart), pending: Vec::new() })
    }

    /// Takes the next compressed bytes; `sink` gets what comes out of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the bytes are not what the codec expects.
    pub fn push(&mut self, mut input: &[u8], sink: &mut impl FnMut(Event)) -> Result<(), Error> {
        if !self.pending.is_empty() {
            let (head, rest) = input.split_at(input.len().min(PIECE_BYTES - self.pending.len()));
            self.pending.extend_from_slice(head);
            input = rest;
            if self.pending.len() == PIECE_BYTES {
                let mut piece = std::mem::take(&mut self.pending);
                self.decode(&piece, sink)?;
                piece.clear();
                self.pending = piece;
            }
        }
        let mut pieces = input.chunks_exact(PIECE_BYTES);
        for piece in &mut pieces {
            self.decode(piece, sink)?;
        }
        self.pending.extend_from_slice(pieces.remainder());
        Ok(())
    }

    /// Decodes a piece to its end.
    fn decode(&mut self, mut input: &[u8], sink: &mut impl FnMut(Event)) -> Result<(), Error> {
        loop {
            let step = self.step(input, sink)?;
            input = &input[step.consumed..];
            if !step.progress {
                return Ok(()); // everything was taken: no decoder stops short while it has input and room
            }
        }
    }

    /// Ends the scan.
    ///
    /// # Errors
    /// [`Error::Truncated`] where the compressed data is not at an end.
    pub fn finish(mut self, sink: &mut impl FnMut(Event)) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.pending);
        self.decode(&rest, sink)?;
        let whole = match &self.decoder {
            Decoder::Raw => true,
            Decoder::Gzip { part: Part::Header(header), .. } => header.is_empty(),
            Decoder::Gzip { part: Part::Padding, .. } => true,
            Decoder::Gzip { .. } => false,
            Decoder::Zstd { inside, .. } => !inside,
        };
        if !whole {
            return Err(Error::Truncated { missing: 0 });
        }
        self.cutter.cut(Restart::Raw, sink);
        Ok(())
    }

    /// One call of the decoder.
    fn step(&mut self, input: &[u8], sink: &mut impl FnMut(Event)) -> Result<Step, Error> {
        let cutter = &mut self.cutter;
        let invalid = |codec, offset, detail| Error::Invalid { codec, offset, detail };
        match &mut self.decoder {
            Decoder::Raw => {
                let n = input.len().min(cutter.room().len()).min((cutter.spacing - cutter.length()) as usize);
                cutter.room()[..n].copy_from_slice(&input[..n]);
                cutter.advance(&input[..n], n, sink);
                cutter.boundary_anywhere(Restart::Raw, sink);
                Ok(Step::of(n, n))
            }
            Decoder::Zstd { zstd, inside } => {
                if input.is_empty() && !*inside {
                    return Ok(Step::of(0, 0));
                }
                let step = zstd.step(input, cutter.room()).map_err(|detail| invalid("zstd", cutter.blob_offset, detail))?;
                if step.consumed > 0 || step.produced > 0 {
                    *inside = !step.frame_end;
                }
                cutter.advance(&input[..step.consumed], step.produced, sink);
                if step.frame_end {
                    cutter.frame_ended();
                    cutter.boundary_anywhere(Restart::Frame, sink);
                }
                // libzstd gives a frame's last byte back until all of the frame is put out: it may be needed and not counted yet.
                cutter.cut_if_endless(1, sink);
                Ok(Step::of(step.consumed, step.produced))
            }
            Decoder::Gzip { inflate, part } => {
                let offset = cutter.blob_offset;
                gzip_step(inflate, part, input, cutter, sink).map_err(|detail| invalid("gzip", offset, detail))
            }
        }
    }
}

fn gzip_step(
    inflate: &mut Inflate,
    part: &mut Part,
    input: &[u8],
    cutter: &mut Cutter,
    sink: &mut impl FnMut(Event),
) -> Result<Step, String> {
    match part {
        Part::Header(header) if header.is_empty() && cutter.blob_offset > 0 && input.first() == Some(&0) => {
            *part = Part::Padding;
            Ok(Step { consumed: 0, progress: true })
        }
        Part::Padding => match input.iter().position(|b| *b != 0) {
            Some(_) => Err("bytes after the last member".into()),
            None => {
                cutter.advance(input, 0, sink);
                Ok(Step::of(input.len(), 0))
            }
        },
        Part::Header(header) => {
            if header.is_empty() && !input.is_empty() {
                cutter.boundary_anywhere(Restart::Frame, sink);
            }
            let (taken, whole) = header.take(input)?;
            cutter.advance(&input[..taken], 0, sink);
            if whole {
                inflate.reset();
                *part = Part::Body;
            }
            Ok(Step::of(taken, 0))
        }
        Part::Trailer { left } => {
            let taken = input.len().min(*left);
            *left -= taken;
            cutter.advance(&input[..taken], 0, sink);
            if *left == 0 {
                cutter.member_ended();
                *part = Part::Header(Header::default());
            }
            Ok(Step::of(taken, 0))
        }
        Part::Body => {
            let step = inflate.step(input, cutter.room(), true)?;
            cutter.advance(&input[..step.consumed], step.produced, sink);
            match step.at {
                At::End => {
                    *part = Part::Trailer { left: TRAILER_BYTES };
                    cutter.deflate_ended();
                }
                At::Boundary { unused_bits } => cutter.boundary(unused_bits, inflate, sink),
                At::Inside => cutter.cut_if_endless(0, sink),
            }
            let progress = step.consumed > 0 || step.produced > 0 || step.at != At::Inside;
            Ok(Step { consumed: step.consumed, progress })
        }
    }
}

/// Knows where the current span began, and decides where it ends.
struct Cutter {
    spacing: u64,
    /// Uncompressed and compressed bytes so far.
    offset: u64,
    blob_offset: u64,
    /// Behind the last compressed byte that the output so far needs: what yields nothing (skippable frames, empty members) is in no span.
    blob_end: u64,
    /// Whether the current zstd frame has yielded anything.
    frame_yields: bool,
    last_byte: u8,
    /// The current span.
    start: u64,
    blob_start: u64,
    restart: Restart,
    window: Option<Window>,
    /// Whether a gzip member has ended in this span: then another may soon, and its end is a restart point without a window.
    members_end_often: bool,
    buffer: Vec<u8>,
    filled: usize,
}

/// The current span's window, and the compressed bytes after it until it is known which of its bytes they refer to.
struct Window {
    bytes: Vec<u8>,
    bits: u8,
    probe: Option<Vec<u8>>,
}

impl Cutter {
    fn new(spacing: u64, restart: Restart) -> Cutter {
        Cutter {
            spacing,
            offset: 0,
            blob_offset: 0,
            blob_end: 0,
            frame_yields: false,
            last_byte: 0,
            start: 0,
            blob_start: 0,
            restart,
            window: None,
            members_end_often: false,
            buffer: vec![0; CHUNK_BYTES],
            filled: 0,
        }
    }

    fn length(&self) -> u64 {
        self.offset - self.start
    }

    /// Where the decoder may write: never beyond the span's greatest length.
    fn room(&mut self) -> &mut [u8] {
        let left = (self.spacing * 2 - self.length()).min((self.buffer.len() - self.filled) as u64) as usize;
        &mut self.buffer[self.filled..self.filled + left]
    }

    /// Counts what a step did.
    fn advance(&mut self, consumed: &[u8], produced: usize, sink: &mut impl FnMut(Event)) {
        self.blob_offset += consumed.len() as u64;
        self.last_byte = consumed.last().copied().unwrap_or(self.last_byte);
        self.offset += produced as u64;
        self.filled += produced;
        if produced > 0 {
            self.blob_end = self.blob_offset;
            self.frame_yields = true;
        }
        self.feed_probe(consumed);
        if self.filled == self.buffer.len() {
            self.flush(sink);
        }
    }

    fn flush(&mut self, sink: &mut impl FnMut(Event)) {
        if self.filled > 0 {
            let mut data = std::mem::replace(&mut self.buffer, vec![0; CHUNK_BYTES]);
            data.truncate(self.filled);
            self.filled = 0;
            sink(Event::Data(data));
        }
    }

    fn feed_probe(&mut self, consumed: &[u8]) {
        let length = self.length();
        let Some(window) = &mut self.window else { return };
        let Some(probe) = &mut window.probe else { return };
        probe.extend_from_slice(consumed);
        if length >= WINDOW_BYTES as u64 || probe.len() > PROBE_BYTES_MAX {
            window.sparsify();
        }
    }

    /// A gzip member's deflate data has ended: nothing after it can refer to the window.
    fn deflate_ended(&mut self) {
        if let Some(window) = &mut self.window {
            window.sparsify();
        }
    }

    /// A zstd frame has ended, its last byte included.
    fn frame_ended(&mut self) {
        if std::mem::take(&mut self.frame_yields) {
            self.blob_end = self.blob_offset;
        }
    }

    fn member_ended(&mut self) {
        self.members_end_often = true;
    }

    /// Between two deflate blocks: cut here if the span is long enough.
    fn boundary(&mut self, unused_bits: u8, inflate: &mut Inflate, sink: &mut impl FnMut(Event)) {
        let patience = if self.members_end_often { self.spacing / 4 } else { 0 };
        if self.length() < self.spacing + patience {
            return;
        }
        let bits = (8 - unused_bits) & 7;
        self.cut(Restart::Deflate { bits }, sink);
        let mut probe = Vec::with_capacity(WINDOW_BYTES);
        if bits != 0 {
            self.blob_start -= 1;
            probe.push(self.last_byte);
        }
        self.window = Some(Window { bytes: inflate.window(), bits, probe: Some(probe) });
    }

    /// At a place where decoding can begin without a window. A span that has no bytes yet begins here, too.
    fn boundary_anywhere(&mut self, restart: Restart, sink: &mut impl FnMut(Event)) {
        if self.length() == 0 || self.length() >= self.spacing {
            self.cut(restart, sink);
        }
    }

    /// No restart point for too long: cut where decoding stands. The span needs `shared` compressed bytes behind those consumed.
    fn cut_if_endless(&mut self, shared: u64, sink: &mut impl FnMut(Event)) {
        if self.length() >= self.spacing * 2 {
            self.blob_end += shared;
            self.cut(Restart::Continue, sink);
        }
    }

    /// Ends the current span, if it has any bytes, and begins the next.
    fn cut(&mut self, next: Restart, sink: &mut impl FnMut(Event)) {
        self.flush(sink);
        if self.length() > 0 {
            let window = self.window.take().map(Window::stored);
            sink(Event::Span(SpanSeek {
                offset: self.start,
                length: self.length() as u32, // at most 2 * spacing, which is at most 16 MiB
                blob_offset: self.blob_start,
                blob_length: self.blob_end - self.blob_start,
                restart: self.restart,
                window,
            }));
        }
        self.start = self.offset;
        self.blob_start = self.blob_offset;
        self.restart = next;
        self.window = None;
        self.members_end_often = false;
    }
}

impl Window {
    fn sparsify(&mut self) {
        if let Some(probe) = self.probe.take() {
            window::sparsify(&mut self.bytes, self.bits, &probe);
        }
    }

    /// A span cut before its window was probed keeps it whole: the blocks behind the cut may refer to it.
    fn stored(self) -> Vec<u8> {
        window::compress(&self.bytes)
    }
}
