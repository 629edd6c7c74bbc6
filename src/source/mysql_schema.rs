//! What MySQL and MariaDB say of their tables; `information_schema` shows only what this login may read.

use crate::catalog::{
    ColumnSchema, ColumnType, DateStorage, Index, InstantStorage, Table, TableKind, TableSchema, UuidStorage,
};
use crate::model::Value;
use crate::rule::statement::Row;
use jiff::tz::TimeZone;

pub(super) const COLUMNS: &str = "SELECT column_name, column_type, data_type, is_nullable = 'YES', \
     column_default IS NOT NULL OR extra LIKE '%auto_increment%' OR extra LIKE '%GENERATED%', \
     COALESCE(generation_expression, '') <> '', \
     EXISTS (SELECT 1 FROM information_schema.views AS v \
     WHERE v.table_schema = c.table_schema AND v.table_name = c.table_name) \
     FROM information_schema.columns AS c \
     WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? ORDER BY ordinal_position";

/// An expression has no name, and what is unique by a beginning of its values is not by them alone.
pub(super) const INDEXES: &str = "SELECT index_name, non_unique = 0 AND sub_part IS NULL, COALESCE(column_name, ''), \
     index_type <> 'HASH' FROM information_schema.statistics \
     WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? AND index_type NOT IN ('FULLTEXT', 'SPATIAL') \
     ORDER BY index_name, seq_in_index";

/// What MariaDB checks of a table's columns. MySQL names no tables here, and refuses the question: its JSON is a type.
pub(super) const CHECKS: &str = "SELECT check_clause FROM information_schema.check_constraints \
     WHERE constraint_schema = COALESCE(?, DATABASE()) AND table_name = ?";

fn kind(Row(cells): &Row) -> TableKind {
    if cells.last() == Some(&Value::Int(1)) { TableKind::View } else { TableKind::Table }
}

pub(super) fn read(table: &Table, columns: &[Row], indexes: &[Row], checks: &[Row]) -> TableSchema {
    // Which columns `JSON` of MariaDB stands for: it is another name for long text that is checked so.
    let is_json = |name: &str| {
        let clause = format!("json_valid(`{name}`)");
        checks.iter().any(|Row(cells)| cells.first().is_some_and(|cell| text(cell).eq_ignore_ascii_case(&clause)))
    };
    let mut read = TableSchema {
        table: table.clone(),
        exists: !columns.is_empty(),
        kind: columns.first().map_or(TableKind::Table, kind),
        columns: Vec::with_capacity(columns.len()),
        indexes: Vec::new(),
    };
    for Row(cells) in columns {
        let [name, declared, data_type, nullable, default, generated, _] = cells.as_slice() else { continue };
        let declared = text(declared);
        let ty = column_type(&text(data_type).to_ascii_lowercase(), &declared.to_ascii_lowercase());
        read.columns.push(ColumnSchema {
            name: text(name),
            ty: if ty == ColumnType::Text && is_json(&text(name)) { ColumnType::Json } else { ty },
            declared,
            nullable: *nullable == Value::Int(1),
            has_default: *default == Value::Int(1),
            generated: *generated == Value::Int(1),
            // It takes the blanks off by itself.
            padded: false,
        });
    }
    let mut last = String::new();
    for Row(cells) in indexes {
        let [index, unique, column, ordered] = cells.as_slice() else { continue };
        if text(index) != last {
            last = text(index);
            let (unique, ordered) = (*unique == Value::Int(1), *ordered == Value::Int(1));
            read.indexes.push(Index { columns: Vec::new(), unique, ordered });
        }
        if let Some(index) = read.indexes.last_mut() {
            index.unique &= *unique == Value::Int(1);
            index.columns.push(text(column));
        }
    }
    read
}

/// MySQL 8 hands names and long texts over as binary.
fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// A column of a query, by sqlx's name of its type.
pub(super) fn described(name: &str, ty: &str) -> ColumnSchema {
    let ty = ty.to_ascii_lowercase();
    ColumnSchema {
        name: name.to_owned(),
        ty: of_query(&ty),
        declared: ty,
        nullable: true,
        has_default: false,
        generated: false,
        padded: false,
    }
}

fn of_query(ty: &str) -> ColumnType {
    match ty {
        "boolean" => ColumnType::Bool,
        "null" => ColumnType::Unknown,
        other => column_type(other.trim_end_matches(" unsigned"), other),
    }
}

/// The zone of DATETIME is the catalog's to say.
fn column_type(data_type: &str, declared: &str) -> ColumnType {
    match data_type {
        "tinyint" if declared.starts_with("tinyint(1)") => ColumnType::Bool,
        "bit" if declared == "bit(1)" => ColumnType::Bool,
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" | "bit" => ColumnType::Int,
        "decimal" => ColumnType::Decimal,
        "float" | "double" => ColumnType::Float,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => ColumnType::Text,
        "uuid" => ColumnType::Uuid(UuidStorage::Native),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnType::Bytes,
        "json" => ColumnType::Json,
        "date" => ColumnType::Date(DateStorage::Native),
        "timestamp" => ColumnType::Instant(InstantStorage::Native),
        "datetime" => ColumnType::Instant(InstantStorage::Naive(TimeZone::UTC)),
        _ => ColumnType::Unknown,
    }
}
