//! The tables, and how those of an earlier version become today's.
//!
//! A version is a list of statements that make it of the version before; what was released is never changed. All run in one transaction with
//! the number that is kept of them. The names begin with `clip_`: a database of PostgreSQL may have other tenants.
//! Numbers are BIGINT (times in milliseconds since 1970, flags 0 or 1), all else is TEXT, JSON too. What is long comes last in its row: SQLite walks
//! over it to what is behind it.
//!
//! Every statement has an index that it can be answered by in order, and each is written so that both databases use that one without having
//! gathered statistics, which a queue that fills and empties would make wrong all the time.

use std::sync::Arc;

use super::{Database, Dialect, Transaction};
use crate::Error;

/// The versions, the first at index 0.
const VERSIONS: &[&[&str]] = &[&[
    "CREATE TABLE clip_jobs (
        id TEXT NOT NULL PRIMARY KEY,
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        priority BIGINT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'building', 'success', 'failed', 'cancelled')),
        attempts BIGINT NOT NULL,
        attempts_max BIGINT NOT NULL,
        not_before BIGINT NOT NULL,
        created BIGINT NOT NULL,
        started BIGINT,
        finished BIGINT,
        worker TEXT,
        fence BIGINT NOT NULL,
        lease_until BIGINT,
        cancel_requested BIGINT NOT NULL,
        log_last BIGINT NOT NULL,
        retry_of TEXT,
        request_id TEXT,
        error_code TEXT,
        error_transient BIGINT,
        error_message TEXT,
        payload TEXT NOT NULL,
        progress TEXT,
        result TEXT
    )",
    // Whoever submits the same is referred to the one that is there.
    "CREATE UNIQUE INDEX clip_jobs_one ON clip_jobs (kind, key) WHERE state IN ('pending', 'building') AND cancel_requested = 0",
    // In the order of claims; and `state`, which is known, so that counting needs nothing but the index.
    "CREATE INDEX clip_jobs_next ON clip_jobs (priority DESC, created, id, state) WHERE state = 'pending'",
    "CREATE INDEX clip_jobs_building ON clip_jobs (kind, key, state) WHERE state = 'building'",
    "CREATE INDEX clip_jobs_finished ON clip_jobs (finished, id, state) WHERE state IN ('success', 'failed', 'cancelled')",
    "CREATE INDEX clip_jobs_key ON clip_jobs (kind, key, id)",
    "CREATE TABLE clip_job_logs (
        job TEXT NOT NULL REFERENCES clip_jobs (id) ON DELETE CASCADE,
        seq BIGINT NOT NULL,
        time BIGINT NOT NULL,
        level TEXT NOT NULL,
        line TEXT NOT NULL,
        PRIMARY KEY (job, seq)
    )",
    "CREATE TABLE clip_events (
        seq BIGINT NOT NULL PRIMARY KEY,
        time BIGINT NOT NULL,
        name TEXT NOT NULL,
        job TEXT,
        key TEXT,
        data TEXT NOT NULL
    )",
    // One row: the number of the last event. Who writes an event has it until he commits, so numbers become visible in their order.
    "CREATE TABLE clip_event_counter (last BIGINT NOT NULL)",
    "INSERT INTO clip_event_counter (last) VALUES (0)",
]];

/// The number under which workers that start at once wait for each other: "clipjobs" in ASCII.
const ADVISORY_LOCK: i64 = 0x636c_6970_6a6f_6273;

/// Makes the tables what they should be, or refuses those of a later version, or of somebody else.
pub(super) async fn prepare(database: &Database) -> Result<(), Error> {
    let mut transaction = database.begin().await?;
    if transaction.dialect() == Dialect::Postgres {
        transaction.run("SELECT 1 FROM (SELECT pg_advisory_xact_lock($1)) AS locked", &[ADVISORY_LOCK.into()]).await?;
    }
    let found = version(&mut transaction).await?;
    let known = VERSIONS.len() as i64;
    if found > known {
        return Err(Error::TooNew { database: database.name.clone(), found, known });
    }
    for (statements, version) in VERSIONS.iter().zip(1..).filter(|(_, version)| *version > found) {
        for statement in *statements {
            transaction.run(statement, &[]).await?;
        }
        transaction.run("INSERT INTO clip_schema (version) VALUES ($1)", &[i64::into(version)]).await?;
    }
    transaction.commit().await
}

/// The version that is there; 0 is none.
async fn version(transaction: &mut Transaction) -> Result<i64, Error> {
    let tables = match transaction.dialect() {
        Dialect::Sqlite => "SELECT count(*) AS all_tables, count(CASE WHEN name = 'clip_schema' THEN 1 END) AS ours FROM sqlite_master",
        // Other tables are nobody's concern: it is a server for many.
        Dialect::Postgres => "SELECT 0::BIGINT AS all_tables, count(to_regclass('clip_schema')) AS ours",
    };
    let tables = transaction.only_row(tables, &[]).await?;
    match (tables.int("all_tables")?, tables.int("ours")?) {
        (0, 0) => transaction.run("CREATE TABLE clip_schema (version BIGINT NOT NULL PRIMARY KEY)", &[]).await.map(|()| 0),
        (_, 0) => Err(foreign(transaction.database())),
        _ => transaction.only_row("SELECT coalesce(max(version), 0) AS version FROM clip_schema", &[]).await?.int("version"),
    }
}

fn foreign(database: &Arc<str>) -> Error {
    let detail = "it has tables of another program".into();
    Error::Damaged { database: database.clone(), detail, remedy: "give the queue a file of its own" }
}
