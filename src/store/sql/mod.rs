//! How the tables speak to their database: statements with `$1` parameters that both dialects read, and
//! the few places where they differ, by name.
//!
//! | token | SQLite | PostgreSQL |
//! |---|---|---|
//! | `{batch}` | `VALUES`, as relation `b`, piece by piece | `unnest`, as relation `b` |
//! | `{clock}` | now by the database, in microseconds | the same |
//! | `{lock T}` | nothing: one writer | `FOR UPDATE OF T` |
//! | `{lock T skipping}` | nothing | `FOR UPDATE OF T SKIP LOCKED` |
//! | `{shared}` | false: one owner | true: several nodes share the state |
//!
//! Every statement runs inside a transaction. On SQLite it runs here and now, on the thread that owns the
//! connection, so that a transaction of ten statements isn't handed to and fro ten times. On PostgreSQL it is prepared
//! by name only where nothing stands between us and the server.

mod batch;
pub mod postgres;
mod row;
pub mod sqlite;

pub use batch::Batch;
pub use row::{Cell, Row};

use crate::engine::port::StoreError;
use jiff::Timestamp;
use sqlx::PgConnection;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// One parameter of a statement.
#[derive(Debug, Clone)]
pub enum Param {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Param {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}
impl From<usize> for Param {
    fn from(value: usize) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}
impl From<u64> for Param {
    fn from(value: u64) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}
impl From<Timestamp> for Param {
    fn from(value: Timestamp) -> Self {
        Self::Int(Some(value.as_microsecond()))
    }
}
impl From<&str> for Param {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}
impl From<Option<&str>> for Param {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}
impl From<&[u8; 16]> for Param {
    fn from(value: &[u8; 16]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}
impl From<&[u8]> for Param {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

/// `params![a, b]`: the values of `$1`, `$2` …
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::store::sql::Param::from($value)),*] };
}
pub(in crate::store) use params;

/// One open transaction.
pub struct Session<'c> {
    connection: Connection<'c>,
    /// Set when the database asked for the whole transaction again.
    conflict: &'c AtomicBool,
}

/// These rows of a batch.
type Piece<'b> = (&'b Batch, Range<usize>);

enum Connection<'c> {
    Sqlite(&'c mut rusqlite::Connection),
    Postgres(&'c mut PgConnection),
}

impl<'c> Session<'c> {
    pub const fn sqlite(connection: &'c mut rusqlite::Connection, conflict: &'c AtomicBool) -> Self {
        Self { connection: Connection::Sqlite(connection), conflict }
    }

    pub const fn postgres(connection: &'c mut PgConnection, conflict: &'c AtomicBool) -> Self {
        Self { connection: Connection::Postgres(connection), conflict }
    }

    pub const fn dialect(&self) -> Dialect {
        match self.connection {
            Connection::Sqlite(_) => Dialect::Sqlite,
            Connection::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement; the rows it touched.
    pub async fn run(&mut self, sql: &str, params: &[Param]) -> Result<u64, StoreError> {
        let sql = self.render(sql, "");
        self.execute(sql, params, None).await
    }

    /// Runs a statement over a batch, which is `b` in it; the rows it touched. On SQLite the statement runs once
    /// for every piece of the batch, so it must not compare the batch's rows with each other.
    pub async fn run_batch(&mut self, sql: &str, params: &[Param], batch: &Batch) -> Result<u64, StoreError> {
        let mut touched = 0;
        for piece in self.pieces(batch) {
            let sql = self.render_batch(sql, params.len(), batch, &piece);
            touched += self.execute(sql, params, Some((batch, piece))).await?;
        }
        Ok(touched)
    }

    /// All rows of a query whose answer is bounded.
    pub async fn rows(&mut self, sql: &str, params: &[Param]) -> Result<Vec<Row>, StoreError> {
        let sql = self.render(sql, "");
        self.fetch(sql, params, None).await
    }

    /// All rows of a query over a batch; see [`Session::run_batch`].
    pub async fn rows_batch(&mut self, sql: &str, params: &[Param], batch: &Batch) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for piece in self.pieces(batch) {
            let sql = self.render_batch(sql, params.len(), batch, &piece);
            rows.append(&mut self.fetch(sql, params, Some((batch, piece))).await?);
        }
        Ok(rows)
    }

    /// The first row, if there is one.
    pub async fn row(&mut self, sql: &str, params: &[Param]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    fn pieces(&self, batch: &Batch) -> Vec<Range<usize>> {
        match self.dialect() {
            Dialect::Sqlite => batch.pieces().collect(),
            Dialect::Postgres => std::iter::once(0..batch.len()).filter(|all| !all.is_empty()).collect(),
        }
    }

    fn render_batch(&self, sql: &str, scalars: usize, batch: &Batch, piece: &Range<usize>) -> String {
        match self.dialect() {
            Dialect::Postgres => self.render(sql, &batch.arrays(scalars + 1)),
            Dialect::Sqlite => self.render(sql, &batch.values(scalars + 1, Batch::places(piece.len()))),
        }
    }

    fn render(&self, sql: &str, batch: &str) -> String {
        let dialect = self.dialect();
        let mut rendered = String::with_capacity(sql.len() + batch.len() + 128);
        let mut rest = sql;
        while let Some((before, token_on)) = rest.split_once('{') {
            rendered.push_str(before);
            let (token, after) = token_on.split_once('}').unwrap_or((token_on, ""));
            match (token, dialect) {
                ("batch", _) => rendered.push_str(batch),
                ("clock", Dialect::Sqlite) => rendered.push_str("CAST(unixepoch('subsec') * 1000000 AS INTEGER)"),
                ("clock", Dialect::Postgres) => {
                    rendered.push_str("CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)");
                }
                ("shared", Dialect::Sqlite) => rendered.push_str("FALSE"),
                ("shared", Dialect::Postgres) => rendered.push_str("TRUE"),
                (lock, Dialect::Postgres) => {
                    let lock = lock.trim_start_matches("lock ");
                    let (table, skipping) = lock.split_once(' ').map_or((lock, ""), |(t, _)| (t, " SKIP LOCKED"));
                    rendered.push_str("FOR UPDATE OF ");
                    rendered.push_str(table);
                    rendered.push_str(skipping);
                }
                (_, Dialect::Sqlite) => {}
            }
            rest = after;
        }
        rendered.push_str(rest);
        match dialect {
            // A name that begins with `$` would be looked up; `?7` is simply the seventh.
            Dialect::Sqlite => rendered.replace('$', "?"),
            Dialect::Postgres => rendered,
        }
    }

    async fn execute(&mut self, sql: String, params: &[Param], batch: Option<Piece<'_>>) -> Result<u64, StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                sqlite::execute(connection, &sql, params, batch).map_err(|error| sqlite::failure(&error))
            }
            Connection::Postgres(connection) => {
                let result = postgres::execute(connection, sql, params, batch.map(|(batch, _)| batch)).await;
                result.map_err(|error| self.failure(&error))
            }
        }
    }

    async fn fetch(&mut self, sql: String, params: &[Param], batch: Option<Piece<'_>>) -> Result<Vec<Row>, StoreError> {
        match &mut self.connection {
            Connection::Sqlite(connection) => {
                sqlite::fetch(connection, &sql, params, batch).map_err(|error| sqlite::failure(&error))
            }
            Connection::Postgres(connection) => {
                let result = postgres::fetch(connection, sql, params, batch.map(|(batch, _)| batch)).await;
                result.map_err(|error| self.failure(&error))
            }
        }
    }

    fn failure(&self, error: &sqlx::Error) -> StoreError {
        if postgres::is_conflict(error) {
            self.conflict.store(true, Ordering::Relaxed);
        }
        postgres::failure(error)
    }
}
