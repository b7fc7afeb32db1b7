//! Entry points for the fuzzers (fuzz/) and for the tests that replay what they found; not an interface.

use crate::{Codec, Decoder, Event, Restart, Scanner, SpanSeek, WINDOW_BYTES, decode_span, window};

/// Uncompressed bytes that are compared; a few bytes of input can make gigabytes, which the scanner must pass on but we need not keep.
const DATA_BYTES_MAX: usize = 4 << 20;

/// Scans `input` as a blob: its first two bytes choose codec, spacing and pieces, the rest is the blob.
///
/// The invariant: a scan ends with an error or with spans that cover its data, are cut in the same places however the blob came in, and
/// decode by themselves (or with the group that they continue) to exactly the scan's bytes.
///
/// # Panics
/// Where the invariant does not hold.
pub fn scan(input: &[u8]) {
    let [choice, piece, blob @ ..] = input else { return };
    let codec = [Codec::Gzip, Codec::Zstd, Codec::Raw, Codec::sniff(blob)][usize::from(choice & 3)];
    // 256 bytes to 8 KiB: far below what an index uses, so that small inputs have many spans.
    let spacing = 256 << (choice >> 2 & 7).min(5);
    let whole = scan_in_pieces(codec, spacing, blob, blob.len().max(1));
    let pieces = scan_in_pieces(codec, spacing, blob, usize::from(*piece) + 1);
    let (Ok(whole), Ok(pieces)) = (&whole, &pieces) else {
        assert!(whole.is_err() && pieces.is_err(), "pieces matter: {:?} and {:?}", whole.err(), pieces.err());
        return;
    };
    assert_eq!(whole.spans, pieces.spans);
    assert_eq!(whole.total, pieces.total);
    check_cover(whole, spacing, blob);
    if whole.total <= DATA_BYTES_MAX as u64 {
        assert!(whole.data == pieces.data);
        check_decoding(whole, codec, blob);
    }
}

struct Scanned {
    data: Vec<u8>,
    total: u64,
    spans: Vec<SpanSeek>,
}

fn scan_in_pieces(codec: Codec, spacing: u64, blob: &[u8], piece: usize) -> Result<Scanned, crate::Error> {
    let mut out = Scanned { data: Vec::new(), total: 0, spans: Vec::new() };
    let mut sink = |event| match event {
        Event::Data(bytes) => {
            assert!(!bytes.is_empty());
            out.total += bytes.len() as u64;
            if out.total <= DATA_BYTES_MAX as u64 {
                out.data.extend_from_slice(&bytes);
            }
        }
        Event::Span(span) => out.spans.push(span),
    };
    let mut scanner = Scanner::with_spacing(codec, spacing)?;
    for piece in blob.chunks(piece) {
        scanner.push(piece, &mut sink)?;
    }
    scanner.finish(&mut sink)?;
    Ok(out)
}

fn check_cover(scanned: &Scanned, spacing: u64, blob: &[u8]) {
    let (mut at, mut blob_at, mut blob_end) = (0, 0, 0);
    for (i, span) in scanned.spans.iter().enumerate() {
        assert_eq!(span.offset, at, "span {i} leaves a gap");
        assert!(span.length > 0 && u64::from(span.length) <= 2 * spacing, "span {i} has {} bytes", span.length);
        assert!(span.blob_offset >= blob_at && span.blob_offset + 1 >= blob_end, "span {i}: {span:?}");
        assert!(i > 0 || span.restart != Restart::Continue);
        assert_eq!(span.window.is_some(), matches!(span.restart, Restart::Deflate { .. }));
        at += u64::from(span.length);
        (blob_at, blob_end) = (span.blob_offset, span.blob_offset + span.blob_length);
        assert!(blob_end <= blob.len() as u64);
    }
    assert_eq!(at, scanned.total, "the spans cover the data");
}

fn check_decoding(scanned: &Scanned, codec: Codec, blob: &[u8]) {
    let mut group: Option<(Decoder, &[u8])> = None;
    for (i, span) in scanned.spans.iter().enumerate() {
        let expected = &scanned.data[span.offset as usize..][..span.length as usize];
        let end = (span.blob_offset + span.blob_length) as usize;
        if span.restart != Restart::Continue {
            let window = span.window.as_deref().map(|w| window::decompress(w).expect("it was just compressed")).unwrap_or_default();
            let compressed = &blob[span.blob_offset as usize..end];
            let decoded = decode_span(codec, span.restart, &window, compressed, expected.len());
            assert!(decoded.as_deref() == Ok(expected), "span {i} by itself: {:?}", decoded.err());
            let decoder = Decoder::new(codec, span.restart, &window).expect("it just decoded");
            group = Some((decoder, &blob[span.blob_offset as usize..]));
        }
        let (decoder, input) = group.as_mut().expect("the first span does not continue another");
        let available = end - (blob.len() - input.len()).min(end);
        let mut output = vec![0; expected.len()];
        let (consumed, produced) = decoder.decode(&input[..available], &mut output).expect("the scan could decode it");
        assert!(produced == output.len() && output == expected, "span {i} in its group");
        *input = &input[consumed..];
    }
}

/// Decodes a span as an archive describes it, where archive and blob may say anything. The first bytes choose codec, restart, length
/// and window.
///
/// The invariant: exactly so many bytes as asked for, or an error; the same whether the compressed bytes come whole or in pieces.
///
/// # Panics
/// Where the invariant does not hold.
pub fn decode(input: &[u8]) {
    let [choice, bits, length @ .., window_length, piece] = input.first_chunk::<6>().copied().unwrap_or_default();
    let Some(rest) = input.get(6..) else { return };
    let codec = [Codec::Gzip, Codec::Zstd, Codec::Raw][usize::from(choice % 3)];
    let restart = [Restart::Frame, Restart::Deflate { bits }, Restart::Raw, Restart::Continue][usize::from(choice >> 2 & 3)];
    let length = usize::from(u16::from_le_bytes(length)) << (choice >> 4 & 7);
    let (window, compressed) = rest.split_at(rest.len().min(usize::from(window_length) << (choice >> 7)));
    let _ = window::decompress(compressed).map(|window| assert!(window.len() <= WINDOW_BYTES));
    let whole = decode_span(codec, restart, window, compressed, length);
    if let Ok(whole) = &whole {
        assert_eq!(whole.len(), length);
    }
    let pieces = decode_in_pieces(codec, restart, window, compressed, length, usize::from(piece) + 1);
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => assert!(whole == pieces, "pieces make other bytes"),
        (Err(_), Err(_)) => {}
        (whole, pieces) => panic!("pieces matter: {:?} and {:?}", whole.err(), pieces.err()),
    }
}

fn decode_in_pieces(
    codec: Codec,
    restart: Restart,
    window: &[u8],
    compressed: &[u8],
    length: usize,
    piece: usize,
) -> Result<Vec<u8>, crate::Error> {
    let mut decoder = Decoder::new(codec, restart, window)?;
    let (mut output, mut at) = (vec![0; length], 0);
    for piece in compressed.chunks(piece) {
        let (consumed, produced) = decoder.decode(piece, &mut output[at..])?;
        assert!(consumed <= piece.len() && produced <= length - at);
        at += produced;
        assert!(consumed == piece.len() || at == length, "input left while there was room");
    }
    if at < length { Err(crate::Error::Truncated { missing: (length - at) as u64 }) } else { Ok(output) }
}
