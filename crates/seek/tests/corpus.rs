//! What the fuzzers found once is tried in every test run (fuzz/README.md).

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut tried = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        run(&std::fs::read(file.unwrap().path()).unwrap());
        tried += 1;
    }
    assert!(tried > 10, "the corpus is gone");
}

#[test]
fn the_corpus_is_scanned_as_it_decodes() {
    replay("seek_scan", seek::fuzzing::scan);
}

#[test]
fn the_corpus_is_decoded_without_a_panic() {
    replay("seek_decode", seek::fuzzing::decode);
}
