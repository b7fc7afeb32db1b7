//! What the fuzzers found once is tried in every test run (fuzz/README.md).

#[test]
fn the_corpus_is_walked_without_a_panic() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/tar_walk");
    let mut tried = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let mut bytes = std::fs::read(file.unwrap().path()).unwrap();
        image::fuzzing::walk(&bytes);
        image::fuzzing::seal(&mut bytes);
        image::fuzzing::walk(&bytes);
        tried += 1;
    }
    assert!(tried > 10, "the corpus is gone");
}
