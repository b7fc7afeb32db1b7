//! What an operator asks of the directory: pins, prunes, surveys.

use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::table::Table;
use crate::{Freed, PINS_MAX, Pin, key_hex};

/// What a span costs of the limit.
const CHARGE: u64 = (SPAN as u64).next_multiple_of(4096);

fn put_all(stream: &StreamCache, key: u8) {
    for index in 0..SPANS {
        assert_eq!(stream.put(slot(index), &content(key, index)), Put::Stored, "stream {key}, span {index}");
    }
}

fn present(stream: &StreamCache) -> u32 {
    (0..SPANS).filter(|index| stream.present(*index)).count() as u32
}

fn table(dir: &Path, key: u8) -> Table {
    Table::open(&stream_dir(dir, key).join("spans")).unwrap()
}

/// Makes every span of a stream look as if it had been used so many ticks ago.
fn make_old(dir: &Path, key: u8, ticks: u64) {
    for cell in table(dir, key).cells() {
        let seen = cell.load();
        assert!(cell.swap(seen, seen.touched(Tick(Tick::now().0 - ticks))));
    }
}

#[test]
fn a_pinned_stream_stays_until_its_last_name_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1 << 20, 1);
    let pinned = cache.stream(&[0; 32], LAYOUT).unwrap();
    put_all(&pinned, 0);
    make_old(dir.path(), 0, 100_000);
    for name in ["a", "b", "a"] {
        cache.pin(&[0; 32], name).unwrap();
    }
    let others: Vec<StreamCache> = (1..4).map(|key| cache.stream(&[key; 32], LAYOUT).unwrap()).collect();
    let fill = || (1..4).zip(&others).for_each(|(key, other)| put_all(other, key));
    fill();
    assert_eq!(present(&pinned), SPANS);
    assert!((0..SPANS).all(|index| read(&pinned, 0, index) == Lookup::Hit));
    assert!(cache.usage().evicted_spans > 0 && cache.usage().bytes <= 1 << 20);
    make_old(dir.path(), 0, 100_000);

    assert!(cache.unpin(&[0; 32], "a").unwrap());
    assert!(!cache.unpin(&[0; 32], "a").unwrap());
    // Another one who opens the directory knows the other name, after a boot too.
    let later = open(dir.path(), 1 << 20, 2);
    assert_eq!(later.pins().unwrap(), [Pin { key: [0; 32], name: "b".into() }]);
    fill();
    assert_eq!(present(&pinned), SPANS);

    assert!(later.unpin(&[0; 32], "b").unwrap());
    fill();
    assert_eq!((present(&pinned), later.pins().unwrap()), (0, vec![]));
}

/// An evictor that read the pins before does not evict after.
#[test]
fn a_pin_waits_for_the_evictor_that_is_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE, 1);
    let evicting = crate::lock::attempt(&dir.path().join("evict.lock")).unwrap().unwrap();
    std::thread::scope(|scope| {
        let pin = scope.spawn(|| cache.pin(&[0; 32], "x"));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!pin.is_finished());
        drop(evicting);
        pin.join().unwrap().unwrap();
    });
}

#[test]
fn what_is_not_there_yet_can_be_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1 << 20, 1);
    cache.pin(&[0; 32], "early").unwrap();
    // Neither opening nor tidying takes pins of empty or missing streams away.
    drop(cache.stream(&[0; 32], LAYOUT).unwrap());
    let cache = open(dir.path(), 1 << 20, 1);
    assert_eq!((cache.usage().streams, cache.pins().unwrap().len()), (0, 1));
    let stream = cache.stream(&[0; 32], LAYOUT).unwrap();
    put_all(&stream, 0);
    cache.prune(0).unwrap();
    assert_eq!(present(&stream), SPANS);
}

#[test]
fn what_has_no_right_bytes_goes_from_a_pinned_stream_too() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE, 1);
    let stream = cache.stream(&[0; 32], LAYOUT).unwrap();
    put_all(&stream, 0);
    cache.pin(&[0; 32], "x").unwrap();
    let table = table(dir.path(), 0);
    let now = Tick::now();
    let states = [(State::Dirty, now), (State::Writing, Tick(now.0 - 10_000)), (State::Writing, now), (State::Unverified, now)];
    for (index, (state, time)) in (0..).zip(states) {
        let cell = table.cell(index).unwrap();
        assert!(cell.swap(cell.load(), cell.load().reborn(state, time)));
    }
    assert_eq!(cache.prune(0).unwrap(), Freed { spans: 2, bytes: 2 * CHARGE });
    let left = [State::Absent, State::Absent, State::Writing, State::Unverified, State::Present];
    assert_eq!(table.cells().take(5).map(|cell| cell.load().state()).collect::<Vec<_>>(), left);
}

/// Puts are refused by a look at the total, not by walking all records in vain: which shows in that a pin that is taken away behind the
/// cache's back is not found out for a while.
#[test]
fn a_cache_full_of_pins_refuses_quickly_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1 << 20, 1);
    let pinned: Vec<StreamCache> = (0..3).map(|key| cache.stream(&[key; 32], LAYOUT).unwrap()).collect();
    (0..3).for_each(|key| cache.pin(&[key; 32], "x").unwrap());
    let all = (0..3).flat_map(|key| (0..SPANS).map(move |index| (key, index)));
    let stored = all.filter(|&(key, index)| pinned[usize::from(key)].put(slot(index), &content(key, index)) == Put::Stored).count();
    assert_eq!(stored as u64, (1 << 20) / CHARGE, "the whole cache can be pins");
    let other = cache.stream(&[3; 32], LAYOUT).unwrap();
    let data = content(3, 0);
    assert_eq!(other.put(slot(0), &data), Put::Skipped);

    let start = Instant::now();
    fs::remove_file(dir.path().join("pins").join(format!("{}.x", key_hex(&[0; 32])))).unwrap();
    let put = other.put(slot(0), &data);
    assert!(put == Put::Skipped || start.elapsed() > Duration::from_millis(500), "walked the records again");
    while other.put(slot(0), &data) == Put::Skipped {
        assert!(start.elapsed() < Duration::from_secs(10), "never tries again");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!([1, 2].iter().all(|key| present(&pinned[*key]) > 0) && present(&pinned[0]) < SPANS);
    assert!(cache.usage().bytes <= 1 << 20);
}

#[test]
fn unpinning_helps_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1 << 20, 1);
    cache.pin(&[0; 32], "x").unwrap();
    let layout = StreamLayout { size: 1 << 20, spans: 1 };
    let (one, two) = (cache.stream(&[0; 32], layout).unwrap(), cache.stream(&[1; 32], layout).unwrap());
    let whole = SpanSlot { index: 0, offset: 0, length: 1 << 20 };
    let data = vec![7; 1 << 20];
    assert_eq!((one.put(whole, &data), two.put(whole, &data)), (Put::Stored, Put::Skipped));
    assert!(cache.unpin(&[0; 32], "x").unwrap());
    assert_eq!((two.put(whole, &data), one.present(0)), (Put::Stored, false));
}

#[test]
fn pins_have_limits() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE, 1);
    for bad in ["", "..", "a/b", "../x", "a b", &"x".repeat(129)] {
        assert!(matches!(cache.pin(&[0; 32], bad), Err(Error::BadPinName { .. })), "{bad}");
        assert!(matches!(cache.unpin(&[0; 32], bad), Err(Error::BadPinName { .. })), "{bad}");
    }
    let pins = dir.path().join("pins");
    for number in 0..PINS_MAX - 1 {
        fs::write(pins.join(format!("{}.{number}", key_hex(&[1; 32]))), "").unwrap();
    }
    // What is no pin counts as well, and is listed nowhere.
    fs::write(pins.join("junk"), "").unwrap();
    assert!(matches!(cache.pin(&[0; 32], "one-more"), Err(Error::TooManyPins { max: PINS_MAX })));
    cache.pin(&[1; 32], "7").unwrap();
    assert!(cache.unpin(&[1; 32], "7").unwrap());
    cache.pin(&[0; 32], "one-more").unwrap();
    assert_eq!(cache.pins().unwrap().len(), PINS_MAX - 1);
    fs::remove_dir_all(&pins).unwrap();
    assert_eq!((cache.pins().unwrap(), cache.prune(0).unwrap()), (vec![], Freed::default()));
}

#[test]
fn prunes_what_was_used_least_recently() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE, 1);
    let streams: Vec<StreamCache> = (0..4).map(|key| cache.stream(&[key; 32], LAYOUT).unwrap()).collect();
    for (key, stream) in (0..).zip(&streams) {
        put_all(stream, key);
        make_old(dir.path(), key, 10_u64.pow(6 - u32::from(key)));
    }
    let whole = u64::from(SPANS) * CHARGE;
    let spans = u64::from(SPANS);
    assert_eq!(cache.prune(4 * whole).unwrap(), Freed::default());
    // The oldest is pinned: it counts, and the next ones go for it.
    cache.pin(&[0; 32], "x").unwrap();
    assert_eq!(cache.prune(2 * whole + CHARGE).unwrap(), Freed { spans: 2 * spans - 1, bytes: 2 * whole - CHARGE });
    assert_eq!(streams.iter().map(present).collect::<Vec<_>>(), [SPANS, 0, 1, SPANS]);
    assert_eq!(cache.usage().bytes, 2 * whole + CHARGE);
    assert_eq!(cache.prune(0).unwrap(), Freed { spans: spans + 1, bytes: whole + CHARGE });
    assert_eq!(cache.prune(0).unwrap(), Freed::default());
    assert_eq!(cache.unpin(&[0; 32], "x").ok().zip(cache.prune(0).ok()), Some((true, Freed { spans, bytes: whole })));
    assert_eq!((cache.usage().bytes, cache.usage().evicted_spans, cache.usage().streams), (0, 4 * spans, 4));
    // In steps it comes to the same.
    put_all(&streams[1], 1);
    assert_eq!(cache.prune_in_steps(CHARGE, 3 * CHARGE).unwrap(), Freed { spans: spans - 1, bytes: whole - CHARGE });
    // Streams that nobody has open go with their last span.
    drop(streams);
    put_all(&cache.stream(&[5; 32], LAYOUT).unwrap(), 5);
    cache.prune(0).unwrap();
    assert_eq!(cache.usage().streams, 0);
}

#[test]
fn a_survey_says_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE, 1);
    let (one, two) = (cache.stream(&[1; 32], LAYOUT).unwrap(), cache.stream(&[2; 32], LAYOUT).unwrap());
    put_all(&one, 1);
    make_old(dir.path(), 1, 1600);
    for index in 0..3 {
        assert_eq!(two.put(slot(index), &content(2, index)), Put::Stored);
    }
    for (key, name) in [(1, "b"), (1, "a"), (9, "early")] {
        cache.pin(&[key; 32], name).unwrap();
    }
    // Neither of them is a stream, and one that is damaged is pinned all the same.
    fs::create_dir(dir.path().join("streams/junk")).unwrap();
    fs::create_dir(stream_dir(dir.path(), 8)).unwrap();
    cache.pin(&[8; 32], "damaged").unwrap();

    let survey = cache.survey().unwrap();
    let whole = u64::from(SPANS) * CHARGE;
    assert_eq!((survey.bytes, survey.bytes_counted, survey.bytes_pinned), (whole + 3 * CHARGE, whole + 3 * CHARGE, whole));
    assert_eq!((survey.bytes_max, survey.streams_left_out), (LARGE, 0));
    let seen: Vec<_> = survey.streams.iter().map(|stream| (stream.key[0], stream.bytes, stream.spans, stream.spans_present)).collect();
    assert_eq!(seen, [(2, 3 * CHARGE, SPANS, 3), (1, whole, SPANS, SPANS), (8, 0, 0, 0), (9, 0, 0, 0)]);
    let pins: Vec<String> = survey.streams.iter().map(|stream| stream.pins.join(" ")).collect();
    assert_eq!(pins, ["", "a b", "damaged", "early"]);
    let age = |index: usize| survey.streams[index].used_at.map(|at| SystemTime::now().duration_since(at).unwrap().as_secs());
    assert!(age(0).unwrap() < 60 && (100..160).contains(&age(1).unwrap()) && age(2).is_none());
    assert_eq!((survey.streams[0].bytes_whole, survey.streams[2].bytes_whole), (LAYOUT.size, 0));
}
