//! What SQLite says of its tables. Declared types are only names here; they are read as people mean them.

use crate::catalog::{ColumnSchema, ColumnType, DateStorage, Index, InstantStorage, Table, TableKind, TableSchema};
use crate::model::Value;
use crate::rule::statement::Row;
use jiff::tz::TimeZone;

pub(super) const COLUMNS: &str = "SELECT name, type, \"notnull\", dflt_value IS NOT NULL OR hidden > 1, hidden > 1, pk, \
     EXISTS (SELECT 1 FROM pragma_table_list(?1) AS l WHERE l.schema = ?2 AND l.type = 'view') \
     FROM pragma_table_xinfo(?1, ?2)";

/// One row per indexed column, in order; of an expression the statement that made the index.
pub(super) const INDEXES: &str = "SELECT l.name, l.\"unique\", \
     COALESCE(i.name, (SELECT s.sql FROM sqlite_master AS s WHERE s.type = 'index' AND s.name = l.name)) \
     FROM pragma_index_list(?, ?) AS l JOIN pragma_index_info(l.name) AS i \
     WHERE NOT l.partial ORDER BY l.seq, i.seqno";

pub(super) fn database(table: &Table) -> String {
    table.schema.clone().unwrap_or_else(|| "main".to_owned())
}

fn kind(Row(cells): &Row) -> TableKind {
    if cells.last() == Some(&Value::Int(1)) { TableKind::View } else { TableKind::Table }
}

pub(super) fn read(table: &Table, columns: &[Row], indexes: &[Row]) -> TableSchema {
    let mut read = TableSchema {
        table: table.clone(),
        exists: !columns.is_empty(),
        kind: columns.first().map_or(TableKind::Table, kind),
        columns: Vec::with_capacity(columns.len()),
        indexes: Vec::new(),
    };
    // The place of a column within the primary key stands before the last cell.
    let of_key = |Row(cells): &&Row| cells.iter().rev().nth(1).is_some_and(|place| *place != Value::Int(0));
    let is_composite = columns.iter().filter(of_key).count() > 1;
    for Row(cells) in columns {
        let [name, declared, notnull, default, generated, key, _] = cells.as_slice() else { continue };
        let declared = text(declared);
        let ty = column_type(&declared);
        let is_key = *key == Value::Int(1) && !is_composite;
        if is_key && declared.eq_ignore_ascii_case("integer") {
            read.indexes.push(Index { columns: vec![text(name)], unique: true, ordered: true });
        }
        read.columns.push(ColumnSchema {
            name: text(name),
            nullable: *notnull == Value::Int(0) && !is_key,
            has_default: *default == Value::Int(1) || (is_key && ty == ColumnType::Int),
            generated: *generated == Value::Int(1),
            padded: false,
            declared,
            ty,
        });
    }
    let mut last = String::new();
    for Row(cells) in indexes {
        let [index, unique, column] = cells.as_slice() else { continue };
        if text(index) != last {
            last = text(index);
            let unique = *unique == Value::Int(1);
            read.indexes.push(Index { columns: Vec::new(), unique, ordered: true });
        }
        if let Some(index) = read.indexes.last_mut() {
            index.columns.push(text(column));
        }
    }
    read
}

/// A column of a query, by sqlx's name of its type.
pub(super) fn described(name: &str, ty: &str) -> ColumnSchema {
    let ty = ty.to_ascii_lowercase();
    ColumnSchema {
        name: name.to_owned(),
        ty: if ty == "null" { ColumnType::Unknown } else { column_type(&ty) },
        declared: ty,
        nullable: true,
        has_default: false,
        generated: false,
        padded: false,
    }
}

fn text(value: &Value) -> String {
    value.as_text().unwrap_or_default().to_owned()
}

fn column_type(declared: &str) -> ColumnType {
    let upper = declared.to_ascii_uppercase();
    let has = |part: &str| upper.contains(part);
    if has("BOOL") {
        ColumnType::Bool
    } else if has("DATETIME") || has("TIMESTAMP") {
        ColumnType::Instant(InstantStorage::Text(TimeZone::UTC))
    } else if has("DATE") {
        ColumnType::Date(DateStorage::Text)
    } else if has("JSON") {
        ColumnType::Json
    } else if has("CHAR") || has("CLOB") || has("TEXT") || has("UUID") {
        ColumnType::Text
    } else if has("INT") {
        ColumnType::Int
    } else if has("BLOB") || has("BINARY") {
        ColumnType::Bytes
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        ColumnType::Float
    } else if has("DEC") || has("NUM") || has("MONEY") {
        ColumnType::Decimal
    } else {
        ColumnType::Unknown
    }
}
