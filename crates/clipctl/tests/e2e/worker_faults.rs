//! A worker that is not as it should be: nothing hangs, nothing is done twice, and what is wrong is said. Needs neither images nor registries.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stand_in::{Answer, StandIn, event, version};
use crate::support::{Bench, eventually, said, sh};

/// How long a worker may take to say which it is, and some more for a busy machine.
const PROBE: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(10);

const ARCHIVE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn job(state: &str, error: &Value) -> Value {
    json!({
        "id": "job-1", "kind": "pull", "image_id": "image-1", "image": "python", "clip_version": "v1", "state": state, "priority": 0, "attempts": 1,
        "attempts_max": 5, "created_ms": 5000, "cancel_requested": false, "error": error,
    })
}

fn image() -> Value {
    json!({"id": "image-1", "image": "python", "status": "success", "archive": {
        "id": ARCHIVE, "image": "python", "manifest": "sha256:0", "platform": "linux/amd64", "version": "v1", "archive_bytes": 10, "file_bytes": 20, "created": 9,
        "fallback": "no ranges",
    }})
}

fn line(seq: u64) -> String {
    event("line", seq, &json!({"seq": seq, "time_ms": 0, "level": "info", "line": format!("line {seq}")}))
}

/// A worker that takes a pull; what its stream does, the n-th time, is up to the test.
fn pulling(bench: &Bench, stream: impl Fn(usize) -> Answer + Send + Sync + 'static) -> StandIn {
    StandIn::worker(&bench.path("worker.sock"), move |n, line| match line.split('?').next().unwrap() {
        "POST /api/v1/images" => Answer::Json(202, json!({"id": "image-1", "job": "job-1", "is_new": true})),
        "GET /api/v1/images/image-1" => Answer::Json(200, image()),
        "GET /api/v1/jobs/job-1/log/stream" => stream(n),
        _ => Answer::Silence,
    })
}

#[track_caller]
fn run(bench: &Bench, arguments: &[&str]) -> Output {
    bench.clipctl(arguments).output().unwrap()
}

#[test]
fn a_worker_that_does_not_answer_is_an_error_soon() {
    let bench = Bench::new();
    let _worker = StandIn::start(&bench.path("worker.sock"), |_, _| Answer::Silence);
    let commands: [&[&str]; 6] =
        [&["pull", "x"], &["mount", "/x.clip", "/mnt"], &["umount", "/mnt"], &["images"], &["rmi", "abcdef"], &["worker", "status"]];
    thread::scope(|scope| {
        for command in commands {
            let bench = &bench;
            scope.spawn(move || {
                let start = Instant::now();
                let output = run(bench, command);
                let (took, said) = (start.elapsed(), said(&output));
                assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
                assert!(took >= PROBE && took < PROBE + SLACK, "{command:?}: {took:?}");
                assert!(said.contains("cannot be asked") && said.contains("timed out"), "{command:?}: {said}");
                assert!(command[0] == "worker" || said.contains("--no-worker"), "{command:?}: {said}");
            });
        }
    });
}

#[test]
fn unmounting_works_whatever_the_configuration_is() {
    let bench = Bench::new();
    let config = bench.path("broken.yaml");
    fs::write(&config, "nonsense: [\n").unwrap();
    let at = bench.path("");
    let complaint = bench.fails(["umount", at.to_str().unwrap(), "--config", config.to_str().unwrap()]);
    assert!(complaint.contains("not") && complaint.contains("mount") && !complaint.contains("broken.yaml"), "{complaint}");
}

#[test]
fn what_answers_and_is_no_worker_is_told() {
    let answers = [
        (Answer::Raw("SSH-2.0-OpenSSH_9.2\r\n"), "cannot be asked"),
        (Answer::Raw("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>"), "no clip-worker"),
        (Answer::Raw("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"), "502"),
        (version("something\x1b[2J"), "it calls itself 'something\\x1b[2J'"),
    ];
    for (answer, expected) in answers {
        let bench = Bench::new();
        let _worker = StandIn::start(&bench.path("worker.sock"), move |_, _| answer.clone());
        for command in [&["images"][..], &["worker", "version"]] {
            let output = run(&bench, command);
            assert!(output.status.code() == Some(1) && said(&output).contains(expected), "{command:?} {expected}: {}", said(&output));
        }
    }
}

#[test]
fn a_socket_that_was_left_behind_is_no_worker() {
    let bench = Bench::new();
    let config = bench.path("config.yaml");
    fs::write(&config, format!("imageService:\n  storePath: {}\n", bench.path("store").display())).unwrap();
    let list = ["images", "--json", "--config", config.to_str().unwrap()];
    assert_eq!(bench.ok(list), "[]\n");
    drop(UnixListener::bind(bench.path("worker.sock")).unwrap());
    assert_eq!(bench.ok(list), "[]\n");
    let complaint = bench.fails(["worker", "status"]);
    assert!(complaint.contains("no worker listens at") && complaint.contains("worker.sock"), "{complaint}");
    let elsewhere = bench.path("other.sock");
    let _worker = StandIn::worker(&elsewhere, |_, _| Answer::Silence);
    assert!(bench.ok(["worker", "version", "--socket", elsewhere.to_str().unwrap()]).starts_with("clip-worker 0.0.0"));
}

#[test]
fn who_wants_no_worker_asks_none() {
    let bench = Bench::new();
    let worker = StandIn::worker(&bench.path("worker.sock"), |_, _| Answer::Json(200, json!({"mounts": []})));
    let missing = format!("oci:{}", bench.path("none").display());
    for flags in [&["--no-worker"][..], &["--level", "1"], &["--no-fallback"], &["--plain-http"], &["--cache-dir", "/tmp"]] {
        let complaint = bench.fails([&["pull", missing.as_str()], flags].concat());
        assert!(complaint.contains("none"), "{flags:?}: {complaint}");
    }
    assert!(worker.asked().is_empty(), "{:?}", worker.asked());
    for (value, questions) in [("1", 0), ("0", 1)] {
        let output = bench.clipctl(["umount".as_ref(), bench.path("").as_os_str()]).env("CLIP_NO_WORKER", value).output().unwrap();
        assert!(output.status.code() == Some(1) && said(&output).contains("mount"), "{}", said(&output));
        let asked = worker.asked().into_iter().filter(|line| line == "GET /api/v1/mounts").count();
        assert_eq!(asked, questions, "{:?}", worker.asked());
    }
}

#[test]
fn problems_of_later_workers_are_told_as_they_are() {
    let bench = Bench::new();
    let _worker = StandIn::worker(&bench.path("worker.sock"), |_, _| {
        let problem = json!({"type": "urn:clip:problem:too-hot", "title": "Too hot", "status": 418, "detail": "the node is\ntoo hot", "code": "too-hot"});
        Answer::Json(418, problem)
    });
    for command in [&["pull", "x"][..], &["images"], &["rmi", "x"], &["worker", "jobs"], &["worker", "logs", "-f", "x"]] {
        assert_eq!(bench.fails(command), "clipctl: the node is\\x0atoo hot\n", "{command:?}");
    }
}

#[test]
fn a_pull_survives_a_connection_that_breaks() {
    let bench = Bench::new();
    let worker = pulling(&bench, |n| match n {
        0 => Answer::Cut(line(1) + &line(2)),
        1 => Answer::Raw(""),
        2 => Answer::Json(503, json!({"type": "x", "title": "x", "status": 503, "detail": "it stops", "code": "stopping"})),
        _ => Answer::Open(line(3) + &event("end", 4, &job("success", &Value::Null))),
    });
    let output = run(&bench, &["pull", "python"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{ARCHIVE}\n"));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "clipctl: fell back to v1: no ranges\n");
    let streams: Vec<String> = worker.asked().into_iter().filter(|line| line.contains("/log/stream")).collect();
    let after: Vec<&str> = streams.iter().map(|line| line.rsplit('?').next().unwrap()).collect();
    assert_eq!(after, ["after=0", "after=2", "after=2", "after=2"]);
    assert_eq!(worker.asked().iter().filter(|line| line.starts_with("POST")).count(), 1, "the job is durable: it is not asked for again");
    let document: Value = serde_json::from_str(&bench.ok(["pull", "python", "--json"])).unwrap();
    assert_eq!((&document["id"], &document["image"], &document["cached"]), (&ARCHIVE.into(), &"python".into(), &false.into()));
}

#[test]
fn a_pull_survives_a_worker_that_is_away() {
    let bench = Bench::new();
    let worker = pulling(&bench, |_| Answer::Cut(line(1)));
    let child = bench.clipctl(["pull", "python", "-q"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("a stream", || worker.asked().iter().any(|line| line.contains("/log/stream")));
    drop(worker);
    thread::sleep(Duration::from_secs(2));
    let _worker = pulling(&bench, |_| Answer::Open(event("end", 2, &job("success", &Value::Null))));
    let output = child.wait_with_output().unwrap();
    assert_eq!(said(&output), format!("{ARCHIVE}\n"));
}

#[test]
fn a_stream_that_says_something_else_ends_the_pull() {
    let bench = Bench::new();
    let _worker = pulling(&bench, |_| Answer::Open("event: end\ndata: {}\n\n".into()));
    let complaint = bench.fails(["pull", "python"]);
    assert!(complaint.contains("the worker's stream says something else"), "{complaint}");
}

#[test]
fn a_signal_ends_the_waiting_and_not_the_job() {
    for signal in ["INT", "TERM"] {
        let bench = Bench::new();
        let worker = pulling(&bench, |_| Answer::Open(line(1)));
        let child = bench.clipctl(["pull", "python"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("a stream", || worker.asked().iter().any(|line| line.contains("/log/stream")));
        sh(&format!("kill -{signal} {}", child.id()));
        let output = child.wait_with_output().unwrap();
        let expected = "clipctl: stopped by a signal; the worker goes on with job job-1 (clipctl worker cancel job-1 cancels it)\n";
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(1), expected));
        assert!(!worker.asked().iter().any(|line| line.contains("cancel")), "{:?}", worker.asked());
    }
}

#[test]
fn a_followed_log_ends_as_the_job_does() {
    let failed = json!({"code": "x", "message": "no such image", "is_transient": false});
    for (state, error, code, complaint) in [
        ("success", Value::Null, 0, ""),
        ("failed", failed, 1, "clipctl: job job-1 failed: no such image\n"),
        ("cancelled", Value::Null, 1, "clipctl: job job-1 cancelled\n"),
    ] {
        let bench = Bench::new();
        let _worker = pulling(&bench, move |n| match n % 2 {
            0 => Answer::Cut(line(1)),
            _ => Answer::Open(line(2) + &event("end", 3, &job(state, &error))),
        });
        let output = run(&bench, &["worker", "logs", "-f", "job-1"]);
        let text = "1970-01-01T00:00:00Z info  line 1\n1970-01-01T00:00:00Z info  line 2\n";
        assert_eq!((output.status.code(), said(&output)), (Some(code), format!("{text}{complaint}")), "{state}");
        let documents = String::from_utf8(run(&bench, &["worker", "logs", "-f", "job-1", "--json"]).stdout).unwrap();
        let lines: Vec<Value> = documents.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() == 2 && lines[1]["seq"] == 2, "{documents}");
    }
}

#[test]
fn events_so_far_end_also_where_the_stream_does_not() {
    let bench = Bench::new();
    let happened = |seq: u64, time_ms: i64| event("image.built", seq, &json!({"seq": seq, "time_ms": time_ms, "event": "image.built"}));
    let _worker = StandIn::worker(&bench.path("worker.sock"), move |n, _| match n {
        0 => Answer::Open(happened(1, 0) + &happened(2, 1000)),
        _ => Answer::Open(happened(1, 0) + &happened(2, i64::MAX) + &happened(3, i64::MAX)),
    });
    assert_eq!(bench.ok(["worker", "events"]).lines().count(), 2);
    let document: Value = serde_json::from_str(&bench.ok(["worker", "events", "--json"])).unwrap();
    assert_eq!(document.as_array().unwrap().len(), 1);
}
