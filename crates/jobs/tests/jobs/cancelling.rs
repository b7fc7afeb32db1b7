//! Cancelling, and repeating what was given up.

use jobs::{Beat, Cancel, Failure, NewJob, Outcome, Retry, State};
use serde_json::Value;

use crate::support::{claim, each, job, submit, told};

#[test]
fn what_waits_is_cancelled_at_once() {
    each(async |bench| {
        let queue = bench.open().await;
        let id = submit(&queue, "a").await.id;
        let Cancel::Done(cancelled) = queue.cancel(id).await.unwrap() else { panic!("it waits") };
        assert_eq!((cancelled.state, cancelled.finished_ms.is_some()), (State::Cancelled, true));
        assert_eq!(queue.cancel(id).await.unwrap(), Cancel::Finished(cancelled));
        assert!(queue.claim("worker").await.unwrap().is_none());
        assert_eq!(queue.cancel("01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()).await.unwrap(), Cancel::NoSuchJob);
        assert_eq!(told(&queue).await.last().unwrap(), &("build.cancelled".into(), "a".into()));
    });
}

#[test]
fn who_works_hears_of_it_and_stops() {
    each(async |bench| {
        let queue = bench.open().await;
        let id = submit(&queue, "a").await.id;
        let claim = claim(&queue).await;
        for _ in 0..2 {
            let Cancel::Requested(job) = queue.cancel(id).await.unwrap() else { panic!("it is at work") };
            assert!(job.state == State::Building && job.cancel_requested);
        }
        assert_eq!(queue.heartbeat(&claim).await.unwrap(), Beat::CancelRequested);
        assert_eq!(queue.finish(&claim, Outcome::Cancelled).await.unwrap().state, State::Cancelled);
        let names: Vec<String> = told(&queue).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["build.submitted", "build.claimed", "build.cancelrequested", "build.cancelled"]);
    });
}

#[test]
fn a_claimant_who_does_not_stop_in_time_says_what_came_of_it() {
    each(async |bench| {
        let queue = bench.open().await;
        let transient = Outcome::Failed(Failure::new("away", "", true));
        for (outcome, state) in [(Outcome::Success(Value::Null), State::Success), (transient, State::Cancelled)] {
            let id = submit(&queue, "a").await.id;
            let claim = claim(&queue).await;
            queue.cancel(id).await.unwrap();
            assert_eq!(queue.finish(&claim, outcome).await.unwrap().state, state);
        }
        let id = submit(&queue, "a").await.id;
        let claim = claim(&queue).await;
        queue.cancel(id).await.unwrap();
        assert_eq!(queue.release(&claim).await.unwrap().state, State::Cancelled);
    });
}

#[test]
fn who_submits_what_is_being_cancelled_gets_a_new_job_which_waits_for_the_old_to_end() {
    each(async |bench| {
        let queue = bench.open().await;
        let old = submit(&queue, "a").await;
        let claim = claim(&queue).await;
        queue.cancel(old.id).await.unwrap();
        let new = queue.submit(&job("a")).await.unwrap();
        assert!(new.is_new && new.job.id != old.id);
        assert!(queue.claim("worker").await.unwrap().is_none(), "the key is still being worked on");
        queue.finish(&claim, Outcome::Cancelled).await.unwrap();
        assert_eq!(queue.claim("worker").await.unwrap().unwrap().job().id, new.job.id);
    });
}

#[test]
fn what_was_given_up_is_repeated_as_a_new_job() {
    each(async |bench| {
        let queue = bench.open().await;
        let new = NewJob { priority: 9, attempts_max: 2, request_id: Some("r".into()), ..job("a") };
        let first = queue.submit(&new).await.unwrap().job;
        assert_eq!(queue.retry(first.id).await.unwrap(), Retry::NotFailed(first.clone()));
        let old = queue.finish(&claim(&queue).await, Outcome::Failed(Failure::new("broken", "", false))).await.unwrap();
        let Retry::Submitted(again) = queue.retry(old.id).await.unwrap() else { panic!("it failed") };
        assert!(again.is_new);
        let job = again.job;
        assert_eq!((job.retry_of, job.state, job.attempts, job.error), (Some(old.id), State::Pending, 0, None));
        assert_eq!((job.key, job.payload, job.priority, job.attempts_max), (new.key, new.payload, 9, 2));
        let Retry::Submitted(twice) = queue.retry(old.id).await.unwrap() else { panic!("it failed") };
        assert_eq!((twice.is_new, twice.job.id), (false, job.id), "it is in the queue already");
        assert_eq!(queue.get(old.id).await.unwrap().unwrap(), old, "the old one stays as it was");
        queue.cancel(job.id).await.unwrap();
        assert!(matches!(queue.retry(job.id).await.unwrap(), Retry::Submitted(_)), "cancelled ones too");
        let done = queue.finish(&claim(&queue).await, Outcome::Success(Value::Null)).await.unwrap();
        assert_eq!(queue.retry(done.id).await.unwrap(), Retry::NotFailed(done));
        assert_eq!(queue.retry("01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()).await.unwrap(), Retry::NoSuchJob);
    });
}
