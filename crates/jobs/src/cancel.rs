//! Cancelling: what waits is taken out, who works is asked to stop.

use crate::rows::{self, JOB};
use crate::{Error, Job, JobId, Queue, State, Transition};

/// What a request to cancel came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancel {
    /// It waited, and is cancelled.
    Done(Job),
    /// Its worker hears of it at the next heartbeat.
    Requested(Job),
    /// It was finished before: this is how.
    Finished(Job),
    /// There is no such job, or no more.
    NoSuchJob,
}

impl Queue {
    /// Cancels a job. It can be called as often as one likes. Whoever submits the same kind and key from now on gets a new job.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn cancel(&self, id: JobId) -> Result<Cancel, Error> {
        self.within(async {
            let mut transaction = self.database().begin().await?;
            let Some(job) = self.locked(&mut transaction, id).await? else {
                return transaction.undo().await.map(|()| Cancel::NoSuchJob);
            };
            let (change, transition) = match job.state {
                State::Pending => (format!("state = 'cancelled', finished = {}", transaction.dialect().now()), Transition::Cancelled),
                State::Building if !job.cancel_requested => ("cancel_requested = 1".into(), Transition::CancelRequested),
                State::Building => return transaction.undo().await.map(|()| Cancel::Requested(job)),
                State::Success | State::Failed | State::Cancelled => return transaction.undo().await.map(|()| Cancel::Finished(job)),
            };
            let statement = format!("UPDATE clip_jobs SET {change} WHERE id = $1 RETURNING {JOB}");
            let job = rows::job(&transaction.only_row(&statement, &[(&id.to_string()).into()]).await?)?;
            self.narrate(&mut transaction, &[(transition, &job)]).await?;
            self.commit(transaction).await?;
            Ok(if job.state.is_finished() { Cancel::Done(job) } else { Cancel::Requested(job) })
        })
        .await
    }
}
