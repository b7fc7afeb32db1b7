//! Several workers, one queue; and a database that is away.

use std::time::Duration;

use serde_json::json;

use crate::relay::{Relay, nobody};
use crate::support::{Bench, Worker, eventually, given, image, sh, sum};

/// The URL of a schema of the test's own, which goes with it.
struct Schema {
    url: String,
    name: String,
}

impl Schema {
    fn new() -> Schema {
        let (server, name) = (given("CLIP_TEST_POSTGRES"), format!("worker_{}_{:?}", std::process::id(), std::thread::current().id()));
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_lowercase();
        sh(&format!("psql -q '{server}' -c 'DROP SCHEMA IF EXISTS {name} CASCADE' -c 'CREATE SCHEMA {name}' 2>&1"));
        Schema { url: format!("{server}?options[search_path]={name}"), name }
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        crate::support::run(&format!("psql -q '{}' -c 'DROP SCHEMA {} CASCADE'", given("CLIP_TEST_POSTGRES"), self.name));
    }
}

#[test]
fn two_workers_share_a_queue_and_each_image_is_built_once() {
    let schema = Schema::new();
    let start = || Bench::new().with("worker", json!({ "database": schema.url })).start();
    let workers = [start(), start()];
    let mut accepted = Vec::new();
    for platform in ["linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7"] {
        for version in ["v1", "v2"] {
            for (name, n) in [("multi", 0), ("multi:latest", 1)] {
                accepted.push(workers[n].submit(json!({ "image": image(name), "platform": platform, "clip_version": version })));
            }
        }
    }
    for name in ["codec-gzip-1", "codec-gzip-9", "codec-gzip-pigz", "codec-zstd-one"] {
        accepted.push(workers[0].submit(json!({ "image": image(name) })));
        assert!(!workers[1].submit(json!({ "image": image(name) })).is_new);
    }
    assert_eq!(accepted.len(), 20);
    let jobs: Vec<_> = accepted.iter().map(|accepted| workers[1].wait_job(&accepted.job)).collect();
    assert!(jobs.iter().all(|job| job.state == control::State::Success && job.attempts == 1), "{jobs:?}");
    let mut names: Vec<_> = jobs.iter().map(|job| job.worker.clone().unwrap()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 2, "both have worked: {names:?}");
    let done = workers.each_ref().map(Worker::events);
    assert_eq!(done[0], done[1], "both tell the same");
    let ends = done[0].iter().filter(|event| ["image.built", "image.cached"].contains(&event.event.as_str())).count();
    assert_eq!(ends, 20);
}

#[test]
fn mounts_are_served_while_the_database_is_away() {
    let schema = Schema::new();
    let mut worker = Bench::new().start();
    let kept = worker.mount(&worker.pull("multi", "v2").id, "first").archive;
    worker.kill();
    let address = nobody();
    let server = given("CLIP_TEST_POSTGRES");
    let at = server.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    worker.bench.set("worker", json!({ "database": schema.url.replace(&at, &address) }));
    let bench_worker = worker.restart_unready();
    eventually("an answer", || bench_worker.try_ask("GET", "/healthz", None).is_ok_and(|answer| answer.status == 200));
    bench_worker.ask("GET", "/readyz", None).problem("unavailable");
    bench_worker.post("/images", json!({ "image": image("multi") })).problem("unavailable");
    let mount: control::Mount = bench_worker.post("/mounts", json!({ "archive": kept, "mountpoint": bench_worker.point("a") })).read(201);
    assert!(!sum(&mount.mountpoint).is_empty());
    assert_eq!(bench_worker.mounts().len(), 1);
    let _relay = Relay::at(&address, &at, false);
    eventually("readiness", || bench_worker.ask("GET", "/readyz", None).status == 200);
    // What happened meanwhile is told: the end of the first mount, and the second.
    eventually("told", || {
        bench_worker.events().iter().map(|event| event.event.clone()).collect::<Vec<_>>() == ["mount.gone", "mount.ready"]
    });
    bench_worker.pull("multi", "v2");
    std::thread::sleep(Duration::from_millis(10));
}
