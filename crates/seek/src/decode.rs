//! Decoding from a restart point on: what a read does.

use crate::gzip::{Header, TRAILER_BYTES};
use crate::inflate::{At, Inflate};
use crate::zst::Zstd;
use crate::{Codec, Error, Restart};

/// A decoder that began at a restart point. It crosses member and frame boundaries by itself, so that it can decode one span, or
/// a span and those that continue it.
pub struct Decoder {
    state: State,
    consumed: u64,
}

enum State {
    Raw,
    Gzip { inflate: Inflate, part: Part },
    Zstd(Zstd),
}

/// Where in a gzip stream we are.
enum Part {
    /// Before the first byte of a restart between blocks.
    First {
        bits: u8,
        window: Vec<u8>,
    },
    Header(Header),
    Body,
    Trailer {
        left: usize,
    },
}

impl Decoder {
    /// Begins at a restart point. `window` is what came before it ([`crate::WINDOW_BYTES`] at most), used with [`Restart::Deflate`] only.
    ///
    /// # Errors
    /// [`Error::NoRestart`] for [`Restart::Continue`], and [`Error::Invalid`] for a restart that the codec does not have.
    pub fn new(codec: Codec, restart: Restart, window: &[u8]) -> Result<Self, Error> {
        let gzip = |part| State::Gzip { inflate: Inflate::new(), part };
        let state = match (codec, restart) {
            (_, Restart::Continue) => return Err(Error::NoRestart),
            (Codec::Raw, Restart::Raw) => State::Raw,
            (Codec::Gzip, Restart::Frame) => gzip(Part::Header(Header::default())),
            (Codec::Gzip, Restart::Deflate { bits }) => gzip(Part::First { bits, window: window.to_vec() }),
            (Codec::Zstd, Restart::Frame) => {
                State::Zstd(Zstd::new().map_err(|detail| Error::Invalid { codec: "zstd", offset: 0, detail })?)
            }
            _ => return Err(Error::NoRestart),
        };
        Ok(Decoder { state, consumed: 0 })
    }

    /// Decodes as much as fits; returns (bytes consumed, bytes produced).
    ///
    /// Fewer bytes than `output` holds are produced only when the input ran out, or the compressed stream has ended.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the input is not what the codec expects.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Error> {
        let (mut consumed, mut produced) = (0, 0);
        // Ends: every turn consumes, produces, or moves a gzip stream to its next part, and a part cannot change without input.
        while produced < output.len() {
            let (c, p) = self.step(&input[consumed..], &mut output[produced..])?;
            consumed += c;
            produced += p;
            self.consumed += c as u64;
            if c == 0 && p == 0 {
                break;
            }
        }
        Ok((consumed, produced))
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Error> {
        let offset = self.consumed;
        match &mut self.state {
            State::Raw => {
                let n = input.len().min(output.len());
                output[..n].copy_from_slice(&input[..n]);
                Ok((n, n))
            }
            State::Gzip { inflate, part } => {
                gzip_step(inflate, part, input, output).map_err(|detail| Error::Invalid { codec: "gzip", offset, detail })
            }
            State::Zstd(zstd) => {
                let step = zstd.step(input, output).map_err(|detail| Error::Invalid { codec: "zstd", offset, detail })?;
                Ok((step.consumed, step.produced))
            }
        }
    }
}

fn gzip_step(inflate: &mut Inflate, part: &mut Part, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), String> {
    match part {
        Part::First { bits, window } => {
            let Some(&first) = input.first() else { return Ok((0, 0)) };
            inflate.restart(*bits, first, window);
            let consumed = usize::from(*bits != 0);
            *part = Part::Body;
            if consumed == 0 { gzip_step(inflate, part, input, output) } else { Ok((consumed, 0)) }
        }
        Part::Header(header) => {
            let (taken, whole) = header.take(input)?;
            if whole {
                inflate.reset();
                *part = Part::Body;
            }
            Ok((taken, 0))
        }
        Part::Body => {
            let step = inflate.step(input, output, false)?;
            if step.at == At::End {
                *part = Part::Trailer { left: TRAILER_BYTES };
                if step.consumed == 0 && step.produced == 0 {
                    return gzip_step(inflate, part, input, output);
                }
            }
            Ok((step.consumed, step.produced))
        }
        Part::Trailer { left } => {
            let taken = input.len().min(*left);
            *left -= taken;
            if *left == 0 {
                *part = Part::Header(Header::default());
            }
            Ok((taken, 0))
        }
    }
}

/// Decodes one whole span from its compressed bytes: exactly `length` bytes. Compressed bytes left over are not looked at.
///
/// # Errors
/// As [`Decoder::new`] and [`Decoder::decode`]; [`Error::Truncated`] where `compressed` yields fewer bytes.
pub fn decode_span(codec: Codec, restart: Restart, window: &[u8], compressed: &[u8], length: usize) -> Result<Vec<u8>, Error> {
    let mut output = vec![0; length];
    let (_, produced) = Decoder::new(codec, restart, window)?.decode(compressed, &mut output)?;
    if produced < length {
        return Err(Error::Truncated { missing: (length - produced) as u64 });
    }
    Ok(output)
}
