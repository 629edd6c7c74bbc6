//! What PostgreSQL says of its tables, from `pg_catalog`: `information_schema` hides what one doesn't own.

use crate::catalog::{
    ColumnSchema, ColumnType, DateStorage, Index, InstantStorage, Table, TableKind, TableSchema, UuidStorage,
};
use crate::model::Value;
use crate::rule::statement::Row;
use jiff::tz::TimeZone;

/// Columns of a table or view that this login may read.
pub(super) const COLUMNS: &str = "SELECT a.attname, \
     CASE WHEN t.typtype = 'e' THEN concat('enum ', format_type(a.atttypid, NULL), '(', \
       (SELECT string_agg(concat('''', replace(e.enumlabel, '''', ''''''), ''''), ',' ORDER BY e.enumsortorder) \
        FROM pg_enum e WHERE e.enumtypid = t.oid), ')') ELSE format_type(a.atttypid, a.atttypmod) END, \
     CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, NULL) ELSE format_type(a.atttypid, NULL) END, \
     t.typtype = 'e', NOT a.attnotnull, a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '', \
     a.attgenerated <> '', \
     (SELECT CAST(c.relkind AS text) FROM pg_class c WHERE c.oid = a.attrelid) \
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
     WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped \
     AND has_column_privilege(a.attrelid, a.attnum, 'SELECT') ORDER BY a.attnum";

/// Whole indexes only: a partial one may not serve a query. Nor does one over the words of a text.
pub(super) const INDEXES: &str = "SELECT i.indexrelid, i.indisunique, \
     COALESCE(CAST(a.attname AS text), pg_get_indexdef(i.indexrelid, CAST(k.place AS integer), true)), m.amname <> 'hash' \
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam AND m.amname <> 'gin' \
     CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, place) \
     LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
     WHERE i.indrelid = to_regclass($1) AND i.indpred IS NULL AND i.indisvalid AND k.place <= i.indnkeyatts \
     ORDER BY i.indexrelid, k.place";

/// The name for `to_regclass`.
pub(super) fn quoted(table: &Table) -> String {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    match &table.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&table.name)),
        None => quote(&table.name),
    }
}

fn kind(Row(cells): &Row) -> TableKind {
    match cells.last().and_then(Value::as_text) {
        Some("p") => TableKind::Partitioned,
        Some("v" | "f") => TableKind::View,
        _ => TableKind::Table,
    }
}

pub(super) fn read(table: &Table, columns: &[Row], indexes: &[Row]) -> TableSchema {
    let mut read = TableSchema {
        table: table.clone(),
        exists: !columns.is_empty(),
        kind: columns.first().map_or(TableKind::Table, kind),
        columns: Vec::with_capacity(columns.len()),
        indexes: Vec::new(),
    };
    for Row(cells) in columns {
        let [name, declared, base, is_enum, nullable, default, generated, _] = cells.as_slice() else { continue };
        read.columns.push(ColumnSchema {
            name: text(name),
            declared: text(declared),
            ty: if *is_enum == Value::Bool(true) { ColumnType::Text } else { column_type(&text(base)) },
            nullable: *nullable == Value::Bool(true),
            has_default: *default == Value::Bool(true),
            generated: *generated == Value::Bool(true),
            padded: text(base) == "character",
        });
    }
    let mut last = None;
    for Row(cells) in indexes {
        let [index, unique, column, ordered] = cells.as_slice() else { continue };
        if last != Some(index) {
            last = Some(index);
            let (unique, ordered) = (*unique == Value::Bool(true), *ordered == Value::Bool(true));
            read.indexes.push(Index { columns: Vec::new(), unique, ordered });
        }
        if let Some(index) = read.indexes.last_mut() {
            index.columns.push(text(column));
        }
    }
    read
}

fn text(value: &Value) -> String {
    value.as_text().unwrap_or_default().to_owned()
}

/// A column of a query, by sqlx's name of its type.
pub(super) fn described(name: &str, ty: &str) -> ColumnSchema {
    let ty = ty.to_ascii_lowercase();
    // `char(n)`, by its own name; that of one byte has quotes.
    let padded = matches!(ty.as_str(), "bpchar" | "char");
    ColumnSchema {
        name: name.to_owned(),
        ty: of_query(&ty),
        declared: ty,
        nullable: true,
        has_default: false,
        generated: false,
        padded,
    }
}

fn of_query(ty: &str) -> ColumnType {
    column_type(match ty {
        "bool" => "boolean",
        "int2" | "int4" | "int8" => "bigint",
        "float4" | "float8" => "double precision",
        "varchar" | "bpchar" | "char" => "text",
        "timestamptz" => "timestamp with time zone",
        "timestamp" => "timestamp without time zone",
        other => other,
    })
}

/// The zone of naive timestamps is the catalog's to say.
fn column_type(declared: &str) -> ColumnType {
    match declared {
        "boolean" => ColumnType::Bool,
        "smallint" | "integer" | "bigint" | "oid" => ColumnType::Int,
        "numeric" | "money" => ColumnType::Decimal,
        "real" | "double precision" => ColumnType::Float,
        "text" | "character varying" | "character" | "\"char\"" | "name" | "citext" => ColumnType::Text,
        "bit" => ColumnType::BoolText,
        "uuid" => ColumnType::Uuid(UuidStorage::Native),
        "bytea" => ColumnType::Bytes,
        "json" | "jsonb" => ColumnType::Json,
        "date" => ColumnType::Date(DateStorage::Native),
        "timestamp with time zone" => ColumnType::Instant(InstantStorage::Native),
        "timestamp without time zone" => ColumnType::Instant(InstantStorage::Naive(TimeZone::UTC)),
        _ => ColumnType::Unknown,
    }
}
