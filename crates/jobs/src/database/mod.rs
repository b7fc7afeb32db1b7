//! The database: one set of statements for both kinds, and what they differ in.
//!
//! SQLite understands PostgreSQL's placeholders, `RETURNING`, partial indexes and `ON CONFLICT`, so that nearly every statement is written once.
//! What differs is here: the clock ([`Dialect::now`]), locks on rows, how a transaction begins, and opening.
//!
//! A file of SQLite has one connection that writes, so that writers queue in this process and not in SQLite's busy handler, and a few that read.

mod connection;
mod fault;
mod postgres;
mod schema;
mod sqlite;
mod transaction;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgPool, SqlitePool};

use connection::{Connection, Fault};
pub(crate) use connection::{Row, Value};
pub use postgres::PostgresUrl;
pub(crate) use transaction::Transaction;

use crate::{Error, Options, Place};

/// A call takes at most this many times [`Options::patience`]: it waits for a connection, and for a few statements that are quick.
const PATIENCE_PER_CALL: u32 = 3;

/// What statements differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// The database's clock, in milliseconds since 1970.
    pub(crate) fn now(self) -> &'static str {
        match self {
            Dialect::Sqlite => "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)",
            Dialect::Postgres => "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)",
        }
    }

    /// Keeps the selected rows from others until the transaction ends. A transaction of SQLite has all rows for itself.
    pub(crate) fn for_update(self) -> &'static str {
        match self {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE",
        }
    }

    /// The same, of the rows that nobody else has.
    pub(crate) fn for_update_of_free_rows(self) -> &'static str {
        match self {
            Dialect::Sqlite => "",
            Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// What a transaction begins with. A default that somebody gave the server must not change what ours mean.
    fn begin(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        }
    }
}

/// An open database with its schema.
pub(crate) struct Database {
    /// Where it is, without a password.
    pub(crate) name: Arc<str>,
    pools: Pools,
}

enum Pools {
    Sqlite { write: SqlitePool, read: SqlitePool, _lock: File },
    Postgres(PgPool),
}

impl Database {
    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(options: &Options) -> Result<Database, Error> {
        let database = match &options.place {
            Place::Sqlite(path) => sqlite::open(path, options).await?,
            Place::Postgres(url) => postgres::open(url, options),
        };
        database.within(options.patience, schema::prepare(&database)).await?;
        Ok(database)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.pools {
            Pools::Sqlite { .. } => Dialect::Sqlite,
            Pools::Postgres(_) => Dialect::Postgres,
        }
    }

    /// A transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Transaction, Error> {
        Transaction::begin(self.writer().await?, self.name.clone(), self.dialect()).await
    }

    /// The rows that a statement finds. It reads only.
    pub(crate) async fn read(&self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        self.single(self.reader().await?, statement, values).await
    }

    /// The rows that one statement returns, which writes, in a transaction of its own.
    pub(crate) async fn write(&self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        self.single(self.writer().await?, statement, values).await
    }

    /// Bounds a call in time, given how long it may wait for a connection and for each statement.
    pub(crate) async fn within<T>(&self, patience: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let limit = patience.saturating_mul(PATIENCE_PER_CALL);
        // On the heap: the futures of a driver are large, and callers hold several.
        match tokio::time::timeout(limit, Box::pin(call)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Unavailable { database: self.name.clone(), detail: format!("no end within {limit:?}") }),
        }
    }

    /// Waits until all connections are closed; who calls later gets [`Error::Unavailable`].
    pub(crate) async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { write, read, .. } => {
                read.close().await;
                // The last connection takes the write-ahead log with it.
                write.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }

    async fn single(&self, mut connection: Connection, statement: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let rows = connection.rows(statement, values).await.map_err(|error| self.explain(error))?;
        connection.keep();
        Ok(rows.into_iter().map(|data| Row::new(data, self.name.clone())).collect())
    }

    async fn writer(&self) -> Result<Connection, Error> {
        let connection = match &self.pools {
            Pools::Sqlite { write, .. } => write.acquire().await.map(Connection::sqlite),
            Pools::Postgres(pool) => pool.acquire().await.map(Connection::postgres),
        };
        connection.map_err(|error| self.explain(error))
    }

    async fn reader(&self) -> Result<Connection, Error> {
        match &self.pools {
            Pools::Sqlite { read, .. } => read.acquire().await.map(Connection::sqlite).map_err(|error| self.explain(error)),
            Pools::Postgres(_) => self.writer().await,
        }
    }

    fn explain(&self, error: Fault) -> Error {
        fault::explain(&self.name, error)
    }
}
