//! The bytes of the format do not change by accident: FORMAT.md's worked example and the golden files are what the writer writes now, and
//! golden files of before stay readable with the same answers.
//!
//! After a change that is meant, `CLIP_BLESS=1 cargo test -p archive --test format` writes the golden files anew and prints the example's
//! bytes; FORMAT_VERSION and FORMAT.md are for people to change.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use archive::{Archive, StreamId, Tree};
use seek::Restart;
use support::{Material, describe, samples};

type Sample = fn() -> (Material, Tree);
const SAMPLES: [(&str, Sample); 3] = [("example", samples::example), ("everything", samples::everything), ("carried", samples::carried)];

fn golden(name: &str, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.{extension}"))
}

fn bless() -> bool {
    std::env::var_os("CLIP_BLESS").is_some()
}

/// The bytes that FORMAT.md shows: lines `offset  bytes   words` in blocks fenced as ```hex; what no line shows is zero.
fn shown(length: usize) -> Vec<u8> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../FORMAT.md")).expect("FORMAT.md is in the repository");
    let (mut bytes, mut next) = (vec![0; length], 0);
    for block in text.split("```hex\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            let (at, rest) = line.split_once("  ").expect("an offset, then two spaces");
            let at = usize::from_str_radix(at, 16).expect("an offset in hex");
            assert!(at >= next, "{line}: goes back");
            let words = rest.split("   ").next().unwrap_or_default().split_whitespace();
            next = at;
            for byte in words {
                bytes[next] = u8::from_str_radix(byte, 16).expect("a byte in hex");
                next += 1;
            }
        }
    }
    bytes
}

#[test]
fn the_worked_example_is_what_the_writer_writes() {
    let (material, tree) = samples::example();
    let written = material.write(&tree);
    if bless() {
        print_hex(&written);
        return;
    }
    let shown = shown(written.len());
    for (at, (shown, written)) in shown.chunks(16).zip(written.chunks(16)).enumerate() {
        assert_eq!(shown, written, "FORMAT.md at {:08x}", at * 16);
    }
}

fn print_hex(bytes: &[u8]) {
    for (i, line) in bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|b| *b != 0)) {
        println!("{:08x}  {}", i * 16, line.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "));
    }
}

#[test]
fn the_example_decodes_by_what_the_archive_says() {
    let (material, tree) = samples::example();
    let archive = support::open(&material.write(&tree)).unwrap();
    let (tar, blob) = (samples::example_tar(), samples::example_blob());
    for span in archive.spans(StreamId(0)).iter() {
        let window = span.window.map(|id| archive.window(id).unwrap()).unwrap_or_default();
        let range = span.blob_range();
        let compressed = &blob[range.start as usize..range.end as usize];
        let bytes = seek::decode_span(archive.streams()[0].codec, span.restart, &window, compressed, span.length as usize).unwrap();
        assert_eq!(*blake3::hash(&bytes).as_bytes(), span.digest);
        assert_eq!(bytes, tar[span.offset as usize..span.end() as usize]);
        assert_eq!(span.restart == Restart::Frame, span.offset == 0);
    }
    let index = archive.index();
    let root = index.node(index.root()).unwrap();
    let dir = index.node(index.lookup(&root, b"dir").unwrap().unwrap()).unwrap();
    let numbers = index.node(index.lookup(&dir, b"numbers").unwrap().unwrap()).unwrap();
    let extents = index.extents(&numbers, 0..700).unwrap();
    let archive::Source::Stream { offset, .. } = extents[0].source else { panic!("{extents:?}") };
    assert_eq!(tar[offset as usize..][..700], samples::numbers());
}

#[test]
fn golden_files_stay_readable_with_the_same_answers() {
    for (name, _) in SAMPLES {
        if bless() {
            continue; // the other test writes them
        }
        let archive = Archive::open(&golden(name, "clip")).unwrap();
        archive.verify_pages().unwrap();
        let expected = fs::read_to_string(golden(name, "txt")).unwrap();
        assert_eq!(describe(&archive), expected, "{name}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for (name, sample) in SAMPLES {
        let (material, tree) = sample();
        let written = material.write(&tree);
        if bless() {
            fs::write(golden(name, "clip"), &written).unwrap();
            fs::write(golden(name, "txt"), describe(&support::open(&written).unwrap())).unwrap();
        }
        let expected = fs::read(golden(name, "clip")).unwrap();
        let differs = written.iter().zip(&expected).position(|(a, b)| a != b);
        assert!(written == expected, "{name} has {} bytes for {}, the first that differs is {differs:?}", written.len(), expected.len());
        // And again, from a tree whose hash table is seeded otherwise.
        let (material, tree) = sample();
        assert!(material.write(&tree) == written, "{name} is not written twice alike");
    }
}
