//! What the fuzzers found once is tried in every test run (fuzz/README.md).

#[test]
fn the_corpus_is_opened_without_a_panic() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/archive_open");
    let (mut tried, mut opened) = (0, 0);
    for file in std::fs::read_dir(corpus).unwrap() {
        let mut bytes = std::fs::read(file.unwrap().path()).unwrap();
        archive::fuzzing::open(&bytes);
        archive::fuzzing::seal(&mut bytes);
        opened += usize::from(archive::fuzzing::open(&bytes));
        tried += 1;
    }
    assert!(tried > 10 && opened > 3, "the corpus is gone: {opened} of {tried} opened");
}
