//! SQLite: cells are decoded by the type of the value, since a column may hold any.

use super::error::classify;
use super::stream::{read_only, transact};
use super::{SourceOptions, sqlite_schema};
use crate::catalog::{ColumnSchema, Schema, Table};
use crate::engine::port::{Deed, Done, Source, SourceError};
use crate::model::{Clock, SystemClock, Tenant, Value};
use crate::rule::statement::{Dialect, Row, Statement};
use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use rust_decimal::prelude::ToPrimitive;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{
    Arguments, Column as _, Connection, Decode, Executor, Row as _, Sqlite, SqliteConnection, Statement as _, TypeInfo,
    ValueRef,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub struct SqliteSource {
    options: SourceOptions,
    clock: Arc<dyn Clock>,
    /// Connections that refuse to write.
    readers: SqlitePool,
    /// SQLite has one writer; more would only wait for each other.
    writer: SqlitePool,
}

impl SqliteSource {
    pub fn open(options: &SourceOptions) -> Result<Self, SourceError> {
        let connect: SqliteConnectOptions = options.url.parse().map_err(sqlite_error)?;
        let connect = connect.busy_timeout(Duration::from_secs(10)).foreign_keys(true);
        let connect = if options.scratch.is_some() { throw_away(connect) } else { connect };
        let pool = |size, connect| {
            let beside: Arc<[(String, PathBuf)]> = options.scratch.clone().unwrap_or_default().into();
            SqlitePoolOptions::new()
                .max_connections(size)
                .acquire_timeout(options.connect_timeout)
                .after_connect(move |connection, _| {
                    let beside = Arc::clone(&beside);
                    Box::pin(async move { attach(connection, &beside).await })
                })
                .connect_lazy_with(connect)
        };
        Ok(Self {
            clock: options.clock.clone().unwrap_or_else(|| Arc::new(SystemClock)),
            readers: pool(options.connections.max(1), connect.clone().pragma("query_only", "ON")),
            writer: pool(1, connect),
            options: options.clone(),
        })
    }

    async fn ask(&self, sql: &'static str, binds: Vec<Value>) -> Result<Vec<Row>, SourceError> {
        use futures::TryStreamExt;
        self.rows(&Tenant::new(""), Statement { sql: sql.to_owned(), binds }).try_collect().await
    }
}

#[async_trait]
impl Source for SqliteSource {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        // The file's clock is the machine's; the question only makes sure that the file can be read.
        self.ask("SELECT 1 FROM sqlite_master LIMIT 1", Vec::new()).await?;
        Ok(self.clock.now())
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        let tenant = self.options.tenant_sql(tenant);
        read_only!(self.readers, "BEGIN", tenant, statement, arguments, decode, sqlite_error)
    }

    async fn transact(&self, tenant: &Tenant, steps: Vec<Deed>) -> Result<Vec<Done>, SourceError> {
        let tenant = self.options.tenant_sql(tenant);
        transact!(self.writer, "BEGIN IMMEDIATE", tenant, steps, arguments, decode, sqlite_error)
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        let mut schema = Schema::default();
        for table in tables {
            let name = || vec![Value::Text(table.name.clone()), Value::Text(sqlite_schema::database(table))];
            let columns = self.ask(sqlite_schema::COLUMNS, name()).await?;
            let indexes = self.ask(sqlite_schema::INDEXES, name()).await?;
            schema.tables.push(sqlite_schema::read(table, &columns, &indexes));
        }
        Ok(schema)
    }

    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError> {
        let mut connection = self.readers.acquire().await.map_err(sqlite_error)?;
        let sql = sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(sql.to_owned()));
        let described = (&mut *connection).prepare(sql).await.map_err(sqlite_error)?;
        let column =
            |column: &sqlx::sqlite::SqliteColumn| sqlite_schema::described(column.name(), column.type_info().name());
        Ok(described.columns().iter().map(column).collect())
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        let mut connection = self.readers.acquire().await.map_err(sqlite_error)?;
        // One that was prepared before would pass, whatever has become of its tables.
        connection.clear_cached_statements().await.map_err(sqlite_error)?;
        let sql = sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(statement.sql.clone()));
        (&mut *connection).prepare(sql).await.map(drop).map_err(sqlite_error)
    }
}

fn throw_away(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.journal_mode(SqliteJournalMode::Memory).synchronous(SqliteSynchronous::Off)
}

/// Makes `schema.table` mean the table of another file.
async fn attach(connection: &mut SqliteConnection, beside: &[(String, PathBuf)]) -> Result<(), sqlx::Error> {
    for (schema, file) in beside {
        let name = schema.replace('"', "\"\"");
        let attach = sqlx::AssertSqlSafe(format!("ATTACH DATABASE ? AS \"{name}\""));
        sqlx::query(attach).bind(file.display().to_string()).execute(&mut *connection).await?;
        let settings = format!("PRAGMA \"{name}\".journal_mode = MEMORY; PRAGMA \"{name}\".synchronous = OFF");
        sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(&mut *connection).await?;
    }
    Ok(())
}

fn sqlite_error(error: sqlx::Error) -> SourceError {
    classify(error, |error| {
        let code: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or(1);
        match code & 0xff {
            // Busy, locked, I/O, full, can't open: the file, not the statement.
            5 | 6 | 10 | 13 | 14 => SourceError::Unavailable(error.message().to_owned()),
            _ => SourceError::Refused(error.message().to_owned()),
        }
    })
}

fn arguments(binds: &[Value]) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for bind in binds {
        let added = match bind {
            Value::Null => arguments.add(None::<i64>),
            Value::Bool(flag) => arguments.add(i64::from(*flag)),
            Value::Int(number) => arguments.add(*number),
            Value::Decimal(number) => match number.is_integer().then(|| number.to_i64()).flatten() {
                Some(number) => arguments.add(number),
                None => arguments.add(number.to_f64()),
            },
            Value::Float(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(text.clone()),
            Value::Bytes(bytes) => arguments.add(bytes.clone()),
            Value::Json(json) => arguments.add(json.to_string()),
            Value::Uuid(id) => arguments.add(id.to_string()),
            // SQLite keeps time as text; these are the forms that its own functions understand.
            Value::Instant(instant) => arguments.add(instant.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()),
            Value::Naive(wall) => arguments.add(wall.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()),
            Value::Date(day) => arguments.add(day.to_string()),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn decode(row: &SqliteRow) -> Row {
    Row((0..row.len()).map(|column| cell(row, column).unwrap_or(Value::Null)).collect())
}

fn cell(row: &SqliteRow, column: usize) -> Option<Value> {
    let raw = row.try_get_raw(column).ok()?;
    if raw.is_null() {
        return None;
    }
    let kind = raw.type_info().name().to_owned();
    match kind.as_str() {
        "REAL" => <f64 as Decode<Sqlite>>::decode(raw).ok().map(Value::Float),
        "TEXT" => <&[u8] as Decode<Sqlite>>::decode(raw)
            .ok()
            .map(|bytes| Value::Text(String::from_utf8_lossy(bytes).into_owned())),
        "BLOB" => <Vec<u8> as Decode<Sqlite>>::decode(raw).ok().map(Value::Bytes),
        _ => <i64 as Decode<Sqlite>>::decode(raw).ok().map(Value::Int),
    }
}
