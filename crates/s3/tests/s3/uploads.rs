//! Large objects in parts: what arrives is what was written, and nothing is left behind.

use std::time::Duration;

use backend::{Blob, Error, conformance, read_all};
use s3::{Bucket, Condition, PART_BYTES_MIN, Put, UploadOptions};

use crate::{
    relay::{Fault, Relay},
    server::{Server, bucket},
};

const PART: usize = PART_BYTES_MIN as usize;

fn small_parts() -> UploadOptions {
    UploadOptions { part_bytes: PART_BYTES_MIN, ..UploadOptions::default() }
}

async fn upload(bucket: &Bucket, key: &str, content: &[u8], options: UploadOptions) -> Result<Put, Error> {
    let mut upload = bucket.upload(key, options)?;
    for piece in content.chunks(700_001) {
        upload.write(piece).await?;
    }
    upload.finish().await
}

async fn check(bucket: &Bucket, key: &str, content: &[u8]) {
    let blob = bucket.open(key).await.unwrap();
    assert_eq!(blob.size(), content.len() as u64);
    if !content.is_empty() {
        assert!(read_all(&blob, 0..blob.size(), blob.size()).await.unwrap() == content);
    }
}

/// What is aborted in the background takes a moment.
async fn nothing_left(server: &Server) {
    for _ in 0..200 {
        if server.leftovers().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("left behind: {:?}", server.leftovers());
}

#[tokio::test]
async fn forty_mib_in_parts_of_eight() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let bucket = bucket(relay.address).await;
    let content = conformance::content(40 << 20);
    let options = UploadOptions { total_bytes: Some(40 << 20), ..UploadOptions::default() };
    assert_eq!(upload(&bucket, "k", &content, options).await.unwrap(), Put::Stored);
    check(&bucket, "k", &content).await;
    assert_eq!((relay.count("partnumber="), relay.count("post /archives/k?uploads")), (5, 1));
    assert_eq!((relay.count("x-amz-checksum"), relay.count("aws-chunked")), (0, 0), "not every server knows those");
    nothing_left(&server).await;
}

#[tokio::test]
async fn sizes_around_a_part() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let bucket = bucket(relay.address).await;
    let content = conformance::content(2 * PART + 1);
    for (size, parts) in [(0, 0), (1, 0), (PART, 0), (PART + 1, 2), (2 * PART, 2), (2 * PART + 1, 3)] {
        let before = relay.count("partnumber=");
        assert_eq!(upload(&bucket, "k", &content[..size], small_parts()).await.unwrap(), Put::Stored);
        check(&bucket, "k", &content[..size]).await;
        assert_eq!(relay.count("partnumber=") - before, parts, "{size}");
    }
    nothing_left(&server).await;
}

/// While no part gets through, no more is taken than may be in memory.
#[tokio::test]
async fn memory_is_bounded() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    for _ in 0..2 {
        relay.next("partnumber=", Fault::Stall(Duration::from_secs(3)));
    }
    let bucket = bucket(relay.address).await;
    let content = conformance::content(4 * PART);
    let mut upload = bucket.upload("k", UploadOptions { parallel: 2, ..small_parts() }).unwrap();
    upload.write(&content[..3 * PART]).await.unwrap();
    let more = tokio::time::timeout(Duration::from_secs(1), upload.write(&content[3 * PART..])).await;
    assert!(more.is_err(), "two parts are under way, the third is full");
    assert_eq!(relay.count("partnumber="), 2);
    upload.abort().await;
    nothing_left(&server).await;
}

#[tokio::test]
async fn parts_that_fail_for_a_moment_are_sent_again() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let bucket = bucket(relay.address).await;
    let content = conformance::content(3 * PART);
    relay.next("?uploads", Fault::Answer { status: "500 Internal Server Error", headers: "", body: "" });
    relay.next("partnumber=2", Fault::Damage);
    relay.next("partnumber=3", Fault::LostAnswer);
    relay.next("post /archives/k?uploadid", Fault::Answer { status: "503 Slow Down", headers: "", body: "" });
    assert_eq!(upload(&bucket, "k", &content, small_parts()).await.unwrap(), Put::Stored);
    assert_eq!(relay.left(), 0);
    check(&bucket, "k", &content).await;
    nothing_left(&server).await;
}

#[tokio::test]
async fn what_fails_for_good_leaves_nothing() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let bucket = bucket(relay.address).await;
    let content = conformance::content(3 * PART);
    let denied =
        || Fault::Answer { status: "403 Forbidden", headers: "", body: "<Error><Code>AccessDenied</Code><Message>m</Message></Error>" };
    for text in ["partnumber=1", "partnumber=3", "post /archives/k?uploadid"] {
        relay.next(text, denied());
        let error = upload(&bucket, "k", &content, small_parts()).await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }) && error.to_string().contains("s3:PutObject"), "{text}: {error}");
        assert!(server.leftovers().is_empty(), "{text}: aborted before it is told: {:?}", server.leftovers());
        assert!(!bucket.exists("k").await.unwrap());
    }
    let aborts = relay.count("delete /archives/k?");
    assert_eq!(aborts, 3);

    let mut after = bucket.upload("k", small_parts()).unwrap();
    relay.next("?uploads", denied());
    assert!(after.write(&content).await.is_err());
    assert!(matches!(after.write(b"more").await, Err(Error::Denied { .. })), "still failed");
    assert!(matches!(after.finish().await, Err(Error::Denied { .. })));
    assert_eq!(relay.count("delete /archives/k?"), aborts, "what never began is not aborted");
}

#[tokio::test]
async fn what_is_dropped_leaves_nothing() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let bucket = bucket(relay.address).await;
    let content = conformance::content(3 * PART);

    let mut half = bucket.upload("k", small_parts()).unwrap();
    half.write(&content).await.unwrap();
    assert!(!server.leftovers().is_empty(), "it has begun");
    drop(half);
    nothing_left(&server).await;

    // Dropped while the ID is on its way: the server has begun it, and we have not heard.
    relay.next("?uploads", Fault::Stall(Duration::from_millis(500)));
    let mut early = bucket.upload("k", small_parts()).unwrap();
    let write = tokio::time::timeout(Duration::from_millis(100), early.write(&content)).await;
    assert!(write.is_err());
    let aborts = relay.count("delete /");
    drop(early);
    for _ in 0..100 {
        if relay.count("delete /") > aborts {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(relay.count("delete /"), aborts + 1);
    nothing_left(&server).await;
    assert!(!bucket.exists("k").await.unwrap());
}

#[tokio::test]
async fn the_announced_size_must_come() {
    let server = Server::start(true).await;
    let bucket = bucket(server.address).await;
    let content = conformance::content(2 * PART);
    let announced = |bytes: usize| UploadOptions { total_bytes: Some(bytes as u64), ..small_parts() };
    let error = upload(&bucket, "k", &content, announced(2 * PART + 1)).await.unwrap_err();
    assert!(matches!(error, Error::InvalidOption { .. }), "{error:?}");
    let error = upload(&bucket, "k", &content, announced(2 * PART - 1)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    assert!(!bucket.exists("k").await.unwrap() && server.leftovers().is_empty());
    assert_eq!(upload(&bucket, "k", &content, announced(2 * PART)).await.unwrap(), Put::Stored);
}

#[tokio::test]
async fn of_two_uploads_one_stores() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let bucket = bucket(relay.address).await;
    let content = conformance::content(PART + 7);
    let other: Vec<u8> = content.iter().map(|byte| !byte).collect();
    let options = || UploadOptions { condition: Condition::Absent, ..small_parts() };
    let both = tokio::join!(upload(&bucket, "k", &content, options()), upload(&bucket, "k", &other, options()));
    match (both.0.unwrap(), both.1.unwrap()) {
        (Put::Stored, Put::Exists) => check(&bucket, "k", &content).await,
        (Put::Exists, Put::Stored) => check(&bucket, "k", &other).await,
        both => panic!("{both:?}"),
    }
    assert!(server.leftovers().is_empty(), "the loser's parts are gone: {:?}", server.leftovers());

    // Completed, but we did not hear of it: the second try finds no upload any more.
    relay.next("post /archives/l?uploadid", Fault::LostAnswer);
    assert_eq!(upload(&bucket, "l", &content, options()).await.unwrap(), Put::Stored);
    relay.next("post /archives/m?uploadid", Fault::LostAnswer);
    assert_eq!(upload(&bucket, "m", &content, small_parts()).await.unwrap(), Put::Stored);
    assert_eq!(relay.left(), 0);
    check(&bucket, "m", &content).await;
}

#[tokio::test]
async fn the_first_bytes_may_come_last() {
    let server = Server::start(true).await;
    let bucket = bucket(server.address).await;
    for length in [4, 1000, PART, PART + 1, 3 * PART + 7] {
        let mut content = conformance::content(length);
        let mut upload = bucket.upload("k", UploadOptions { head_last: true, ..small_parts() }).unwrap();
        for piece in content.chunks(700_001) {
            upload.write(piece).await.unwrap();
        }
        content[..4].copy_from_slice(b"head");
        upload.finish_with_head(b"head").await.unwrap();
        check(&bucket, "k", &content).await;
    }
    // Without having been kept, or where there is too little.
    for (length, options) in [(2 * PART, small_parts()), (3, UploadOptions { head_last: true, ..small_parts() })] {
        let mut upload = bucket.upload("k", options).unwrap();
        upload.write(&vec![0; length]).await.unwrap();
        assert!(matches!(upload.finish_with_head(b"head").await, Err(Error::InvalidOption { .. })), "{length}");
    }
    nothing_left(&server).await;
}
