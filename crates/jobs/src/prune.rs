//! Pruning: finished jobs do not stay for ever.

use crate::{Error, Queue};

/// Jobs that go in one transaction: each may have thousands of lines of log.
const BATCH: i64 = 50;

/// As the index of finished jobs has it: SQLite compares texts.
pub(crate) const FINISHED: &str = "state IN ('success', 'failed', 'cancelled')";

impl Queue {
    /// Takes away finished jobs that are too old or too many ([`Options::retention`](crate::Options::retention),
    /// [`Options::finished_max`](crate::Options::finished_max)), the oldest first, with their logs; returns how many. To be called now and then.
    ///
    /// # Errors
    /// Those of the database; what was taken away before stays so.
    pub async fn prune(&self) -> Result<u64, Error> {
        let mut pruned = 0;
        loop {
            let gone = self.within(self.prune_some()).await?;
            pruned += gone;
            if gone == 0 {
                return Ok(pruned);
            }
        }
    }

    async fn prune_some(&self) -> Result<u64, Error> {
        let mut transaction = self.database().begin().await?;
        let now = transaction.now_ms().await?;
        let oldest = now.saturating_sub(i64::try_from(self.options().retention.as_millis()).unwrap_or(i64::MAX));
        let counted =
            format!("SELECT count(*) AS all_jobs, count(CASE WHEN finished < $1 THEN 1 END) AS old FROM clip_jobs WHERE {FINISHED}");
        let counted = transaction.only_row(&counted, &[oldest.into()]).await?;
        let surplus = counted.int("all_jobs")? - i64::from(self.options().finished_max);
        let gone = surplus.max(counted.int("old")?).clamp(0, BATCH);
        if gone == 0 {
            return transaction.undo().await.map(|()| 0);
        }
        // In one order, and passing over what another worker prunes or somebody repeats just now.
        let lock = transaction.dialect().for_update_of_free_rows();
        let statement = format!(
            "DELETE FROM clip_jobs WHERE id IN (SELECT id FROM clip_jobs WHERE {FINISHED} ORDER BY finished, id LIMIT $1{lock}) RETURNING id"
        );
        let gone = transaction.rows(&statement, &[gone.into()]).await?.len();
        transaction.commit().await?;
        Ok(gone as u64)
    }
}
