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
//! Every statement runs inside a transaction, and none is prepared by name: a pooler between us and
//! PostgreSQL may then give each transaction another session.

mod batch;
mod row;

pub use batch::Batch;
pub use row::{Cell, Row};

use crate::engine::port::StoreError;
use batch::Cells;
use futures::TryStreamExt;
use jiff::Timestamp;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Column, PgConnection, Row as _, SqliteConnection, TypeInfo, ValueRef};
use std::fmt::Write;
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
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl<'c> Session<'c> {
    pub const fn sqlite(connection: &'c mut SqliteConnection, conflict: &'c AtomicBool) -> Self {
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
            // The batch's parameters have no names and take the first places, so the others move up.
            Dialect::Sqlite => {
                self.render(&moved_up(sql, batch.width() * piece.len()), &batch.values(piece.len()))
            }
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
        rendered
    }

    async fn execute(&mut self, sql: String, params: &[Param], batch: Option<Piece<'_>>) -> Result<u64, StoreError> {
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => {
                let query = sqlx::query_with(AssertSqlSafe(sql), sqlite_arguments(params, batch));
                query.execute(&mut **connection).await.map(|done| done.rows_affected())
            }
            Connection::Postgres(connection) => {
                let query = sqlx::query_with(AssertSqlSafe(sql), postgres_arguments(params, batch)).persistent(false);
                query.execute(&mut **connection).await.map(|done| done.rows_affected())
            }
        };
        result.map_err(|error| self.failure(&error))
    }

    async fn fetch(
        &mut self,
        sql: String,
        params: &[Param],
        batch: Option<Piece<'_>>,
    ) -> Result<Vec<Row>, StoreError> {
        let result = match &mut self.connection {
            Connection::Sqlite(connection) => {
                let query = sqlx::query_with(AssertSqlSafe(sql), sqlite_arguments(params, batch));
                query.fetch(&mut **connection).and_then(|row| async move { sqlite_row(&row) }).try_collect().await
            }
            Connection::Postgres(connection) => {
                let query = sqlx::query_with(AssertSqlSafe(sql), postgres_arguments(params, batch)).persistent(false);
                query.fetch(&mut **connection).and_then(|row| async move { postgres_row(&row) }).try_collect().await
            }
        };
        result.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &sqlx::Error) -> StoreError {
        if is_conflict(error) {
            self.conflict.store(true, Ordering::Relaxed);
        }
        failure(error)
    }
}

/// Serialization failure or deadlock: the transaction may simply run again.
pub fn is_conflict(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "40001" || code == "40P01")
}

/// Sorts a database's error into "later" and "never".
pub fn failure(error: &sqlx::Error) -> StoreError {
    let passing = match error {
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            // SQLite: busy, locked, full disk. PostgreSQL: connection, resources, shutdown, conflict.
            let sqlite = matches!(code.parse::<i64>().map(|code| code & 0xff), Ok(5 | 6 | 13)) && code.len() < 5;
            sqlite || ["08", "53", "57", "40"].iter().any(|class| code.len() == 5 && code.starts_with(class))
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        _ => false,
    };
    if passing { StoreError::Unavailable(error.to_string()) } else { StoreError::Broken(error.to_string()) }
}

/// The batch's cells first, row by row, then the others: see [`Session::render_batch`].
fn sqlite_arguments(params: &[Param], batch: Option<Piece<'_>>) -> SqliteArguments {
    use sqlx::Arguments;
    let mut arguments = SqliteArguments::default();
    // Encoding plain integers, text and bytes can't fail.
    if let Some((batch, rows)) = batch {
        arguments.reserve(rows.len() * batch.width() + params.len(), 0);
        for row in rows {
            for cells in batch.cells() {
                let _ = match cells {
                    Cells::Int(values) => Arguments::add(&mut arguments, values[row]),
                    Cells::Text(values) => Arguments::add(&mut arguments, values[row].clone()),
                    Cells::Bytes(values) => Arguments::add(&mut arguments, values[row].clone()),
                };
            }
        }
    }
    for param in params {
        let _ = match param {
            Param::Int(value) => Arguments::add(&mut arguments, *value),
            Param::Text(value) => Arguments::add(&mut arguments, value.clone()),
            Param::Bytes(value) => Arguments::add(&mut arguments, value.clone()),
        };
    }
    arguments
}

fn postgres_arguments(params: &[Param], batch: Option<Piece<'_>>) -> PgArguments {
    use sqlx::Arguments;
    let mut arguments = PgArguments::default();
    for param in params {
        let _ = match param {
            Param::Int(value) => arguments.add(*value),
            Param::Text(value) => arguments.add(value.as_deref()),
            Param::Bytes(value) => arguments.add(value.as_deref()),
        };
    }
    for cells in batch.iter().flat_map(|(batch, _)| batch.cells()) {
        let _ = match cells {
            Cells::Int(values) => arguments.add(values),
            Cells::Text(values) => arguments.add(values),
            Cells::Bytes(values) => arguments.add(values),
        };
    }
    arguments
}

/// `sql` with `by` added to the number of each of its parameters.
fn moved_up(sql: &str, by: usize) -> String {
    let mut parts = sql.split('$');
    let mut moved = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_at(part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len()));
        let _ = write!(moved, "${}{rest}", number.parse().unwrap_or(0) + by);
    }
    moved
}

fn sqlite_row(row: &sqlx::sqlite::SqliteRow) -> Result<Row, sqlx::Error> {
    let cells = (0..row.len()).map(|index| {
        let raw = row.try_get_raw(index)?;
        if raw.is_null() {
            return Ok(Cell::Null);
        }
        let kind = raw.type_info();
        Ok(match kind.name() {
            "TEXT" => Cell::Text(row.try_get_unchecked(index)?),
            "BLOB" => Cell::Bytes(row.try_get_unchecked(index)?),
            _ => Cell::Int(row.try_get_unchecked(index)?),
        })
    });
    cells.collect::<Result<_, _>>().map(Row)
}

fn postgres_row(row: &sqlx::postgres::PgRow) -> Result<Row, sqlx::Error> {
    let cells = row.columns().iter().enumerate().map(|(index, column)| {
        Ok(match column.type_info().name() {
            "TEXT" => row.try_get::<Option<String>, _>(index)?.map_or(Cell::Null, Cell::Text),
            "BYTEA" => row.try_get::<Option<Vec<u8>>, _>(index)?.map_or(Cell::Null, Cell::Bytes),
            "INT2" => row.try_get::<Option<i16>, _>(index)?.map_or(Cell::Null, |value| Cell::Int(value.into())),
            "INT4" => row.try_get::<Option<i32>, _>(index)?.map_or(Cell::Null, |value| Cell::Int(value.into())),
            "BOOL" => row.try_get::<Option<bool>, _>(index)?.map_or(Cell::Null, |value| Cell::Int(value.into())),
            _ => row.try_get::<Option<i64>, _>(index)?.map_or(Cell::Null, Cell::Int),
        })
    });
    cells.collect::<Result<_, _>>().map(Row)
}
