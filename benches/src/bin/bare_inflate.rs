//! The limit of indexing: what one core needs to inflate an image's gzip layers with zlib-rs, and nothing else.
//!
//! `bare_inflate BLOB...` reads the blobs into memory, then inflates one after the other and prints seconds and rates as JSON; likewise the
//! SHA-256 of the compressed and of the uncompressed bytes, which an indexer computes besides. The blob's whole output goes into one small
//! buffer, over and over, so that memory costs nothing.

use std::mem::{MaybeUninit, size_of};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest;
use clap::Parser;
use libz_rs_sys as z;

/// What an indexer takes per call, too.
const OUTPUT_BYTES: usize = 128 << 10;
/// A gzip wrapper, window of 32 KiB.
const GZIP_WINDOW_BITS: i32 = 15 + 16;

/// Inflates gzip files in memory on one core.
#[derive(Parser)]
struct Options {
    /// The layers' blobs, each gzip
    #[arg(required = true)]
    blobs: Vec<PathBuf>,
    /// Hash as well, and print those times
    #[arg(long)]
    sha256: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let blobs = options.blobs.iter().map(|path| std::fs::read(path).with_context(|| format!("read {}", path.display())));
    let blobs = blobs.collect::<Result<Vec<_>>>()?;
    let compressed: usize = blobs.iter().map(Vec::len).sum();
    let start = Instant::now();
    let mut uncompressed = 0;
    for (blob, path) in blobs.iter().zip(&options.blobs) {
        uncompressed += inflate(blob, &mut |_| ()).with_context(|| format!("inflate {}", path.display()))?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut report = serde_json::json!({
        "compressed_bytes": compressed,
        "uncompressed_bytes": uncompressed,
        "inflate_seconds": seconds,
        "inflate_mb_per_second": uncompressed as f64 / 1e6 / seconds,
    });
    if options.sha256 {
        let start = Instant::now();
        for blob in &blobs {
            std::hint::black_box(digest::digest(&digest::SHA256, blob));
        }
        report["sha256_compressed_seconds"] = start.elapsed().as_secs_f64().into();
        let mut hashing = 0.0;
        for blob in &blobs {
            let mut hasher = digest::Context::new(&digest::SHA256);
            inflate(blob, &mut |bytes| {
                let start = Instant::now();
                hasher.update(bytes);
                hashing += start.elapsed().as_secs_f64();
            })?;
        }
        report["sha256_uncompressed_seconds"] = hashing.into();
    }
    println!("{report:#}");
    Ok(())
}

/// Inflates a gzip file of one member or many; `sink` gets the bytes. Returns how many.
#[expect(unsafe_code, reason = "zlib-rs as the indexer uses it: by its C interface")]
fn inflate(blob: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<u64> {
    let mut output = vec![0; OUTPUT_BYTES];
    let mut stream: Box<MaybeUninit<z::z_stream>> = Box::new(MaybeUninit::zeroed());
    // SAFETY: an all-zero z_stream is what inflateInit2 asks for, and on success it is initialised. It stays where it is until inflateEnd.
    // The pointers and lengths given to inflate are those of live slices, which it stays within; input beyond 4 GiB is given in parts.
    unsafe {
        let stream = stream.as_mut_ptr();
        if z::inflateInit2_(stream, GZIP_WINDOW_BITS, z::zlibVersion(), size_of::<z::z_stream>() as i32) != z::Z_OK {
            bail!("inflateInit2");
        }
        let (mut taken, mut total) = (0, 0);
        while taken < blob.len() {
            let available = u32::try_from(blob.len() - taken).unwrap_or(u32::MAX);
            (*stream).next_in = blob[taken..].as_ptr();
            (*stream).avail_in = available;
            (*stream).next_out = output.as_mut_ptr();
            (*stream).avail_out = OUTPUT_BYTES as u32;
            let code = z::inflate(stream, z::Z_NO_FLUSH);
            let produced = OUTPUT_BYTES - (*stream).avail_out as usize;
            taken += (available - (*stream).avail_in) as usize;
            total += produced as u64;
            sink(&output[..produced]);
            match code {
                z::Z_STREAM_END => z::inflateReset(stream),
                z::Z_OK => z::Z_OK,
                code => bail!("inflate ended with code {code} at byte {taken}"),
            };
        }
        z::inflateEnd(stream);
        Ok(total)
    }
}
