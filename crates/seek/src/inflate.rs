//! Raw deflate (RFC 1951) with the three things that restarting needs: stopping between blocks, beginning at a bit, and setting
//! the window. zlib-rs has them behind zlib's C interface only (manual: <https://zlib.net/manual.html>, `inflate`, `inflatePrime`,
//! `inflateSetDictionary`), so this file is the crate's one place for `unsafe`.

use std::mem::{MaybeUninit, size_of};

use libz_rs_sys as z;

use crate::WINDOW_BYTES;

/// Raw deflate, no zlib or gzip wrapper, window of 32 KiB.
const RAW_WINDOW_BITS: i32 = -15;
/// `data_type`: the call ended at a block's end.
const AT_BLOCK_END: i32 = 128;
/// `data_type`: the current block is the last of its stream.
const IN_LAST_BLOCK: i32 = 64;

/// One deflate stream being decoded.
pub(crate) struct Inflate {
    // Boxed: zlib's state points back at the z_stream and compares the addresses.
    stream: Box<z::z_stream>,
}

/// What one call did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub consumed: usize,
    pub produced: usize,
    pub at: At,
}

/// Where decoding stands after a call.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum At {
    /// Inside a block: input or output ran out.
    Inside,
    /// Between two blocks; so many high bits of the last consumed byte are not used yet.
    Boundary { unused_bits: u8 },
    /// The stream has ended.
    End,
}

// SAFETY: the z_stream and what it points to are owned by this value alone, and zlib-rs keeps no thread-local or global state.
unsafe impl Send for Inflate {}

impl Inflate {
    pub fn new() -> Inflate {
        let mut stream: Box<MaybeUninit<z::z_stream>> = Box::new(MaybeUninit::zeroed());
        // SAFETY: an all-zero z_stream is what inflateInit2 asks for (null callbacks: zlib's own allocator), and on success the
        // struct is initialised. It stays at this address until inflateEnd.
        unsafe {
            let code = z::inflateInit2_(stream.as_mut_ptr(), RAW_WINDOW_BITS, z::zlibVersion(), size_of::<z::z_stream>() as i32);
            // The arguments are constants that zlib accepts; what is left is a failed allocation, on which Rust aborts too.
            assert_eq!(code, z::Z_OK, "inflateInit2");
            Inflate { stream: Box::from_raw(Box::into_raw(stream).cast()) }
        }
    }

    /// Begins a new stream, forgetting all.
    pub fn reset(&mut self) {
        // SAFETY: the stream was initialised by `new`.
        unsafe { z::inflateReset(&mut *self.stream) };
    }

    /// Sets up for a restart: `first` is the first byte, of which `bits` low bits (0 to 7) are skipped, `window` what came before.
    ///
    /// The stream must be fresh, and `first` counts as consumed if `bits` is not 0.
    pub fn restart(&mut self, bits: u8, first: u8, window: &[u8]) {
        let window = &window[window.len().saturating_sub(WINDOW_BYTES)..];
        // SAFETY: the stream was initialised by `new`; the window's pointer and length belong together; a raw stream takes a
        // dictionary at any time, and at most 7 bits are primed, so neither call can fail.
        unsafe {
            if bits != 0 {
                let unused = 8 - i32::from(bits & 7);
                z::inflatePrime(&mut *self.stream, unused, i32::from(first) >> (8 - unused));
            }
            if !window.is_empty() {
                z::inflateSetDictionary(&mut *self.stream, window.as_ptr(), window.len() as u32);
            }
        }
    }

    /// Decodes until input or output runs out, or, with `stop_at_blocks`, to the next block boundary.
    pub fn step(&mut self, input: &[u8], output: &mut [u8], stop_at_blocks: bool) -> Result<Step, String> {
        let (available, room) = (clamp(input.len()), clamp(output.len()));
        let stream = &mut *self.stream;
        stream.next_in = input.as_ptr();
        stream.avail_in = available;
        stream.next_out = output.as_mut_ptr();
        stream.avail_out = room;
        // SAFETY: the pointers and lengths were just taken from live slices, which outlive the call.
        let code = unsafe { z::inflate(stream, if stop_at_blocks { z::Z_BLOCK } else { z::Z_SYNC_FLUSH }) };
        let (consumed, produced) = ((available - stream.avail_in) as usize, (room - stream.avail_out) as usize);
        let at = match code {
            z::Z_STREAM_END => At::End,
            // Z_BUF_ERROR: no progress was possible; the caller sees that from the counts.
            z::Z_OK | z::Z_BUF_ERROR if stream.data_type & AT_BLOCK_END != 0 && stream.data_type & IN_LAST_BLOCK == 0 => {
                At::Boundary { unused_bits: (stream.data_type & 7) as u8 }
            }
            z::Z_OK | z::Z_BUF_ERROR => At::Inside,
            _ => return Err(self.message(code)),
        };
        Ok(Step { consumed, produced, at })
    }

    /// The last 32 KiB that were decoded (fewer at a stream's beginning): what a restart here would need.
    pub fn window(&mut self) -> Vec<u8> {
        let mut window = vec![0; WINDOW_BYTES];
        let mut length = 0;
        // SAFETY: the buffer has the 32 KiB that the manual asks for, and the stream was initialised by `new`.
        unsafe { z::inflateGetDictionary(&*self.stream, window.as_mut_ptr(), &mut length) };
        window.truncate(length as usize);
        window
    }

    fn message(&self, code: i32) -> String {
        if self.stream.msg.is_null() {
            return format!("inflate ended with code {code}");
        }
        // SAFETY: zlib's messages are static, NUL-terminated strings.
        unsafe { std::ffi::CStr::from_ptr(self.stream.msg) }.to_string_lossy().into_owned()
    }
}

impl Drop for Inflate {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised by `new` and is not used again.
        unsafe { z::inflateEnd(&mut *self.stream) };
    }
}

/// zlib counts in 32 bits; what does not fit waits for the next call.
fn clamp(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
