//! Lists and counts.

use jobs::{Counts, Failure, Filter, Job, NewJob, Outcome, Queue, State};
use serde_json::Value;

use crate::support::{claim, each, job, submit};

async fn keys(queue: &Queue, filter: Filter, limit: u32) -> String {
    queue.list(&filter, limit).await.unwrap().iter().map(|job| job.key.as_str()).collect()
}

#[test]
fn lists_are_filtered_and_paged_the_newest_first() {
    each(async |bench| {
        let queue = bench.open().await;
        for key in ["a", "b", "c", "d", "e"] {
            submit(&queue, key).await;
        }
        queue.submit(&NewJob { kind: "warm".into(), priority: -1, ..job("a") }).await.unwrap();
        queue.finish(&claim(&queue).await, Outcome::Success(Value::Null)).await.unwrap();
        queue.finish(&claim(&queue).await, Outcome::Failed(Failure::new("x", "", false))).await.unwrap();
        claim(&queue).await;
        queue.cancel(queue.list(&Filter { key: Some("e".into()), ..Filter::default() }, 1).await.unwrap()[0].id).await.unwrap();
        assert_eq!(keys(&queue, Filter::default(), 500).await, "aedcba");
        assert_eq!(keys(&queue, Filter { states: vec![State::Success, State::Failed], ..Filter::default() }, 500).await, "ba");
        assert_eq!(keys(&queue, Filter { kind: Some("build".into()), ..Filter::default() }, 2).await, "ed");
        assert_eq!(keys(&queue, Filter { key: Some("a".into()), ..Filter::default() }, 500).await, "aa");
        assert_eq!(keys(&queue, Filter { key: Some("a\0".into()), ..Filter::default() }, 500).await, "");
        let (mut pages, mut before) = (Vec::<Job>::new(), None);
        loop {
            let page = queue.list(&Filter { before, ..Filter::default() }, 4).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            pages.extend(page);
        }
        assert_eq!(pages, queue.list(&Filter::default(), u32::MAX).await.unwrap());
        assert_eq!(queue.counts().await.unwrap(), Counts { pending: 2, building: 1, success: 1, failed: 1, cancelled: 1 });
    });
}
