//! Images are pulled: once, whoever asks and how often, and what happens is told.

use control::{Image, Images, Log, State};
use serde_json::{Value, json};

use crate::support::{Bench, Worker, image};

#[test]
fn an_image_is_pulled_in_both_versions_and_all_of_it_is_told() {
    let worker = Bench::new().start();
    for version in ["v1", "v2"] {
        let answer = worker.post("/images", json!({ "image": image("codec-gzip-1"), "clip_version": version }));
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(id.len(), 32);
        assert_eq!(answer.header("location"), Some(format!("/api/v1/images/{id}").as_str()));
        let (job, seen) = watch(&worker, answer.json()["job"].as_str().unwrap());
        assert_eq!(job["state"], "success", "{job}");
        assert!(seen.iter().all(|state| ["pending", "building", "success"].contains(&state.as_str())), "{seen:?}");
        let image: Image = worker.get(&format!("/images/{id}"));
        let archive = image.archive.unwrap();
        assert_eq!((image.status, archive.version.as_str(), archive.id.len()), (State::Success, version, 64));
        assert_eq!(
            (job["attempts"].as_u64(), job["clip_version"].as_str(), job["image_id"].as_str()),
            (Some(1), Some(version), Some(&*id))
        );
        assert!(archive.file_bytes > 40 << 20 && archive.archive_bytes > 0 && archive.platform.starts_with("linux/"), "{archive:?}");
        let progress = &job["progress"];
        assert!(
            progress["phase"] == "archive" && progress["layers"] == 1 && progress["layers_total"] == 1,
            "the last that was done: {job}"
        );
        let log: Log = worker.get(&format!("/jobs/{}/log", job["id"].as_str().unwrap()));
        assert!(log.lines[0].line.contains("attempt 1") && log.lines.last().unwrap().line.contains("made"), "{log:?}");
        assert!(log.lines.iter().zip(1..).all(|(line, seq)| line.seq == seq), "{log:?}");
        // Once more: it is there.
        worker.pull("codec-gzip-1", version);
        let names: Vec<String> =
            worker.events().into_iter().filter(|event| event.image_id.as_deref() == Some(&id)).map(|event| event.event).collect();
        assert_eq!(names, ["image.queued", "image.built", "image.queued", "image.cached"]);
    }
    let images: Images = worker.get("/images");
    assert_eq!(images.images.len(), 2, "{images:?}");
    let events = worker.events();
    assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq), "{events:?}");
    let built = events.iter().find(|event| event.event == "image.built").unwrap();
    assert!(
        built.version.as_deref() == Some("v1") && built.duration_ms > Some(0) && built.job.is_some() && built.request_id.is_some(),
        "{built:?}"
    );
}

/// Looks at a job until it ends; returns it and the states that were seen.
fn watch(worker: &Worker, job: &str) -> (Value, Vec<String>) {
    let mut seen = Vec::new();
    loop {
        let job: Value = worker.get(&format!("/jobs/{job}"));
        let state = job["state"].as_str().unwrap().to_owned();
        if seen.last() != Some(&state) {
            seen.push(state.clone());
        }
        if !["pending", "building"].contains(&state.as_str()) {
            return (job, seen);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn twenty_who_ask_at_once_get_one_job() {
    let worker = Bench::new().start();
    let ask = || worker.submit(json!({ "image": image("codec-gzip-9") }));
    let accepted: Vec<_> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    assert_eq!(accepted.iter().filter(|accepted| accepted.is_new).count(), 1);
    assert!(accepted.iter().all(|one| (&one.job, &one.id) == (&accepted[0].job, &accepted[0].id)), "{accepted:?}");
    assert_eq!(worker.wait_job(&accepted[0].job).state, State::Success);
    assert_eq!((worker.count("image.queued", None), worker.count("image.built", None)), (1, 1));
}

#[test]
fn the_same_content_under_another_name_is_there_already() {
    let worker = Bench::new().start();
    let one = worker.pull("multi", "v2");
    let other = worker.pull("multi:latest", "v2");
    assert_ne!(one.id, other.id);
    assert_eq!(one.archive.unwrap().id, other.archive.unwrap().id);
    assert_eq!((worker.count("image.built", Some(&one.id)), worker.count("image.cached", Some(&other.id))), (1, 1));
    // Made anew only where that is asked for.
    let forced = worker.submit(json!({ "image": image("multi"), "force": true }));
    worker.wait_job(&forced.job);
    assert_eq!(worker.count("image.built", Some(&one.id)), 2);
    let foreign = worker.submit(json!({ "image": image("multi"), "platform": "linux/arm64" }));
    assert_ne!(foreign.id, one.id);
    assert_eq!(worker.wait_job(&foreign.job).state, State::Success);
    assert_eq!(worker.get::<Image>(&format!("/images/{}", foreign.id)).archive.unwrap().platform.split('/').nth(1), Some("arm64"));
}

#[test]
fn an_image_in_use_is_removed_only_by_force() {
    let worker = Bench::new().start();
    let image = worker.pull("multi", "v2");
    let path = format!("/images/{}", image.id);
    worker.mount(&image.id, "a");
    worker.delete(&path).problem("busy");
    worker.delete(&format!("{path}?force=true")).none();
    worker.delete(&path).problem("not-found");
    worker.post("/mounts", json!({ "image": image.id, "mountpoint": worker.point("b") })).problem("not-found");
    assert_eq!(worker.get::<Images>("/images").images.len(), 0);
    // It can be had again.
    let again = worker.pull("multi", "v2");
    assert_eq!((again.id, again.archive.unwrap().id), (image.id, image.archive.unwrap().id));
    let other = worker.pull("multi", "v1");
    worker.delete(&format!("/images/{}", &other.archive.unwrap().id[..12])).none();
}
