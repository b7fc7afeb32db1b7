//! Claims: a worker has a job, for as long as its heart beats.

use serde_json::Value as Json;

use crate::check::{self, WORKER_BYTES_MAX};
use crate::database::Transaction;
use crate::job::{PROGRESS_BYTES_MAX, RESULT_BYTES_MAX};
use crate::rows::{self, JOB};
use crate::verdict::Verdict;
use crate::{Error, Job, Outcome, Queue, Transition};

/// What the claimant of a job has in hand. Its number, one more at each claim of the job, is in every write by it: once somebody else has the
/// job, or it is finished, the writes of an earlier claimant are refused.
#[derive(Debug, Clone)]
pub struct Claim {
    job: Job,
    fence: i64,
}

impl Claim {
    /// The job as it was when it was claimed.
    pub fn job(&self) -> &Job {
        &self.job
    }

    pub(crate) fn lost(&self) -> Error {
        Error::Lost { job: self.job.id }
    }
}

/// What a heartbeat learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Beat {
    /// Go on.
    Go,
    /// Somebody wants the job cancelled: stop, and finish it with [`Outcome::Cancelled`].
    CancelRequested,
    /// Somebody else has the job now, or it is finished: stop, and write nothing more.
    Lost,
}

impl Queue {
    /// Takes the most urgent job that waits and whose time has come, the oldest of these; none if there is none. Nobody else has it until the claim is
    /// finished, released, or [`Options::lease`](crate::Options::lease) old. While a job is at work, no other of its kind and key is given out.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the worker's name, and those of the database. After [`Error::Unavailable`] a claim may have been made that nobody has
    /// heard of; its lease runs out.
    pub async fn claim(&self, worker: &str) -> Result<Option<Claim>, Error> {
        check::text("worker", worker, WORKER_BYTES_MAX)?;
        self.within(async {
            let mut transaction = self.database().begin().await?;
            let now = transaction.now_ms().await?;
            let Some(id) = next(&mut transaction, now).await? else {
                return transaction.undo().await.map(|()| None);
            };
            let statement = format!(
                "UPDATE clip_jobs SET state = 'building', attempts = attempts + 1, fence = fence + 1, worker = $2, started = $3, lease_until = $4, \
                     progress = NULL \
                 WHERE id = $1 RETURNING fence, {JOB}"
            );
            let row = transaction.only_row(&statement, &[(&id).into(), worker.into(), now.into(), (now + self.lease_ms()).into()]).await?;
            let claim = Claim { job: rows::job(&row)?, fence: row.int("fence")? };
            self.narrate(&mut transaction, &[(Transition::Claimed, &claim.job)]).await?;
            self.commit(transaction).await?;
            Ok(Some(claim))
        })
        .await
    }

    /// Keeps the claim for another lease from now, and hears whether to go on.
    ///
    /// # Errors
    /// Those of the database: the claim may live on, so try again while the lease lasts.
    pub async fn heartbeat(&self, claim: &Claim) -> Result<Beat, Error> {
        let statement = format!(
            "UPDATE clip_jobs SET lease_until = {} + $3 WHERE id = $1 AND fence = $2 AND state = 'building' RETURNING cancel_requested",
            self.database().dialect().now()
        );
        let id = claim.job.id.to_string();
        let values = [(&id).into(), claim.fence.into(), self.lease_ms().into()];
        let found = self.within(async { self.database().write(&statement, &values).await }).await?;
        match found.first().map(|row| row.int("cancel_requested")).transpose()? {
            Some(0) => Ok(Beat::Go),
            Some(_) => Ok(Beat::CancelRequested),
            None => Ok(Beat::Lost),
        }
    }

    /// Says how far the work is: at most 16 KiB as JSON, in place of what was said before.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Invalid`], and those of the database.
    pub async fn progress(&self, claim: &Claim, progress: &Json) -> Result<(), Error> {
        let progress = check::document("progress", progress, PROGRESS_BYTES_MAX)?;
        let statement = "UPDATE clip_jobs SET progress = $3 WHERE id = $1 AND fence = $2 AND state = 'building' RETURNING id";
        let id = claim.job.id.to_string();
        let values = [(&id).into(), claim.fence.into(), (&progress).into()];
        let found = self.within(async { self.database().write(statement, &values).await }).await?;
        self.wake();
        if found.is_empty() { Err(claim.lost()) } else { Ok(()) }
    }

    /// Ends the claim, and the job, unless another attempt follows; returns the job as it is then. All of it, with its events, is on disk when this
    /// returns.
    ///
    /// It can be called again after [`Error::Unavailable`]: [`Error::Lost`] then means that the first call was heard, or the lease has run out.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Invalid`] for a result that is too long, and those of the database.
    pub async fn finish(&self, claim: &Claim, outcome: Outcome) -> Result<Job, Error> {
        if let Outcome::Success(result) = &outcome {
            check::document("result", result, RESULT_BYTES_MAX)?;
        }
        // Public fields: who fills them may not know what is stored.
        let outcome = match outcome {
            Outcome::Failed(failure) => Outcome::Failed(crate::Failure::new(&failure.code, &failure.message, failure.is_transient)),
            outcome => outcome,
        };
        let random = random();
        self.end(claim, |job, now| Verdict::finished(job, outcome, now, self.options().backoff, random)).await
    }

    /// Gives the job back undone, as if it had not been claimed; returns it as it is then. For a worker that is told to stop.
    ///
    /// # Errors
    /// [`Error::Lost`], and those of the database.
    pub async fn release(&self, claim: &Claim) -> Result<Job, Error> {
        self.end(claim, |job, _| Verdict::released(job)).await
    }

    async fn end(&self, claim: &Claim, decide: impl FnOnce(&Job, i64) -> Verdict) -> Result<Job, Error> {
        self.within(async {
            let mut transaction = self.database().begin().await?;
            let Some(job) = self.held(&mut transaction, claim).await? else {
                return transaction.undo().await.and(Err(claim.lost()));
            };
            let now = transaction.now_ms().await?;
            let verdict = decide(&job, now);
            let job = self.carry_out(&mut transaction, job.id, &verdict, now).await?;
            self.narrate(&mut transaction, &[(verdict.transition, &job)]).await?;
            self.commit(transaction).await?;
            Ok(job)
        })
        .await
    }

    /// The job as it is now, if the claimant still has it; it keeps it until the transaction ends.
    pub(crate) async fn held(&self, transaction: &mut Transaction, claim: &Claim) -> Result<Option<Job>, Error> {
        let lock = transaction.dialect().for_update();
        let statement = format!("SELECT {JOB} FROM clip_jobs WHERE id = $1 AND fence = $2 AND state = 'building'{lock}");
        let id = claim.job.id.to_string();
        transaction.row(&statement, &[(&id).into(), claim.fence.into()]).await?.as_ref().map(rows::job).transpose()
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.options().lease.as_millis()).unwrap_or(i64::MAX / 2)
    }
}

/// The job to be claimed. With PostgreSQL, those that others are claiming are passed over. The condition is a count, for `NOT EXISTS` would be
/// planned as a join, of all that waits with all that is at work.
async fn next(transaction: &mut Transaction, now: i64) -> Result<Option<String>, Error> {
    let statement = format!(
        "SELECT id FROM clip_jobs AS waiting WHERE state = 'pending' AND not_before <= $1 AND (SELECT count(*) FROM clip_jobs AS busy \
             WHERE busy.state = 'building' AND busy.kind = waiting.kind AND busy.key = waiting.key) = 0 \
         ORDER BY priority DESC, created, id LIMIT 1{}",
        transaction.dialect().for_update_of_free_rows()
    );
    transaction.row(&statement, &[now.into()]).await?.map(|row| row.text("id")).transpose()
}

fn random() -> u32 {
    // The low bits of a version 4 UUID are all random.
    uuid::Uuid::new_v4().as_u128() as u32
}
