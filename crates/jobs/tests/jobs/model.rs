//! Random operations on the queue and on a simple model of it, which must agree after each.

use std::time::Duration;

use jobs::{Beat, Cancel, Claim, Error, Failure, Filter, Job, JobId, NewJob, Options, Outcome, Queue, Recovered, Retry, State, Transition};
use serde_json::Value;

use crate::support::{Bench, Random, each, job};

const ATTEMPTS_MAX: u32 = 3;
const UNFINISHED_MAX: usize = 6;
const KEYS: usize = 8;
const STEPS: usize = 300;

/// What the model knows of a job; its place in the list is its age.
#[derive(Debug, Clone, PartialEq)]
struct Modelled {
    id: JobId,
    key: String,
    priority: i32,
    state: State,
    attempts: u32,
    cancel_requested: bool,
}

impl Modelled {
    fn of(job: &Job) -> Modelled {
        let Job { id, key, priority, state, attempts, cancel_requested, .. } = job.clone();
        Modelled { id, key, priority, state, attempts, cancel_requested }
    }

    fn is_open(&self) -> bool {
        !self.state.is_finished() && !self.cancel_requested
    }
}

#[derive(Default)]
struct Model {
    jobs: Vec<Modelled>,
    told: Vec<(Transition, JobId)>,
}

impl Model {
    fn unfinished(&self) -> usize {
        self.jobs.iter().filter(|job| !job.state.is_finished()).count()
    }

    fn job(&mut self, id: JobId) -> &mut Modelled {
        self.jobs.iter_mut().find(|job| job.id == id).unwrap()
    }

    fn pass(&mut self, id: JobId, state: State, transition: Transition) {
        self.job(id).state = state;
        self.told.push((transition, id));
    }

    /// What a submission gives: a job that is there, room for a new one, or none.
    fn submit(&mut self, key: &str, priority: i32) -> Result<Option<JobId>, ()> {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.key == key && job.is_open()) {
            job.priority = job.priority.max(priority);
            return Ok(Some(job.id));
        }
        if self.unfinished() < UNFINISHED_MAX { Ok(None) } else { Err(()) }
    }

    fn next(&self) -> Option<JobId> {
        let is_busy = |key: &str| self.jobs.iter().any(|job| job.key == key && job.state == State::Building);
        let waiting = self.jobs.iter().filter(|job| job.state == State::Pending && !is_busy(&job.key));
        // The first of the most urgent: `min_by_key` keeps the first of equals.
        waiting.min_by_key(|job| -job.priority).map(|job| job.id)
    }

    fn give_back(&mut self, id: JobId, transition: Transition) {
        match self.job(id).cancel_requested {
            true => self.pass(id, State::Cancelled, Transition::Cancelled),
            false => self.pass(id, State::Pending, transition),
        }
    }

    fn recover(&mut self) -> Recovered {
        let mut recovered = Recovered::default();
        let mut dead: Vec<Modelled> = self.jobs.iter().filter(|job| job.state == State::Building).cloned().collect();
        dead.sort_by(|a, b| a.key.cmp(&b.key));
        for job in dead {
            if job.attempts >= ATTEMPTS_MAX && !job.cancel_requested {
                self.pass(job.id, State::Failed, Transition::Failed);
                recovered.failed += 1;
            } else {
                self.give_back(job.id, Transition::TakenOver);
                *(if job.cancel_requested { &mut recovered.cancelled } else { &mut recovered.pending }) += 1;
            }
        }
        recovered
    }
}

/// Both, and every claim that was ever made: the old ones must stay without effect.
struct Pair {
    queue: Queue,
    model: Model,
    claims: Vec<Claim>,
    random: Random,
}

impl Pair {
    async fn step(&mut self) {
        match self.random.below(20) {
            0..=6 => self.submit().await,
            7..=11 => self.claim().await,
            12..=15 => self.end_a_claim().await,
            16 | 17 => self.cancel().await,
            18 => self.retry().await,
            _ => assert_eq!(self.queue.recover().await.unwrap(), self.model.recover()),
        }
    }

    async fn submit(&mut self) {
        let (key, priority) = (format!("key-{}", self.random.below(KEYS)), self.random.below(5) as i32 - 2);
        let expected = self.model.submit(&key, priority);
        match self.queue.submit(&NewJob { priority, attempts_max: ATTEMPTS_MAX, ..job(&key) }).await {
            Ok(submitted) => self.entered(expected, &submitted.job, submitted.is_new),
            Err(Error::Full { .. }) => assert_eq!(expected, Err(())),
            Err(error) => panic!("{error}"),
        }
    }

    fn entered(&mut self, expected: Result<Option<JobId>, ()>, job: &Job, is_new: bool) {
        assert_eq!(expected, Ok((!is_new).then_some(job.id)));
        if is_new {
            self.model.jobs.push(Modelled::of(job));
            self.model.told.push((Transition::Submitted, job.id));
        }
    }

    async fn claim(&mut self) {
        let claim = self.queue.claim("worker").await.unwrap();
        let expected = self.model.next();
        assert_eq!(claim.as_ref().map(|claim| claim.job().id), expected);
        if let Some(claim) = claim {
            self.model.pass(claim.job().id, State::Building, Transition::Claimed);
            self.model.job(claim.job().id).attempts += 1;
            self.claims.push(claim);
        }
    }

    /// Ends one of the latest claims, which may be lost by now.
    async fn end_a_claim(&mut self) {
        if self.claims.is_empty() {
            return;
        }
        let latest = self.random.below(self.claims.len().min(4));
        let claim = self.claims[self.claims.len() - 1 - latest].clone();
        let id = claim.job().id;
        // It is the job's last claim, and the job is still at it.
        let last = self.claims.iter().rfind(|other| other.job().id == id).unwrap();
        let holds = last.job().attempts == claim.job().attempts && std::ptr::eq(last, &self.claims[self.claims.len() - 1 - latest]);
        let now = self.model.job(id).clone();
        let holds = holds && now.state == State::Building;
        let beat = match (holds, now.cancel_requested) {
            (false, _) => Beat::Lost,
            (true, true) => Beat::CancelRequested,
            (true, false) => Beat::Go,
        };
        assert_eq!(self.queue.heartbeat(&claim).await.unwrap(), beat);
        let way = self.random.below(5);
        let ended = match way {
            0 | 1 => self.queue.finish(&claim, Outcome::Success(Value::Null)).await,
            2 => self.queue.finish(&claim, Outcome::Failed(Failure::new("x", "y", true))).await,
            3 => self.queue.finish(&claim, Outcome::Failed(Failure::new("x", "y", false))).await,
            _ => self.queue.release(&claim).await,
        };
        match ended {
            Err(Error::Lost { .. }) => assert!(!holds, "{now:?}"),
            Ok(_) => {
                assert!(holds, "{now:?}");
                self.ended(way, &now);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn ended(&mut self, way: usize, job: &Modelled) {
        match way {
            0 | 1 => self.model.pass(job.id, State::Success, Transition::Succeeded),
            2 if job.attempts < ATTEMPTS_MAX => self.model.give_back(job.id, Transition::WillRetry),
            2 | 3 => self.model.pass(job.id, State::Failed, Transition::Failed),
            _ => {
                self.model.job(job.id).attempts -= 1;
                self.model.give_back(job.id, Transition::Released);
            }
        }
    }

    async fn cancel(&mut self) {
        let Some(job) = self.any_job() else { return };
        let cancelled = self.queue.cancel(job.id).await.unwrap();
        match (job.state, cancelled) {
            (State::Pending, Cancel::Done(_)) => self.model.pass(job.id, State::Cancelled, Transition::Cancelled),
            (State::Building, Cancel::Requested(_)) if job.cancel_requested => {}
            (State::Building, Cancel::Requested(_)) => {
                self.model.job(job.id).cancel_requested = true;
                self.model.told.push((Transition::CancelRequested, job.id));
            }
            (state, Cancel::Finished(_)) => assert!(state.is_finished()),
            other => panic!("{other:?}"),
        }
    }

    async fn retry(&mut self) {
        let Some(job) = self.any_job() else { return };
        let is_given_up = matches!(job.state, State::Failed | State::Cancelled);
        match self.queue.retry(job.id).await {
            Ok(Retry::Submitted(submitted)) => {
                assert!(is_given_up);
                let expected = self.model.submit(&job.key, job.priority);
                self.entered(expected, &submitted.job, submitted.is_new);
            }
            Ok(Retry::NotFailed(_)) => assert!(!is_given_up),
            Err(Error::Full { .. }) => assert!(is_given_up && self.model.submit(&job.key, job.priority).is_err()),
            other => panic!("{other:?}"),
        }
    }

    /// Mostly one of the latest: the others are finished.
    fn any_job(&mut self) -> Option<Modelled> {
        let count = self.model.jobs.len();
        (count > 0).then(|| self.model.jobs[count - 1 - self.random.below(count.min(12))].clone())
    }

    async fn compare(&self) {
        let jobs = self.queue.list(&Filter::default(), 500).await.unwrap();
        assert_eq!(jobs.iter().rev().map(Modelled::of).collect::<Vec<_>>(), self.model.jobs);
    }
}

/// Every claim is dead at once, so that `recover` is an operation as others are.
fn options(bench: &Bench) -> Options {
    Options { lease: Duration::ZERO, unfinished_max: UNFINISHED_MAX as u32, ..bench.options() }
}

#[test]
fn the_queue_does_what_its_model_does() {
    each(async |bench| {
        let queue = Queue::open(options(bench)).await.unwrap();
        let mut pair = Pair { queue, model: Model::default(), claims: Vec::new(), random: Random(0x5eed_0001) };
        for _ in 0..STEPS {
            pair.step().await;
            pair.compare().await;
        }
        let events = pair.queue.events_after(0, 1000).await.unwrap();
        assert!(events.iter().map(|event| event.seq).eq(1..=pair.model.told.len() as u64));
        for (event, (transition, id)) in events.iter().zip(&pair.model.told) {
            assert_eq!((event.name.clone(), event.job), (format!("build.{transition:?}").to_lowercase(), Some(*id)));
        }
    });
}
