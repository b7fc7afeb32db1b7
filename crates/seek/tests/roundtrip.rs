//! Whatever a blob looks like: scanning it yields its bytes, and every span decodes by itself to its part of them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use seek::{Codec, Decoder, Event, Restart, Scanner, SpanSeek, decode_span, window};

const SPACING: u32 = 256 << 10;

/// Text-like bytes: compressible, with references far back.
fn plain(bytes: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    let words: Vec<Vec<u8>> = (0..5000).map(|_| (0..3 + next() % 9).map(|_| b'a' + (next() % 26) as u8).collect()).collect();
    let mut out = Vec::with_capacity(bytes + 64);
    while out.len() < bytes {
        out.extend_from_slice(&words[next() % words.len()]);
        out.push(b' ');
        if next() % 500 == 0 {
            (0..next() % 3000).for_each(|_| out.push(next() as u8));
        }
    }
    out.truncate(bytes);
    out
}

fn gzip(data: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn scan(codec: Codec, blob: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<SpanSeek>), seek::Error> {
    let (mut data, mut spans) = (Vec::new(), Vec::new());
    let mut sink = |event| match event {
        Event::Data(bytes) => data.extend_from_slice(&bytes),
        Event::Span(span) => spans.push(span),
    };
    let mut scanner = Scanner::new(codec, SPACING)?;
    for piece in blob.chunks(piece) {
        scanner.push(piece, &mut sink)?;
    }
    scanner.finish(&mut sink)?;
    Ok((data, spans))
}

/// The property of this file. Returns the spans.
fn check(codec: Codec, blob: &[u8], expected: &[u8]) -> Vec<SpanSeek> {
    let (data, spans) = scan(codec, blob, 100_000).unwrap();
    assert!(data == expected, "the scan yields other bytes");
    assert_eq!(scan(codec, blob, 777).unwrap().1, spans, "spans depend on how the blob was cut into pieces");
    let mut at = 0;
    for (i, span) in spans.iter().enumerate() {
        assert_eq!(span.offset, at);
        at += u64::from(span.length);
        let expected = &expected[span.offset as usize..at as usize];
        let decoded = if span.restart == Restart::Continue { decode_group(codec, blob, &spans, i) } else { decode_one(codec, blob, span) };
        assert!(decoded == expected, "span {i} of {} decodes to other bytes: {:?}", spans.len(), span.restart);
    }
    assert_eq!(at, expected.len() as u64);
    spans
}

fn window_of(span: &SpanSeek) -> Vec<u8> {
    span.window.as_deref().map(|w| window::decompress(w).unwrap()).unwrap_or_default()
}

fn decode_one(codec: Codec, blob: &[u8], span: &SpanSeek) -> Vec<u8> {
    let compressed = &blob[span.blob_offset as usize..][..span.blob_length as usize];
    decode_span(codec, span.restart, &window_of(span), compressed, span.length as usize).unwrap()
}

fn decode_group(codec: Codec, blob: &[u8], spans: &[SpanSeek], last: usize) -> Vec<u8> {
    let head = (0..=last).rev().find(|i| spans[*i].restart != Restart::Continue).unwrap();
    let mut decoder = Decoder::new(codec, spans[head].restart, &window_of(&spans[head])).unwrap();
    let end = spans[last].blob_offset + spans[last].blob_length;
    let mut input = &blob[spans[head].blob_offset as usize..end as usize];
    let mut output = Vec::new();
    for span in &spans[head..=last] {
        output = vec![0; span.length as usize];
        let (consumed, produced) = decoder.decode(input, &mut output).unwrap();
        assert_eq!(produced, output.len());
        input = &input[consumed..];
    }
    output
}

#[test]
fn gzip_of_one_member_at_every_level() {
    let data = plain(3 << 20);
    for level in [1, 6, 9] {
        let spans = check(Codec::Gzip, &gzip(&data, level), &data);
        assert!(spans.len() > 5, "only {} spans at level {level}", spans.len());
        // Level 1 of zlib-rs may write one giant block: nothing to restart at. The others write one block per 10,000 symbols or so.
        assert!(level == 1 || spans[1..].iter().all(|s| s.window.is_some()), "level {level}: {spans:?}");
    }
}

#[test]
fn stored_gzip_blocks_need_no_window() {
    let data = plain(2 << 20);
    let spans = check(Codec::Gzip, &gzip(&data, 0), &data);
    let windows: usize = spans.iter().filter_map(|s| s.window.as_ref().map(Vec::len)).sum();
    assert!(windows < 100 * spans.len(), "{windows} bytes of windows for data without references");
}

#[test]
fn windows_are_small() {
    let data = plain(8 << 20);
    let spans = check(Codec::Gzip, &gzip(&data, 6), &data);
    let windows: usize = spans.iter().filter_map(|s| s.window.as_ref().map(Vec::len)).sum();
    assert!(windows / spans.len() < 16 << 10, "{windows} bytes for {} windows", spans.len());
}

#[test]
fn gzip_of_many_members_restarts_at_members() {
    let data = plain(3 << 20);
    let blob: Vec<u8> = data.chunks(64 << 10).flat_map(|c| gzip(c, 6)).chain(gzip(b"", 6)).collect();
    let spans = check(Codec::Gzip, &blob, &data);
    assert!(spans.iter().all(|s| s.restart == Restart::Frame), "{spans:?}");
}

#[test]
fn zeros_behind_the_last_gzip_member_are_padding() {
    let (data, zeros) = (plain(1 << 20), vec![0; 150_000]);
    check(Codec::Gzip, &[gzip(&data, 6), zeros.clone()].concat(), &data);
    for bad in
        [[gzip(&data, 6), zeros.clone(), b"x".to_vec()], [gzip(&data, 6), zeros.clone(), gzip(&data, 6)], [zeros, gzip(&data, 6), vec![]]]
    {
        assert!(scan(Codec::Gzip, &bad.concat(), 5000).is_err());
    }
}

#[test]
fn zstd_of_one_frame_is_continued_and_of_many_restarts() {
    let data = plain(3 << 20);
    let one = zstd::bulk::compress(&data, 3).unwrap();
    let spans = check(Codec::Zstd, &one, &data);
    assert!(spans.len() > 4 && spans[1..].iter().all(|s| s.restart == Restart::Continue), "{spans:?}");
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"hello"].concat();
    let mut many = skippable.clone();
    for chunk in data.chunks(100_000) {
        many.extend(zstd::bulk::compress(chunk, 3).unwrap());
        many.extend(&skippable);
    }
    let spans = check(Codec::Zstd, &many, &data);
    assert!(spans.len() > 4 && spans.iter().all(|s| s.restart == Restart::Frame), "{spans:?}");
}

/// A sequence of numbers that only looks random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }

    fn size(&mut self) -> usize {
        let limit = [1, 20, 3_000, 70_000, 900_000][self.below(5)];
        self.below(limit)
    }
}

/// Writes in pieces, flushed now and then.
fn write_in_pieces(numbers: &mut Numbers, data: &[u8], out: &mut impl Write) {
    for piece in data.chunks(1 + numbers.below(200_000)) {
        out.write_all(piece).unwrap();
        if numbers.below(3) == 0 {
            out.flush().unwrap();
        }
    }
}

/// Members and frames of all sizes, empty and skippable ones among them, flushed anywhere.
#[test]
fn random_structures() {
    let text = plain(1 << 20);
    for seed in 0..40 {
        let mut numbers = Numbers(seed * 7919);
        let (mut gzipped, mut zstd, mut data) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..1 + numbers.below(6) {
            let part = &text[numbers.below(100_000)..][..numbers.size()];
            data.extend_from_slice(part);
            let mut encoder = GzEncoder::new(&mut gzipped, Compression::new(numbers.below(10) as u32));
            write_in_pieces(&mut numbers, part, &mut encoder);
            encoder.finish().unwrap();
            if numbers.below(3) == 0 {
                let bytes = numbers.below(600);
                zstd.extend([&[0x5a, 0x2a, 0x4d, 0x18][..], &(bytes as u32).to_le_bytes(), &vec![9; bytes]].concat());
            }
            let mut encoder = zstd::Encoder::new(&mut zstd, [1, 3, 5, 12][numbers.below(4)]).unwrap();
            encoder.include_checksum(numbers.below(2) == 0).unwrap();
            write_in_pieces(&mut numbers, part, &mut encoder);
            encoder.finish().unwrap();
        }
        check(Codec::Gzip, &gzipped, &data);
        check(Codec::Zstd, &zstd, &data);
    }
}

/// libzstd holds the last byte of a frame back while it puts the frame's last block out: a cut there must count it.
#[test]
fn a_cut_inside_the_last_block_of_a_frame() {
    let data = plain(2 << 20);
    for shift in 0..40 {
        let first = 100_000 + shift * 1_000;
        let pieces = [&data[..first], &data[first..first + (512 << 10) - 50_000], &data[first + (512 << 10) - 50_000..]];
        let blob: Vec<u8> = pieces.iter().flat_map(|piece| zstd::bulk::compress(piece, 3).unwrap()).collect();
        check(Codec::Zstd, &blob, &data);
    }
}

/// zstd:chunked appends its table of contents, tens of megabytes of it: no span may have to fetch that.
#[test]
fn what_yields_nothing_is_in_no_span() {
    let data = plain(1 << 20);
    let skippable = |bytes: usize| [&[0x50, 0x2a, 0x4d, 0x18][..], &(bytes as u32).to_le_bytes(), &vec![7; bytes]].concat();
    let blob = [skippable(1 << 20), zstd::bulk::compress(&data, 3).unwrap(), skippable(2 << 20)].concat();
    let spans = check(Codec::Zstd, &blob, &data);
    assert_eq!(spans[0].blob_offset, 8 + (1 << 20));
    assert!(spans.iter().map(|s| s.blob_length).sum::<u64>() < data.len() as u64, "{spans:?}");
    let empty = gzip(b"", 6);
    let blob = [empty.repeat(1000), gzip(&data, 6), empty.repeat(1000)].concat();
    let spans = check(Codec::Gzip, &blob, &data);
    assert_eq!(spans[0].blob_offset, 1000 * empty.len() as u64);
    assert!(spans.iter().map(|s| s.blob_length).sum::<u64>() < data.len() as u64);
}

#[test]
fn raw_and_empty_blobs() {
    let data = plain(1 << 20);
    let spans = check(Codec::Raw, &data, &data);
    assert_eq!(spans.len(), 4);
    assert!(check(Codec::Raw, b"", b"").is_empty());
    assert!(check(Codec::Gzip, &gzip(b"", 6), b"").is_empty());
    assert_eq!(check(Codec::Gzip, &gzip(b"x", 6), b"x").len(), 1);
}

#[test]
fn zeros_compress_to_giant_blocks_and_are_cut_all_the_same() {
    let data = vec![0; 40 << 20];
    let spans = check(Codec::Gzip, &gzip(&data, 9), &data);
    assert!(spans.iter().all(|s| s.length <= 2 * SPACING));
}

#[test]
fn truncated_and_garbled_blobs_are_errors_never_panics() {
    let data = plain(600_000);
    for (codec, blob) in [(Codec::Gzip, gzip(&data, 6)), (Codec::Zstd, zstd::bulk::compress(&data, 3).unwrap())] {
        for cut in [1, 5, 20, blob.len() / 2, blob.len() - 1] {
            assert!(scan(codec, &blob[..cut], 1000).is_err(), "{codec:?} cut at {cut}");
        }
        for at in (0..blob.len()).step_by(blob.len() / 97) {
            let mut bad = blob.clone();
            bad[at] ^= 0x55;
            let _ = scan(codec, &bad, 5000); // an error or other bytes: digests tell
        }
    }
    assert!(scan(Codec::Gzip, &[gzip(&data, 6), b"trailing".to_vec()].concat(), 1000).is_err());
}
