//! Archives that somebody made to hurt: bytes altered at random, with every digest made right again so that nothing is caught by those. The
//! invariant is that of `archive::fuzzing`: no panic, no hang, every answer an error or in bounds.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::time::{Duration, Instant};

use archive::fuzzing;
use support::{Chance, samples};

/// Far more than any of these small archives takes, far less than a loop without end.
const PATIENCE: Duration = Duration::from_secs(5);

fn samples() -> [Vec<u8>; 3] {
    [samples::example(), samples::everything(), samples::carried()].map(|(material, tree)| material.write(&tree))
}

fn ask(bytes: &mut [u8], what: &str) -> bool {
    fuzzing::seal(bytes);
    let start = Instant::now();
    let opened = fuzzing::open(bytes);
    assert!(start.elapsed() < PATIENCE, "{what} took {:?}", start.elapsed());
    opened
}

#[test]
fn sealing_changes_nothing_of_a_whole_archive() {
    for whole in samples() {
        let mut sealed = whole.clone();
        assert!(ask(&mut sealed, "a whole archive"));
        assert!(sealed == whole);
    }
}

#[test]
fn altered_bytes_give_errors_or_answers_in_bounds() {
    let samples = samples();
    let (mut opened, mut chance) = (0, Chance(1));
    for round in 0..6000 {
        let mut bytes = samples[round % samples.len()].clone();
        for _ in 0..=chance.below(6) {
            alter(&mut bytes, &mut chance);
        }
        opened += usize::from(ask(&mut bytes, &format!("round {round}")));
    }
    assert!((600..6000).contains(&opened), "{opened} of 6,000 opened: the alterations are too weak or too strong");
}

/// Overwrites up to 8 bytes that are not zero (those are the interesting ones) with a number that such places are afraid of.
fn alter(bytes: &mut [u8], chance: &mut Chance) {
    let mut at = chance.below(bytes.len() as u64) as usize;
    while bytes[at] == 0 && !chance.one_in(30) {
        at = (at + 1) % bytes.len();
    }
    let values =
        [0, 1, 0x7f, 0xff, 0x1ff, 0x200, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX, u64::MAX >> 1, chance.next(), chance.below(1 << 16)];
    let value = values[chance.below(values.len() as u64) as usize].to_le_bytes();
    let length = [1, 1, 2, 4, 8][chance.below(5) as usize].min(bytes.len() - at);
    bytes[at..at + length].copy_from_slice(&value[..length]);
}

#[test]
fn cut_archives_are_errors() {
    for whole in samples() {
        for length in (0..whole.len()).step_by(97).chain(1000..1100) {
            assert!(support::open(&whole[..length]).is_err(), "cut at {length}");
            ask(&mut whole[..length].to_vec(), "a cut archive");
        }
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let (material, tree) = samples::example();
    let whole = material.write(&tree);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let noticed = support::open(&bytes).and_then(|archive| archive.verify_pages()).is_err();
        let zeros_between = (0x55c..0x1000).contains(&at); // what aligns the index belongs to no section
        assert!(noticed != zeros_between, "byte {at:#x}");
    }
}
