//! Values in the form that the column they are written into keeps. The table that they come from may keep them otherwise:
//! a key as bytes here and as text there.

use super::sql::wire::Form;
use super::sql::{Fragment, Hole, key_value};
use crate::catalog::{Catalog, Column, ColumnType, DateStorage, InstantStorage, KeyType, Literal, UuidStorage};
use crate::model::{Key, RecordId, Value, at_local};
use crate::rule::statement::Dialect;
use jiff::tz::TimeZone;

/// A constant of the catalog in the form that a column keeps. In a column of JSON it is JSON if it can be.
pub(super) fn fitted_constant(column: &Column, literal: &Literal, zone: &TimeZone, dialect: Dialect) -> Value {
    if column.ty == ColumnType::Json {
        return Value::Json(serde_json::from_str(&literal.text).unwrap_or_else(|_| literal.text.as_str().into()));
    }
    if needs_cast(column, dialect) && !literal.value.is_missing() {
        return Value::Text(literal.text.clone());
    }
    fitted(column, &literal.value, zone, dialect)
}

/// A value in the form that a column keeps: times above all.
pub(super) fn fitted(column: &Column, value: &Value, zone: &TimeZone, dialect: Dialect) -> Value {
    if column.ty == ColumnType::Json {
        return in_json(value);
    }
    let instant = match value {
        Value::Instant(instant) => *instant,
        Value::Date(day) => match &column.ty {
            ColumnType::Instant(_) => at_local(day.at(0, 0, 0, 0), zone),
            ColumnType::Date(DateStorage::Text) | ColumnType::Text => return Value::Text(day.to_string()),
            _ => return value.clone(),
        },
        Value::Uuid(id) => return stored_uuid(&column.ty, *id, dialect),
        Value::Decimal(number) if column.ty == ColumnType::NumberText => return Value::Text(number.to_string()),
        Value::Bool(_) => return stored_flag(column, value, dialect),
        Value::Text(text) if matches!(column.ty, ColumnType::Uuid(_)) => {
            return text.parse().map_or_else(|_| value.clone(), |id| stored_uuid(&column.ty, id, dialect));
        }
        // As a key of bytes is written: raw ones are no text.
        Value::Bytes(_) if column.ty == ColumnType::Text => return shown(value),
        _ => return value.clone(),
    };
    let text = |zone: &TimeZone| Value::Text(zone.to_datetime(instant).strftime("%Y-%m-%d %H:%M:%S").to_string());
    match &column.ty {
        ColumnType::Instant(InstantStorage::Text(own)) => text(own),
        ColumnType::Date(_) | ColumnType::Instant(_) => Form::of(&column.ty).at_most(instant, zone),
        ColumnType::Text => text(zone),
        _ if needs_cast(column, dialect) => text(zone),
        _ => value.clone(),
    }
}

fn in_json(value: &Value) -> Value {
    match value {
        Value::Null | Value::Json(_) => value.clone(),
        other => Value::Json(other.to_json()),
    }
}

/// Whether PostgreSQL knows the column's type and nudged doesn't: only text can be made into it.
fn needs_cast(column: &Column, dialect: Dialect) -> bool {
    dialect == Dialect::Postgres && column.ty == ColumnType::Unknown && column.declared.is_some()
}

/// A value as SQL puts it into a column. PostgreSQL takes text for nothing else but by a cast.
pub(super) fn placed(column: &Column, value: Value, dialect: Dialect) -> Fragment {
    let cast = match (&value, &column.declared) {
        (Value::Null, _) => return Fragment::text("NULL"),
        (_, Some(declared)) if needs_cast(column, dialect) => Some(declared),
        (Value::Text(_), Some(declared)) if dialect == Dialect::Postgres && !takes_text(&column.ty) => Some(declared),
        _ => None,
    };
    match cast {
        Some(declared) => Fragment::of(
            "CAST(CAST({} AS text) AS {})",
            &[&Fragment::hole(Hole::Constant(as_text(value))), &Fragment::text(declared.as_str())],
        ),
        None => Fragment::hole(Hole::Constant(value)),
    }
}

/// Bytes are taken for what they are.
const fn takes_text(ty: &ColumnType) -> bool {
    matches!(ty, ColumnType::Text | ColumnType::Bytes)
}

fn as_text(value: Value) -> Value {
    match value.to_json() {
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Number(number) => Value::Text(number.to_string()),
        serde_json::Value::Bool(flag) => Value::Text(flag.to_string()),
        _ => value,
    }
}

/// Whether a column of a row holds what [`placed`] puts there.
pub(super) fn equal(column: &Column, cell: &Fragment, placed: &Fragment, dialect: Dialect) -> Fragment {
    match (&column.ty, dialect) {
        // `json` compares with nothing.
        (ColumnType::Json, Dialect::Postgres) => Fragment::of("CAST({} AS jsonb) = CAST({} AS jsonb)", &[cell, placed]),
        (ColumnType::Json, Dialect::MySql) => Fragment::of("CAST({} AS CHAR) = {}", &[cell, placed]),
        _ => Fragment::of("{} = {}", &[cell, placed]),
    }
}

/// The text in a column that [`placed`] put it into.
pub(super) fn unwrapped(column: &Column, cell: &Fragment, dialect: Dialect) -> Fragment {
    if column.ty != ColumnType::Json {
        return cell.clone();
    }
    let pattern = match dialect {
        Dialect::Postgres => "(CAST({} AS jsonb) #>> CAST(ARRAY[] AS text[]))",
        Dialect::MySql => "JSON_UNQUOTE(JSON_EXTRACT({}, '$'))",
        Dialect::Sqlite => "CAST(json_extract({}, '$') AS TEXT)",
    };
    Fragment::of(pattern, &[cell])
}

fn shown(value: &Value) -> Value {
    match value.to_json() {
        serde_json::Value::String(text) => Value::Text(text),
        _ => value.clone(),
    }
}

pub(super) fn stored_uuid(ty: &ColumnType, id: uuid::Uuid, dialect: Dialect) -> Value {
    match ty {
        ColumnType::Uuid(UuidStorage::Binary) | ColumnType::Bytes => Value::Bytes(id.as_bytes().to_vec()),
        ColumnType::Uuid(UuidStorage::Native) if dialect == Dialect::Postgres => Value::Uuid(id),
        _ => Value::Text(id.to_string()),
    }
}

/// Booleans are numbers outside PostgreSQL, and in its columns of numbers.
pub(super) fn stored_flag(column: &Column, value: &Value, dialect: Dialect) -> Value {
    match value {
        Value::Bool(flag) if dialect != Dialect::Postgres || column.ty.is_number() => Value::Int(i64::from(*flag)),
        other => other.clone(),
    }
}

/// The key of another record, as the column keeps it.
pub(super) fn stored_key(ty: &ColumnType, key: &Key) -> Value {
    match ty {
        ColumnType::Json => in_json(&key_value(&KeyType::Int, key)),
        _ => key_value(&key_type(ty), key),
    }
}

/// The record's own key, as another table's column keeps it.
pub(super) fn record_key(catalog: &Catalog, column: &Column, record: &RecordId) -> Value {
    let own = catalog.entity(&record.entity).map_or(&KeyType::Unknown, |entity| &entity.key_type);
    match column.ty {
        ColumnType::Json => in_json(&key_value(own, &record.key)),
        _ => key_value(&held_as(own, &column.ty), &record.key),
    }
}

/// How a column holds keys of this type: as it says, or as they are where it says nothing.
pub(super) fn held_as(own: &KeyType, ty: &ColumnType) -> KeyType {
    if *ty == ColumnType::Unknown { own.clone() } else { key_type(ty) }
}

fn key_type(ty: &ColumnType) -> KeyType {
    match ty {
        // Whole numbers compare with each other by an index, whatever their scale.
        ColumnType::Int | ColumnType::Decimal => KeyType::Int,
        ColumnType::Uuid(storage) => KeyType::Uuid(storage.clone()),
        ColumnType::Bytes => KeyType::Bytes,
        _ => KeyType::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_the_column_keeps_them_whatever_their_own_table_does() {
        let text = "0192f0c1-2222-7333-8444-555566667777";
        let id: uuid::Uuid = text.parse().unwrap();
        let (as_text, as_bytes) = (Value::Text(text.to_owned()), Value::Bytes(id.as_bytes().to_vec()));
        let (native, binary) = (KeyType::Uuid(UuidStorage::Native), KeyType::Uuid(UuidStorage::Binary));
        for (own, column, key, stored) in [
            (&binary, ColumnType::Text, text, as_text.clone()),
            (&binary, ColumnType::Uuid(UuidStorage::Text), text, as_text.clone()),
            (&binary, ColumnType::Bytes, text, as_bytes.clone()),
            (&KeyType::Uuid(UuidStorage::Text), ColumnType::Bytes, text, as_bytes.clone()),
            (&native, ColumnType::Text, text, as_text),
            (&native, ColumnType::Uuid(UuidStorage::Native), text, Value::Uuid(id)),
            (&binary, ColumnType::Unknown, text, as_bytes),
            (&KeyType::Bytes, ColumnType::Text, "0x00ff", Value::Text("0x00ff".to_owned())),
            (&KeyType::Bytes, ColumnType::Bytes, "0x00ff", Value::Bytes(vec![0, 255])),
            (&KeyType::Bytes, ColumnType::Unknown, "0x00ff", Value::Bytes(vec![0, 255])),
            (&KeyType::Int, ColumnType::Text, "7", Value::Text("7".to_owned())),
            (&KeyType::Text, ColumnType::Int, "7", Value::Int(7)),
            (&KeyType::Unknown, ColumnType::Decimal, "7", Value::Int(7)),
        ] {
            assert_eq!(key_value(&held_as(own, &column), &Key::new(key)), stored, "{own:?} into {column:?}");
        }
    }
}
