//! Jobs: cancelled, done again, in order, not too many; and registries that are not there.

use std::time::{Duration, Instant};

use control::{Accepted, Job, State};
use serde_json::json;

use crate::relay::{Relay, nobody};
use crate::support::{Bench, Worker, eventually, given, image, sh};

/// A worker with one job at a time, a slow registry, and a pull from it that is at work.
fn busy(queue_max: u32) -> (Worker, Relay, Accepted) {
    let worker = Bench::new().with("worker", json!({ "jobs": 1, "queueMax": queue_max })).start();
    let relay = Relay::start(&given("CLIP_TEST_REGISTRY"), true);
    let accepted = worker.submit(json!({ "image": format!("{}/codec-tar", relay.address) }));
    eventually("work", || worker.get::<Job>(&format!("/jobs/{}", accepted.job)).progress.is_some_and(|progress| progress.bytes > 0));
    (worker, relay, accepted)
}

#[test]
fn a_job_at_work_is_cancelled_within_seconds_and_leaves_nothing() {
    let (worker, relay, accepted) = busy(100);
    let path = format!("/jobs/{}/cancel", accepted.job);
    let begun = Instant::now();
    assert_eq!(worker.ask("POST", &path, None).status, 200);
    assert_eq!(worker.wait_job(&accepted.job).state, State::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    worker.ask("POST", &path, None).problem("conflict");
    assert_eq!(worker.count("image.cancelled", Some(&accepted.id)), 1);
    let left =
        sh(&format!("cd '{}' && find . -name '*.clip*' -o -name '*.tmp*' -o -name '.tmp*' -o -name '*.part*'", worker.path("").display()));
    assert_eq!(left, "");
    // Again, and faster: as a new job.
    relay.hurry();
    let again: Accepted = worker.ask("POST", &format!("/jobs/{}/retry", accepted.job), None).read(202);
    assert!(again.is_new && again.id == accepted.id && again.job != accepted.job, "{again:?}");
    let job = worker.wait_job(&again.job);
    assert_eq!((job.state, job.retry_of.as_deref()), (State::Success, Some(accepted.job.as_str())), "{job:?}");
    worker.ask("POST", &format!("/jobs/{}/retry", again.job), None).problem("conflict");
}

#[test]
fn waiting_jobs_are_cancelled_at_once_and_the_more_important_go_first() {
    let (worker, relay, first) = busy(100);
    let submit = |name: &str, priority: i32| worker.submit(json!({ "image": image(name), "priority": priority }));
    let (low, unwanted, high) = (submit("multi", -5), submit("torture", 0), submit("codec-gzip-9", 50));
    let cancelled: Job = worker.ask("POST", &format!("/jobs/{}/cancel", unwanted.job), None).read(200);
    assert_eq!(cancelled.state, State::Cancelled);
    assert_eq!(worker.get::<Job>(&format!("/jobs/{}", high.job)).state, State::Pending);
    relay.hurry();
    let [first, low, high] = [&first, &low, &high].map(|accepted| worker.wait_job(&accepted.job));
    assert!([&first, &low, &high].iter().all(|job| job.state == State::Success));
    assert!(first.started_ms < high.started_ms && high.started_ms < low.started_ms, "{high:?} {low:?}");
    assert_eq!(worker.get::<Job>(&format!("/jobs/{}", unwanted.job)).started_ms, None);
    let jobs: control::Jobs = worker.get("/jobs?state=success&limit=2");
    assert_eq!(jobs.jobs.len(), 2);
    assert_eq!(worker.get::<control::Jobs>(&format!("/jobs?image={}", low.image_id)).jobs[0].id, low.id);
    let older: control::Jobs = worker.get(&format!("/jobs?before={}", jobs.jobs[1].id));
    assert!(older.jobs.iter().all(|job| job.created_ms <= jobs.jobs[1].created_ms && job.id != jobs.jobs[1].id));
}

#[test]
fn a_full_queue_takes_no_more_and_says_so() {
    let (worker, relay, first) = busy(2);
    let names = ["multi", "torture", "codec-gzip-9", "codec-gzip-1"];
    let answers: Vec<_> = names.iter().map(|name| worker.post("/images", json!({ "image": image(name) }))).collect();
    assert_eq!(answers[0].status, 202);
    assert_eq!(answers[3].status, 429);
    answers[3].problem("queue-full");
    // One for what waits already is no more.
    assert_eq!(worker.submit(json!({ "image": image("multi") })).job, answers[0].json()["job"].as_str().unwrap());
    relay.hurry();
    worker.wait_job(&first.job);
    worker.wait_job(answers[0].json()["job"].as_str().unwrap());
    eventually("room", || worker.post("/images", json!({ "image": image("codec-gzip-1") })).status == 202);
}

#[test]
fn a_registry_that_is_away_is_tried_again_and_what_it_does_not_have_is_not() {
    let worker = Bench::new().start();
    let missing = worker.submit(json!({ "image": image("no-such-image") }));
    let job = worker.wait_job(&missing.job);
    assert_eq!((job.state, job.attempts), (State::Failed, 1), "{job:?}");
    let error = job.error.unwrap();
    assert_eq!((error.code.as_str(), error.is_transient), ("not-found", false), "{error:?}");
    let failed = worker.events().into_iter().find(|event| event.event == "image.failed").unwrap();
    assert!(failed.image_id.as_deref() == Some(&missing.id) && failed.error.is_some(), "{failed:?}");

    let address = nobody();
    let accepted = worker.submit(json!({ "image": format!("{address}/multi") }));
    let path = format!("/jobs/{}", accepted.job);
    let failed_once = || {
        let job: Job = worker.get(&path);
        job.state == State::Pending && job.error.is_some_and(|error| error.is_transient && error.code == "unavailable")
    };
    eventually("a failure that may pass", failed_once);
    let _relay = Relay::at(&address, &given("CLIP_TEST_REGISTRY"), false);
    let job = worker.wait_job(&accepted.job);
    assert!(job.state == State::Success && job.attempts >= 2, "{job:?}");
    assert_eq!(worker.count("image.built", Some(&accepted.id)), 1);
}

#[test]
fn streams_tell_everything_and_go_on_where_they_were_left() {
    let worker = Bench::new().start();
    let mut live = worker.follow("/events", None);
    let accepted = worker.submit(json!({ "image": image("codec-gzip-1") }));
    let mut log = worker.follow(&format!("/jobs/{}/log/stream", accepted.job), None);
    let mut frames = Vec::new();
    while let Some(frame) = log.next() {
        frames.push(frame);
    }
    let last = frames.pop().unwrap();
    assert_eq!(last.event.as_deref(), Some("end"));
    assert_eq!(serde_json::from_str::<Job>(&last.data).unwrap().state, State::Success);
    let lines: Vec<_> = frames.iter().filter(|frame| frame.event.as_deref() == Some("line")).collect();
    assert!(lines.len() >= 3 && lines.iter().zip(1..).all(|(line, n)| line.id == Some(n.to_string())), "{lines:?}");
    assert!(frames.iter().any(|frame| frame.event.as_deref() == Some("progress")), "{frames:?}");
    let mut resumed = worker.follow(&format!("/jobs/{}/log/stream", accepted.job), Some(2));
    assert_eq!(resumed.next().unwrap().id.as_deref(), Some("3"));

    let told: Vec<_> = (0..2).map(|_| live.next().unwrap()).collect();
    assert_eq!(told.iter().map(|frame| frame.event.as_deref().unwrap()).collect::<Vec<_>>(), ["image.queued", "image.built"]);
    let mut resumed = worker.follow("/events", Some(1));
    assert_eq!(resumed.next(), Some(told[1].clone()));
}
