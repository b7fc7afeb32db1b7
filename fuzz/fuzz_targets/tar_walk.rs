//! Invariant: walking any bytes as a tar ends with an error or with entries whose contents lie inside the tar, the same however the bytes
//! came in; and flattening them makes a tree in which every entry is reached and no name is impossible. Header checksums are made right
//! first.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    image::fuzzing::seal(&mut bytes);
    image::fuzzing::walk(&bytes);
});
