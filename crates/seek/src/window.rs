//! Windows: the up to 32 KiB before a restart point that deflate may refer to, made small.
//!
//! Stored raw they would be the largest part of an index (3 % of a layer at 1 MiB spacing). Most of a window is never referred to,
//! so those bytes are zeroed, and zstd does the rest (the idea is rapidgzip's). To learn which bytes are referred to without a
//! decoder of our own, the first 32 KiB after the restart point are decoded twice, with two made-up windows in which every position
//! can be told by the pair of values that come out: where both decodings agree the byte was a literal, elsewhere the pair names
//! the window position that it was copied from, through however many copies. Later bytes cannot reach the window directly.

use crate::inflate::{At, Inflate};
use crate::{Error, WINDOW_BYTES};

/// zstd level of stored windows: they are tiny after zeroing and written once; higher levels gain under 1 %.
const LEVEL: i32 = 9;

/// Zeroes the bytes of `window` that the deflate data does not refer to.
///
/// `compressed` begins with the byte in which the block begins (after `bits` bits) and must hold the next 32 KiB of output, or all
/// to the end of the deflate stream; with less, bytes could be zeroed that are needed, so the window is then left whole.
pub(crate) fn sparsify(window: &mut [u8], bits: u8, compressed: &[u8]) {
    let length = window.len();
    let [low, high] = [|i: usize| i as u8, |i: usize| i as u8 ^ (1 + (i >> 8)) as u8].map(|value| {
        let made_up: Vec<u8> = (0..length).map(value).collect();
        decode_head(&made_up, bits, compressed)
    });
    let (Some(low), Some(high)) = (low, high) else { return };
    let mut needed = vec![false; length];
    for (a, b) in low.into_iter().zip(high) {
        if a != b
            && let Some(slot) = needed.get_mut((usize::from(a ^ b) - 1) << 8 | usize::from(a))
        {
            *slot = true;
        }
    }
    for (byte, needed) in window.iter_mut().zip(needed) {
        if !needed {
            *byte = 0;
        }
    }
}

/// The first 32 KiB of output, or all to the end of the deflate stream; `None` where the data does not reach that far.
fn decode_head(window: &[u8], bits: u8, compressed: &[u8]) -> Option<Vec<u8>> {
    let first = *compressed.first()?;
    let mut inflate = Inflate::new();
    inflate.restart(bits, first, window);
    let mut input = &compressed[usize::from(bits != 0)..];
    let mut output = vec![0; WINDOW_BYTES];
    let mut produced = 0;
    loop {
        let step = inflate.step(input, &mut output[produced..], false).ok()?;
        produced += step.produced;
        input = &input[step.consumed..];
        if step.at == At::End || produced == output.len() {
            output.truncate(produced);
            return Some(output);
        }
        if step.consumed == 0 && step.produced == 0 {
            return None;
        }
    }
}

/// A window as it is stored: one zstd frame.
pub fn compress(window: &[u8]) -> Vec<u8> {
    // Compressing 32 KiB in memory fails only where memory is gone, on which Rust aborts as well.
    zstd::bulk::compress(window, LEVEL).expect("zstd compresses any 32 KiB")
}

/// A stored window made whole again.
///
/// # Errors
/// [`Error::Invalid`] where the bytes are not one zstd frame of at most [`WINDOW_BYTES`].
pub fn decompress(stored: &[u8]) -> Result<Vec<u8>, Error> {
    zstd::bulk::decompress(stored, WINDOW_BYTES).map_err(|e| Error::Invalid { codec: "zstd", offset: 0, detail: e.to_string() })
}
