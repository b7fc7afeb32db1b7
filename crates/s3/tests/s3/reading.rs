//! Objects as blobs, and what is told about those that cannot be read.

use backend::{Blob, Error, conformance, read_all};
use s3::{Credentials, S3, S3Options};

use crate::{
    relay::{Fault, Relay},
    server::{ACCESS_KEY, BUCKET, SECRET_KEY, Server, bucket, options},
};

#[tokio::test]
async fn conforms() {
    let server = Server::start(true).await;
    let content = conformance::content(300_000);
    server.store("a/b c/é", &content);
    let blob = bucket(server.address).await.open("a/b c/é").await.unwrap();
    conformance::check(&blob, &content).await.unwrap();
}

#[tokio::test]
async fn size_and_version_come_with_the_first_bytes_in_one_request() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let content = conformance::content(100_000);
    server.store("k", &content);
    let bucket = bucket(relay.address).await;
    for first_bytes in [0, 1, 4096, 99_999, 100_000, 1 << 20] {
        let (first, blob) = bucket.open_with_head("k", first_bytes).await.unwrap();
        assert_eq!(first, content[..100_000.min(first_bytes as usize)]);
        assert_eq!(blob.size(), 100_000);
        assert_eq!(read_all(&blob, 5000..6000, 1000).await.unwrap(), content[5000..6000]);
    }
    assert_eq!(relay.count("get /archives/k?"), 12, "one request to open, one to read");
    assert_eq!(relay.count("if-match: \""), 6, "every read is pinned");
    assert_eq!(relay.count("head /"), 0);
}

#[tokio::test]
async fn the_last_bytes_come_with_size_and_version_in_one_request() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let content = conformance::content(100_000);
    server.store("k", &content);
    server.store("empty", b"");
    let bucket = bucket(relay.address).await;
    for last_bytes in [1, 4096, 99_999, 100_000, 1 << 20] {
        let (last, blob) = bucket.open_with_tail("k", last_bytes).await.unwrap();
        assert_eq!(last, content[100_000 - 100_000.min(last_bytes as usize)..]);
        assert_eq!(read_all(&blob, 5000..6000, 1000).await.unwrap(), content[5000..6000]);
    }
    assert_eq!(relay.count("get /archives/k?"), 10, "one request to open, one to read");
    assert_eq!(relay.count("if-match: \""), 5, "every read is pinned");
    // A server that fails where more is asked for than there is.
    relay.next("range: bytes=-1048576", Fault::Answer { status: "500 Internal Server Error", headers: "", body: "" });
    let (last, _) = bucket.open_with_tail("k", 1 << 20).await.unwrap();
    assert_eq!(last, content);
    let (last, blob) = bucket.open_with_tail("empty", 9).await.unwrap();
    assert!(last.is_empty() && blob.size() == 0);
    relay.next(
        "range: bytes=-100",
        Fault::Answer { status: "206 Partial Content", headers: "content-range: bytes 0-99/100000\r\n", body: "" },
    );
    assert!(bucket.open_with_tail("k", 100).await.is_err(), "the first bytes are not the last");
}

#[tokio::test]
async fn an_empty_object_opens() {
    let server = Server::start(true).await;
    server.store("empty", b"");
    let (first, blob) = bucket(server.address).await.open_with_head("empty", 4096).await.unwrap();
    assert!(first.is_empty() && blob.size() == 0);
    assert!(matches!(blob.get(0..1).await, Err(Error::Range { .. })));
}

#[tokio::test]
async fn a_replaced_object_is_changed_and_a_deleted_one_is_not_found() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    server.store("k", &conformance::content(50_000));
    for address in [server.address, relay.address] {
        server.store("k", &conformance::content(50_000));
        let blob = bucket(address).await.open("k").await.unwrap();
        read_all(&blob, 0..50_000, 50_000).await.unwrap();

        server.store("k", &[7; 50_000]);
        let error = read_all(&blob, 0..50_000, 50_000).await.unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{error:?}");
        assert!(error.to_string().ends_with("changed while in use; mount it again"), "{error}");

        std::fs::remove_file(server.path("k")).unwrap();
        let error = read_all(&blob, 0..50_000, 50_000).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    }
}

/// A server that knows no `If-Match` gives the other version's bytes: they are refused by the ETag that comes with them.
#[tokio::test]
async fn an_answer_of_another_version_is_refused() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    server.store("k", &conformance::content(50_000));
    let blob = bucket(relay.address).await.open("k").await.unwrap();
    relay.next("range: bytes=0-99", Fault::Head("etag: \"", "etag: \"f"));
    let error = read_all(&blob, 0..100, 100).await.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");

    // A shorter one, where the range is looked at first.
    relay.next("range: bytes=40000-", Fault::Answer { status: "416 Range Not Satisfiable", headers: "", body: "" });
    let error = read_all(&blob, 40_000..50_000, 10_000).await.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_without_ranges_serves_all_the_same() {
    let server = Server::start(false).await;
    let relay = Relay::start(server.address).await;
    let content = conformance::content(50_000);
    server.store("k", &content);
    let anonymous = S3Options { credentials: Credentials::Anonymous, ..options(relay.address) };
    let bucket = S3::new(anonymous).await.unwrap().bucket(BUCKET).unwrap();
    for _ in 0..2 {
        relay.next("get /", Fault::NoRange);
    }
    let (first, blob) = bucket.open_with_head("k", 1000).await.unwrap();
    assert_eq!((&first[..], blob.size()), (&content[..1000], 50_000));
    let body = blob.get(3000..4000).await.unwrap();
    assert_eq!(body.offset, 0);
    assert_eq!(read_all(&blob, 3000..4000, 1000).await.unwrap(), content[3000..4000]);
}

#[tokio::test]
async fn what_may_not_be_read_says_why() {
    let server = Server::start(true).await;
    server.store("k", b"content");
    let with = |access_key: &str, secret_key: &str| Credentials::Static {
        access_key: access_key.into(),
        secret_key: secret_key.into(),
        session_token: None,
    };
    for (credentials, words) in [
        (with(ACCESS_KEY, "hunter2hunter2"), "the signature does not match; check the secret key"),
        (with("SOMEBODY", SECRET_KEY), "s3:GetObject on arn:aws:s3:::archives/k is needed"),
        (Credentials::Anonymous, "nobody's credentials were given"),
    ] {
        let s3 = S3::new(S3Options { credentials, ..options(server.address) }).await.unwrap();
        let error = s3.bucket(BUCKET).unwrap().open("k").await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }) && error.to_string().contains(words), "{error}");
        let all = format!("{error:?} {error} {s3:?}");
        assert!(!all.contains("hunter2") && !all.contains(SECRET_KEY), "{all}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let server = Server::start(true).await;
    let s3 = S3::new(options(server.address)).await.unwrap();
    let error = s3.bucket("nowhere").unwrap().open("k").await.unwrap_err();
    assert!(matches!(&error, Error::NotFound { what } if what.starts_with("bucket 'nowhere' at http://127.0.0.1:")), "{error:?}");
    let error = s3.bucket(BUCKET).unwrap().open("k").await.unwrap_err();
    assert!(matches!(&error, Error::NotFound { what } if what.starts_with("s3://archives/k at http://127.0.0.1:")), "{error:?}");
}

#[tokio::test]
async fn an_open_server_is_read_anonymously() {
    let server = Server::start(false).await;
    server.store("k", b"content");
    let s3 = S3::new(S3Options { credentials: Credentials::Anonymous, ..options(server.address) }).await.unwrap();
    let bucket = s3.bucket(BUCKET).unwrap();
    assert_eq!(bucket.get_small("k", 100).await.unwrap(), "content");
    let seen = s3.traffic().snapshot();
    assert_eq!((seen.requests, seen.bytes, seen.errors), (1, 7, 0));
}

#[tokio::test]
async fn options_that_cannot_be_used_are_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let base = || options("127.0.0.1:1".parse().unwrap());
    let new = async |options| S3::new(options).await.map(drop).unwrap_err();
    let error = new(S3Options { ca_file: Some(file.path().into()), ..base() }).await;
    assert!(matches!(error, Error::InvalidOption { option: "CA file", .. }), "{error:?}");
    std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n").unwrap();
    let error = new(S3Options { ca_file: Some(file.path().into()), ..base() }).await;
    assert!(matches!(error, Error::InvalidOption { option: "CA file", .. }), "{error:?}");
    let error = new(S3Options { ca_file: Some("/no/such".into()), ..base() }).await;
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    let error = new(S3Options { endpoint: Some("minio:9000".into()), ..base() }).await;
    assert!(matches!(error, Error::InvalidOption { option: "S3 endpoint", .. }), "{error:?}");
    let error = new(S3Options { requests_in_flight_max: 0, ..base() }).await;
    assert!(matches!(error, Error::InvalidOption { .. }), "{error:?}");
}
