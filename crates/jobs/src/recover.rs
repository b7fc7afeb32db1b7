//! Recovering: jobs whose worker has died go back into the queue, or are given up.

use crate::database::{Dialect, Transaction};
use crate::rows::{self, JOB};
use crate::verdict::Verdict;
use crate::{Error, Job, Queue, State};

/// Jobs that are recovered in one transaction.
const BATCH: usize = 50;

/// How many jobs were recovered, and to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// They wait again.
    pub pending: u32,
    /// They have no attempt left: their error has the code [`crate::WORKER_DIED`].
    pub failed: u32,
    /// Somebody had wanted them cancelled.
    pub cancelled: u32,
}

impl Queue {
    /// Takes the jobs from workers whose lease has run out. To be called every few seconds, by each worker: each job is recovered once.
    ///
    /// # Errors
    /// Those of the database; what was recovered before stays so.
    pub async fn recover(&self) -> Result<Recovered, Error> {
        self.recover_all(Dead::Expired).await
    }

    /// A file is one process's alone: whoever had a job when it is opened is dead.
    pub(crate) async fn recover_at_start(&self) -> Result<Recovered, Error> {
        let dead = match self.database().dialect() {
            Dialect::Sqlite => Dead::All,
            Dialect::Postgres => Dead::Expired,
        };
        self.recover_all(dead).await
    }

    async fn recover_all(&self, dead: Dead) -> Result<Recovered, Error> {
        let mut recovered = Recovered::default();
        loop {
            let jobs = self.within(self.recover_some(dead)).await?;
            for job in &jobs {
                match job.state {
                    State::Failed => recovered.failed += 1,
                    State::Cancelled => recovered.cancelled += 1,
                    _ => recovered.pending += 1,
                }
            }
            if jobs.len() < BATCH {
                return Ok(recovered);
            }
        }
    }

    async fn recover_some(&self, dead: Dead) -> Result<Vec<Job>, Error> {
        let mut transaction = self.database().begin().await?;
        let found = select(&mut transaction, dead).await?;
        if found.is_empty() {
            return transaction.undo().await.map(|()| found);
        }
        let now = transaction.now_ms().await?;
        let (mut transitions, mut jobs) = (Vec::new(), Vec::new());
        for job in &found {
            let verdict = Verdict::worker_died(job);
            jobs.push(self.carry_out(&mut transaction, job.id, &verdict, now).await?);
            transitions.push(verdict.transition);
        }
        let happened: Vec<_> = transitions.into_iter().zip(&jobs).collect();
        self.narrate(&mut transaction, &happened).await?;
        self.commit(transaction).await?;
        for (job, old) in jobs.iter().zip(&found) {
            tracing::warn!(job = %job.id, worker = old.worker, state = %job.state, attempts = job.attempts, "the worker of a job died");
        }
        Ok(jobs)
    }
}

/// Whose jobs are taken.
#[derive(Clone, Copy)]
enum Dead {
    /// Of those whose lease has run out.
    Expired,
    /// Of everybody.
    All,
}

async fn select(transaction: &mut Transaction, dead: Dead) -> Result<Vec<Job>, Error> {
    let (now, lock) = (transaction.dialect().now(), transaction.dialect().for_update_of_free_rows());
    let and = match dead {
        Dead::Expired => format!(" AND lease_until <= {now}"),
        Dead::All => String::new(),
    };
    let statement = format!("SELECT {JOB} FROM clip_jobs WHERE state = 'building'{and} ORDER BY kind, key LIMIT {BATCH}{lock}");
    transaction.rows(&statement, &[]).await?.iter().map(rows::job).collect()
}
