use super::*;
use crate::{
    MemoryBlob, conformance,
    faults::{Fault, Faults},
    read_all,
};

fn quick() -> RetryPolicy {
    RetryPolicy { wait_first: Duration::from_micros(100), wait_max: Duration::from_millis(1), ..RetryPolicy::default() }
}

fn faulty(content: &[u8]) -> (Arc<Faults<MemoryBlob>>, Retry<Arc<Faults<MemoryBlob>>>) {
    let faults = Arc::new(Faults::new(MemoryBlob::new("m", content.to_vec())));
    (faults.clone(), Retry::new(faults, quick(), Arc::default()))
}

#[test]
fn backoff_doubles_to_its_cap_and_varies_by_half() {
    let policy = RetryPolicy { wait_first: Duration::from_millis(100), wait_max: Duration::from_millis(450), ..quick() };
    let bounds = |failures| (policy.backoff(failures, 0).as_millis(), policy.backoff(failures, 50_000).as_millis());
    assert_eq!(bounds(1), (50, 100));
    assert_eq!(bounds(2), (100, 150));
    assert_eq!(policy.backoff(3, 200_000), Duration::from_millis(400));
    for failures in [4, 40, u32::MAX] {
        let wait = policy.backoff(failures, u64::MAX);
        assert!(wait >= Duration::from_millis(225) && wait <= policy.wait_max, "{wait:?}");
    }
}

#[test]
fn a_budget_ends_by_attempts_by_deadline_and_by_permanent_errors() {
    let now = Instant::now();
    let transient = Error::unavailable("x", "y");
    let mut budget = Budget::new(RetryPolicy { attempts_max: 3, ..quick() }, now);
    assert!(budget.wait_after(&transient, now, 0).is_some());
    assert!(budget.wait_after(&transient, now, 0).is_some());
    assert!(budget.wait_after(&transient, now, 0).is_none(), "the third attempt was the last");
    assert!(Budget::new(quick(), now).wait_after(&Error::NotFound { what: "x".into() }, now, 0).is_none());
    assert!(Budget::new(quick(), now).wait_after(&transient, now + quick().deadline, 0).is_none());
}

#[test]
fn retry_after_is_honoured_up_to_its_cap() {
    let now = Instant::now();
    let asked = |seconds| Error::RateLimited { what: "x".into(), retry_after: Some(Duration::from_secs(seconds)) };
    assert_eq!(Budget::new(quick(), now).wait_after(&asked(7), now, 0), Some(Duration::from_secs(7)));
    assert_eq!(Budget::new(quick(), now).wait_after(&asked(7000), now, 0), Some(quick().retry_after_max));
}

#[test]
fn only_real_progress_renews_a_budget() {
    let now = Instant::now();
    let transient = Error::unavailable("x", "y");
    let mut budget = Budget::new(RetryPolicy { attempts_max: 2, ..quick() }, now);
    assert!(budget.wait_after(&transient, now, 0).is_some());
    budget.progress(PROGRESS_BYTES as usize - 1, now);
    assert!(budget.wait_after(&transient, now, 0).is_none());
    budget.progress(PROGRESS_BYTES as usize, now);
    assert!(budget.wait_after(&transient, now, 0).is_some());
}

#[tokio::test]
async fn conforms_while_every_answer_breaks_off_half_way() {
    let content = conformance::content(60_000);
    let (faults, retry) = faulty(&content);
    conformance::check(&retry, &content).await.unwrap();
    faults.every(Some(Fault::Reset { after: 20_000 }));
    conformance::check(&retry, &content).await.unwrap();
    faults.every(Some(Fault::Short { after: 20_000 }));
    conformance::check(&retry, &content).await.unwrap();
}

#[tokio::test]
async fn a_broken_body_is_resumed_where_it_broke() {
    let content = conformance::content(10_000);
    let (faults, retry) = faulty(&content);
    faults.next(Fault::Reset { after: 5000 });
    faults.next(Fault::WholeBlob);
    assert_eq!(read_all(&retry, 1000..9000, 8000).await.unwrap(), content[1000..9000]);
    assert_eq!(faults.ranges(), [1000..9000, 6000..9000]);
    assert_eq!(retry.traffic.snapshot().retries, 1);
}

#[tokio::test]
async fn what_is_permanent_is_asked_for_once() {
    let (faults, retry) = faulty(&[0; 100]);
    faults.every(Some(Fault::Refuse(Error::NotFound { what: "m".into() })));
    assert!(matches!(retry.get(0..10).await, Err(Error::NotFound { .. })));
    assert_eq!(faults.ranges().len(), 1);
}

#[tokio::test]
async fn attempts_are_bounded() {
    let (faults, retry) = faulty(&[0; 100]);
    faults.every(Some(Fault::Reset { after: 1 }));
    assert!(read_all(&retry, 0..100, 100).await.unwrap_err().is_transient());
    assert_eq!(faults.ranges().len(), quick().attempts_max as usize);
}

#[tokio::test]
async fn an_answer_that_never_comes_ends_at_the_deadline() {
    let faults = Faults::new(MemoryBlob::new("m", vec![0; 10]));
    faults.every(Some(Fault::Delay(Duration::from_secs(3600))));
    let retry = Retry::new(faults, RetryPolicy { deadline: Duration::from_millis(30), ..quick() }, Arc::default());
    assert!(matches!(retry.get(0..10).await, Err(Error::Timeout { .. })));
}
