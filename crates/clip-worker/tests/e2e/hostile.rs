//! Whatever comes in over the API: an answer that says what is wrong, with the request's id, and a worker that goes on.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http;
use crate::support::{Bench, Worker, image};

/// Posts bytes as a JSON document.
fn post_raw(worker: &Worker, path: &str, kind: &str, body: &[u8]) -> http::Answer {
    http::ask(&worker.path("sock"), "POST", &format!("/api/v1{path}"), &[("content-type", kind)], body).unwrap()
}

#[test]
fn what_is_no_request_is_refused_with_its_reason() {
    let worker = Bench::new().start();
    let bodies: [&[u8]; 12] = [
        b"",
        b"{",
        b"garbage",
        b"[]",
        b"null",
        b"\"image\"",
        b"{}",
        b"\xff\xfe\x00",
        b"{\"image\":1}",
        b"{\"image\":null}",
        b"{\"image\":\"a\",\"colour\":\"red\"}",
        b"{\"image\":\"a\",\"priority\":\"high\"}",
    ];
    for body in bodies {
        for path in ["/images", "/mounts"] {
            let answer = post_raw(&worker, path, "application/json", body);
            answer.problem("invalid-request");
            assert!((400..=422).contains(&answer.status), "{} {:?}", answer.status, String::from_utf8_lossy(body));
        }
    }
    for path in ["/cache/pins", "/cache/prune"] {
        post_raw(&worker, path, "application/json", b"{\"x\":1}").problem("invalid-request");
    }
    // A form is no JSON: what a page in a browser can send without asking.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        post_raw(&worker, "/images", kind, br#"{"image":"a"}"#).problem("invalid-request");
    }
    let deep = [b"{\"image\":".as_slice(), &b"[".repeat(20_000), b"}"].concat();
    post_raw(&worker, "/images", "application/json", &deep).problem("invalid-request");
    let huge = format!(r#"{{"image":"{}"}}"#, "a".repeat(1 << 20));
    let answer = post_raw(&worker, "/images", "application/json", huge.as_bytes());
    answer.problem("too-large");
    assert_eq!(answer.status, 413);
    for query in [
        "/jobs?state=odd",
        "/jobs?limit=x",
        "/jobs?colour=red",
        "/jobs?limit=-1",
        "/jobs?before=zz",
        "/events?after=x",
        "/images/x?force=1",
    ] {
        let method = if query.starts_with("/images") { "DELETE" } else { "GET" };
        worker.ask(method, query, None).problem("invalid-request");
    }
    assert_eq!(worker.status().jobs.pending, 0);
}

#[test]
fn what_is_no_endpoint_is_named_as_such() {
    let worker = Bench::new().start();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/api"),
        ("GET", "/api/v2/images"),
        ("POST", "/jobs"),
        ("PUT", "/images"),
        ("PATCH", "/mounts/a"),
        ("DELETE", "/images"),
        ("OPTIONS", "/mounts"),
        ("BREW", "/images"),
        ("POST", "/healthz"),
        ("GET", "/images/a/b"),
        ("GET", "/jobs/../../etc/passwd"),
    ] {
        let answer = worker.ask(method, path, None);
        answer.problem("no-such-endpoint");
        assert!([404, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
    }
    assert!(worker.ask("PUT", "/images", None).header("allow").is_some_and(|allow| allow.contains("POST")));
    for path in [
        "/jobs/x",
        "/jobs/00000000-0000-0000-0000-000000000000",
        "/jobs/%00",
        "/jobs/x/log",
        "/jobs/x/log/stream",
        "/mounts/x",
        "/mounts/%2e%2e%2fetc",
    ] {
        worker.ask("GET", path, None).problem("not-found");
    }
    for path in ["/jobs/x/cancel", "/jobs/00000000-0000-0000-0000-000000000000/retry"] {
        worker.ask("POST", path, None).problem("not-found");
    }
    for path in ["/images/zz", "/images/%2e%2e%2f", "/images/0123456789abcdef", "/images/0123456789abcdef0123456789abcdef"] {
        worker.ask("GET", path, None).problem("not-found");
        worker.ask("DELETE", path, None).problem("not-found");
    }
    worker.delete("/cache/pins/0123456789abcdef").problem("not-found");
    worker.delete("/mounts/x").problem("not-found");
}

#[test]
fn what_is_no_image_is_never_a_job() {
    let worker = Bench::new().start();
    let long = "a".repeat(3000);
    for name in
        ["", " ", "A B", "UPPER/case", "a:b:c", "../../etc/passwd", "a@sha256:zz", "http://", "a\u{0}b", "a\nb", "-o", "$(id)", &long]
    {
        worker.post("/images", json!({ "image": name })).problem("invalid-request");
    }
    let fine = image("multi");
    for more in [
        json!({"platform": "a/b/c/d/e"}),
        json!({"platform": ""}),
        json!({"clip_version": "v9"}),
        json!({"clip_version": ""}),
        json!({"priority": 1e300}),
    ] {
        let mut request = more.clone();
        request["image"] = fine.clone().into();
        worker.post("/images", request).problem("invalid-request");
    }
    assert_eq!(worker.get::<Value>("/jobs")["jobs"], json!([]));
}

#[test]
fn mountpoints_lie_below_the_roots_whatever_their_path_says() {
    let worker = Bench::new().start();
    let id = worker.pull("multi", "v2").id;
    let (root, outside) = (worker.path("mnt"), worker.path("outside"));
    fs::create_dir_all(root.join("full/of")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(root.join("file"), "").unwrap();
    symlink(&outside, root.join("link")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink(outside.join("new"), root.join("dangling")).unwrap();
    let root = root.to_str().unwrap();
    let long = format!("{root}/{}", "a".repeat(5000));
    for (point, code) in [
        (format!("{root}/../outside/x"), "invalid-request"),
        (format!("{root}/a/../../outside"), "invalid-request"),
        ("mnt/a".into(), "invalid-request"),
        (String::new(), "invalid-request"),
        (".".into(), "invalid-request"),
        (format!("{root}/a\u{0}b"), "invalid-request"),
        (long, "invalid-request"),
        (root.into(), "mountpoint-not-allowed"),
        (format!("{root}/"), "mountpoint-not-allowed"),
        ("/".into(), "mountpoint-not-allowed"),
        ("/etc".into(), "mountpoint-not-allowed"),
        ("/proc/self".into(), "mountpoint-not-allowed"),
        (format!("{root}evil/a"), "mountpoint-not-allowed"),
        (outside.to_str().unwrap().into(), "mountpoint-not-allowed"),
        (format!("{root}/link"), "mountpoint-not-allowed"),
        (format!("{root}/link/new"), "mountpoint-not-allowed"),
        (format!("{root}/dangling"), "mountpoint-unfit"),
        (format!("{root}/no/parent"), "mountpoint-unfit"),
        (format!("{}/deep/er", outside.display()), "mountpoint-not-allowed"),
        (format!("{root}/loop"), "mountpoint-unfit"),
        (format!("{root}/file"), "mountpoint-unfit"),
        (format!("{root}/file/x"), "mountpoint-unfit"),
        (format!("{root}/full"), "mountpoint-unfit"),
        (format!("{root}/{}", "b".repeat(300)), "mountpoint-unfit"),
    ] {
        worker.post("/mounts", json!({ "image": id, "mountpoint": point })).problem(code);
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing was made outside");
    assert!(!worker.path("mntevil").exists(), "nor beside");
    assert!(worker.mounts().is_empty() && crate::support::mounts_below(&worker.path("")).is_empty());
    assert_eq!(worker.post("/mounts", json!({ "image": id, "mountpoint": format!("{root}/full"), "nonempty": true })).status, 201);
}

#[test]
fn archives_that_are_none_are_refused_and_leave_nothing() {
    let worker = Bench::new().start();
    let id = worker.pull("multi", "v2").archive.unwrap().id;
    let good = fs::read(worker.path("store").join(format!("{id}.clip"))).unwrap();
    let point = worker.point("a");
    fs::write(worker.path("garbage"), "<html>").unwrap();
    fs::write(worker.path("empty"), "").unwrap();
    fs::write(worker.path("cut"), &good[..good.len() / 2]).unwrap();
    for name in ["garbage", "empty", "cut", "missing", ""] {
        worker.post("/mounts", json!({ "archive": worker.path(name), "mountpoint": point })).problem("archive-unusable");
    }
    for (request, code) in [
        (json!({ "mountpoint": point }), "invalid-request"),
        (json!({ "mountpoint": point, "image": id, "archive": id }), "invalid-request"),
        (json!({ "mountpoint": point, "image": id, "profile": "p" }), "invalid-request"),
        (json!({ "mountpoint": point, "archive": "s3://" }), "invalid-request"),
        (json!({ "mountpoint": point, "archive": "not hex" }), "not-found"),
        (json!({ "mountpoint": point, "archive": "0123456789" }), "not-found"),
        (json!({ "mountpoint": point, "image": "0123456789" }), "not-found"),
        (json!({ "mountpoint": 7, "image": id }), "invalid-request"),
    ] {
        worker.post("/mounts", request).problem(code);
    }
    assert!(worker.mounts().is_empty() && !worker.path("mnt/a").exists());
    assert_eq!(fs::read_dir(worker.path("state/mounts")).unwrap().count(), 0);
}

#[test]
fn a_requests_id_is_found_again_wherever_it_led() {
    let worker = Bench::new().start();
    let sock = worker.path("sock");
    let ask = |id: &str, method: &str, path: &str, body: Value| {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        http::ask(&sock, method, path, &[("x-request-id", id), ("content-type", "application/json")], &body).unwrap()
    };
    let answer = ask("my.Request_id-7", "POST", "/api/v1/images", json!({ "image": image("multi") }));
    assert_eq!(answer.header("x-request-id"), Some("my.Request_id-7"));
    let job = worker.wait_job(answer.json()["job"].as_str().unwrap());
    assert_eq!(job.request_id.as_deref(), Some("my.Request_id-7"));
    let mount = ask("mount-7", "POST", "/api/v1/mounts", json!({ "image": job.image_id, "mountpoint": worker.point("a") }));
    assert_eq!((mount.status, mount.json()["request_id"].as_str()), (201, Some("mount-7")));
    for event in worker.events() {
        let expected = if event.event.starts_with("mount") { "mount-7" } else { "my.Request_id-7" };
        assert_eq!(event.request_id.as_deref(), Some(expected), "{event:?}");
    }
    assert!(worker.log().iter().any(|line| line["span"]["request_id"] == "my.Request_id-7" && line["message"] == "done"));
    assert!(worker.log().iter().any(|line| line["span"]["id"] == "mount-7" && line["message"] == "mounted"));
    let answer = ask("kept-9", "GET", "/api/v1/jobs/none", Value::Null);
    assert_eq!(answer.problem("not-found").request_id.as_deref(), Some("kept-9"));
    let long = "a".repeat(129);
    for hostile in ["", "a b", "a\"b", "a/b", "<script>", "a{b}", "\u{e9}", &long] {
        let answer = ask(hostile, "GET", "/api/v1/jobs/none", Value::Null);
        let id = answer.problem("not-found").request_id.unwrap();
        assert!(id != hostile && id.len() == 36, "{id}");
    }
    assert_ne!(worker.ask("GET", "/healthz", None).header("x-request-id"), worker.ask("GET", "/healthz", None).header("x-request-id"));
}

#[test]
fn slow_clients_and_many_of_them_hold_up_nobody() {
    let worker = Bench::new().start();
    let sock = worker.path("sock");
    let mut slow = UnixStream::connect(&sock).unwrap();
    slow.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\nx-half").unwrap();
    let begun = Instant::now();
    let idle: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(&sock).unwrap()).collect();
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..200).map(|_| scope.spawn(|| worker.status().pid)).collect();
        let pids: Vec<u32> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
        assert!(pids.iter().all(|pid| *pid == pids[0]));
    });
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    slow.set_read_timeout(Some(Duration::from_secs(25))).unwrap();
    // Either nothing or a word of farewell, and then the end.
    let end = http::read(&mut slow);
    assert!(
        end.as_ref().map_or(true, |answer| answer.status == 408) && begun.elapsed() < Duration::from_secs(25),
        "{end:?} {:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed() > Duration::from_secs(5), "nobody was thrown out at once");
    // Who says nothing at all does not keep his place either.
    for mut silent in idle {
        silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(http::read(&mut silent).map_or_else(|error| error.kind() == ErrorKind::UnexpectedEof, |answer| answer.status == 408));
    }
    // What is no HTTP at all.
    for bytes in [b"\x16\x03\x01\x02\x00\x01\x00\x01".as_slice(), b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", &[b'a'; 100_000]]
    {
        let answer = http::raw(&sock, bytes);
        assert!(answer.as_ref().map_or(true, |answer| (400..600).contains(&answer.status)), "{answer:?}");
    }
    assert_eq!(worker.ask("GET", "/healthz", None).status, 200);
}
