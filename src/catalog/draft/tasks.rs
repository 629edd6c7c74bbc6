//! How rows could get into a table that looks like one of tasks, as far as its columns say.

use super::guess::Source;
use super::{KeyFrom, Tasks, words};
use crate::catalog::{ColumnSchema, ColumnType};

/// What is set, and the names of columns for it, the likeliest first.
const WANTED: [(&str, &[&str]); 4] = [
    ("$title", &["title", "name", "subject", "summary", "what"]),
    ("$due", &["due_date", "date_due", "due", "due_on", "due_at"]),
    ("$record.key", &["account_id", "customer_id", "client_id", "company_id", "contact_id", "parent_id", "record_id"]),
    ("$ref", &["ref", "reference", "external_id", "external_ref"]),
];

pub(super) fn read(source: &Source<'_>) -> Tasks {
    let mut tasks = Tasks { table: source.listed.table.clone(), set: Vec::new(), homeless: Vec::new() };
    if let Some(key) = source.live.column(&source.key.column).filter(|column| wants_key(source, column)) {
        tasks.set.push((key.name.clone(), "$uuid"));
    }
    for (value, names) in WANTED {
        let by_name = |name: &&str| source.live.columns.iter().find(|column| words::snake(&column.name) == **name);
        let found = names.iter().find_map(by_name).filter(|column| column.name != source.key.column);
        match found {
            Some(column) => tasks.set.push((column.name.clone(), value)),
            None => tasks.homeless.push(value),
        }
    }
    tasks
}

/// Whether nobody gives its rows their key.
fn wants_key(source: &Source<'_>, key: &ColumnSchema) -> bool {
    let fits = matches!(key.ty, ColumnType::Text | ColumnType::Uuid(_));
    fits && !key.has_default && source.key.from == KeyFrom::Primary
}
