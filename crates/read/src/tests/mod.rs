//! The whole way of a read, over blobs that fail as told.

mod image;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use archive::StreamId;
use backend::faults::Fault;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use self::image::{Image, PACKINGS, Packing, Random, STREAM_BYTES};
use crate::Error;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_reads_give_what_a_plain_copy_gives() {
    let image = Image::new(&PACKINGS);
    let reader = image.reader();
    let mut random = Random(1);
    for _ in 0..300 {
        let stream = random.below(PACKINGS.len() as u64) as usize;
        let length_max = if random.below(4) == 0 { 800_000 } else { 5000 };
        let length = 1 + random.below(length_max) as usize;
        image.check(&reader, stream, random.below(STREAM_BYTES as u64 + 1000) as usize, length).await;
    }
    let stats = reader.stats();
    assert_eq!((stats.reads, stats.hits + stats.misses), (300, 300));
    assert!(stats.hits > 0 && stats.misses > 0 && stats.verify_failures == 0, "{stats:?}");
    assert_eq!(stats.miss_latency.count, stats.misses);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_random_reads_through_a_tiny_cache_are_right() {
    let mut image = Image::new(&PACKINGS);
    image.cache_bytes = 1 << 20;
    image.options.readahead_bytes_max = 1 << 20;
    let (image, mut tasks) = (Arc::new(image), tokio::task::JoinSet::new());
    let reader = Arc::new(image.reader());
    for seed in 0..8 {
        let (image, reader) = (Arc::clone(&image), Arc::clone(&reader));
        tasks.spawn(async move {
            let mut random = Random(seed);
            for _ in 0..60 {
                let stream = random.below(PACKINGS.len() as u64) as usize;
                let offset = random.below(STREAM_BYTES as u64) as usize;
                image.check(&reader, stream, offset, 1 + random.below(100_000) as usize).await;
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    let cache = cache::Cache::open(&image.dir.path().join("cache"), 1 << 20).unwrap();
    // Guesses are still being kept, and are charged before there is room for them.
    for _ in 0..500 {
        if cache.usage().bytes <= 1 << 20 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", cache.usage());
}

#[tokio::test]
async fn try_read_serves_what_is_near_and_never_asks() {
    let image = Image::new(&[Packing::Gzip]);
    let (reader, node) = (image.reader(), image.node("0"));
    let mut buf = vec![1; 1000];
    assert!(!reader.try_read(&node, 70_000, &mut buf).unwrap());
    assert_eq!(image.requests(), 0);
    image.check(&reader, 0, 70_000, 1).await;
    let requests = image.requests();
    assert!(reader.try_read(&node, 70_000, &mut buf).unwrap());
    assert_eq!(buf, image.data[0][70_000..71_000]);
    assert_eq!(image.requests(), requests);
    // Another mount, another process: the same cache.
    assert!(image.reader().try_read(&node, 70_000, &mut buf).unwrap());
}

#[tokio::test]
async fn holes_are_zeros_and_the_end_is_the_end() {
    let image = Image::new(&[Packing::ZstdMany]);
    let (reader, node) = (image.reader(), image.node("sparse"));
    let mut expected = vec![0; 15_000];
    expected[..4096].copy_from_slice(&image.data[0][8 * 512..8 * 512 + 4096]);
    expected[8192..12_288].copy_from_slice(&image.data[0][800 * 512..800 * 512 + 4096]);
    assert_eq!(reader.read(&node, 0, 100_000).await.unwrap(), expected);
    assert_eq!(reader.read(&node, 5000, 5000).await.unwrap(), expected[5000..10_000]);
    assert!(reader.read(&node, 15_000, 10).await.unwrap().is_empty());
    assert!(reader.read(&node, u64::MAX, 10).await.unwrap().is_empty());
    let mut buf = [7; 100];
    assert!(reader.try_read(&node, 5000, &mut buf).unwrap());
    assert_eq!(buf, [0; 100]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_one_span_share_one_request() {
    for packing in PACKINGS {
        let image = Arc::new(Image::new(&[packing]));
        image.blobs[0].every(Some(Fault::Delay(Duration::from_millis(100))));
        let reader = Arc::new(image.reader());
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..50 {
            let (image, reader) = (Arc::clone(&image), Arc::clone(&reader));
            tasks.spawn(async move { image.check(&reader, 0, 10 * i, 100).await });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        assert_eq!(image.requests(), 1, "{packing:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_come_in_one_request_and_a_single_frame_is_streamed_once() {
    let image = Image::new(&[Packing::Gzip, Packing::ZstdSingle]);
    let reader = image.reader();
    image.check(&reader, 0, 0, STREAM_BYTES).await;
    assert_eq!(image.blobs[0].ranges().len(), 1, "3 MiB are less than a merge's bound");
    image.check(&reader, 1, 2 * MIB, 10).await;
    for _ in 0..200 {
        if reader.stats().spans_fetched as u32 == image.archive.spans(StreamId(0)).len() + image.archive.spans(StreamId(1)).len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    image.check(&reader, 1, 0, STREAM_BYTES).await;
    assert_eq!(image.blobs[1].ranges().len(), 1, "the rest of the frame was kept as it came by");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_once_are_asked_for_again() {
    for packing in PACKINGS {
        let image = Image::new(&[packing]);
        image.blobs[0].next(Fault::Flip { at: 200_000 });
        let reader = image.reader();
        image.check(&reader, 0, 0, MIB).await;
        let stats = reader.stats();
        assert_eq!((stats.retries, stats.verify_failures), (1, 1), "{packing:?}");
        assert_eq!(image.requests(), 2, "{packing:?}");
    }
}

#[tokio::test]
async fn wrong_bytes_always_are_an_error_and_one_line_in_the_log() {
    for packing in PACKINGS {
        let image = Image::new(&[packing]);
        image.blobs[0].every(Some(Fault::Flip { at: 10_000 }));
        let log = ErrorLog::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let reader = image.reader();
        let error = image.try_check(&reader, 0, 0, 100).await.unwrap_err();
        assert!(matches!(&error, Error::Corrupt { blob, span: 0, start: 0, .. } if blob == "blob 0"), "{packing:?}: {error}");
        assert_eq!(log.lines.load(Ordering::Relaxed), 1, "{packing:?}");
        assert_eq!(image.requests(), 3, "{packing:?}");
        let message = error.to_string();
        assert!(message.contains("blob 0: span 0 (bytes 0.."), "{message}");
        // Reading it again is no news.
        image.try_check(&reader, 0, 0, 100).await.unwrap_err();
        assert_eq!(log.lines.load(Ordering::Relaxed), 1, "{packing:?}");
        // Not remembered: when the server is mended, so is the mount.
        image.blobs[0].every(None);
        image.check(&reader, 0, 0, 100).await;
    }
}

#[tokio::test]
async fn a_backend_that_gives_up_is_reported_to_those_who_waited_and_not_remembered() {
    for packing in PACKINGS {
        let image = Image::new(&[packing]);
        let reader = image.reader();
        for fault in
            [Fault::Reset { after: 5000 }, Fault::Short { after: 5000 }, Fault::Refuse(backend::Error::NotFound { what: "it".into() })]
        {
            image.blobs[0].next(fault);
            let error = image.try_check(&reader, 0, 1000, 100).await.unwrap_err();
            assert!(matches!(error, Error::Backend { .. }), "{packing:?}: {error}");
        }
        image.check(&reader, 0, 1000, 100).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_ranges_is_streamed_once() {
    for packing in PACKINGS {
        let image = Arc::new(Image::new(&[packing]));
        image.blobs[0].every(Some(Fault::WholeBlob));
        let reader = Arc::new(image.reader());
        // Not at its beginning: an answer that begins where it was asked to begin cannot be told from one that obeys.
        let mut tasks = tokio::task::JoinSet::new();
        for i in 1..12 {
            let (image, reader) = (Arc::clone(&image), Arc::clone(&reader));
            tasks.spawn(async move { image.check(&reader, 0, i * STREAM_BYTES / 12, 1000).await });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        let first = image.requests();
        assert!(first <= 12, "{packing:?}: {first} requests, at most one each to find out");
        tokio::time::sleep(Duration::from_millis(300)).await;
        image.check(&reader, 0, 0, STREAM_BYTES).await;
        assert!(image.requests() <= first + 1, "{packing:?}: everything was kept");
    }
}

#[tokio::test]
async fn a_read_ends_at_its_deadline_and_the_fetch_goes_on() {
    let mut image = Image::new(&[Packing::ZstdMany]);
    image.options.deadline = Duration::from_millis(50);
    image.blobs[0].next(Fault::Delay(Duration::from_millis(200)));
    let reader = image.reader();
    let start = Instant::now();
    assert!(matches!(image.try_check(&reader, 0, 0, 10).await, Err(Error::TimedOut { .. })));
    assert!(start.elapsed() < Duration::from_millis(150));
    tokio::time::sleep(Duration::from_millis(400)).await;
    image.check(&reader, 0, 0, 10).await;
    assert_eq!(image.requests(), 1);
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_its_fetch_to_the_next() {
    let image = Image::new(&[Packing::Gzip]);
    image.blobs[0].next(Fault::Delay(Duration::from_millis(100)));
    let (reader, node) = (image.reader(), image.node("0"));
    let gone = tokio::time::timeout(Duration::from_millis(20), reader.read(&node, 0, 10)).await;
    assert!(gone.is_err());
    image.check(&reader, 0, 0, 10).await;
    assert_eq!(image.requests(), 1);
}

#[tokio::test]
async fn closing_wakes_who_waits_and_refuses_the_rest() {
    let image = Image::new(&[Packing::Raw]);
    image.blobs[0].every(Some(Fault::Delay(Duration::from_secs(600))));
    let reader = Arc::new(image.reader());
    let (waiting, node) = (Arc::clone(&reader), image.node("0"));
    let task = tokio::spawn(async move { waiting.read(&node, 0, 10).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    reader.close();
    assert!(matches!(task.await.unwrap(), Err(Error::Closed)));
    assert!(matches!(reader.read(&image.node("0"), 0, 10).await, Err(Error::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn little_memory_is_slow_and_not_stuck() {
    let mut image = Image::new(&PACKINGS);
    image.options.memory_bytes_max = 200_000;
    let reader = image.reader();
    for stream in 0..PACKINGS.len() {
        image.check(&reader, stream, 0, STREAM_BYTES).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequence_is_fetched_ahead_and_what_was_guessed_is_used() {
    let mut image = Image::new(&[Packing::ZstdMany]);
    image.options.readahead_bytes_max = 1 << 20;
    let reader = image.reader();
    for i in 0..STREAM_BYTES / 10_000 {
        image.check(&reader, 0, i * 10_000, 10_000).await;
    }
    let stats = reader.stats();
    assert!(stats.prefetched > 5 && stats.prefetched_used > 5, "{stats:?}");
    let ranges = image.blobs[0].ranges();
    let asked: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert_eq!(asked, image.archive.streams()[0].blob_size, "nothing was fetched twice: {ranges:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miss_brings_its_neighbours_once_and_no_more() {
    let mut image = Image::new(&[Packing::Raw]);
    image.options.neighbours_bytes_max = 1 << 20;
    let reader = image.reader();
    image.check(&reader, 0, 1_500_000, 10).await;
    let spans = image.archive.spans(StreamId(0));
    let block = spans.find(1 << 20)..=spans.find((2 << 20) - 1);
    let mut buf = [0; 10];
    for index in block.clone() {
        let node = image.node("0");
        for _ in 0..200 {
            if reader.try_read(&node, spans.get(index).offset, &mut buf).unwrap() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let stats = reader.stats();
    let guessed = u64::from(block.end() - block.start());
    assert_eq!((stats.misses, stats.prefetched, stats.prefetched_used), (1, guessed, guessed), "{stats:?}");
    assert!(image.requests() <= 3, "the span, what is before it, what is behind it");
}

#[tokio::test]
async fn after_a_reboot_what_the_disk_lost_is_fetched_again() {
    let image = Image::new(&[Packing::Raw]);
    let reader = image.reader();
    image.check(&reader, 0, 0, STREAM_BYTES).await;
    drop(reader);
    // Every stream's record file says another boot, and a span's bytes are gone. (Tasks of the dropped reader may hold it open still.)
    let streams = std::fs::read_dir(image.dir.path().join("cache/streams")).unwrap();
    for dir in streams.map(|entry| entry.unwrap().path()) {
        let spans = std::fs::File::options().write(true).open(dir.join("spans")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&spans, &[7; 16], 32).unwrap();
        let data = std::fs::File::options().write(true).open(dir.join("data")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&data, &[0; 4096], 100_000).unwrap();
    }
    let (reader, requests) = (image.reader(), image.requests());
    let mut buf = [0; 10];
    assert!(!reader.try_read(&image.node("0"), 0, &mut buf).unwrap(), "not believed");
    image.check(&reader, 0, 0, STREAM_BYTES).await;
    let stats = reader.stats();
    assert_eq!((stats.discarded, image.requests() - requests), (1, 1), "{stats:?}");
    assert_eq!(stats.confirmed as u32, image.archive.spans(StreamId(0)).len() - 1);
    assert!(reader.try_read(&image.node("0"), 0, &mut buf).unwrap());
}

#[tokio::test]
async fn refuses_blobs_that_do_not_match_the_streams() {
    let image = Image::new(&[Packing::Raw]);
    let cache = Arc::new(cache::Cache::open(&image.dir.path().join("cache"), 1 << 20).unwrap());
    let made = crate::Reader::new(
        Arc::clone(&image.archive),
        vec![],
        Some(cache),
        tokio::runtime::Handle::current(),
        crate::ReadOptions::default(),
    );
    assert!(matches!(made, Err(Error::Blobs { given: 0, needed: 1 })));
}

/// Counts the lines of level ERROR that name what a person needs to look into it.
#[derive(Clone, Default)]
struct ErrorLog {
    lines: Arc<AtomicUsize>,
}

struct Names(Vec<&'static str>);

impl Visit for Names {
    fn record_debug(&mut self, field: &Field, _: &dyn std::fmt::Debug) {
        self.0.push(field.name());
    }
}

impl Subscriber for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut names = Names(Vec::new());
        event.record(&mut names);
        assert!(["archive", "blob", "span", "bytes", "reason"].iter().all(|name| names.0.contains(name)), "{:?}", names.0);
        self.lines.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
