//! A connection of either kind, for as long as somebody uses it; values that go in and rows that come out.

use std::sync::Arc;

use sqlx::database::Database as Driver;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::query::Query;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, Encode, Postgres, Sqlite, Type};

use crate::Error;

/// What a driver says is wrong; [`super::fault`] knows what it means.
pub(super) type Fault = sqlx::Error;

/// A value for a placeholder. Both kinds of database have just these two types here: what is no number is text.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Int(Option<i64>),
    Text(Option<&'a str>),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Int(Some(number))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Value::Int(Some(i64::from(number)))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(Some(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(Some(text))
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        Value::Text(text.as_deref())
    }
}

/// A connection that closes when it is dropped before [`Connection::keep`]: after an error, or when the call was abandoned or ran out of time,
/// nobody knows what state it is in. The database then rolls back what was open.
pub(super) struct Connection(Option<Pooled>);

enum Pooled {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Connection {
    pub(super) fn sqlite(connection: PoolConnection<Sqlite>) -> Connection {
        Connection(Some(Pooled::Sqlite(connection)))
    }

    pub(super) fn postgres(connection: PoolConnection<Postgres>) -> Connection {
        Connection(Some(Pooled::Postgres(connection)))
    }

    /// Gives the connection back: it is in no transaction.
    pub(super) fn keep(mut self) {
        drop(self.0.take());
    }

    /// Runs a statement and fetches the rows that it returns.
    pub(super) async fn rows(&mut self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Data>, Fault> {
        // The text is ours or made of ours; what comes from outside is a value.
        let query = AssertSqlSafe(statement.to_owned());
        match self.pooled()? {
            Pooled::Sqlite(connection) => {
                let rows = bind(sqlx::query(query), values).fetch_all(&mut **connection).await?;
                Ok(rows.into_iter().map(Data::Sqlite).collect())
            }
            Pooled::Postgres(connection) => {
                let rows = bind(sqlx::query(query), values).fetch_all(&mut **connection).await?;
                Ok(rows.into_iter().map(Data::Postgres).collect())
            }
        }
    }

    /// Runs a statement that begins or ends a transaction: without preparing it.
    pub(super) async fn control(&mut self, statement: &'static str) -> Result<(), Fault> {
        match self.pooled()? {
            Pooled::Sqlite(connection) => sqlx::raw_sql(statement).execute(&mut **connection).await.map(drop),
            Pooled::Postgres(connection) => sqlx::raw_sql(statement).execute(&mut **connection).await.map(drop),
        }
    }

    fn pooled(&mut self) -> Result<&mut Pooled, Fault> {
        // Only `keep` takes it, which takes all.
        self.0.as_mut().ok_or(Fault::PoolClosed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        match &mut self.0 {
            Some(Pooled::Sqlite(connection)) => connection.close_on_drop(),
            Some(Pooled::Postgres(connection)) => connection.close_on_drop(),
            None => {}
        }
    }
}

fn bind<'q, DB>(query: Query<'q, DB, DB::Arguments>, values: &[Value<'_>]) -> Query<'q, DB, DB::Arguments>
where
    DB: Driver,
    Option<i64>: Encode<'q, DB> + Type<DB>,
    Option<String>: Encode<'q, DB> + Type<DB>,
{
    values.iter().fold(query, |query, value| match value {
        Value::Int(number) => query.bind(*number),
        Value::Text(text) => query.bind(text.map(str::to_owned)),
    })
}

/// A row as the driver gives it.
pub(super) enum Data {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A row; it knows where it is from, so that what cannot be read is told with its place.
pub(crate) struct Row {
    data: Data,
    database: Arc<str>,
}

impl Row {
    pub(super) fn new(data: Data, database: Arc<str>) -> Row {
        Row { data, database }
    }

    pub(crate) fn int(&self, column: &str) -> Result<i64, Error> {
        self.int_if_any(column)?.ok_or_else(|| self.damaged(column, "is missing"))
    }

    pub(crate) fn int_if_any(&self, column: &str) -> Result<Option<i64>, Error> {
        self.get(column)
    }

    pub(crate) fn text(&self, column: &str) -> Result<String, Error> {
        self.text_if_any(column)?.ok_or_else(|| self.damaged(column, "is missing"))
    }

    pub(crate) fn text_if_any(&self, column: &str) -> Result<Option<String>, Error> {
        self.get(column)
    }

    /// A number of a narrower type.
    pub(crate) fn narrow<T: TryFrom<i64>>(&self, column: &str) -> Result<T, Error> {
        T::try_from(self.int(column)?).map_err(|_| self.damaged(column, "is out of range"))
    }

    /// What a text stands for.
    pub(crate) fn parse<T: std::str::FromStr>(&self, column: &str) -> Result<T, Error> {
        self.text(column)?.parse().map_err(|_| self.damaged(column, "is not understood"))
    }

    /// The same, if there is one.
    pub(crate) fn parse_if_any<T: std::str::FromStr>(&self, column: &str) -> Result<Option<T>, Error> {
        let text = self.text_if_any(column)?;
        text.map(|text| text.parse().map_err(|_| self.damaged(column, "is not understood"))).transpose()
    }

    fn get<'r, T>(&'r self, column: &str) -> Result<Option<T>, Error>
    where
        Option<T>: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        let got = match &self.data {
            Data::Sqlite(row) => cell(row, column),
            Data::Postgres(row) => cell(row, column),
        };
        got.map_err(|error| self.damaged(column, &error.to_string()))
    }

    fn damaged(&self, column: &str, detail: &str) -> Error {
        super::fault::damaged(&self.database, format!("column {column}: {detail}"))
    }
}

fn cell<'r, R: sqlx::Row, T>(row: &'r R, column: &str) -> Result<T, Fault>
where
    T: Decode<'r, R::Database> + Type<R::Database>,
    for<'c> &'c str: ColumnIndex<R>,
{
    row.try_get(column)
}
