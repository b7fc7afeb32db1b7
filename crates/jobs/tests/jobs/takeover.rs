//! A worker dies, or seems to: another takes its job, and what the first still writes is refused.

use std::time::Duration;

use jobs::{Beat, Cancel, Claim, Error, Level, NewJob, Options, Outcome, Queue, Recovered, State, WORKER_DIED};
use serde_json::{Value, json};

use crate::support::{Bench, claim, each, job, submit, told};

const LEASE: Duration = Duration::from_millis(600);

fn short_lease(bench: &Bench) -> Options {
    Options { lease: LEASE, ..bench.options() }
}

async fn all_writes_are_refused(queue: &Queue, claim: &Claim) {
    let refused = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Lost { job }) if job == claim.job().id), "{result:?}");
    assert_eq!(queue.heartbeat(claim).await.unwrap(), Beat::Lost);
    refused(queue.progress(claim, &json!(1)).await);
    refused(queue.log(claim, &[(Level::Info, "late")]).await);
    for outcome in [Outcome::Success(json!("late")), Outcome::Cancelled] {
        refused(queue.finish(claim, outcome).await.map(drop));
    }
    refused(queue.release(claim).await.map(drop));
}

#[test]
fn a_job_whose_worker_is_silent_is_taken_over() {
    each(async |bench| {
        let first = Queue::open(short_lease(bench)).await.unwrap();
        let second = bench.join(&first, short_lease(bench)).await;
        let id = submit(&first, "a").await.id;
        let dead = first.claim("node-1").await.unwrap().unwrap();
        assert_eq!(second.recover().await.unwrap(), Recovered::default(), "it lives");
        tokio::time::sleep(LEASE + Duration::from_millis(50)).await;
        assert_eq!(first.heartbeat(&dead).await.unwrap(), Beat::Go, "late, but nobody has taken it");
        tokio::time::sleep(LEASE + Duration::from_millis(50)).await;
        assert_eq!(second.recover().await.unwrap(), Recovered { pending: 1, ..Recovered::default() });
        all_writes_are_refused(&first, &dead).await;
        let heir = second.claim("node-2").await.unwrap().unwrap();
        assert_eq!((heir.job().id, heir.job().attempts), (id, 2));
        all_writes_are_refused(&first, &dead).await;
        let done = second.finish(&heir, Outcome::Success(json!("right"))).await.unwrap();
        all_writes_are_refused(&first, &dead).await;
        all_writes_are_refused(&second, &heir).await;
        assert_eq!(first.get(id).await.unwrap().unwrap(), done);
        let lines = first.logs_after(id, 0, 10).await.unwrap().lines;
        assert_eq!(lines.iter().map(|line| line.line.as_str()).collect::<Vec<_>>(), ["worker node-1 died during attempt 1 of 5"]);
        let names: Vec<String> = told(&first).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["build.submitted", "build.claimed", "build.takenover", "build.claimed", "build.succeeded"]);
    });
}

#[test]
fn a_heart_that_beats_keeps_its_job() {
    each(async |bench| {
        let lease = Duration::from_secs(1);
        let queue = Queue::open(Options { lease, ..bench.options() }).await.unwrap();
        submit(&queue, "a").await;
        let claim = claim(&queue).await;
        for _ in 0..9 {
            tokio::time::sleep(lease / 6).await;
            assert_eq!(queue.heartbeat(&claim).await.unwrap(), Beat::Go);
            assert_eq!(queue.recover().await.unwrap(), Recovered::default());
        }
    });
}

#[test]
fn a_job_that_kills_its_workers_is_given_up() {
    each(async |bench| {
        // A claim is dead as soon as it is made.
        let queue = Queue::open(Options { lease: Duration::ZERO, ..bench.options() }).await.unwrap();
        let id = queue.submit(&NewJob { attempts_max: 2, ..job("a") }).await.unwrap().job.id;
        claim(&queue).await;
        assert_eq!(queue.recover().await.unwrap(), Recovered { pending: 1, ..Recovered::default() });
        claim(&queue).await;
        assert_eq!(queue.recover().await.unwrap(), Recovered { failed: 1, ..Recovered::default() });
        let job = queue.get(id).await.unwrap().unwrap();
        assert_eq!((job.state, job.error.unwrap().code.as_str()), (State::Failed, WORKER_DIED));
    });
}

#[test]
fn a_dead_workers_job_that_was_to_be_cancelled_is() {
    each(async |bench| {
        let queue = Queue::open(Options { lease: Duration::ZERO, ..bench.options() }).await.unwrap();
        let id = submit(&queue, "a").await.id;
        claim(&queue).await;
        assert!(matches!(queue.cancel(id).await.unwrap(), Cancel::Requested(_)));
        assert_eq!(queue.recover().await.unwrap(), Recovered { cancelled: 1, ..Recovered::default() });
        assert_eq!(queue.get(id).await.unwrap().unwrap().state, State::Cancelled);
    });
}

#[test]
fn many_are_recovered_each_once_whoever_does_it() {
    each(async |bench| {
        let options = Options { lease: Duration::ZERO, ..bench.options() };
        let queue = Queue::open(options.clone()).await.unwrap();
        for n in 0..120 {
            submit(&queue, &n.to_string()).await;
            claim(&queue).await;
        }
        let mut recoverers = Vec::new();
        for _ in 0..3 {
            let queue = bench.join(&queue, options.clone()).await;
            recoverers.push(tokio::spawn(async move { queue.recover().await.unwrap().pending }));
        }
        // With PostgreSQL, opening recovers too.
        for recoverer in recoverers {
            recoverer.await.unwrap();
        }
        queue.recover().await.unwrap();
        assert_eq!(queue.counts().await.unwrap().pending, 120);
        let taken_over = told(&queue).await.into_iter().filter(|(name, _)| name == "build.takenover").count();
        assert_eq!(taken_over, 120);
        let claim = claim(&queue).await;
        queue.finish(&claim, Outcome::Success(Value::Null)).await.unwrap();
    });
}
