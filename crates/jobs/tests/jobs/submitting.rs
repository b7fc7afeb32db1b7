//! A job comes into the queue once, within its bounds.

use std::collections::HashSet;

use jobs::{Error, JobId, NewJob, Outcome, State};
use serde_json::{Value, json};

use crate::support::{claim, each, job, submit, told};

#[test]
fn what_was_submitted_is_there() {
    each(async |bench| {
        let queue = bench.open().await;
        let new = NewJob { priority: -7, attempts_max: 3, request_id: Some("req-1".into()), ..job("python:3.12 é") };
        let submitted = queue.submit(&new).await.unwrap();
        assert!(submitted.is_new);
        let found = queue.get(submitted.job.id).await.unwrap().unwrap();
        assert_eq!(found, submitted.job);
        assert_eq!((found.kind.as_str(), found.key.as_str(), &found.payload), ("build", "python:3.12 é", &new.payload));
        assert_eq!((found.priority, found.state, found.attempts, found.attempts_max), (-7, State::Pending, 0, 3));
        assert_eq!((found.request_id.as_deref(), found.retry_of, found.cancel_requested), (Some("req-1"), None, false));
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        assert!((now - 60_000..=now + 60_000).contains(&found.created_ms), "{} at {now}", found.created_ms);
        assert_eq!(queue.get("01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()).await.unwrap(), None);
    });
}

#[test]
fn the_same_key_is_the_same_job_until_it_is_finished() {
    each(async |bench| {
        let queue = bench.open().await;
        let first = submit(&queue, "a").await;
        let urgent = queue.submit(&NewJob { priority: 5, payload: json!("other"), ..job("a") }).await.unwrap();
        assert!(!urgent.is_new);
        assert_eq!((urgent.job.id, urgent.job.priority, &urgent.job.payload), (first.id, 5, &first.payload));
        let patient = queue.submit(&NewJob { priority: -5, ..job("a") }).await.unwrap();
        assert_eq!((patient.job.id, patient.job.priority), (first.id, 5), "a lower priority changes nothing");
        assert!(queue.submit(&NewJob { kind: "other".into(), ..job("a") }).await.unwrap().is_new, "another kind is another job");
        let claimed = claim(&queue).await;
        assert_eq!(submit(&queue, "a").await.id, first.id, "it is being worked on");
        queue.finish(&claimed, Outcome::Success(Value::Null)).await.unwrap();
        assert_ne!(submit(&queue, "a").await.id, first.id);
        let submitted = told(&queue).await.into_iter().filter(|(name, _)| name.ends_with("submitted")).count();
        assert_eq!(submitted, 3, "who gets a job that is there makes no event");
    });
}

#[test]
fn a_race_of_submitters_makes_one_job() {
    each(async |bench| {
        let queue = bench.open().await;
        let other = bench.join(&queue, bench.options()).await;
        for round in 0..5 {
            let racers = (0..12).map(|racer| {
                let queue = if racer % 2 == 0 { queue.clone() } else { other.clone() };
                tokio::spawn(async move { queue.submit(&NewJob { priority: racer, ..job(&format!("key-{round}")) }).await.unwrap() })
            });
            let (mut ids, mut new) = (HashSet::<JobId>::new(), 0);
            for racer in racers.collect::<Vec<_>>() {
                let submitted = racer.await.unwrap();
                ids.insert(submitted.job.id);
                new += u32::from(submitted.is_new);
            }
            assert_eq!((ids.len(), new), (1, 1));
            let id = ids.into_iter().next().unwrap();
            assert_eq!(queue.get(id).await.unwrap().unwrap().priority, 11, "the highest holds");
        }
    });
}

#[test]
fn a_full_queue_takes_no_more_and_exactly_so_many() {
    each(async |bench| {
        let options = jobs::Options { unfinished_max: 10, ..bench.options() };
        let queue = jobs::Queue::open(options.clone()).await.unwrap();
        let other = bench.join(&queue, options).await;
        let submitters = (0..25).map(|n| {
            let queue = if n % 2 == 0 { queue.clone() } else { other.clone() };
            tokio::spawn(async move { queue.submit(&job(&n.to_string())).await })
        });
        let mut taken = 0;
        for submitter in submitters.collect::<Vec<_>>() {
            match submitter.await.unwrap() {
                Ok(submitted) => taken += u32::from(submitted.is_new),
                Err(Error::Full { unfinished_max: 10 }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((taken, queue.counts().await.unwrap().pending), (10, 10));
        let there = claim(&queue).await;
        assert!(!queue.submit(&job(&there.job().key)).await.unwrap().is_new, "what is there is found all the same");
        queue.finish(&there, Outcome::Success(Value::Null)).await.unwrap();
        assert!(queue.submit(&job("room")).await.unwrap().is_new, "there is room again");
        assert_eq!(told(&queue).await.into_iter().filter(|(name, _)| name.ends_with("submitted")).count(), 11);
    });
}

#[test]
fn what_cannot_be_stored_is_refused() {
    each(async |bench| {
        let queue = bench.open().await;
        let long = |length: usize| Value::String("x".repeat(length));
        let bad = [
            NewJob { kind: "Build".into(), ..job("a") },
            NewJob { kind: "x".repeat(65), ..job("a") },
            job(""),
            job("a\0b"),
            job(&"x".repeat(513)),
            NewJob { priority: 101, ..job("a") },
            NewJob { priority: i32::MIN, ..job("a") },
            NewJob { attempts_max: 0, ..job("a") },
            NewJob { attempts_max: 101, ..job("a") },
            NewJob { request_id: Some("x".repeat(129)), ..job("a") },
            NewJob { payload: long(64 << 10), ..job("a") },
        ];
        for new in bad {
            assert!(matches!(queue.submit(&new).await, Err(Error::Invalid { .. })), "{:.200}", format!("{new:?}"));
        }
        let most = NewJob { payload: long((64 << 10) - 2), priority: 100, attempts_max: 100, ..job(&"x".repeat(512)) };
        let stored = queue.submit(&most).await.unwrap().job;
        assert_eq!(queue.get(stored.id).await.unwrap().unwrap().payload, most.payload);
        let nul = NewJob { payload: json!({ "a\0": "b\0", "é": "𝄞" }), ..job("nul") };
        let stored = queue.submit(&nul).await.unwrap().job;
        assert_eq!(queue.get(stored.id).await.unwrap().unwrap().payload, nul.payload);
    });
}
