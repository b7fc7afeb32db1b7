//! Invariant: scanning any blob ends with an error or with spans that cover its data, are cut in the same places however the blob came
//! in, and decode by themselves (or with the group that they continue) to exactly the scan's bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| seek::fuzzing::scan(bytes));
