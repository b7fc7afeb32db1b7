//! Damaged archives: an error or the right answer, never a panic, a hang or another tree.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use archive::Archive;
use archive::header::{HEADER_BYTES, SectionKind};

use crate::support::{Bench, layout, said};

/// Archives with something in every section: bytes that the archive carries itself; windows of a gzip layer.
const IMAGES: [&str; 2] = ["odd-sparse_gnu", "codec-gzip-go"];
/// Bits that are flipped in each, one at a time, over the whole of it.
const FLIPS: usize = 1_000;
/// Flips that all commands are shown; the rest are shown to `verify` and `ls`.
const EVERY: usize = 20;

fn sample(bench: &Bench, image: &str) -> (Vec<u8>, Archive) {
    let path = bench.path("good.clip");
    let image = format!("oci:{}:latest", layout(image).display());
    bench.ok(["index", &image, "-o", path.to_str().unwrap(), "--quiet"]);
    (std::fs::read(&path).unwrap(), Archive::open(&path).unwrap())
}

/// What a command made of an archive.
enum Outcome {
    Refused,
    Answered(String),
}

/// Runs clipctl, which must end by itself and name the file if it fails.
#[track_caller]
fn outcome(bench: &Bench, command: &[&str], archive: &Path, what: &str) -> Outcome {
    let output = bench.clipctl(command).arg(archive).output().unwrap();
    let said = said(&output);
    match output.status.code() {
        Some(0) => Outcome::Answered(String::from_utf8(output.stdout).unwrap()),
        Some(1) if !said.contains("panicked") => {
            assert!(said.contains(archive.to_str().unwrap()), "{what}: {command:?} does not name the archive: {said}");
            Outcome::Refused
        }
        code => panic!("{what}: {command:?} ended with {code:?}: {said}"),
    }
}

const LIST: &[&str] = &["ls", "-lR", "--json"];
const VERIFY: &[&str] = &["verify"];
/// The data that an archive carries is data: its digests are those of spans, which `--deep` checks.
const VERIFY_DEEP: &[&str] = &["verify", "--deep"];
const INSPECT: &[&str] = &["inspect"];

/// Works through `0..count` on every processor.
fn in_parallel(count: usize, work: impl Fn(usize) + Sync) {
    let (next, work) = (AtomicUsize::new(0), &work);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(i) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < count) {
                    work(i);
                }
            });
        }
    });
}

/// Writes a damaged copy, shows it to `show`, and takes it away.
fn with_copy(bench: &Bench, name: &str, bytes: &[u8], show: impl Fn(&Path)) {
    let path = bench.path(name);
    std::fs::write(&path, bytes).unwrap();
    show(&path);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_truncated_archive_is_refused() {
    let bench = Bench::new();
    let (good, archive) = sample(&bench, IMAGES[0]);
    let sections = &archive.header().sections;
    let boundaries = sections.iter().flat_map(|s| [s.offset, s.offset + s.length]).chain([0, 8, HEADER_BYTES as u64]);
    let mut lengths: Vec<usize> = boundaries.flat_map(|at| [at.saturating_sub(1), at, at + 1]).map(|at| at as usize).collect();
    lengths.retain(|length| *length < good.len());
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 20, "{lengths:?}");
    for length in lengths {
        with_copy(&bench, "cut.clip", &good[..length], |path| {
            for command in [LIST, VERIFY, INSPECT] {
                let what = format!("cut at {length}");
                assert!(matches!(outcome(&bench, command, path, &what), Outcome::Refused), "{what}: {command:?} took it");
            }
        });
    }
    let longer = [&good[..], b"x"].concat();
    with_copy(&bench, "long.clip", &longer, |path| assert!(matches!(outcome(&bench, LIST, path, "a byte more"), Outcome::Refused)));
}

#[test]
fn every_byte_of_the_header_counts() {
    let bench = Bench::new();
    let (good, _) = sample(&bench, IMAGES[0]);
    in_parallel(HEADER_BYTES, |at| {
        let mut bad = good.clone();
        bad[at] ^= 0x11;
        with_copy(&bench, &format!("header-{at}.clip"), &bad, |path| {
            let what = format!("header byte {at}");
            let command = [LIST, VERIFY, INSPECT][at % 3];
            assert!(matches!(outcome(&bench, command, path, &what), Outcome::Refused), "{what}: {command:?} took it");
        });
    });
}

/// A generator of numbers that are the same in every run (splitmix64).
fn random(seed: u64) -> u64 {
    let mixed = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (mixed >> 31)
}

#[test]
fn a_flipped_bit_is_noticed_or_harmless() {
    for image in IMAGES {
        let bench = Bench::new();
        let (good, archive) = sample(&bench, image);
        let listed = bench.ok(LIST.iter().map(ToString::to_string).chain([archive.path().display().to_string()]));
        let (noticed, harmless) = (AtomicUsize::new(0), AtomicUsize::new(0));
        in_parallel(FLIPS, |i| {
            let number = random(i as u64 + 1);
            let (at, bit) = ((number % good.len() as u64) as usize, (number >> 60) % 8);
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let section = archive.header().sections.iter().find(|s| (s.offset..s.offset + s.length).contains(&(at as u64)));
            let kind = section.map(|s| s.kind);
            let what = format!("{image}, flip {i}, bit {bit} of byte {at} ({kind:?})");
            let verify = if kind == Some(SectionKind::Data) { VERIFY_DEEP } else { VERIFY };
            with_copy(&bench, &format!("flip-{i}.clip"), &bad, |path| {
                if let Outcome::Answered(answer) = outcome(&bench, LIST, path, &what) {
                    assert!(answer == listed, "{what}: another tree");
                }
                match (outcome(&bench, verify, path, &what), at < HEADER_BYTES || kind.is_some()) {
                    (Outcome::Refused, _) => noticed.fetch_add(1, Ordering::Relaxed),
                    (Outcome::Answered(_), false) => harmless.fetch_add(1, Ordering::Relaxed),
                    (Outcome::Answered(_), true) => panic!("{what}: verify took it"),
                };
                if i % EVERY == 0 {
                    drop(outcome(&bench, INSPECT, path, &what));
                }
            });
        });
        let (noticed, harmless) = (noticed.into_inner(), harmless.into_inner());
        assert!(noticed > harmless && noticed + harmless == FLIPS, "{image}: {noticed} noticed, {harmless} between sections");
    }
}
