//! Points where decompression can restart: find them while indexing, restart at them while reading.
//!
//! A compressed layer is cut into *spans* of uncompressed bytes. A [`Scanner`] reads the compressed bytes once, in order, and
//! says where each span begins and what is needed to begin there; [`decode_span`] and [`Decoder`] begin there later. The crate
//! does no I/O and knows neither archives nor registries.
//!
//! - gzip: between any two deflate blocks, with the bit offset and the 32 KiB before it ([`window`]); or at a member's header.
//! - zstd: at a frame's start.
//! - plain tar: anywhere.
//!
//! Where a stream offers no restart point for too long (a zstd layer of one frame, a giant deflate block) the span is cut all the
//! same, as [`Restart::Continue`]: it can be verified and kept by itself, but decoding must come to it from the span before.

mod decode;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod gzip;
#[expect(
    unsafe_code,
    reason = "the only caller of zlib-rs's C interface, which alone offers Z_BLOCK, inflatePrime and inflateSetDictionary"
)]
mod inflate;
mod scan;
pub mod window;
mod zst;

pub use decode::{Decoder, decode_span};
pub use error::Error;
pub use scan::{Event, Scanner, SpanSeek};

/// How far back a deflate reference can reach (RFC 1951 §2): the bytes that a restart between two blocks needs.
pub const WINDOW_BYTES: usize = 32 << 10;

/// How a layer's blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all: the blob is the tar.
    Raw,
    /// gzip (RFC 1952), of one member or many.
    Gzip,
    /// zstd (RFC 8878), of one frame or many, skippable frames among them.
    Zstd,
}

impl Codec {
    /// Tells the codec by a blob's first bytes (4 suffice), as the media type may lie.
    ///
    /// Anything that is neither gzip nor zstd is taken for a plain tar, whose walk finds out.
    pub fn sniff(head: &[u8]) -> Codec {
        match head {
            [0x1f, 0x8b, ..] => Codec::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Codec::Zstd,
            [b, 0x2a, 0x4d, 0x18, ..] if b & 0xf0 == 0x50 => Codec::Zstd, // a skippable frame
            _ => Codec::Raw,
        }
    }

    /// The codec's number in files (FORMAT.md §5).
    pub fn code(self) -> u8 {
        match self {
            Codec::Raw => 0,
            Codec::Gzip => 1,
            Codec::Zstd => 2,
        }
    }

    /// The codec of a number, if it is one.
    pub fn from_code(code: u8) -> Option<Codec> {
        [Codec::Raw, Codec::Gzip, Codec::Zstd].into_iter().find(|codec| codec.code() == code)
    }
}

/// How the decoding of a span begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Restart {
    /// The span's bytes are as they are.
    Raw,
    /// A gzip member's header or a zstd frame begins at the first byte.
    Frame,
    /// A deflate block begins in the first byte, after `bits` bits (0 to 7), and may refer to the window.
    Deflate {
        /// Bits of the first byte that belong to the span before.
        bits: u8,
    },
    /// Nowhere: decoding goes on from the span before.
    Continue,
}

impl Restart {
    /// The restart's kind and bits in files (FORMAT.md §6).
    pub fn code(self) -> (u8, u8) {
        match self {
            Restart::Raw => (0, 0),
            Restart::Frame => (1, 0),
            Restart::Deflate { bits } => (2, bits),
            Restart::Continue => (3, 0),
        }
    }

    /// The restart of kind and bits, if there is one.
    pub fn from_code(code: (u8, u8)) -> Option<Restart> {
        match code {
            (0, 0) => Some(Restart::Raw),
            (1, 0) => Some(Restart::Frame),
            (2, bits @ 0..=7) => Some(Restart::Deflate { bits }),
            (3, 0) => Some(Restart::Continue),
            _ => None,
        }
    }
}
