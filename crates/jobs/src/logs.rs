//! The log of a job: lines that its workers write, the latest of them.

use std::fmt;
use std::str::FromStr;

use crate::database::Transaction;
use crate::publish::stored;
use crate::rows::{self, LOG_LINE};
use crate::{Claim, Error, JobId, Queue, check};

/// Longest line of a log, in bytes; the rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 4 << 10;
/// Most lines that are written at once, in one transaction.
pub const LOG_LINES_PER_WRITE_MAX: usize = 200;
/// Most lines that are read at once.
pub const LOG_LINES_PER_READ_MAX: u32 = 2_000;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For whoever looks for a defect.
    Debug,
    /// What is being done.
    Info,
    /// It goes on, but not as it should.
    Warn,
    /// It does not go on.
    Error,
}

impl Level {
    const ALL: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];

    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Level, Error> {
        let found = Level::ALL.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| Error::invalid("level", "must be debug, info, warn or error"))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A line as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its number in the job's log, from 1 and without gaps.
    pub seq: u64,
    /// When, in milliseconds since 1970 by the database's clock.
    pub time_ms: i64,
    /// How much it matters.
    pub level: Level,
    /// What it says: at most 4 KiB.
    pub line: String,
}

/// A piece of a job's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Lines that were asked for and are not kept any more, because the job wrote too many after them.
    pub dropped: u64,
    /// The lines, in order.
    pub lines: Vec<LogLine>,
}

impl Queue {
    /// Writes lines into the job's log, at most 200 at once; what is over 4 KiB of one is cut off. Of many lines the latest are kept.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Invalid`], and those of the database.
    pub async fn log(&self, claim: &Claim, lines: &[(Level, &str)]) -> Result<(), Error> {
        if lines.len() > LOG_LINES_PER_WRITE_MAX {
            return Err(Error::invalid("log", format!("has {} lines at once, more than {LOG_LINES_PER_WRITE_MAX}", lines.len())));
        }
        self.within(async {
            let mut transaction = self.database().begin().await?;
            if self.held(&mut transaction, claim).await?.is_none() {
                return transaction.undo().await.and(Err(claim.lost()));
            }
            self.append_log(&mut transaction, claim.job().id, lines).await?;
            self.commit(transaction).await
        })
        .await
    }

    /// The lines of a job's log after number `seq`, in order: at most `limit`, and never more than [`LOG_LINES_PER_READ_MAX`].
    ///
    /// # Errors
    /// Those of the database.
    pub async fn logs_after(&self, id: JobId, seq: u64, limit: u32) -> Result<Log, Error> {
        let statement = format!("SELECT {LOG_LINE} FROM clip_job_logs WHERE job = $1 AND seq > $2 ORDER BY seq LIMIT $3");
        let id = id.to_string();
        let values = [(&id).into(), stored(seq).into(), limit.min(LOG_LINES_PER_READ_MAX).into()];
        let found = self.within(async { self.database().read(&statement, &values).await }).await?;
        let lines = found.iter().map(rows::log_line).collect::<Result<Vec<LogLine>, Error>>()?;
        let dropped = lines.first().map_or(0, |first| first.seq.saturating_sub(seq.saturating_add(1)));
        Ok(Log { dropped, lines })
    }

    /// Appends lines to a job's log, and takes away those that are too many then. The transaction has the job's row from here on.
    pub(crate) async fn append_log(&self, transaction: &mut Transaction, id: JobId, lines: &[(Level, &str)]) -> Result<(), Error> {
        let (id, now, count) = (id.to_string(), transaction.now_ms().await?, lines.len() as i64);
        let statement = "UPDATE clip_jobs SET log_last = log_last + $2 WHERE id = $1 RETURNING log_last";
        let last = transaction.only_row(statement, &[(&id).into(), count.into()]).await?.int("log_last")?;
        for ((level, line), seq) in lines.iter().zip(last - count + 1..) {
            let line = check::shortened(line, LOG_LINE_BYTES_MAX);
            let values = [(&id).into(), seq.into(), now.into(), level.as_str().into(), (&line).into()];
            transaction.run("INSERT INTO clip_job_logs (job, seq, time, level, line) VALUES ($1, $2, $3, $4, $5)", &values).await?;
        }
        let gone = [(&id).into(), (last - i64::from(self.options().log_lines_max)).into()];
        transaction.run("DELETE FROM clip_job_logs WHERE job = $1 AND seq <= $2", &gone).await
    }
}
