//! How fast it is. Not a test: `cargo test -p jobs -- --ignored --nocapture rates`, and `CLIP_JOBS_TEST_RATES=9000` for a queue that is nearly full.

use std::time::Instant;

use jobs::{NewEvent, Outcome};
use serde_json::Value;

use crate::support::{claim, each, submit};

/// Jobs in the queue if nothing else is said.
const JOBS: u32 = 1_000;

#[test]
#[ignore = "it measures"]
fn rates() {
    let jobs = std::env::var("CLIP_JOBS_TEST_RATES").map_or(JOBS, |count| count.parse().unwrap());
    each(async |bench| {
        let queue = bench.open().await;
        let report = |what: &str, begun: Instant| println!("{what}: {:.0}/s", f64::from(jobs) / begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        for n in 0..jobs {
            submit(&queue, &n.to_string()).await;
        }
        report("submit", begun);
        let begun = Instant::now();
        let mut claims = Vec::new();
        for _ in 0..jobs {
            claims.push(claim(&queue).await);
        }
        report("claim", begun);
        let begun = Instant::now();
        for claim in &claims {
            queue.heartbeat(claim).await.unwrap();
        }
        report("heartbeat", begun);
        let begun = Instant::now();
        for claim in &claims {
            queue.finish(claim, Outcome::Success(Value::Null)).await.unwrap();
        }
        report("finish", begun);
        let begun = Instant::now();
        for _ in 0..jobs {
            queue.publish(&NewEvent::new("test", Value::Null)).await.unwrap();
        }
        report("publish", begun);
        let begun = Instant::now();
        for _ in 0..jobs {
            assert!(queue.claim("worker").await.unwrap().is_none());
        }
        report("claim of nothing", begun);
    });
}
