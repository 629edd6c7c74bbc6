//! Statements on PostgreSQL, through sqlx. Whether they are prepared by name is the connection's affair.

use super::batch::Cells;
use super::{Batch, Cell, Param, Row};
use crate::engine::port::StoreError;
use futures::TryStreamExt;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, AssertSqlSafe, Column, PgConnection, Row as _, TypeInfo};
use std::borrow::Cow;

pub(super) async fn execute(
    connection: &mut PgConnection,
    sql: String,
    params: &[Param],
    batch: Option<&Batch>,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query_with(AssertSqlSafe(sql), arguments(params, batch));
    Ok(query.execute(connection).await?.rows_affected())
}

pub(super) async fn fetch(
    connection: &mut PgConnection,
    sql: String,
    params: &[Param],
    batch: Option<&Batch>,
) -> Result<Vec<Row>, sqlx::Error> {
    let query = sqlx::query_with(AssertSqlSafe(sql), arguments(params, batch));
    query.fetch(connection).and_then(|found| async move { row(&found) }).try_collect().await
}

fn arguments(params: &[Param], batch: Option<&Batch>) -> PgArguments {
    let mut arguments = PgArguments::default();
    // Encoding plain integers, text and bytes can't fail.
    for param in params {
        let _ = match param {
            Param::Int(value) => arguments.add(*value),
            Param::Text(value) => arguments.add(value.as_deref().map(kept)),
            Param::Bytes(value) => arguments.add(value.as_deref()),
        };
    }
    for cells in batch.iter().flat_map(|batch| batch.cells()) {
        let _ = match cells {
            Cells::Int(values) => arguments.add(values),
            Cells::Text(values) => {
                arguments.add(values.iter().map(|text| text.as_deref().map(kept)).collect::<Vec<_>>())
            }
            Cells::Id(values) => {
                arguments.add(values.iter().map(|id| id.as_ref().map(|id| &id[..])).collect::<Vec<_>>())
            }
        };
    }
    arguments
}

/// The one character that no text of PostgreSQL's can hold may stand in texts of other databases.
fn kept(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
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

/// Serialization failure or deadlock: the transaction may simply run again.
pub fn is_conflict(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "40001" || code == "40P01")
}

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code)
}

/// Sorts a database's error into "later" and "never".
pub fn failure(error: &sqlx::Error) -> StoreError {
    let passing = match error {
        // Connection, resources, shutdown, conflict.
        sqlx::Error::Database(_) => {
            code(error).is_some_and(|code| ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class)))
        }
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
