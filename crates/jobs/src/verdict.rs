//! What becomes of a job when a claim ends: decided here, from the job alone, and written elsewhere.

use serde_json::Value;

use crate::backoff::Backoff;
use crate::job::WORKER_DIED;
use crate::logs::Level;
use crate::{Failure, Job, State, Transition};

/// How an attempt ended, as its claimant says.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The work is done. The result has at most 64 KiB as JSON.
    Success(Value),
    /// It is not. Another attempt follows if the failure is transient, the job has one left and nobody wants it cancelled.
    Failed(Failure),
    /// The claimant stopped because it was asked to.
    Cancelled,
}

/// What is to be written of a job whose claim ended.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) state: State,
    pub(crate) transition: Transition,
    pub(crate) attempts: u32,
    /// Of a job that waits again.
    pub(crate) not_before_ms: i64,
    pub(crate) result: Option<Value>,
    pub(crate) error: Option<Failure>,
    /// A line for the job's log.
    pub(crate) note: Option<(Level, String)>,
}

impl Verdict {
    /// A claimant has finished. `random` spreads the next attempts of jobs that failed together.
    pub(crate) fn finished(job: &Job, outcome: Outcome, now_ms: i64, backoff: Backoff, random: u32) -> Verdict {
        match outcome {
            Outcome::Success(result) => Verdict { result: Some(result), ..Verdict::ended(job, State::Success, Transition::Succeeded) },
            Outcome::Cancelled => Verdict { error: job.error.clone(), ..Verdict::ended(job, State::Cancelled, Transition::Cancelled) },
            Outcome::Failed(failure) if !failure.is_transient || job.attempts >= job.attempts_max => {
                Verdict { error: Some(failure), ..Verdict::ended(job, State::Failed, Transition::Failed) }
            }
            Outcome::Failed(failure) if job.cancel_requested => {
                Verdict { error: Some(failure), ..Verdict::ended(job, State::Cancelled, Transition::Cancelled) }
            }
            Outcome::Failed(failure) => Verdict::another_attempt(job, failure, now_ms, backoff, random),
        }
    }

    /// A claimant gives the job back undone: the claim does not count.
    pub(crate) fn released(job: &Job) -> Verdict {
        Verdict { attempts: job.attempts.saturating_sub(1), ..Verdict::given_back(job, Transition::Released) }
    }

    /// A claimant is dead. The claim counts, or a job that kills its workers would do so for ever.
    pub(crate) fn worker_died(job: &Job) -> Verdict {
        let worker = job.worker.as_deref().unwrap_or("?");
        let message = format!("worker {worker} died during attempt {} of {}", job.attempts, job.attempts_max);
        let note = Some((Level::Warn, message.clone()));
        match job.attempts >= job.attempts_max && !job.cancel_requested {
            true => {
                let error = Some(Failure::new(WORKER_DIED, &message, false));
                Verdict { error, note, ..Verdict::ended(job, State::Failed, Transition::Failed) }
            }
            false => Verdict { note, ..Verdict::given_back(job, Transition::TakenOver) },
        }
    }

    fn ended(job: &Job, state: State, transition: Transition) -> Verdict {
        let (attempts, not_before_ms) = (job.attempts, job.not_before_ms);
        Verdict { state, transition, attempts, not_before_ms, result: None, error: None, note: None }
    }

    /// Back into the queue; but a job that was to be cancelled is, as soon as nobody works on it.
    fn given_back(job: &Job, transition: Transition) -> Verdict {
        let error = job.error.clone();
        match job.cancel_requested {
            true => Verdict { error, ..Verdict::ended(job, State::Cancelled, Transition::Cancelled) },
            false => Verdict { error, ..Verdict::ended(job, State::Pending, transition) },
        }
    }

    fn another_attempt(job: &Job, failure: Failure, now_ms: i64, backoff: Backoff, random: u32) -> Verdict {
        let wait_ms = i64::try_from(backoff.delay(job.attempts, random).as_millis()).unwrap_or(i64::MAX);
        let Failure { code, message, .. } = &failure;
        let note = format!("attempt {} of {} failed ({code}): {message}; the next one in {wait_ms} ms", job.attempts, job.attempts_max);
        Verdict {
            not_before_ms: now_ms.saturating_add(wait_ms),
            error: Some(failure),
            note: Some((Level::Warn, note)),
            ..Verdict::ended(job, State::Pending, Transition::WillRetry)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobId;

    fn job(attempts: u32, cancel_requested: bool) -> Job {
        Job {
            id: JobId::fresh(),
            kind: "build".into(),
            key: "k".into(),
            payload: Value::Null,
            priority: 0,
            state: State::Building,
            attempts,
            attempts_max: 3,
            not_before_ms: 5,
            created_ms: 5,
            started_ms: Some(6),
            finished_ms: None,
            worker: Some("w".into()),
            cancel_requested,
            request_id: None,
            progress: None,
            result: None,
            error: None,
            retry_of: None,
        }
    }

    fn finished(job: &Job, outcome: Outcome) -> (State, Transition) {
        let verdict = Verdict::finished(job, outcome, 1000, Backoff::default(), u32::MAX);
        (verdict.state, verdict.transition)
    }

    #[test]
    fn only_transient_failures_with_attempts_left_wait_again() {
        let failed = |is_transient| Outcome::Failed(Failure::new("c", "m", is_transient));
        assert_eq!(finished(&job(1, false), failed(true)), (State::Pending, Transition::WillRetry));
        assert_eq!(finished(&job(3, false), failed(true)), (State::Failed, Transition::Failed));
        assert_eq!(finished(&job(1, false), failed(false)), (State::Failed, Transition::Failed));
        assert_eq!(finished(&job(1, true), failed(true)), (State::Cancelled, Transition::Cancelled));
        assert_eq!(finished(&job(1, true), failed(false)), (State::Failed, Transition::Failed));
        assert_eq!(finished(&job(1, true), Outcome::Success(Value::Null)), (State::Success, Transition::Succeeded));
    }

    #[test]
    fn the_next_attempt_waits() {
        let failed = Outcome::Failed(Failure::new("c", "m", true));
        let verdict = Verdict::finished(&job(2, false), failed, 1000, Backoff::default(), u32::MAX);
        assert_eq!((verdict.not_before_ms, verdict.attempts), (3000, 2));
    }

    #[test]
    fn a_dead_worker_costs_an_attempt_and_a_release_none() {
        assert_eq!(Verdict::released(&job(3, false)).attempts, 2);
        let (second, last) = (Verdict::worker_died(&job(2, false)), Verdict::worker_died(&job(3, false)));
        assert_eq!((second.state, second.attempts), (State::Pending, 2));
        assert_eq!((last.state, last.error.unwrap().code.as_str()), (State::Failed, WORKER_DIED));
    }

    #[test]
    fn what_was_to_be_cancelled_is_when_nobody_has_it() {
        for verdict in [Verdict::released(&job(1, true)), Verdict::worker_died(&job(1, true)), Verdict::worker_died(&job(3, true))] {
            assert_eq!((verdict.state, verdict.transition), (State::Cancelled, Transition::Cancelled));
        }
    }
}
