//! Several processes on one directory: they hammer it, they are killed, they run out of disk. Every hit is checked byte by byte.
//!
//! The children are this very binary: the test `child` does nothing unless its environment says which role to play.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::env;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cache::{Cache, Lookup, Put, SpanSlot, StreamCache, StreamLayout};

const SPAN: u32 = 50_000;
const SPANS: u32 = 64;
const STREAMS: u8 = 3;
const LAYOUT: StreamLayout = StreamLayout { size: SPAN as u64 * SPANS as u64, spans: SPANS };
/// Holds a third of what the processes want to put: there is always something to evict.
const BYTES_MAX: u64 = 3 << 20;
const ROLE: &str = "CLIP_CACHE_TEST_ROLE";
const DIR: &str = "CLIP_CACHE_TEST_DIR";
const SEED: &str = "CLIP_CACHE_TEST_SEED";

fn slot(index: u32) -> SpanSlot {
    SpanSlot { index, offset: u64::from(index) * u64::from(SPAN), length: SPAN }
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn content(key: u8, index: u32) -> Vec<u8> {
    let mut state = (u64::from(key) << 32 | u64::from(index)) + 1;
    (0..SPAN / 8).flat_map(|_| (next(&mut state) | 1).to_ne_bytes()).collect()
}

fn open_streams(cache: &Cache) -> Vec<StreamCache> {
    (0..STREAMS).map(|key| cache.stream(&[key; 32], LAYOUT).unwrap()).collect()
}

fn check_read(stream: &StreamCache, key: u8, index: u32) -> bool {
    let mut buf = vec![0; SPAN as usize];
    let hit = stream.read(slot(index), 0, &mut buf) == Lookup::Hit;
    assert!(!hit || buf == content(key, index), "wrong bytes: stream {key}, span {index}");
    hit
}

/// Puts and reads at random for a while; returns how often a read hit.
fn hammer(dir: &Path, seed: u64, time: Duration) -> u64 {
    let mut state = seed;
    let (start, mut hits) = (Instant::now(), 0);
    while start.elapsed() < time {
        let cache = Cache::open(dir, BYTES_MAX).unwrap();
        let streams = open_streams(&cache);
        for _ in 0..300 {
            let (key, index) = ((next(&mut state) % u64::from(STREAMS)) as u8, (next(&mut state) % u64::from(SPANS)) as u32);
            let stream = &streams[usize::from(key)];
            if next(&mut state).is_multiple_of(3) {
                let _ = stream.put(slot(index), &content(key, index));
            } else {
                hits += u64::from(check_read(stream, key, index));
            }
        }
    }
    hits
}

/// What the children do; in the parent, nothing.
#[test]
fn child() {
    let Ok(role) = env::var(ROLE) else { return };
    let dir = env::var_os(DIR).unwrap();
    let dir = Path::new(&dir);
    let seed: u64 = env::var(SEED).unwrap().parse().unwrap();
    match role.as_str() {
        "hammer" => assert!(hammer(dir, seed, Duration::from_millis(1500)) > 0),
        "until-killed" => {
            hammer(dir, seed, Duration::from_secs(600));
        }
        "full-disk" => full_disk(dir),
        "pin" => pin_and_look(dir),
        role => panic!("unknown role {role}"),
    }
}

/// Pins one stream after the other while others evict: what is there when the pin is set stays until it is taken away.
fn pin_and_look(dir: &Path) {
    let cache = Cache::open(dir, BYTES_MAX).unwrap();
    let (start, mut held) = (Instant::now(), 0);
    for round in (100..200).take_while(|_| start.elapsed() < Duration::from_millis(1500)) {
        let stream = cache.stream(&[round; 32], LAYOUT).unwrap();
        for index in 0..8 {
            let _ = stream.put(slot(index), &content(round, index));
        }
        // Old ones are the first to go; these are as old as the others.
        thread::sleep(Duration::from_millis(20));
        cache.pin(&[round; 32], "child").unwrap();
        let there: Vec<u32> = (0..8).filter(|index| stream.present(*index)).collect();
        thread::sleep(Duration::from_millis(60));
        assert!(there.iter().all(|index| check_read(&stream, round, *index)), "stream {round}: not all of {there:?} are there");
        assert!(cache.unpin(&[round; 32], "child").unwrap());
        held += there.len();
    }
    assert!(held > 0);
}

/// The disk refuses to take more than the first half of the data file.
fn full_disk(dir: &Path) {
    let cache = Cache::open(dir, 1 << 30).unwrap();
    let stream = cache.stream(&[0; 32], LAYOUT).unwrap();
    for index in 0..SPANS {
        let put = stream.put(slot(index), &content(0, index));
        assert_eq!(put, if index < SPANS / 2 { Put::Stored } else { Put::Skipped }, "span {index}");
        assert_eq!(check_read(&stream, 0, index), put == Put::Stored);
    }
    assert_eq!(cache.usage().failures, u64::from(SPANS / 2));
}

fn command(program: &Path, dir: &Path, role: &str, seed: u64) -> Command {
    let mut command = Command::new(program);
    command.env(ROLE, role).env(DIR, dir).env(SEED, seed.to_string()).stdout(Stdio::null());
    command
}

fn spawn(dir: &Path, role: &str, seed: u64) -> Child {
    command(&env::current_exe().unwrap(), dir, role, seed).args(["--exact", "child"]).spawn().unwrap()
}

#[test]
fn processes_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<Child> = (1..=4).map(|seed| spawn(dir.path(), "hammer", seed)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let usage = Cache::open(dir.path(), BYTES_MAX).unwrap().usage();
    assert!(usage.bytes <= BYTES_MAX, "{usage:?}");
}

#[test]
fn what_one_process_pins_another_does_not_evict() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), BYTES_MAX).unwrap();
    let stream = cache.stream(&[9; 32], LAYOUT).unwrap();
    // Pinned for good, before anything of it is there: a third of the cache.
    cache.pin(&[9; 32], "parent").unwrap();
    for index in 0..20 {
        assert_eq!(stream.put(slot(index), &content(9, index)), Put::Stored);
    }
    let mut children: Vec<Child> = (1..=2).map(|seed| spawn(dir.path(), "hammer", seed)).collect();
    children.push(spawn(dir.path(), "pin", 0));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert!((0..20).all(|index| check_read(&stream, 9, index)));
    let survey = cache.survey().unwrap();
    assert_eq!(cache.pins().unwrap().len(), 1);
    assert!(survey.bytes_counted <= BYTES_MAX && survey.bytes_pinned >= 20 * u64::from(SPAN), "{survey:?}");
}

#[test]
fn one_process_prunes_while_others_read() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), BYTES_MAX).unwrap();
    let mut children: Vec<Child> = (1..=2).map(|seed| spawn(dir.path(), "hammer", seed)).collect();
    let mut freed = 0;
    while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        freed += cache.prune(BYTES_MAX / 4).unwrap().bytes;
        thread::sleep(Duration::from_millis(50));
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert!(freed > 0);
    cache.prune(0).unwrap();
    assert_eq!(cache.survey().unwrap().bytes_counted, 0);
}

#[test]
fn a_killed_process_costs_entries_and_never_truth() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..15 {
        let mut victims = [spawn(dir.path(), "until-killed", 100 + round), spawn(dir.path(), "until-killed", 200 + round)];
        thread::sleep(Duration::from_millis(40 + 13 * round));
        for victim in &mut victims {
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        let cache = Cache::open(dir.path(), BYTES_MAX).unwrap();
        for (key, stream) in (0..).zip(open_streams(&cache)) {
            for index in 0..SPANS {
                check_read(&stream, key, index);
            }
        }
        assert!(cache.usage().bytes <= BYTES_MAX, "{:?}", cache.usage());
    }
    // Nothing is stuck: whatever the dead were doing, a span can be put again, at the latest when their claims have gone stale.
    let cache = Cache::open(dir.path(), 1 << 30).unwrap();
    let streams = open_streams(&cache);
    let all = (0..STREAMS).flat_map(|key| (0..SPANS).map(move |index| (key, index)));
    let skipped = all.filter(|&(key, index)| streams[usize::from(key)].put(slot(index), &content(key, index)) == Put::Skipped).count();
    assert!(skipped <= 30, "{skipped} spans are stuck; at most one per killed process may be, for half a minute");
}

#[test]
fn a_full_disk_is_a_cache_that_misses() {
    let dir = tempfile::tempdir().unwrap();
    // The file gets its (sparse) size before the limit strikes; held open, so that the child does not find it unused and remove it.
    let _held = Cache::open(dir.path(), 1 << 30).unwrap().stream(&[0; 32], LAYOUT).unwrap();
    let blocks = LAYOUT.size / 2 / 512;
    // The shell ignores the signal and sets the limit; both are inherited: writes beyond it fail with EFBIG, as they would with ENOSPC.
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" --exact child --test-threads 1");
    let shell = Path::new("/bin/sh");
    let exe = env::current_exe().unwrap();
    let status = command(shell, dir.path(), "full-disk", 0).arg("-c").arg(script).arg(exe).status().unwrap();
    assert!(status.success());
}
