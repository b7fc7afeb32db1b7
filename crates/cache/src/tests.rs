//! The cache against a model, across boots, and on top of whatever files it finds.

mod operator;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::boot::BootId;
use crate::cache::Cache;
use crate::record::{Record, SpanSlot, State, Tick};
use crate::{Error, Lookup, Put, StreamCache, StreamLayout};

const SPAN: u32 = 10_000;
const SPANS: u32 = 40;
const LAYOUT: StreamLayout = StreamLayout { size: SPAN as u64 * SPANS as u64, spans: SPANS };
const LARGE: u64 = 1 << 30;

/// A seeded generator (SplitMix64): the same run every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

fn slot(index: u32) -> SpanSlot {
    SpanSlot { index, offset: u64::from(index) * u64::from(SPAN), length: SPAN }
}

fn content(key: u8, index: u32) -> Vec<u8> {
    let mut random = Random(u64::from(key) << 32 | u64::from(index));
    (0..SPAN).map(|_| random.below(255) as u8 + 1).collect()
}

fn open(dir: &Path, bytes_max: u64, boot: u64) -> Cache {
    Cache::open_in_boot(dir, bytes_max, BootId([boot, boot])).unwrap()
}

/// Reads a whole span and checks that whatever is a hit is right.
fn read(stream: &StreamCache, key: u8, index: u32) -> Lookup {
    let mut buf = vec![0; SPAN as usize];
    let lookup = stream.read(slot(index), 0, &mut buf);
    assert!(lookup != Lookup::Hit || buf == content(key, index), "a hit with wrong bytes: stream {key}, span {index}");
    lookup
}

/// Reads a span as a caller does: an unverified one is compared and settled.
fn read_and_settle(stream: &StreamCache, key: u8, index: u32) -> Lookup {
    let mut buf = vec![0; SPAN as usize];
    let lookup = stream.read(slot(index), 0, &mut buf);
    if lookup == Lookup::Unverified {
        let right = buf == content(key, index);
        let settle = if right { StreamCache::confirm } else { StreamCache::discard };
        settle(stream, slot(index));
        assert_eq!(read(stream, key, index), if right { Lookup::Hit } else { Lookup::Miss });
    }
    lookup
}

#[test]
fn behaves_as_a_map_while_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(1);
    let mut model: HashMap<(u8, u32), Lookup> = HashMap::new();
    let mut boot = 1;
    let mut cache = open(dir.path(), LARGE, boot);
    let mut streams: Vec<StreamCache> = (0..3).map(|key| cache.stream(&[key; 32], LAYOUT).unwrap()).collect();
    for _ in 0..5000 {
        let (key, index) = (random.below(3) as u8, random.below(u64::from(SPANS)) as u32);
        let stream = &streams[usize::from(key)];
        let known = model.get(&(key, index)).copied().unwrap_or(Lookup::Miss);
        match random.below(100) {
            0..40 => {
                assert_eq!(stream.put(slot(index), &content(key, index)), Put::Stored);
                model.insert((key, index), Lookup::Hit);
            }
            40..90 => {
                assert_eq!(stream.present(index), known != Lookup::Miss);
                assert_eq!(read(stream, key, index), known);
            }
            90..94 => {
                stream.discard(slot(index));
                if known == Lookup::Unverified {
                    model.remove(&(key, index));
                }
            }
            94..98 => {
                stream.confirm(slot(index));
                model.entry((key, index)).and_modify(|lookup| *lookup = Lookup::Hit);
            }
            _ => {
                boot += random.below(2);
                drop(cache);
                drop(streams);
                cache = open(dir.path(), LARGE, boot);
                streams = (0..3).map(|key| cache.stream(&[key; 32], LAYOUT).unwrap()).collect();
                if boot > 1 {
                    // Only a boot that is new distrusts; reopening in the same boot keeps what was confirmed.
                    for ((key, index), lookup) in &mut model {
                        if read(&streams[usize::from(*key)], *key, *index) == Lookup::Unverified {
                            *lookup = Lookup::Unverified;
                        }
                    }
                }
            }
        }
    }
    // A process that opens the cache later counts the same bytes.
    let charged = u64::from(SPAN).next_multiple_of(4096) * model.len() as u64;
    assert!(cache.usage().bytes >= charged);
    assert_eq!(cache.usage().streams, 3);
}

#[test]
fn stays_within_its_limit_and_right() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(2);
    let bytes_max = 1 << 20;
    let cache = open(dir.path(), bytes_max, 1);
    let streams: Vec<StreamCache> = (0..4).map(|key| cache.stream(&[key; 32], LAYOUT).unwrap()).collect();
    let mut hits = 0;
    for _ in 0..4000 {
        let (key, index) = (random.below(4) as u8, random.below(u64::from(SPANS)) as u32);
        let stream = &streams[usize::from(key)];
        if random.below(2) == 0 {
            assert_eq!(stream.put(slot(index), &content(key, index)), Put::Stored, "alone, nothing is refused");
        } else {
            hits += u32::from(read(stream, key, index) == Lookup::Hit);
        }
        assert!(cache.usage().bytes <= bytes_max);
    }
    assert!(hits > 500 && cache.usage().evicted_spans > 100, "{hits} hits, {:?}", cache.usage());
    let on_disk: u64 = (0..4).map(|key| fs::metadata(stream_dir(dir.path(), key).join("data")).unwrap().blocks() * 512).sum();
    assert!(on_disk <= bytes_max + bytes_max / 4, "holes give the bytes back: {on_disk}");
}

#[test]
fn evicts_what_was_used_least_recently() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 1 << 20, 1);
    let stream = cache.stream(&[0; 32], LAYOUT).unwrap();
    for index in 0..SPANS {
        assert_eq!(stream.put(slot(index), &content(0, index)), Put::Stored);
    }
    // All old, the odd ones older; then two more streams make it tight.
    let table = crate::table::Table::open(&stream_dir(dir.path(), 0).join("spans")).unwrap();
    for (index, cell) in (0..).zip(table.cells()) {
        let age = if index % 2 == 0 { 1000 } else { 100_000 };
        let seen = cell.load();
        assert!(cell.swap(seen, seen.touched(Tick(Tick::now().0 - age))));
    }
    for key in 1..=2 {
        let other = cache.stream(&[key; 32], LAYOUT).unwrap();
        for index in 0..SPANS / u32::from(key) {
            assert_eq!(other.put(slot(index), &content(key, index)), Put::Stored);
        }
    }
    let odd = (0..SPANS).filter(|index| index % 2 == 1 && stream.present(*index)).count();
    let even = (0..SPANS).filter(|index| index % 2 == 0 && stream.present(*index)).count();
    assert!(odd == 0 && even > 10, "{odd} odd, {even} even");
}

#[test]
fn after_a_reboot_nothing_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let stream = open(dir.path(), LARGE, 1).stream(&[7; 32], LAYOUT).unwrap();
    for index in 0..SPANS {
        assert_eq!(stream.put(slot(index), &content(7, index)), Put::Stored);
    }
    drop(stream);
    // The machine dies; some pages never reached the disk.
    let data = fs::File::options().write(true).open(stream_dir(dir.path(), 7).join("data")).unwrap();
    for index in (0..SPANS).step_by(3) {
        data.write_all_at(&[0; 100], slot(index).offset + 5000).unwrap();
    }
    let stream = open(dir.path(), LARGE, 2).stream(&[7; 32], LAYOUT).unwrap();
    for index in 0..SPANS {
        assert_eq!(read_and_settle(&stream, 7, index), Lookup::Unverified);
        assert_eq!(read(&stream, 7, index), if index % 3 == 0 { Lookup::Miss } else { Lookup::Hit });
        assert_eq!(stream.put(slot(index), &content(7, index)), Put::Stored);
        assert_eq!(read(&stream, 7, index), Lookup::Hit);
    }
}

#[test]
fn two_openers_of_one_boot_agree_about_what_was_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let put = open(dir.path(), LARGE, 1).stream(&[7; 32], LAYOUT).unwrap();
    assert_eq!(put.put(slot(3), &content(7, 3)), Put::Stored);
    drop(put);
    let one = open(dir.path(), LARGE, 2).stream(&[7; 32], LAYOUT).unwrap();
    assert_eq!(read_and_settle(&one, 7, 3), Lookup::Unverified);
    let two = open(dir.path(), LARGE, 2).stream(&[7; 32], LAYOUT).unwrap();
    assert_eq!((read(&one, 7, 3), read(&two, 7, 3)), (Lookup::Hit, Lookup::Hit));
}

#[test]
fn starts_anew_on_files_that_do_not_fit() {
    let garbage: [(&str, Option<&[u8]>); 8] = [
        ("spans", None),
        ("data", None),
        ("spans", Some(b"")),
        ("spans", Some(b"CLIPSPAN")),
        ("spans", Some(&[0xFF; 704])),
        ("spans", Some(&[0; 704])),
        ("data", Some(b"")),
        ("data", Some(b"short")),
    ];
    for (name, bytes) in garbage {
        let dir = tempfile::tempdir().unwrap();
        let stream = open(dir.path(), LARGE, 1).stream(&[7; 32], LAYOUT).unwrap();
        assert_eq!(stream.put(slot(0), &content(7, 0)), Put::Stored);
        drop(stream);
        let path = stream_dir(dir.path(), 7).join(name);
        fs::remove_file(&path).unwrap();
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let cache = open(dir.path(), LARGE, 1);
        let stream = cache.stream(&[7; 32], LAYOUT).unwrap();
        let case = format!("{name} {:?}", bytes.map(<[u8]>::len));
        assert_eq!(read(&stream, 7, 0), Lookup::Miss, "{case}");
        assert_eq!(stream.put(slot(0), &content(7, 0)), Put::Stored, "{case}");
        assert_eq!(read(&stream, 7, 0), Lookup::Hit, "{case}");
        assert_eq!(fs::read_dir(dir.path().join("aside")).unwrap().count(), 0, "{case}");
    }
}

#[test]
fn starts_anew_on_another_layout_while_the_old_one_is_still_open() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE, 1);
    let old = cache.stream(&[7; 32], LAYOUT).unwrap();
    assert_eq!(old.put(slot(1), &content(7, 1)), Put::Stored);
    let new = cache.stream(&[7; 32], StreamLayout { size: LAYOUT.size + 1, spans: SPANS }).unwrap();
    assert_eq!(read(&new, 7, 1), Lookup::Miss);
    assert_eq!(read(&old, 7, 1), Lookup::Hit, "the old files live on for who has them open");
}

#[test]
fn random_records_never_make_wrong_hits() {
    for seed in 0..30 {
        let dir = tempfile::tempdir().unwrap();
        let stream = open(dir.path(), LARGE, 1).stream(&[7; 32], LAYOUT).unwrap();
        for index in 0..SPANS {
            assert_eq!(stream.put(slot(index), &content(7, index)), Put::Stored);
        }
        drop(stream);
        let mut random = Random(seed);
        let spans = fs::File::options().write(true).open(stream_dir(dir.path(), 7).join("spans")).unwrap();
        let data = fs::File::options().write(true).open(stream_dir(dir.path(), 7).join("data")).unwrap();
        for _ in 0..60 {
            let at = 64 + random.below(16 * u64::from(SPANS) - 8);
            spans.write_all_at(&random.below(u64::MAX).to_ne_bytes(), at).unwrap();
            data.write_all_at(&[0; 10], random.below(LAYOUT.size - 10)).unwrap();
        }
        let cache = open(dir.path(), 1 << 20, 2);
        let stream = cache.stream(&[7; 32], LAYOUT).unwrap();
        for round in 0..2 {
            for index in 0..SPANS {
                let _ = read_and_settle(&stream, 7, index);
                let _ = stream.put(slot(index), &content(7, index));
                let lookup = read(&stream, 7, index);
                assert!(round == 0 || lookup != Lookup::Unverified, "seed {seed}");
            }
        }
        assert!(cache.usage().bytes <= 1 << 20, "seed {seed}");
    }
}

#[test]
fn a_claim_of_a_dead_writer_is_taken_over_and_that_of_a_living_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let stream = open(dir.path(), LARGE, 1).stream(&[7; 32], LAYOUT).unwrap();
    let table = crate::table::Table::open(&stream_dir(dir.path(), 7).join("spans")).unwrap();
    let now = Tick::now();
    let states =
        [(State::Writing, now, Put::Skipped), (State::Writing, Tick(now.0 - 10_000), Put::Stored), (State::Evicting, now, Put::Skipped)];
    for (index, (state, time, expected)) in (0..).zip(states) {
        let cell = table.cell(index).unwrap();
        assert!(cell.swap(Record(0), Record(0).reborn(state, time)));
        assert_eq!(read(&stream, 7, index), Lookup::Miss);
        assert_eq!(stream.put(slot(index), &content(7, index)), expected);
    }
    drop(stream);
    // The next one to hold the evict lock finishes what a dead evictor began.
    let stream = open(dir.path(), LARGE, 1).stream(&[7; 32], LAYOUT).unwrap();
    assert_eq!(stream.put(slot(2), &content(7, 2)), Put::Stored);
}

#[test]
fn refuses_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Cache::open(dir.path(), 1000), Err(Error::LimitTooSmall { .. })));
    let cache = open(dir.path(), 1 << 20, 1);
    assert!(matches!(cache.stream(&[0; 32], StreamLayout { size: 1 << 41, spans: 1 }), Err(Error::StreamTooLarge { .. })));
    assert!(matches!(cache.stream(&[0; 32], StreamLayout { size: 1, spans: u32::MAX }), Err(Error::StreamTooLarge { .. })));
    assert!(cache.stream(&[1; 32], StreamLayout { size: 0, spans: 0 }).is_ok());
    let stream = cache.stream(&[0; 32], StreamLayout { size: 16 << 20, spans: 2 }).unwrap();
    let large = SpanSlot { index: 0, offset: 0, length: 2 << 20 };
    assert_eq!(stream.put(large, &vec![1; 2 << 20]), Put::Skipped, "larger than the whole cache");
    assert_eq!(stream.put(SpanSlot { index: 2, ..slot(0) }, &content(0, 0)), Put::Skipped);
    assert_eq!(stream.put(slot(0), &[1, 2, 3]), Put::Skipped);
    assert_eq!(stream.put(SpanSlot { index: 0, offset: 16 << 20, length: 1 }, &[1]), Put::Skipped);
    assert_eq!(stream.put(slot(0), &content(0, 0)), Put::Stored);
    let mut buf = [0; 10];
    assert_eq!(stream.read(slot(0), u64::from(SPAN) - 10, &mut buf), Lookup::Hit);
    assert_eq!(stream.read(slot(0), u64::from(SPAN) - 9, &mut buf), Lookup::Miss);
    assert_eq!(stream.read(slot(0), u64::MAX, &mut buf), Lookup::Miss);
    assert_eq!(stream.read(SpanSlot { index: 0, offset: 1, length: SPAN }, 0, &mut buf), Lookup::Miss, "another slot of that number");
}

#[test]
fn removes_empty_streams_that_nobody_uses() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), LARGE, 1);
    let used = cache.stream(&[1; 32], LAYOUT).unwrap();
    drop(cache.stream(&[2; 32], LAYOUT).unwrap());
    let full = cache.stream(&[3; 32], LAYOUT).unwrap();
    assert_eq!(full.put(slot(0), &content(3, 0)), Put::Stored);
    drop(full);
    assert_eq!(open(dir.path(), LARGE, 1).usage().streams, 2);
    drop(used);
    assert_eq!(open(dir.path(), LARGE, 1).usage().streams, 1);
    fs::remove_file(stream_dir(dir.path(), 3).join("data")).unwrap();
    assert_eq!(open(dir.path(), LARGE, 1).usage().streams, 0, "records without data are worth nothing");
}

#[test]
fn is_private_and_does_not_follow_links() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let cache = open(&root, LARGE, 1);
    drop(cache.stream(&[1; 32], LAYOUT).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let stream = stream_dir(&root, 1);
    assert_eq!([&root, &stream].map(|path| mode(path)), [0o700; 2]);
    assert_eq!(["data", "spans"].map(|name| mode(&stream.join(name))), [0o600; 2]);
    assert_eq!(mode(&root.join("state")), 0o600);
    let victim = dir.path().join("victim");
    fs::write(&victim, b"precious").unwrap();
    fs::remove_file(stream.join("data")).unwrap();
    std::os::unix::fs::symlink(&victim, stream.join("data")).unwrap();
    let anew = cache.stream(&[1; 32], LAYOUT).unwrap();
    assert_eq!(anew.put(slot(0), &content(1, 0)), Put::Stored);
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

fn stream_dir(dir: &Path, key: u8) -> std::path::PathBuf {
    dir.join("streams").join(format!("{key:02x}").repeat(32))
}
