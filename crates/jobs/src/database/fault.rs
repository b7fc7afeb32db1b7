//! What a driver's error means: the one table from codes of SQLite and PostgreSQL to what can be done.

use std::io::ErrorKind;
use std::sync::Arc;

use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteError;

use super::connection::Fault;
use crate::Error;

const REMEDY_FILE: &str =
    "move the file away, with those whose names go on with -wal and -shm: a new one is made, and jobs that waited must be submitted again";
const REMEDY_SERVER: &str = "restore it from a backup, or use another database";

/// The error for the caller.
pub(super) fn explain(database: &Arc<str>, error: Fault) -> Error {
    let name = database.clone();
    match error {
        Fault::Database(error) => match error.try_downcast_ref::<SqliteError>() {
            Some(sqlite) => explain_sqlite(name, sqlite),
            None => explain_postgres(name, &*error),
        },
        Fault::PoolTimedOut => Error::Unavailable { database: name, detail: "no connection in time".into() },
        Fault::PoolClosed => Error::Unavailable { database: name, detail: "the queue is closed".into() },
        // Of TLS: a certificate that is not trusted.
        Fault::Io(error) if error.kind() == ErrorKind::InvalidData => Error::Refused { database: name, detail: format!("TLS: {error}") },
        Fault::Io(error) => Error::Unavailable { database: name, detail: error.to_string() },
        Fault::WorkerCrashed => Error::Unavailable { database: name, detail: "its thread ended".into() },
        Fault::Tls(error) => Error::Refused { database: name, detail: format!("TLS: {error}") },
        Fault::Configuration(error) => Error::Refused { database: name, detail: error.to_string() },
        error => Error::Defect { database: name, detail: error.to_string() },
    }
}

/// What is stored does not make sense.
pub(super) fn damaged(database: &Arc<str>, detail: String) -> Error {
    let remedy = if database.starts_with(super::postgres::SCHEME) { REMEDY_SERVER } else { REMEDY_FILE };
    Error::Damaged { database: database.clone(), detail, remedy }
}

fn explain_sqlite(database: Arc<str>, error: &SqliteError) -> Error {
    let detail = error.to_string();
    // The lower byte is the code, the rest says more of it: https://www.sqlite.org/rescode.html
    match error.code().and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
        Some(5 | 6 | 7 | 9) => Error::Unavailable { database, detail }, // busy, locked, out of memory, interrupted
        Some(3 | 8 | 10 | 13 | 14) => Error::Disk { database, detail }, // permissions, read-only, I/O error, full, cannot be opened
        Some(11 | 26) => Error::Damaged { database, detail, remedy: REMEDY_FILE }, // corrupt, not a database
        _ => Error::Defect { database, detail },
    }
}

fn explain_postgres(database: Arc<str>, error: &dyn DatabaseError) -> Error {
    let (code, detail) = (error.code().unwrap_or_default(), error.to_string());
    // Five characters, the first two are the class: https://www.postgresql.org/docs/current/errcodes-appendix.html
    match (&*code, code.get(..2).unwrap_or_default()) {
        ("53100" | "58030", _) => Error::Disk { database, detail }, // disk full, I/O error
        // A standby, which may be promoted; a transaction that was idle for too long; a lock that somebody else keeps.
        ("25006" | "25P03" | "55P03", _) => Error::Unavailable { database, detail },
        ("42501", _) => Error::Refused { database, detail }, // a missing right
        // Connection, rollback (deadlock), resources, intervention (shutdown, timeout), system.
        (_, "08" | "40" | "53" | "57" | "58") => Error::Unavailable { database, detail },
        (_, "28" | "3D" | "3F") => Error::Refused { database, detail }, // password or role, no such database, no such schema
        ("XX001" | "XX002", _) => Error::Damaged { database, detail, remedy: REMEDY_SERVER },
        _ => Error::Defect { database, detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn what_may_pass_is_told_from_what_somebody_must_mend() {
        let explained = |error: io::Error| explain(&"postgres://clip@db:5432/queue".into(), Fault::Io(error));
        assert!(matches!(explained(ErrorKind::ConnectionReset.into()), Error::Unavailable { .. }));
        assert!(matches!(explained(io::Error::new(ErrorKind::InvalidData, "UnknownIssuer")), Error::Refused { .. }));
    }
}
