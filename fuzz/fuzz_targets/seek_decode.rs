//! Invariant: decoding a span, where restart, bits, window, length and compressed bytes are anybody's, yields exactly so many bytes as were
//! asked for, or an error; the same whether the compressed bytes come whole or in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| seek::fuzzing::decode(bytes));
