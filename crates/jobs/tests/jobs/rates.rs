//! How fast it is. Not a test: `cargo test -p jobs --release -- --ignored --nocapture rates`.

use std::time::Instant;

use jobs::{NewEvent, Outcome};
use serde_json::Value;

use crate::support::{claim, each, submit};

const JOBS: u32 = 1_000;

#[test]
#[ignore = "it measures"]
fn rates() {
    each(async |bench| {
        let queue = bench.open().await;
        let report = |what: &str, begun: Instant| println!("{what}: {:.0}/s", f64::from(JOBS) / begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        for n in 0..JOBS {
            submit(&queue, &n.to_string()).await;
        }
        report("submit", begun);
        let begun = Instant::now();
        let mut claims = Vec::new();
        for _ in 0..JOBS {
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
        for _ in 0..JOBS {
            queue.publish(&NewEvent::new("test", Value::Null)).await.unwrap();
        }
        report("publish", begun);
        let begun = Instant::now();
        for _ in 0..JOBS {
            assert!(queue.claim("worker").await.unwrap().is_none());
        }
        report("claim of nothing", begun);
    });
}
