//! Writing what was decided of a job.

use serde_json::Value as Json;

use crate::database::{Transaction, Value};
use crate::rows::{self, JOB};
use crate::verdict::Verdict;
use crate::{Error, Job, JobId, Queue};

impl Queue {
    /// Writes a verdict; returns the job as it is then.
    pub(crate) async fn carry_out(&self, transaction: &mut Transaction, id: JobId, verdict: &Verdict, now: i64) -> Result<Job, Error> {
        if let Some((level, line)) = &verdict.note {
            self.append_log(transaction, id, &[(*level, line.as_str())]).await?;
        }
        let statement = format!(
            "UPDATE clip_jobs SET state = $2, attempts = $3, not_before = $4, finished = $5, result = $6, error_code = $7, error_message = $8, \
                 error_transient = $9, lease_until = NULL, worker = CASE WHEN $2 = 'pending' THEN NULL ELSE worker END \
             WHERE id = $1 RETURNING {JOB}"
        );
        let (id, result) = (id.to_string(), verdict.result.as_ref().map(Json::to_string));
        let failure = verdict.error.as_ref();
        let values = [
            (&id).into(),
            verdict.state.as_str().into(),
            verdict.attempts.into(),
            verdict.not_before_ms.into(),
            Value::Int(verdict.state.is_finished().then_some(now)),
            (&result).into(),
            Value::Text(failure.map(|failure| failure.code.as_str())),
            Value::Text(failure.map(|failure| failure.message.as_str())),
            Value::Int(failure.map(|failure| i64::from(failure.is_transient))),
        ];
        rows::job(&transaction.only_row(&statement, &values).await?)
    }
}
