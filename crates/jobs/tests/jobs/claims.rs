//! Who claims a job has it alone, in the right order, until it is finished or given back.

use std::collections::HashMap;
use std::time::Duration;

use jobs::{Backoff, Beat, Error, Failure, NewJob, Options, Outcome, Queue, State};
use serde_json::{Value, json};

use crate::support::{claim, each, job, submit, told};

fn transient() -> Outcome {
    Outcome::Failed(Failure::new("away", "the registry is away", true))
}

#[test]
fn a_job_is_worked_on_and_done() {
    each(async |bench| {
        let queue = bench.open().await;
        assert!(queue.claim("worker").await.unwrap().is_none(), "nothing waits");
        let id = submit(&queue, "a").await.id;
        let claim = queue.claim("node-1").await.unwrap().unwrap();
        assert_eq!((claim.job().id, claim.job().state, claim.job().attempts), (id, State::Building, 1));
        assert!(queue.claim("node-2").await.unwrap().is_none(), "it is taken");
        assert_eq!(queue.heartbeat(&claim).await.unwrap(), Beat::Go);
        queue.progress(&claim, &json!({ "layers": 3 })).await.unwrap();
        let now = queue.get(id).await.unwrap().unwrap();
        assert_eq!((now.worker.as_deref(), now.progress.clone()), (Some("node-1"), Some(json!({ "layers": 3 }))));
        let done = queue.finish(&claim, Outcome::Success(json!({ "archive": "x" }))).await.unwrap();
        assert_eq!(queue.get(id).await.unwrap().unwrap(), done);
        assert_eq!((done.state, done.result.clone(), done.error.clone()), (State::Success, Some(json!({ "archive": "x" })), None));
        assert!(done.created_ms <= done.started_ms.unwrap() && done.started_ms <= done.finished_ms);
        let names: Vec<String> = told(&queue).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["build.submitted", "build.claimed", "build.succeeded"]);
    });
}

#[test]
fn the_urgent_come_first_then_the_old() {
    each(async |bench| {
        let queue = bench.open().await;
        for (key, priority) in [("a", 0), ("b", 0), ("c", 10), ("d", -10), ("e", 10), ("f", 0)] {
            queue.submit(&NewJob { priority, ..job(key) }).await.unwrap();
        }
        queue.submit(&NewJob { priority: 20, ..job("f") }).await.unwrap();
        let mut order = String::new();
        while let Some(claim) = queue.claim("worker").await.unwrap() {
            order.push_str(&claim.job().key);
        }
        assert_eq!(order, "fceabd");
    });
}

#[test]
fn many_claimers_never_get_the_same_job() {
    each(async |bench| {
        let queue = bench.open().await;
        let other = bench.join(&queue, bench.options()).await;
        for n in 0..60 {
            submit(&queue, &n.to_string()).await;
        }
        let claimers =
            (0..8).map(|n| tokio::spawn(claim_all(if n % 2 == 0 { queue.clone() } else { other.clone() }, format!("worker-{n}"))));
        let mut times = HashMap::<String, u32>::new();
        for claimer in claimers.collect::<Vec<_>>() {
            for key in claimer.await.unwrap() {
                *times.entry(key).or_default() += 1;
            }
        }
        assert_eq!((times.len(), times.values().max()), (60, Some(&1)));
        assert_eq!(queue.counts().await.unwrap().success, 60);
    });
}

/// Claims and finishes until nothing waits: none may mean that others are claiming the rest.
async fn claim_all(queue: Queue, worker: String) -> Vec<String> {
    let mut keys = Vec::new();
    while queue.counts().await.unwrap().pending > 0 {
        if let Some(claim) = queue.claim(&worker).await.unwrap() {
            keys.push(claim.job().key.clone());
            queue.finish(&claim, Outcome::Success(Value::Null)).await.unwrap();
        }
    }
    keys
}

#[test]
fn a_transient_failure_is_tried_again_until_the_attempts_are_used_up() {
    each(async |bench| {
        let queue = bench.open().await;
        queue.submit(&NewJob { attempts_max: 3, ..job("a") }).await.unwrap();
        for attempt in 1..=3 {
            let claim = claim(&queue).await;
            assert_eq!(claim.job().attempts, attempt);
            let job = queue.finish(&claim, transient()).await.unwrap();
            assert_eq!(job.state, if attempt < 3 { State::Pending } else { State::Failed });
            assert_eq!(job.error, Some(Failure::new("away", "the registry is away", true)), "known while it waits");
            assert_eq!((job.worker.is_some(), job.finished_ms.is_some()), (attempt == 3, attempt == 3));
        }
        assert!(queue.claim("worker").await.unwrap().is_none());
        let names: Vec<String> = told(&queue).await.into_iter().map(|(name, _)| name).filter(|name| name != "build.claimed").collect();
        assert_eq!(names, ["build.submitted", "build.willretry", "build.willretry", "build.failed"]);
    });
}

#[test]
fn another_failure_is_final_and_success_forgets_the_error() {
    each(async |bench| {
        let queue = bench.open().await;
        submit(&queue, "a").await;
        let failure = Failure::new("no-such-image", &"x".repeat(10_000), false);
        let failed = queue.finish(&claim(&queue).await, Outcome::Failed(failure.clone())).await.unwrap();
        assert_eq!((failed.state, failed.error.as_ref()), (State::Failed, Some(&failure)));
        assert_eq!(failure.message.len(), jobs::MESSAGE_BYTES_MAX);
        submit(&queue, "b").await;
        queue.finish(&claim(&queue).await, transient()).await.unwrap();
        let done = queue.finish(&claim(&queue).await, Outcome::Success(Value::Null)).await.unwrap();
        assert_eq!((done.state, done.error, done.attempts), (State::Success, None, 2));
    });
}

#[test]
fn after_a_failure_a_job_waits_its_time() {
    each(async |bench| {
        let backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(9) };
        let queue = Queue::open(Options { backoff, ..bench.options() }).await.unwrap();
        submit(&queue, "a").await;
        let waiting = queue.finish(&claim(&queue).await, transient()).await.unwrap();
        assert!(queue.claim("worker").await.unwrap().is_none(), "its time has not come");
        assert!(!queue.submit(&job("a")).await.unwrap().is_new, "it is in the queue all the same");
        let wait = waiting.not_before_ms - waiting.started_ms.unwrap();
        assert!((500..9000).contains(&wait), "{wait} ms");
        let begun = std::time::Instant::now();
        while queue.claim("worker").await.unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let lines = queue.logs_after(waiting.id, 0, 10).await.unwrap().lines;
        assert!(lines[0].line.starts_with("attempt 1 of 5 failed (away): the registry is away; the next one in "), "{lines:?}");
    });
}

#[test]
fn what_is_released_does_not_count() {
    each(async |bench| {
        let queue = bench.open().await;
        queue.submit(&NewJob { attempts_max: 1, ..job("a") }).await.unwrap();
        for _ in 0..3 {
            let claim = claim(&queue).await;
            assert_eq!(claim.job().attempts, 1);
            let job = queue.release(&claim).await.unwrap();
            assert_eq!((job.state, job.attempts, job.worker), (State::Pending, 0, None));
            assert!(matches!(queue.finish(&claim, Outcome::Cancelled).await, Err(Error::Lost { .. })));
        }
    });
}
