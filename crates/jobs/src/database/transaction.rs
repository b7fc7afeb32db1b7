//! A transaction: all of it is there, for good, when [`Transaction::commit`] returns; without that, nothing is.

use std::sync::Arc;

use super::connection::{Connection, Fault};
use super::{Dialect, Row, Value, fault};
use crate::Error;

/// An open transaction.
pub(crate) struct Transaction {
    connection: Connection,
    database: Arc<str>,
    dialect: Dialect,
}

impl Transaction {
    pub(super) async fn begin(mut connection: Connection, database: Arc<str>, dialect: Dialect) -> Result<Transaction, Error> {
        connection.control(dialect.begin()).await.map_err(|error| fault::explain(&database, error))?;
        Ok(Transaction { connection, database, dialect })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What a lower layer would say of this database.
    pub(crate) fn database(&self) -> &Arc<str> {
        &self.database
    }

    /// The database's clock, in milliseconds since 1970.
    pub(crate) async fn now_ms(&mut self) -> Result<i64, Error> {
        let statement = format!("SELECT {} AS now", self.dialect.now());
        self.only_row(&statement, &[]).await?.int("now")
    }

    /// All rows that a statement returns.
    pub(crate) async fn rows(&mut self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let rows = self.connection.rows(statement, values).await.map_err(|error| self.explain(error))?;
        Ok(rows.into_iter().map(|data| Row::new(data, self.database.clone())).collect())
    }

    /// The first of them.
    pub(crate) async fn row(&mut self, statement: &str, values: &[Value<'_>]) -> Result<Option<Row>, Error> {
        Ok(self.rows(statement, values).await?.into_iter().next())
    }

    /// The first of those that are always there.
    pub(crate) async fn only_row(&mut self, statement: &str, values: &[Value<'_>]) -> Result<Row, Error> {
        let row = self.row(statement, values).await?;
        row.ok_or_else(|| fault::damaged(&self.database, "a row is missing".into()))
    }

    /// Runs a statement that returns nothing.
    pub(crate) async fn run(&mut self, statement: &str, values: &[Value<'_>]) -> Result<(), Error> {
        self.rows(statement, values).await.map(drop)
    }

    /// Makes it all true.
    pub(crate) async fn commit(self) -> Result<(), Error> {
        self.end("COMMIT").await
    }

    /// Undoes it all. Dropping does so too, but costs the connection.
    pub(crate) async fn undo(self) -> Result<(), Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), Error> {
        self.connection.control(statement).await.map_err(|error| fault::explain(&self.database, error))?;
        self.connection.keep();
        Ok(())
    }

    fn explain(&self, error: Fault) -> Error {
        fault::explain(&self.database, error)
    }
}
