//! Each failure is tried again until it passes, or told as what it is.

use std::time::{Duration, Instant};

use backend::{Error, RetryPolicy, conformance, read_all};
use s3::{Bucket, S3, S3Options};

use crate::{
    relay::{Fault, Relay},
    server::{BUCKET, SECRET_KEY, Server, bucket, options},
};

const SIZE: u64 = 200_000;

struct Setting {
    content: Vec<u8>,
    relay: Relay,
    bucket: Bucket,
    _server: Server,
}

async fn setting() -> Setting {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let content = conformance::content(SIZE as usize);
    server.store("k", &content);
    Setting { content, bucket: bucket(relay.address).await, relay, _server: server }
}

fn answer(status: &'static str, body: &'static str) -> Fault {
    Fault::Answer { status, headers: "content-type: application/xml\r\n", body }
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let it = setting().await;
    let blob = it.bucket.open("k").await.unwrap();
    for fault in [
        Fault::Answer {
            status: "503 Slow Down",
            headers: "retry-after: 1\r\n",
            body: "<Error><Code>SlowDown</Code><Message>m</Message></Error>",
        },
        answer("500 Internal Server Error", "<Error><Code>InternalError</Code><Message>m</Message></Error>"),
        answer("400 Bad Request", "<Error><Code>RequestTimeout</Code><Message>m</Message></Error>"),
        answer("502 Bad Gateway", "<html>a proxy</html>"),
        Fault::Cut(100_000),
        Fault::Cut(0),
        Fault::LostAnswer,
    ] {
        let before = it.relay.count("get /");
        let begun = Instant::now();
        let waits = matches!(fault, Fault::Answer { headers, .. } if headers.contains("retry-after"));
        it.relay.next("range: bytes=", fault);
        assert_eq!(read_all(&blob, 0..SIZE, SIZE).await.unwrap(), it.content);
        assert_eq!((it.relay.left(), it.relay.count("get /") - before), (0, 2));
        assert!(!waits || begun.elapsed() >= Duration::from_secs(1), "what the server asks for is honoured");
    }
}

#[tokio::test]
async fn a_broken_body_goes_on_where_it_broke_and_only_in_the_same_version() {
    let it = setting().await;
    let blob = it.bucket.open("k").await.unwrap();
    it.relay.next("range: bytes=0-", Fault::Cut(150_000));
    assert_eq!(read_all(&blob, 0..SIZE, SIZE).await.unwrap(), it.content);
    assert_eq!(it.relay.count("range: bytes=0-199999"), 1);
    assert_eq!(it.relay.count(&format!("-{}", SIZE - 1)), 2, "the second asked for the rest only");

    it.relay.next("range: bytes=0-", Fault::Cut(150_000));
    it.relay.next("get /", Fault::Head("etag: \"", "etag: \"f"));
    let error = read_all(&blob, 0..SIZE, SIZE).await.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");
}

#[tokio::test]
async fn answers_that_do_not_fit_are_not_believed() {
    let it = setting().await;
    let blob = it.bucket.open("k").await.unwrap();
    for (from, to) in [
        ("content-range: bytes 1000-1999/200000", "content-range: bytes 1001-2000/200000"),
        ("content-range: bytes 1000-1999/200000", "content-range: bytes 1000-1999/200001"),
        ("content-range: bytes 1000-1999/200000", "x-content-range: bytes 1000-1999/200000"),
    ] {
        it.relay.next("range: bytes=1000-1999", Fault::Head(from, to));
        let error = read_all(&blob, 1000..2000, 1000).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{from}: {error:?}");
    }
    assert_eq!(it.relay.left(), 0);
    it.relay.next("get /", Fault::Head("etag:", "x-etag:"));
    let error = it.bucket.open("k").await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn what_does_not_pass_is_told_at_once() {
    let it = setting().await;
    for (status, headers, body, words) in [
        ("400 Bad Request", "", "<Error><Code>ExpiredToken</Code><Message>m</Message></Error>", "the credentials have expired; renew them"),
        ("403 Forbidden", "", "<Error><Code>InvalidAccessKeyId</Code><Message>m</Message></Error>", "the access key is not known there"),
        (
            "403 Forbidden",
            "date: Thu, 01 Jan 2099 00:00:00 GMT\r\n",
            "<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message></Error>",
            "s behind; set it",
        ),
        (
            "301 Moved Permanently",
            "x-amz-bucket-region: eu-west-1\r\n",
            "<Error><Code>PermanentRedirect</Code><Message>m</Message></Error>",
            "set the region to eu-west-1",
        ),
        (
            "400 Bad Request",
            "",
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>ap-south-1</Region></Error>",
            "set the region to ap-south-1",
        ),
        ("403 Forbidden", "content-type: text/html\r\n", "<html>a proxy</html>", "s3:GetObject on arn:aws:s3:::archives/k is needed"),
        ("405 Method Not Allowed", "", "", "405"),
    ] {
        let before = it.relay.count("get /");
        it.relay.next("get /", Fault::Answer { status, headers, body });
        let error = it.bucket.open("k").await.unwrap_err();
        assert!(error.to_string().contains(words) && !error.is_transient(), "{status} {body}: {error}");
        assert_eq!(it.relay.count("get /") - before, 1, "{body}");
    }
}

#[tokio::test]
async fn what_never_passes_ends_as_what_it_is() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    server.store("k", b"content");
    let quick = RetryPolicy { attempts_max: 2, wait_first: Duration::from_millis(5), ..RetryPolicy::default() };
    let options = S3Options { retry: quick, read_timeout: Duration::from_millis(200), ..options(relay.address) };
    let options = S3Options { connect_timeout: Duration::from_millis(200), ..options };
    let bucket = S3::new(options.clone()).await.unwrap().bucket(BUCKET).unwrap();
    for _ in 0..2 {
        relay.next("get /", answer("503 Slow Down", "<Error><Code>SlowDown</Code><Message>m</Message></Error>"));
    }
    let error = bucket.open("k").await.unwrap_err();
    assert!(matches!(error, Error::RateLimited { .. }), "{error:?}");

    for _ in 0..2 {
        relay.next("get /", Fault::Stall(Duration::from_secs(3)));
    }
    let error = bucket.open("k").await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");

    // Nobody listens there.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nowhere = S3Options { endpoint: Some(format!("http://{closed}")), ..options.clone() };
    let error = S3::new(nowhere).await.unwrap().bucket(BUCKET).unwrap().open("k").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains(SECRET_KEY));

    // No TLS there.
    let tls = S3Options { endpoint: Some(format!("https://{}", server.address)), ..options };
    let error = S3::new(tls).await.unwrap().bucket(BUCKET).unwrap().open("k").await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_that_stalls_is_asked_for_anew() {
    let server = Server::start(true).await;
    let relay = Relay::start(server.address).await;
    let content = conformance::content(SIZE as usize);
    server.store("k", &content);
    let options = S3Options { read_timeout: Duration::from_millis(300), ..options(relay.address) };
    let blob = S3::new(options).await.unwrap().bucket(BUCKET).unwrap().open("k").await.unwrap();
    relay.next("range: bytes=0-", Fault::Pause { after: 50_000, time: Duration::from_secs(15) });
    let begun = Instant::now();
    assert_eq!(read_all(&blob, 0..SIZE, SIZE).await.unwrap(), content);
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits for what does not come");
    assert_eq!(relay.count("range: bytes=50000-199999"), 1);
}
