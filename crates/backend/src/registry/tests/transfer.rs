//! Bytes: ranges, broken bodies, wrong answers, retries.

use std::time::Instant;

use super::{server::*, *};
use crate::{conformance, read_all};

/// One `get` of 100..200 from a blob of 1000 bytes, bare, answered by `reply`: the error.
async fn get_error(reply: Reply) -> Error {
    let server = Server::start(move |_, _| reply.clone()).await;
    let blob = registry().blob(&repository(&server.host), DIGEST, 1000);
    let error = read_all(&blob, 100..200, 1000).await.unwrap_err();
    assert!(error.to_string().contains(DIGEST) && error.to_string().contains(&server.host), "names blob and host: {error}");
    error
}

async fn manifest_error(reply: Reply) -> Error {
    let server = Server::start(move |_, _| reply.clone()).await;
    let error = registry().manifest(&reference(&server.host)).await.unwrap_err();
    assert!(error.to_string().contains(&server.host), "{error}");
    error
}

#[tokio::test]
async fn a_good_server_conforms_bare_and_dressed() {
    let content = conformance::content(300_000);
    let served = content.clone();
    let server = Server::start(move |_, request| Reply::part(request, &served)).await;
    let registry = registry();
    conformance::check(&registry.blob(&repository(&server.host), DIGEST, 300_000), &content).await.unwrap();
    conformance::check(&*registry.open(&repository(&server.host), DIGEST, 300_000), &content).await.unwrap();
    let seen = registry.traffic().snapshot();
    assert!(seen.requests > 30 && seen.errors <= 6 && seen.retries == 0 && seen.bytes > 300_000, "{seen:?}");
}

#[tokio::test]
async fn a_server_without_ranges_conforms() {
    let content = conformance::content(30_000);
    let served = content.clone();
    let server = Server::start(move |_, _| Reply::new(200).body(served.clone())).await;
    conformance::check(&*registry().open(&repository(&server.host), DIGEST, 30_000), &content).await.unwrap();
    let body = registry().blob(&repository(&server.host), DIGEST, 30_000).get(9..10).await.unwrap();
    assert_eq!(body.offset, 0);
}

#[tokio::test]
async fn a_server_that_breaks_every_body_conforms_with_retries() {
    let content = conformance::content(3000);
    let served = content.clone();
    let server = Server::start(move |_, request| Reply::part(request, &served).cut(1000)).await;
    conformance::check(&*registry().open(&repository(&server.host), DIGEST, 3000), &content).await.unwrap();
}

#[tokio::test]
async fn a_short_partial_answer_is_gone_on_with() {
    let content = conformance::content(1000);
    let served = content.clone();
    let server = Server::start(move |_, request| {
        let range = request.range().unwrap();
        let end = range.end.min(range.start + 400);
        Reply::new(206).header("Content-Range", format!("bytes {}-{}/1000", range.start, end - 1)).body(&served[range.start..end])
    })
    .await;
    assert_eq!(read_all(&*registry().open(&repository(&server.host), DIGEST, 1000), 0..1000, 1000).await.unwrap(), content);
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn heads_that_lie_are_protocol_errors() {
    let part = |range: &str| Reply::new(206).header("Content-Range", range).body([0; 100]);
    for reply in [
        part("bytes 0-99/1000"),
        part("bytes 101-200/1000"),
        part("bytes 100-200/1000"),
        part("bytes 100-199/999"),
        part("bytes 100-198/1000"),
        part("nonsense"),
        Reply::new(206).body([0; 100]),
        Reply::new(200).body([0; 999]),
        Reply::new(204),
        Reply::new(416),
        Reply::new(400),
        Reply::new(200).header("Content-Type", "text/html").body([b'x'; 1000]),
        part("bytes 100-199/1000").header("Transfer-Encoding", "chunked").body(format!("65\r\n{}\r\n0\r\n\r\n", "x".repeat(101))),
    ] {
        let shown = format!("{reply:?}");
        let error = get_error(reply).await;
        assert!(matches!(error, Error::Protocol { .. }), "{error:?} to {shown}");
    }
}

#[tokio::test]
async fn what_may_pass_is_transient_and_what_may_not_is_not() {
    let part = Reply::new(206).header("Content-Range", "bytes 100-199/1000").body([0; 100]);
    let chunked = part.clone().header("Transfer-Encoding", "chunked").body("3\r\nabc\r\n0\r\n\r\n");
    for reply in [part.clone().cut(50), chunked, Reply::new(500), Reply::new(503), Reply::new(408), Reply::new(429)] {
        let error = get_error(reply).await;
        assert!(error.is_transient(), "{error:?}");
    }
    assert!(matches!(get_error(part.delay(Duration::from_secs(2))).await, Error::Timeout { .. }));
    assert!(matches!(get_error(Reply::new(404)).await, Error::NotFound { .. }));
    assert!(matches!(get_error(Reply::new(403)).await, Error::Denied { .. }));
}

#[tokio::test]
async fn nobody_listening_is_unavailable_after_all_attempts() {
    let host = Server::start(|_, _| Reply::new(500)).await.host.clone();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let registry = registry();
    let error = registry.manifest(&reference(&host)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(registry.traffic().snapshot().retries, 3);
}

#[tokio::test]
async fn retry_after_is_waited_for_also_by_manifests() {
    let server = Server::start(|before, _| match before {
        0 => Reply::new(429).header("Retry-After", "7"),
        1 => Reply::new(503),
        _ => Reply::new(200).header("Content-Type", "application/x; charset=utf-8").header("Docker-Content-Digest", DIGEST).body("{}"),
    })
    .await;
    let begun = Instant::now();
    let manifest = registry().manifest(&reference(&server.host)).await.unwrap();
    assert!(begun.elapsed() >= options().retry.retry_after_max, "waits as asked, up to the cap");
    assert_eq!(
        (&manifest.bytes[..], manifest.media_type.as_str(), manifest.digest.as_deref()),
        (&b"{}"[..], "application/x", Some(DIGEST))
    );
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].path, "/v2/a/b/manifests/1");
    assert!(asked[0].header("accept").unwrap().contains("application/vnd.oci.image.index.v1+json"));
}

#[tokio::test]
async fn what_is_no_manifest_is_said_clearly() {
    let page = Reply::new(200).header("Content-Type", "text/html; charset=utf-8").body("<html>");
    let error = manifest_error(page).await;
    assert!(matches!(error, Error::Protocol { .. }) && error.to_string().contains("HTML"), "{error}");
    assert!(matches!(manifest_error(Reply::new(200).body("<html>")).await, Error::Protocol { .. }));
    let large = "x".repeat(MANIFEST_BYTES_MAX as usize + 1);
    assert!(matches!(manifest_error(Reply::new(200).body(large.clone())).await, Error::TooLarge { .. }));
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    assert!(matches!(manifest_error(Reply::new(200).header("Transfer-Encoding", "chunked").body(chunked)).await, Error::TooLarge { .. }));
    let denied = Reply::new(403).body(r#"{"errors": [{"code": "DENIED", "message": "not yours"}]}"#);
    assert!(manifest_error(denied).await.to_string().contains("not yours"));
}

#[tokio::test]
async fn small_blobs_are_bounded() {
    let server = Server::start(|_, _| Reply::new(200).body([7; 100])).await;
    let (registry, repository) = (registry(), repository(&server.host));
    assert_eq!(registry.fetch_blob(&repository, DIGEST, 100).await.unwrap()[..], [7; 100]);
    assert!(matches!(registry.fetch_blob(&repository, DIGEST, 99).await, Err(Error::TooLarge { .. })));
    assert_eq!(registry.head_blob(&repository, DIGEST).await.unwrap(), 100);
}

#[tokio::test]
async fn requests_in_flight_are_limited_per_registry() {
    let content = conformance::content(1000);
    let server = Server::start(move |_, request| Reply::part(request, &content).delay(Duration::from_millis(50))).await;
    let registry = Registry::new(RegistryOptions { requests_in_flight_max: 1, ..options() }).unwrap();
    let begun = Instant::now();
    let blob = registry.open(&repository(&server.host), DIGEST, 1000);
    futures_util::future::try_join_all((0..4).map(|_| read_all(&*blob, 0..10, 10))).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
}
