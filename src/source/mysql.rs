//! MySQL and MariaDB.

use super::error::classify;
use super::postgres::{chrono_date, chrono_instant, chrono_naive};
use super::stream::{read_only, transact};
use super::{SourceOptions, mysql_schema};
use crate::catalog::{ColumnSchema, Schema, Table};
use crate::engine::port::{Deed, Done, Source, SourceError};
use crate::model::{Tenant, Value};
use crate::rule::statement::{Dialect, Row, Statement};
use async_trait::async_trait;
use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use futures::stream::BoxStream;
use jiff::{Timestamp, civil};
use sqlx::mysql::{
    MySqlArguments, MySqlConnectOptions, MySqlDatabaseError, MySqlPool, MySqlPoolOptions, MySqlRow, MySqlValueRef,
};
use sqlx::{
    Arguments, Column as _, Connection, Decode, Executor, MySql, Row as _, Statement as _, Type, TypeInfo, ValueRef,
};

pub struct MySqlSource {
    options: SourceOptions,
    pool: MySqlPool,
}

impl MySqlSource {
    pub fn open(options: &SourceOptions) -> Result<Self, SourceError> {
        let connect: MySqlConnectOptions = options.url.parse().map_err(mysql_error)?;
        let timeout = options.statement_timeout;
        let pool = MySqlPoolOptions::new()
            .max_connections(options.connections.max(1))
            .acquire_timeout(options.connect_timeout)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    // MariaDB and MySQL name the timeout differently; each refuses the other's name.
                    let mariadb = format!("SET SESSION max_statement_time = {}", timeout.as_secs().max(1));
                    let mysql = format!("SET SESSION max_execution_time = {}", timeout.as_millis().max(1));
                    if connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(mariadb))).await.is_err() {
                        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(mysql))).await?;
                    }
                    // What doesn't fit its column is refused, whatever the server's own mode: else a reference would be cut,
                    // and its row never found again.
                    let strict = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')";
                    connection.execute(sqlx::raw_sql(strict)).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(connect);
        Ok(Self { options: options.clone(), pool })
    }

    async fn ask(&self, sql: &'static str, binds: Vec<Value>) -> Result<Vec<Row>, SourceError> {
        use futures::TryStreamExt;
        let statement = Statement { sql: sql.to_owned(), binds };
        let rows: BoxStream<'_, _> = read_only!(
            self.pool,
            "START TRANSACTION READ ONLY",
            None::<String>,
            statement,
            arguments,
            decode,
            mysql_error
        );
        rows.try_collect().await
    }
}

#[async_trait]
impl Source for MySqlSource {
    fn dialect(&self) -> Dialect {
        Dialect::MySql
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        if let Some(clock) = &self.options.clock {
            return Ok(clock.now());
        }
        let rows = self.ask("SELECT UTC_TIMESTAMP(6)", Vec::new()).await?;
        match rows.first().and_then(|Row(cells)| cells.first()) {
            Some(Value::Naive(utc)) => Ok(jiff::tz::Offset::UTC.to_timestamp(*utc).unwrap_or(Timestamp::MIN)),
            _ => Err(SourceError::Refused("the database's clock gave no time".to_owned())),
        }
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        let tenant = self.options.tenant_sql(tenant);
        read_only!(self.pool, "START TRANSACTION READ ONLY", tenant, statement, arguments, decode, mysql_error)
    }

    async fn transact(&self, tenant: &Tenant, steps: Vec<Deed>) -> Result<Vec<Done>, SourceError> {
        let tenant = self.options.tenant_sql(tenant);
        transact!(self.pool, "START TRANSACTION", tenant, steps, arguments, decode, mysql_error)
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        let mut schema = Schema::default();
        for table in tables {
            let name = || {
                let database = table.schema.clone().map_or(Value::Null, Value::Text);
                vec![database, Value::Text(table.name.clone())]
            };
            let columns = self.ask(mysql_schema::COLUMNS, name()).await?;
            let indexes = self.ask(mysql_schema::INDEXES, name()).await?;
            let checks = match self.ask(mysql_schema::CHECKS, name()).await {
                Err(SourceError::Refused(_)) => Vec::new(),
                checks => checks?,
            };
            schema.tables.push(mysql_schema::read(table, &columns, &indexes, &checks));
        }
        Ok(schema)
    }

    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError> {
        let mut connection = self.pool.acquire().await.map_err(mysql_error)?;
        let sql = sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(sql.to_owned()));
        let described = (&mut *connection).prepare(sql).await.map_err(mysql_error)?;
        let column =
            |column: &sqlx::mysql::MySqlColumn| mysql_schema::described(column.name(), column.type_info().name());
        Ok(described.columns().iter().map(column).collect())
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        let mut connection = self.pool.acquire().await.map_err(mysql_error)?;
        // One that was prepared before would pass, whatever has become of its tables.
        connection.clear_cached_statements().await.map_err(mysql_error)?;
        let sql = sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(statement.sql.clone()));
        (&mut *connection).prepare(sql).await.map(drop).map_err(mysql_error)
    }
}

fn mysql_error(error: sqlx::Error) -> SourceError {
    classify(error, |error| {
        let number = error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number);
        let message = error.message();
        match number {
            1969 | 3024 => SourceError::Unavailable("the statement ran too long".to_owned()),
            // Too many connections, shutdown, lock wait, deadlock, killed, gone.
            // 1467, an auto-increment that could not be read, is a lost race between inserts.
            1040 | 1053 | 1077 | 1203 | 1205 | 1213 | 1226 | 1317 | 1467 | 1927 | 2006 | 2013 => {
                SourceError::Unavailable(format!("{message} ({number})"))
            }
            // Names, syntax and permissions: these messages quote no values.
            1044..=1046
            | 1049
            | 1051
            | 1052
            | 1054
            | 1060
            | 1064
            | 1109
            | 1142
            | 1143
            | 1146
            | 1267
            | 1290
            | 1305
            | 1370
            | 1792 => SourceError::Refused(format!("{message} ({number})")),
            // These quote names only: null and no default, too long, out of range, foreign keys and checks.
            1048 | 1264 | 1265 | 1364 | 1406 | 1451 | 1452 | 4025 => {
                SourceError::Refused(format!("{message} ({number})"))
            }
            // These quote the value first, and then what it is for.
            _ => {
                let place =
                    [" for column ", " for key "].into_iter().find_map(|of| Some(&message[message.rfind(of)?..]));
                SourceError::Refused(format!("error {number}{}", place.unwrap_or_default()))
            }
        }
    })
}

fn arguments(binds: &[Value]) -> Result<MySqlArguments, sqlx::Error> {
    let mut arguments = MySqlArguments::default();
    for bind in binds {
        let added = match bind {
            Value::Null => arguments.add(None::<String>),
            Value::Bool(flag) => arguments.add(i64::from(*flag)),
            Value::Int(number) => arguments.add(*number),
            Value::Decimal(number) => arguments.add(*number),
            Value::Float(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(text.clone()),
            Value::Json(json) => arguments.add(json.to_string()),
            Value::Bytes(bytes) => arguments.add(bytes.clone()),
            Value::Uuid(id) => arguments.add(id.to_string()),
            Value::Instant(instant) => arguments.add(chrono_instant(*instant).map(|utc| utc.naive_utc())),
            Value::Date(day) => arguments.add(chrono_date(*day)),
            Value::Naive(wall) => arguments.add(chrono_naive(*wall)),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn decode(row: &MySqlRow) -> Row {
    Row((0..row.len()).map(|column| cell(row, column).unwrap_or(Value::Null)).collect())
}

fn cell(row: &MySqlRow, column: usize) -> Option<Value> {
    let raw = row.try_get_raw(column).ok()?;
    if raw.is_null() {
        return None;
    }
    let name = raw.type_info().name().to_owned();
    match name.as_str() {
        "BIT" => <u64 as Decode<MySql>>::decode(raw).ok().map(unsigned),
        name if name.ends_with("UNSIGNED") || name == "YEAR" => <u64 as Decode<MySql>>::decode(raw).ok().map(unsigned),
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            <i64 as Decode<MySql>>::decode(raw).ok().map(Value::Int)
        }
        "FLOAT" => <f32 as Decode<MySql>>::decode(raw)
            .ok()
            .and_then(|number| number.to_string().parse().ok())
            .map(Value::Float),
        "DOUBLE" => <f64 as Decode<MySql>>::decode(raw).ok().map(Value::Float),
        "DECIMAL" => decimal(raw),
        "DATE" => <NaiveDate as Decode<MySql>>::decode(raw).ok().and_then(date).map(Value::Date),
        "DATETIME" => <NaiveDateTime as Decode<MySql>>::decode(raw).ok().and_then(naive).map(Value::Naive),
        // The session's zone is UTC.
        "TIMESTAMP" => {
            let wall = <NaiveDateTime as Decode<MySql>>::decode(raw).ok().and_then(naive)?;
            jiff::tz::Offset::UTC.to_timestamp(wall).ok().map(Value::Instant)
        }
        "TIME" | "GEOMETRY" | "NULL" => None,
        // By the collation, not by sqlx's name: text with a `_bin` collation is named binary as well.
        name if (name.contains("BLOB") || name.contains("BINARY"))
            && !<str as Type<MySql>>::compatible(&raw.type_info()) =>
        {
            <Vec<u8> as Decode<MySql>>::decode(raw).ok().map(Value::Bytes)
        }
        _ => {
            let bytes = <&[u8] as Decode<MySql>>::decode(raw).ok()?;
            Some(Value::Text(String::from_utf8_lossy(bytes).into_owned()))
        }
    }
}

fn unsigned(number: u64) -> Value {
    i64::try_from(number).map_or_else(|_| Value::Decimal(number.into()), Value::Int)
}

/// Up to 65 digits: what doesn't fit a decimal becomes a float.
fn decimal(raw: MySqlValueRef<'_>) -> Option<Value> {
    let text = std::str::from_utf8(<&[u8] as Decode<MySql>>::decode(raw).ok()?).ok()?;
    let exact: Option<rust_decimal::Decimal> = text.parse().ok();
    exact.map(Value::Decimal).or_else(|| text.parse().ok().map(Value::Float))
}

fn date(day: NaiveDate) -> Option<civil::Date> {
    civil::Date::new(day.year().try_into().ok()?, day.month().try_into().ok()?, day.day().try_into().ok()?).ok()
}

fn naive(wall: NaiveDateTime) -> Option<civil::DateTime> {
    let time = civil::Time::new(
        wall.hour().try_into().ok()?,
        wall.minute().try_into().ok()?,
        wall.second().try_into().ok()?,
        wall.nanosecond().try_into().ok()?,
    );
    Some(date(wall.date())?.to_datetime(time.ok()?))
}
