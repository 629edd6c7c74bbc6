//! Statements on SQLite, through rusqlite: on the thread that owns the connection, without a copy of every
//! value on the way.

use super::batch::Cells;
use super::{Cell, Param, Piece, Row};
use crate::engine::port::StoreError;
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Error, ErrorCode};

pub(super) fn execute(
    connection: &Connection,
    sql: &str,
    params: &[Param],
    batch: Option<Piece<'_>>,
) -> Result<u64, Error> {
    let mut statement = bound(connection, sql, params, batch)?;
    Ok(statement.raw_execute()? as u64)
}

pub(super) fn fetch(
    connection: &Connection,
    sql: &str,
    params: &[Param],
    batch: Option<Piece<'_>>,
) -> Result<Vec<Row>, Error> {
    let mut statement = bound(connection, sql, params, batch)?;
    let width = statement.column_count();
    let (mut rows, mut found) = (Vec::new(), statement.raw_query());
    while let Some(row) = found.next()? {
        rows.push(Row((0..width).map(|index| row.get_ref(index).map(cell)).collect::<Result<_, _>>()?));
    }
    Ok(rows)
}

/// The parameters of a batch come after the others, row by row; places that it doesn't fill stay null.
fn bound<'c>(
    connection: &'c Connection,
    sql: &str,
    params: &[Param],
    batch: Option<Piece<'_>>,
) -> Result<CachedStatement<'c>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    for (index, param) in params.iter().enumerate() {
        match param {
            Param::Int(value) => statement.raw_bind_parameter(index + 1, value)?,
            Param::Text(value) => statement.raw_bind_parameter(index + 1, value)?,
            Param::Bytes(value) => statement.raw_bind_parameter(index + 1, value)?,
        }
    }
    let Some((batch, rows)) = batch else { return Ok(statement) };
    let mut place = params.len();
    for row in rows {
        for cells in batch.cells() {
            place += 1;
            match cells {
                Cells::Int(values) => statement.raw_bind_parameter(place, values[row])?,
                Cells::Text(values) => statement.raw_bind_parameter(place, values[row].as_deref())?,
                Cells::Id(values) => statement.raw_bind_parameter(place, values[row].as_ref().map(|id| &id[..]))?,
            }
        }
    }
    Ok(statement)
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null | ValueRef::Real(_) => Cell::Null,
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    }
}

/// Sorts a database's error into "later" and "never".
pub fn failure(error: &Error) -> StoreError {
    let passing = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull)
    );
    if passing { StoreError::Unavailable(error.to_string()) } else { StoreError::Broken(error.to_string()) }
}
