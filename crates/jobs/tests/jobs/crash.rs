//! Workers are killed at any moment, again and again: what was accepted is done, once.
//!
//! The children are this very binary: the test `child` does nothing unless its environment says what to do.

use std::collections::HashMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jobs::{Error, Filter, Level, NewJob, Options, Outcome, Place, Queue, State};
use serde_json::Value;

use crate::support::{Bench, Random, each, job, runtime};

const PLACE: &str = "CLIP_JOBS_TEST_PLACE";
const ACCEPTED: &str = "CLIP_JOBS_TEST_ACCEPTED";
const SEED: &str = "CLIP_JOBS_TEST_SEED";
const ROUNDS: u64 = 12;

fn options(bench: &Bench) -> Options {
    Options { lease: Duration::from_millis(300), unfinished_max: 1_000_000, events_max: 1_000_000, ..bench.options() }
}

/// What the children do; in the parent, nothing.
#[test]
fn child() {
    let Ok(place) = env::var(PLACE) else { return };
    let bench =
        Bench::at(if place.starts_with("postgres://") { Place::Postgres(place.parse().unwrap()) } else { Place::Sqlite(place.into()) });
    let accepted = OpenOptions::new().append(true).open(env::var_os(ACCEPTED).unwrap()).unwrap();
    let seed: u64 = env::var(SEED).unwrap().parse().unwrap();
    runtime().block_on(work_until_killed(&bench, accepted, seed));
}

/// Submits and works in turn. A key is written down when its job was accepted.
async fn work_until_killed(bench: &Bench, mut accepted: File, seed: u64) {
    let queue = Queue::open(options(bench)).await.unwrap();
    let (mut random, worker) = (Random(seed), format!("worker-{seed}"));
    for n in 0..u64::MAX {
        let key = format!("{seed}-{n}");
        queue.submit(&NewJob { attempts_max: 100, ..job(&key) }).await.unwrap();
        accepted.write_all(format!("{key}\n").as_bytes()).unwrap();
        if random.below(10) == 0 {
            queue.recover().await.unwrap();
        }
        if let Some(claim) = queue.claim(&worker).await.unwrap() {
            // On a busy machine the lease may run out: that is as good as dying.
            let logged = queue.log(&claim, &[(Level::Info, "at work")]).await;
            let finished = queue.finish(&claim, Outcome::Success(Value::from(worker.as_str()))).await;
            for result in [logged, finished.map(drop)] {
                assert!(matches!(result, Ok(()) | Err(Error::Lost { .. })), "{result:?}");
            }
        }
    }
}

fn spawn(place: &str, accepted: &Path, seed: u64) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "crash::child"]).env(PLACE, place).env(ACCEPTED, accepted).env(SEED, seed.to_string());
    command.stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn what_was_accepted_is_done_once_however_often_workers_are_killed() {
    each(async |bench| {
        let accepted = bench.directory.path().join("accepted");
        File::create(&accepted).unwrap();
        let place = if bench.is_postgres() { bench.url() } else { bench.path().display().to_string() };
        let mut random = Random(0xdead_beef);
        for round in 1..=ROUNDS {
            // A file is one process's alone.
            let workers = if bench.is_postgres() { 2 } else { 1 };
            let mut victims: Vec<Child> = (0..workers).map(|n| spawn(&place, &accepted, 2 * round + n)).collect();
            // In every other round it may strike while they still open the queue.
            if round % 2 == 0 {
                wait_for_growth(&accepted).await;
            }
            tokio::time::sleep(Duration::from_millis(random.below(150) as u64)).await;
            for victim in &mut victims {
                assert_eq!(victim.try_wait().unwrap(), None, "it ended by itself");
                victim.kill().unwrap();
                victim.wait().unwrap();
            }
        }
        let keys = std::fs::read_to_string(&accepted).unwrap();
        work_off(bench, &keys.lines().collect::<Vec<_>>()).await;
    });
}

/// Returns when more has been accepted than now.
async fn wait_for_growth(accepted: &Path) {
    let length = || std::fs::metadata(accepted).unwrap().len();
    let before = length();
    while length() == before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Does what is left, and looks whether all is as it must be.
async fn work_off(bench: &Bench, accepted: &[&str]) {
    tokio::time::sleep(Duration::from_millis(350)).await;
    let queue = Queue::open(options(bench)).await.unwrap();
    while let Some(claim) = queue.claim("last").await.unwrap() {
        queue.finish(&claim, Outcome::Success(Value::Null)).await.unwrap();
    }
    let (mut succeeded, mut seq) = (HashMap::<String, u32>::new(), 0);
    loop {
        let events = queue.events_after(seq, 1000).await.unwrap();
        let Some(last) = events.last() else { break };
        assert_eq!(last.seq - seq, events.len() as u64, "no gaps");
        seq = last.seq;
        for event in events.into_iter().filter(|event| event.name == "build.succeeded") {
            *succeeded.entry(event.key.unwrap()).or_default() += 1;
        }
    }
    for key in accepted {
        let jobs = queue.list(&Filter { key: Some((*key).into()), ..Filter::default() }, 10).await.unwrap();
        assert_eq!((jobs.len(), jobs[0].state), (1, State::Success), "{key}");
        assert_eq!(succeeded.get(*key), Some(&1), "{key}");
    }
    // At most one more than was written down for each that was killed.
    let counts = queue.counts().await.unwrap();
    assert!(counts.success >= accepted.len() as u64 && counts.success <= accepted.len() as u64 + 2 * ROUNDS, "{counts:?}");
    assert_eq!((counts.pending, counts.building, counts.failed, counts.cancelled), (0, 0, 0, 0));
    assert!(accepted.len() as u64 >= ROUNDS / 2, "only {} were accepted: there was nothing to lose", accepted.len());
    println!("{} accepted", accepted.len());
}
