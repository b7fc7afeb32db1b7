//! Invariant: whatever the bytes of an archive, opening it and asking it everything ends soon, without a panic, and every answer is an
//! error or lies inside what the archive describes. Digests are made right first, or the fuzzer would never get past them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    archive::fuzzing::seal(&mut bytes);
    archive::fuzzing::open(&bytes);
});
