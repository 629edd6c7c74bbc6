//! PostgreSQL.

use super::error::{by_state, classify};
use super::postgres_cell::{Untyped, decode};
use super::stream::{read_only, transact};
use super::{SourceOptions, postgres_schema};
use crate::catalog::{ColumnSchema, Schema, Table};
use crate::engine::port::{Deed, Done, Source, SourceError};
use crate::model::{Tenant, Value};
use crate::rule::statement::{Dialect, Row, Statement};
use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use futures::stream::BoxStream;
use jiff::{Timestamp, civil};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgTypeInfo};
use sqlx::{Arguments, Column as _, Connection, Executor, Postgres, Statement as _, Type, TypeInfo as _};

pub struct PostgresSource {
    options: SourceOptions,
    pool: PgPool,
}

impl PostgresSource {
    pub fn open(options: &SourceOptions) -> Result<Self, SourceError> {
        let connect: PgConnectOptions = options.url.parse().map_err(postgres_error)?;
        let connect = connect.application_name("nudged");
        // Plans made for unknown bounds, and compiled expressions, cost more than these short queries.
        let session = format!(
            "SET statement_timeout = {}; SET plan_cache_mode = force_custom_plan; SET jit = off; SET TIME ZONE 'UTC'",
            options.statement_timeout.as_millis()
        );
        let pool = PgPoolOptions::new()
            .max_connections(options.connections.max(1))
            .acquire_timeout(options.connect_timeout)
            .after_connect(move |connection, _| {
                let session = session.clone();
                Box::pin(async move {
                    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(session))).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(connect);
        Ok(Self { options: options.clone(), pool })
    }

    async fn ask(&self, sql: &'static str, binds: Vec<Value>) -> Result<Vec<Row>, SourceError> {
        use futures::TryStreamExt;
        let statement = Statement { sql: sql.to_owned(), binds };
        let rows: BoxStream<'_, _> =
            read_only!(self.pool, "BEGIN READ ONLY", None::<String>, statement, arguments, decode, postgres_error);
        rows.try_collect().await
    }
}

#[async_trait]
impl Source for PostgresSource {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        if let Some(clock) = &self.options.clock {
            return Ok(clock.now());
        }
        let rows = self.ask("SELECT clock_timestamp()", Vec::new()).await?;
        match rows.first().and_then(|Row(cells)| cells.first()) {
            Some(Value::Instant(now)) => Ok(*now),
            _ => Err(SourceError::Refused("the database's clock gave no time".to_owned())),
        }
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        let tenant = self.options.tenant_sql(tenant);
        read_only!(self.pool, "BEGIN READ ONLY", tenant, statement, arguments, decode, postgres_error)
    }

    async fn transact(&self, tenant: &Tenant, steps: Vec<Deed>) -> Result<Vec<Done>, SourceError> {
        let tenant = self.options.tenant_sql(tenant);
        transact!(self.pool, "BEGIN", tenant, steps, arguments, decode, postgres_error)
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        let mut schema = Schema::default();
        for table in tables {
            let name = || vec![Value::Text(postgres_schema::quoted(table))];
            let columns = self.ask(postgres_schema::COLUMNS, name()).await?;
            let indexes = self.ask(postgres_schema::INDEXES, name()).await?;
            schema.tables.push(postgres_schema::read(table, &columns, &indexes));
        }
        Ok(schema)
    }

    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError> {
        let mut connection = self.pool.acquire().await.map_err(postgres_error)?;
        let sql = sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(sql.to_owned()));
        let described = (&mut *connection).prepare(sql).await.map_err(postgres_error)?;
        let column =
            |column: &sqlx::postgres::PgColumn| postgres_schema::described(column.name(), column.type_info().name());
        Ok(described.columns().iter().map(column).collect())
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        let types: Vec<PgTypeInfo> = statement.binds.iter().map(type_of).collect();
        let mut connection = self.pool.acquire().await.map_err(postgres_error)?;
        // One that was prepared before would pass, whatever has become of its tables.
        connection.clear_cached_statements().await.map_err(postgres_error)?;
        let sql = sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(statement.sql.clone()));
        (&mut *connection).prepare_with(sql, &types).await.map(drop).map_err(postgres_error)
    }
}

fn postgres_error(error: sqlx::Error) -> SourceError {
    classify(error, by_state)
}

fn type_of(value: &Value) -> PgTypeInfo {
    match value {
        Value::Bool(_) => <bool as Type<Postgres>>::type_info(),
        Value::Int(_) => <i64 as Type<Postgres>>::type_info(),
        Value::Decimal(_) => <rust_decimal::Decimal as Type<Postgres>>::type_info(),
        Value::Float(_) => <f64 as Type<Postgres>>::type_info(),
        Value::Bytes(_) => <Vec<u8> as Type<Postgres>>::type_info(),
        Value::Uuid(_) => <uuid::Uuid as Type<Postgres>>::type_info(),
        Value::Instant(_) => <DateTime<chrono::Utc> as Type<Postgres>>::type_info(),
        Value::Date(_) => <NaiveDate as Type<Postgres>>::type_info(),
        Value::Naive(_) => <NaiveDateTime as Type<Postgres>>::type_info(),
        Value::Json(_) => <sqlx::types::Json<serde_json::Value> as Type<Postgres>>::type_info(),
        Value::Null | Value::Text(_) => <Untyped as Type<Postgres>>::type_info(),
    }
}

fn arguments(binds: &[Value]) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for bind in binds {
        let added = match bind {
            Value::Null => arguments.add(Untyped(None)),
            Value::Bool(flag) => arguments.add(*flag),
            Value::Int(number) => arguments.add(*number),
            Value::Decimal(number) => arguments.add(*number),
            Value::Float(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(Untyped(Some(text.clone()))),
            Value::Json(json) => arguments.add(sqlx::types::Json(json)),
            Value::Bytes(bytes) => arguments.add(bytes.clone()),
            Value::Uuid(id) => arguments.add(*id),
            Value::Instant(instant) => arguments.add(chrono_instant(*instant)),
            Value::Date(day) => arguments.add(chrono_date(*day)),
            Value::Naive(wall) => arguments.add(chrono_naive(*wall)),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

pub(super) fn chrono_instant(instant: Timestamp) -> Option<DateTime<chrono::Utc>> {
    DateTime::from_timestamp_micros(instant.as_microsecond())
}

pub(super) fn chrono_date(day: civil::Date) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(day.year().into(), day.month().cast_unsigned().into(), day.day().cast_unsigned().into())
}

pub(super) fn chrono_naive(wall: civil::DateTime) -> Option<NaiveDateTime> {
    chrono_date(wall.date())?.and_hms_micro_opt(
        wall.hour().cast_unsigned().into(),
        wall.minute().cast_unsigned().into(),
        wall.second().cast_unsigned().into(),
        (wall.subsec_nanosecond() / 1_000).cast_unsigned(),
    )
}
