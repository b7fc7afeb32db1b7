//! Looking: jobs as they are, without changing anything.

use crate::database::Value;
use crate::prune;
use crate::rows::{self, JOB};
use crate::{Error, Job, JobId, Queue, State};

/// Most jobs that are listed at once.
pub const JOBS_PER_LIST_MAX: u32 = 500;

/// Which jobs are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these states; none: in any.
    pub states: Vec<State>,
    /// Of this kind.
    pub kind: Option<String>,
    /// With this key.
    pub key: Option<String>,
    /// Submitted before this one: the last of the list before.
    pub before: Option<JobId>,
}

/// How many jobs there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// They wait.
    pub pending: u64,
    /// They are at work.
    pub building: u64,
    /// They succeeded.
    pub success: u64,
    /// They failed.
    pub failed: u64,
    /// They were cancelled.
    pub cancelled: u64,
}

impl Queue {
    /// A job, if it is there (still).
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get(&self, id: JobId) -> Result<Option<Job>, Error> {
        let statement = format!("SELECT {JOB} FROM clip_jobs WHERE id = $1");
        let id = id.to_string();
        let values = [(&id).into()];
        let found = self.within(async { self.database().read(&statement, &values).await }).await?;
        found.first().map(rows::job).transpose()
    }

    /// The jobs that the filter lets through, the newest first: at most `limit`, and never more than [`JOBS_PER_LIST_MAX`].
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(&self, filter: &Filter, limit: u32) -> Result<Vec<Job>, Error> {
        let before = filter.before.map(|id| id.to_string());
        let mut values: Vec<Value<'_>> = vec![limit.min(JOBS_PER_LIST_MAX).into()];
        let mut conditions = vec!["1 = 1".to_owned()];
        for (column, value) in [("kind =", &filter.kind), ("key =", &filter.key), ("id <", &before)] {
            if let Some(text) = value {
                // PostgreSQL stores no NUL, and takes none either: no job has it.
                if text.contains('\0') {
                    return Ok(Vec::new());
                }
                values.push(text.into());
                conditions.push(format!("{column} ${}", values.len()));
            }
        }
        if !filter.states.is_empty() {
            let is_listed = |state: &State| filter.states.contains(state);
            let names: Vec<String> = State::ALL.into_iter().filter(is_listed).map(|state| format!("'{state}'")).collect();
            conditions.push(format!("state IN ({})", names.join(", ")));
        }
        let statement = format!("SELECT {JOB} FROM clip_jobs WHERE {} ORDER BY id DESC LIMIT $1", conditions.join(" AND "));
        let found = self.within(async { self.database().read(&statement, &values).await }).await?;
        found.iter().map(rows::job).collect()
    }

    /// How many jobs are in each state.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn counts(&self) -> Result<Counts, Error> {
        // Each part has an index of its own.
        let parts = ["state = 'pending'", "state = 'building'", prune::FINISHED];
        let parts = parts.map(|part| format!("SELECT state, count(*) AS jobs FROM clip_jobs WHERE {part} GROUP BY state"));
        let statement = parts.join(" UNION ALL ");
        let found = self.within(async { self.database().read(&statement, &[]).await }).await?;
        let mut counts = Counts::default();
        for row in &found {
            let count = match row.parse("state")? {
                State::Pending => &mut counts.pending,
                State::Building => &mut counts.building,
                State::Success => &mut counts.success,
                State::Failed => &mut counts.failed,
                State::Cancelled => &mut counts.cancelled,
            };
            *count = row.narrow("jobs")?;
        }
        Ok(counts)
    }
}
