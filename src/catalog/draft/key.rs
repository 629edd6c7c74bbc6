//! Which column names a row.

use super::words;
use super::{KeyFrom, Listed};
use crate::catalog::{ColumnSchema, TableSchema};

/// A column that names a row, or seems to.
pub(super) struct Named {
    pub column: String,
    pub from: KeyFrom,
}

/// The primary key, if it is one column; else a unique column that is never null, or one that the database computes; or,
/// where there is no key at all (a view has none), one called `id`.
pub(super) fn key_of(listed: &Listed, live: &TableSchema) -> Option<Named> {
    let named = |column: &ColumnSchema, from| Named { column: column.name.clone(), from };
    if let [key] = listed.key.as_slice() {
        return live.column(key).filter(|column| is_usable(column)).map(|column| named(column, KeyFrom::Primary));
    }
    let unique = unique(live);
    if let Some(column) = unique.iter().find(|column| !column.nullable) {
        let from = if listed.key.is_empty() { KeyFrom::Unique } else { KeyFrom::UniqueBesideSeveral };
        return Some(named(column, from));
    }
    if let Some(column) = unique.iter().find(|column| column.generated) {
        return Some(named(column, KeyFrom::Generated));
    }
    let id = live.columns.iter().find(|column| words::snake(&column.name) == "id");
    id.filter(|column| listed.key.is_empty() && is_usable(column)).map(|column| named(column, KeyFrom::Name))
}

/// Why a table without such a column is left out, and what to do about it.
pub(super) fn why_none(live: &TableSchema) -> String {
    match unique(live).first() {
        Some(column) => format!(
            "no column of its own surely names a row. `{}` is unique, but may be NULL: make it the `key` if it never is, or \
             map the table as `sql` with a `key`, or not at all",
            column.name
        ),
        None => "no column of its own names a row: map it as `sql` with a `key`, or not at all".to_owned(),
    }
}

/// Columns that are unique by themselves, those with the shortest names first.
fn unique(live: &TableSchema) -> Vec<&ColumnSchema> {
    let alone = live.indexes.iter().filter(|index| index.unique && index.columns.len() == 1);
    let mut columns: Vec<&ColumnSchema> =
        alone.filter_map(|index| live.column(index.columns.first()?)).filter(|column| is_usable(column)).collect();
    columns.sort_by_key(|column| (column.name.chars().count(), column.name.clone()));
    columns
}

fn is_usable(column: &ColumnSchema) -> bool {
    column.ty.as_key().is_some()
}
