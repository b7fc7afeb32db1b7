//! Nothing grows for ever: finished jobs go.

use std::time::Duration;

use jobs::{Filter, Level, Options, Outcome, Queue};
use serde_json::Value;

use crate::support::{claim, each, submit};

#[test]
fn finished_jobs_go_when_they_are_too_many_the_oldest_first() {
    each(async |bench| {
        let queue = Queue::open(Options { finished_max: 7, ..bench.options() }).await.unwrap();
        let mut ids = Vec::new();
        for n in 0..70 {
            ids.push(submit(&queue, &n.to_string()).await.id);
            let claim = claim(&queue).await;
            queue.log(&claim, &[(Level::Info, "x")]).await.unwrap();
            queue.finish(&claim, Outcome::Success(Value::Null)).await.unwrap();
        }
        submit(&queue, "waits").await;
        assert_eq!(queue.prune().await.unwrap(), 63);
        assert_eq!(queue.prune().await.unwrap(), 0);
        let left = queue.list(&Filter::default(), 500).await.unwrap();
        assert!(left.iter().rev().map(|job| job.id).take(7).eq(ids[63..].iter().copied()));
        assert_eq!((left.len(), left[0].key.as_str()), (8, "waits"));
        assert!(queue.logs_after(ids[0], 0, 10).await.unwrap().lines.is_empty(), "with their logs");
        assert_eq!(queue.logs_after(ids[69], 0, 10).await.unwrap().lines.len(), 1);
    });
}

#[test]
fn finished_jobs_go_when_they_are_too_old() {
    each(async |bench| {
        let queue = Queue::open(Options { retention: Duration::from_millis(200), ..bench.options() }).await.unwrap();
        let old = submit(&queue, "old").await.id;
        queue.finish(&claim(&queue).await, Outcome::Success(Value::Null)).await.unwrap();
        submit(&queue, "waits").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(queue.prune().await.unwrap(), 1);
        assert_eq!(queue.get(old).await.unwrap(), None);
        assert_eq!(queue.counts().await.unwrap().pending, 1, "what is unfinished stays, however old");
    });
}
