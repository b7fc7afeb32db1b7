//! Submitting: a job comes into the queue, once.

use crate::database::Transaction;
use crate::publish;
use crate::rows::{self, JOB};
use crate::{Error, Job, JobId, NewJob, Queue, State, Transition};

/// How often the job of the same key may vanish between two looks.
const ROUNDS_MAX: u32 = 5;

/// What a submission came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The job that will do it.
    pub job: Job,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// What a request to repeat a job came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Retry {
    /// It is in the queue again, as a job of its own; or a job of the same kind and key was there already.
    Submitted(Submitted),
    /// It neither failed nor was it cancelled; this is how it is.
    NotFailed(Job),
    /// There is no such job, or no more.
    NoSuchJob,
}

impl Queue {
    /// Puts a job into the queue. If an unfinished one has its kind and key, that one stands for it, with its own payload and the higher of the two
    /// priorities; unless that one is being cancelled. When this returns, the job is on disk.
    ///
    /// After [`Error::Unavailable`] it can be called again: it makes no second job.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Invalid`], and those of the database.
    pub async fn submit(&self, new: &NewJob) -> Result<Submitted, Error> {
        let payload = new.check()?;
        self.within(async {
            let mut transaction = self.database().begin().await?;
            let entered = self.enter(&mut transaction, new, &payload, None).await;
            self.finish_entering(transaction, entered).await
        })
        .await
    }

    /// Submits a failed or cancelled job anew, with all that it was submitted with.
    ///
    /// # Errors
    /// [`Error::Full`], and those of the database.
    pub async fn retry(&self, id: JobId) -> Result<Retry, Error> {
        self.within(async {
            let mut transaction = self.database().begin().await?;
            let Some(old) = self.locked(&mut transaction, id).await? else {
                return transaction.undo().await.map(|()| Retry::NoSuchJob);
            };
            if !matches!(old.state, State::Failed | State::Cancelled) {
                return transaction.undo().await.map(|()| Retry::NotFailed(old));
            }
            let Job { kind, key, payload, priority, attempts_max, request_id, .. } = old;
            let new = NewJob { kind, key, payload, priority, attempts_max, request_id };
            let entered = self.enter(&mut transaction, &new, &new.payload.to_string(), Some(id)).await;
            self.finish_entering(transaction, entered).await.map(Retry::Submitted)
        })
        .await
    }

    /// A job, and nobody else changes it until the transaction ends.
    pub(crate) async fn locked(&self, transaction: &mut Transaction, id: JobId) -> Result<Option<Job>, Error> {
        let statement = format!("SELECT {JOB} FROM clip_jobs WHERE id = $1{}", transaction.dialect().for_update());
        transaction.row(&statement, &[(&id.to_string()).into()]).await?.as_ref().map(rows::job).transpose()
    }

    async fn enter(&self, transaction: &mut Transaction, new: &NewJob, payload: &str, retry_of: Option<JobId>) -> Result<Submitted, Error> {
        // With PostgreSQL, another worker may finish the job of that key between our looks.
        for _ in 0..ROUNDS_MAX {
            if let Some(job) = insert(transaction, new, payload, retry_of).await? {
                self.refuse_if_full(transaction).await?;
                self.narrate(transaction, &[(Transition::Submitted, &job)]).await?;
                return Ok(Submitted { job, is_new: true });
            }
            if let Some(job) = unfinished(transaction, new).await? {
                return Ok(Submitted { job, is_new: false });
            }
        }
        Err(Error::Unavailable { database: self.database().name.clone(), detail: "the job of this key comes and goes".into() })
    }

    async fn finish_entering(&self, transaction: Transaction, entered: Result<Submitted, Error>) -> Result<Submitted, Error> {
        match entered {
            Ok(submitted) => self.commit(transaction).await.map(|()| submitted),
            // A full queue is asked often: that must not cost a connection each time.
            Err(full @ Error::Full { .. }) => transaction.undo().await.and(Err(full)),
            Err(error) => Err(error),
        }
    }

    /// Counts with the new job in. Who submits has the counter of events until he commits, so nobody else is between counting and committing.
    async fn refuse_if_full(&self, transaction: &mut Transaction) -> Result<(), Error> {
        publish::lock_counter(transaction).await?;
        let statement = "SELECT (SELECT count(*) FROM clip_jobs WHERE state = 'pending') \
                              + (SELECT count(*) FROM clip_jobs WHERE state = 'building') AS jobs";
        let jobs = transaction.only_row(statement, &[]).await?.int("jobs")?;
        let unfinished_max = self.options().unfinished_max;
        if jobs > i64::from(unfinished_max) { Err(Error::Full { unfinished_max }) } else { Ok(()) }
    }
}

/// None if an unfinished job has that kind and key.
async fn insert(transaction: &mut Transaction, new: &NewJob, payload: &str, retry_of: Option<JobId>) -> Result<Option<Job>, Error> {
    let now = transaction.now_ms().await?;
    let statement = format!(
        "INSERT INTO clip_jobs (id, kind, key, payload, priority, state, attempts, attempts_max, not_before, created, fence, cancel_requested, \
             request_id, log_last, retry_of) \
         VALUES ($1, $2, $3, $4, $5, 'pending', 0, $6, 0, $7, 0, 0, $8, 0, $9) \
         ON CONFLICT (kind, key) WHERE state IN ('pending', 'building') AND cancel_requested = 0 DO NOTHING RETURNING {JOB}"
    );
    let (id, retry_of) = (JobId::fresh().to_string(), retry_of.map(|id| id.to_string()));
    let values = [
        (&id).into(),
        (&new.kind).into(),
        (&new.key).into(),
        payload.into(),
        i64::from(new.priority).into(),
        new.attempts_max.into(),
        now.into(),
        (&new.request_id).into(),
        (&retry_of).into(),
    ];
    transaction.row(&statement, &values).await?.as_ref().map(rows::job).transpose()
}

/// The unfinished job of that kind and key, no less urgent than the new one.
async fn unfinished(transaction: &mut Transaction, new: &NewJob) -> Result<Option<Job>, Error> {
    let which = "kind = $1 AND key = $2 AND state IN ('pending', 'building') AND cancel_requested = 0";
    let (kind, key) = (&new.kind, &new.key);
    let raise = format!("UPDATE clip_jobs SET priority = $3 WHERE {which} AND priority < $3 RETURNING {JOB}");
    let raised = transaction.row(&raise, &[kind.into(), key.into(), i64::from(new.priority).into()]).await?;
    let found = match raised {
        Some(row) => Some(row),
        None => transaction.row(&format!("SELECT {JOB} FROM clip_jobs WHERE {which}"), &[kind.into(), key.into()]).await?,
    };
    found.as_ref().map(rows::job).transpose()
}
