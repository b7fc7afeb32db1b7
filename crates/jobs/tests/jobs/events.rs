//! Events: in order, without gaps, with their transition or not at all; and who waits for them is woken.

use std::time::Duration;

use jobs::{Error, Failure, Narrator, NewEvent, Options, Outcome, Queue, State};
use serde_json::{Value, json};

use crate::support::{claim, each, job, submit, told};

#[test]
fn what_is_published_is_read() {
    each(async |bench| {
        let queue = bench.open().await;
        assert_eq!((queue.last_seq().await.unwrap(), queue.events_after(0, 10).await.unwrap().len()), (0, 0));
        assert_eq!(queue.publish(&NewEvent::new("mount.ready", json!({ "path": "/x" })).about("python:3.12")).await.unwrap(), 1);
        assert_eq!(queue.publish(&NewEvent::new("worker.started", Value::Null)).await.unwrap(), 2);
        let events = queue.events_after(0, 10).await.unwrap();
        assert_eq!((events[0].seq, events[0].name.as_str(), events[0].key.as_deref()), (1, "mount.ready", Some("python:3.12")));
        assert_eq!((&events[0].data, events[0].job, events[1].key.as_deref()), (&json!({ "path": "/x" }), None, None));
        assert_eq!(queue.events_after(1, 10).await.unwrap(), events[1..]);
        assert_eq!(queue.events_after(0, 1).await.unwrap(), events[..1]);
        assert!(queue.events_after(u64::MAX, 10).await.unwrap().is_empty());
        let job = submit(&queue, "a").await;
        let event = queue.events_after(2, 10).await.unwrap().remove(0);
        assert_eq!((event.job, event.key.as_deref()), (Some(job.id), Some("a")));
    });
}

#[test]
fn a_follower_misses_nothing_whoever_writes() {
    each(async |bench| {
        let queue = bench.open().await;
        let mut writers = Vec::new();
        for writer in 0..6 {
            let queue = if writer % 2 == 0 { queue.clone() } else { bench.join(&queue, bench.options()).await };
            writers.push(tokio::spawn(async move {
                for n in 0..25 {
                    queue.publish(&NewEvent::new("test.written", json!(n)).about(format!("{writer}"))).await.unwrap();
                    submit(&queue, &format!("{writer}-{n}")).await;
                }
            }));
        }
        let (mut seen, mut seq) = (Vec::new(), 0);
        while seen.len() < 6 * 25 * 2 {
            for event in queue.events_after(seq, 7).await.unwrap() {
                assert_eq!(event.seq, seq + 1, "one came late, or never");
                seq = event.seq;
                seen.push(event);
            }
        }
        for writer in writers {
            writer.await.unwrap();
        }
        for writer in 0..6 {
            let of_one =
                seen.iter().filter(|event| event.key.as_deref() == Some(&format!("{writer}"))).map(|event| event.data.as_u64().unwrap());
            assert!(of_one.eq(0..25), "each one's in his order");
        }
        assert_eq!(queue.last_seq().await.unwrap(), seq);
    });
}

#[test]
fn a_transition_without_its_events_does_not_happen() {
    each(async |bench| {
        // Valid but for one key.
        let narrator = Narrator::new(|_, job| vec![NewEvent::new("fine", Value::Null), NewEvent::new(job.key.clone(), Value::Null)]);
        let queue = Queue::open(Options { narrator, ..bench.options() }).await.unwrap();
        submit(&queue, "good").await;
        assert!(matches!(queue.submit(&job("NOT GOOD")).await, Err(Error::Invalid { .. })));
        assert_eq!((queue.counts().await.unwrap().pending, queue.last_seq().await.unwrap()), (1, 2));
        let claimed = claim(&queue).await;
        assert_eq!(queue.finish(&claimed, Outcome::Failed(Failure::new("x", "y", true))).await.unwrap().state, State::Pending);
        assert_eq!(queue.last_seq().await.unwrap(), 6);
    });
}

#[test]
fn only_the_latest_are_kept_and_the_numbers_go_on() {
    each(async |bench| {
        let queue = Queue::open(Options { events_max: 10, ..bench.options() }).await.unwrap();
        for n in 1..=25 {
            assert_eq!(queue.publish(&NewEvent::new("test", json!(n))).await.unwrap(), n);
        }
        let kept: Vec<u64> = queue.events_after(0, 1000).await.unwrap().into_iter().map(|event| event.seq).collect();
        assert!(kept.iter().copied().eq(16..=25), "{kept:?}");
        let queue = bench.join(&queue, bench.options()).await;
        assert_eq!(queue.publish(&NewEvent::new("test", Value::Null)).await.unwrap(), 26);
    });
}

#[test]
fn an_event_has_its_bounds() {
    each(async |bench| {
        let queue = bench.open().await;
        let bad = [
            NewEvent::new("", Value::Null),
            NewEvent::new("Loud", Value::Null),
            NewEvent::new("test", Value::Null).about("x".repeat(513)),
            NewEvent::new("test", Value::String("x".repeat(128 << 10))),
            NewEvent::new("test", (0..100).fold(Value::Null, |inner, _| json!([inner]))),
        ];
        for event in bad {
            assert!(matches!(queue.publish(&event).await, Err(Error::Invalid { .. })));
        }
        assert_eq!(queue.last_seq().await.unwrap(), 0);
    });
}

#[test]
fn changes_wake_those_who_wait() {
    each(async |bench| {
        let queue = bench.open().await;
        let mut changes = queue.changes();
        let mut quiet = changes.clone();
        assert!(tokio::time::timeout(Duration::from_millis(50), quiet.changed()).await.is_err(), "nothing has happened");
        let waiting = queue.clone();
        let worker = tokio::spawn(async move {
            loop {
                if let Some(claim) = waiting.claim("worker").await.unwrap() {
                    return waiting.finish(&claim, Outcome::Success(Value::Null)).await.unwrap();
                }
                assert!(changes.changed().await);
            }
        });
        let id = submit(&queue, "a").await.id;
        assert_eq!(worker.await.unwrap().id, id);
        let mut changes = queue.changes();
        queue.publish(&NewEvent::new("test", Value::Null)).await.unwrap();
        assert!(changes.changed().await, "at once: it has happened");
        assert_eq!(told(&queue).await.len(), 4);
        drop(queue);
        assert!(!changes.changed().await, "the queue is gone");
    });
}
