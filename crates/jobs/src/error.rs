//! What can go wrong: each variant says what can be done about it. No text in them has a password.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::JobId;

/// Why the queue did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is away or too slow: try again. Whether a write was done is not known if the connection broke during it.
    #[error("{database} does not answer: {detail}")]
    Unavailable {
        /// The database, without its password.
        database: Arc<str>,
        /// What happened.
        detail: String,
    },
    /// The queue has as many unfinished jobs as it takes: try again when some are done.
    #[error("the queue is full: {unfinished_max} jobs are unfinished")]
    Full {
        /// The limit, [`crate::Options::unfinished_max`].
        unfinished_max: u32,
    },
    /// What was given is too long or of the wrong form. A defect in the caller, or in who asked him.
    #[error("{field} {detail}")]
    Invalid {
        /// What it is.
        field: &'static str,
        /// What it must be.
        detail: String,
    },
    /// The job is no longer this claimant's: somebody else has it, or it is finished. Stop working on it.
    #[error("job {job} was taken over, or is finished")]
    Lost {
        /// The job.
        job: JobId,
    },
    /// Another process has the file open: it is the worker that runs already.
    #[error("{} is in use by another process; a queue in SQLite belongs to one (several workers share one in PostgreSQL)", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The database does not take us: mend the configuration, or the rights in the database.
    #[error("{database} refuses: {detail}")]
    Refused {
        /// The database, without its password.
        database: Arc<str>,
        /// What it said.
        detail: String,
    },
    /// What is stored cannot be read.
    #[error("{database} is damaged, or no database of ours: {detail}; {remedy}")]
    Damaged {
        /// The database, without its password.
        database: Arc<str>,
        /// What is wrong.
        detail: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The database was written by a later version of Clip: run that one, or give this one a database of its own.
    #[error("{database} has schema {found}, this version of Clip knows {known}: run the newer version, or use another database")]
    TooNew {
        /// The database, without its password.
        database: Arc<str>,
        /// The version there.
        found: i64,
        /// The latest that we know.
        known: i64,
    },
    /// The disk under the database takes no more: make room, then try again. What was accepted before is there.
    #[error("the disk of {database} is full or fails: {detail}; make room on it, or look after it")]
    Disk {
        /// The database, without its password.
        database: Arc<str>,
        /// What it said.
        detail: String,
    },
    /// A local file could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database does not understand us. A defect here.
    #[error("{database}: {detail}")]
    Defect {
        /// The database, without its password.
        database: Arc<str>,
        /// What it said.
        detail: String,
    },
}

impl Error {
    /// An error of a local file.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    }

    pub(crate) fn invalid(field: &'static str, detail: impl Into<String>) -> Error {
        Error::Invalid { field, detail: detail.into() }
    }
}
