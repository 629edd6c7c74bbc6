//! Tables that only say which rows of two others belong together.

use super::guess::{could_be_key, push, test_of};
use super::words;
use super::{Entity, Listed, Relation, Way};
use crate::catalog::{ColumnSchema, Table, TableKind, TableSchema};
use std::collections::BTreeMap;

/// What entities are called.
pub(super) type Names<'a> = BTreeMap<&'a Table, String>;

pub(super) struct Bridge {
    table: Table,
    ends: [End; 2],
    /// Which of its rows count.
    only: Vec<(String, String)>,
    guessed: bool,
}

struct End {
    column: String,
    entity: String,
}

/// Two references and next to nothing else: a join table.
pub(super) fn is_join(listed: &Listed, live: &TableSchema) -> bool {
    let own = |column: &&ColumnSchema| {
        let refers = listed.references.iter().any(|reference| reference.column == column.name);
        !refers && !listed.key.contains(&column.name)
    };
    listed.references.len() == 2 && live.columns.iter().filter(own).count() <= 2 && listed.key.len() != 1
}

impl Bridge {
    /// By its foreign keys.
    pub fn declared(listed: &Listed, live: &TableSchema, names: &Names<'_>) -> Option<Self> {
        let [one, other] = listed.references.as_slice() else { return None };
        let end =
            |column: &str, table: &Table| Some(End { column: column.to_owned(), entity: names.get(table)?.clone() });
        let ends = [end(&one.column, &one.table)?, end(&other.column, &other.table)?];
        Some(Self { table: listed.table.clone(), ends, only: only(live, &listed.key), guessed: false })
    }

    /// A table whose rows have a key of their own, but that is called after two others and refers to them.
    pub fn named(listed: &Listed, live: &TableSchema, names: &Names<'_>) -> Option<Self> {
        let mut guessed = false;
        let mut ends = Vec::new();
        for column in live.columns.iter().filter(|column| !listed.key.contains(&column.name)) {
            let declared = listed.references.iter().find(|reference| reference.column == column.name);
            let entity = match declared {
                Some(reference) => names.get(&reference.table).cloned(),
                None => words::names_row(&column.name)
                    .filter(|named| names.values().any(|known| known == named) && could_be_key(column)),
            };
            if let Some(entity) = entity {
                guessed |= declared.is_none();
                ends.push(End { column: column.name.clone(), entity });
            }
        }
        let [one, other] = <[End; 2]>::try_from(ends).ok()?;
        if !is_called_after(&listed.table.name, [&one.entity, &other.entity]) {
            return None;
        }
        let known = |column: &ColumnSchema| {
            listed.key.contains(&column.name)
                || [&one, &other].iter().any(|end| end.column == column.name)
                || test_of(column).is_some()
                || words::changed(&column.name)
        };
        if live.columns.iter().filter(|column| !known(column)).count() > 2 {
            return None;
        }
        let only = only(live, &listed.key);
        Some(Self { table: listed.table.clone(), ends: [one, other], only, guessed })
    }

    /// A relation in both directions.
    pub fn relate(&self, entities: &mut [Entity]) {
        let [one, other] = &self.ends;
        for (from, to) in [(one, other), (other, one)] {
            let way = Way::Through {
                table: self.table.clone(),
                from: from.column.clone(),
                to: to.column.clone(),
                only: self.only.clone(),
            };
            let (name, guessed) = (words::plural(&to.entity), self.guessed);
            let relation = Relation { name, entity: to.entity.clone(), way, guessed };
            if let Some(entity) = entities.iter_mut().find(|entity| entity.name == from.entity) {
                let nothing = TableSchema {
                    table: self.table.clone(),
                    exists: true,
                    kind: TableKind::Table,
                    columns: Vec::new(),
                    indexes: Vec::new(),
                };
                push(entity, relation, &nothing);
            }
        }
    }
}

/// `accounts_contacts` after `account` and `contact`, in any order and number.
fn is_called_after(table: &str, entities: [&str; 2]) -> bool {
    let name = words::snake(table);
    let is_both = |(at, _): (usize, &str)| {
        let (left, right) = (words::singular(&name[..at]), words::singular(&name[at + 1..]));
        let both = [left.as_str(), right.as_str()];
        both == entities || both == [entities[1], entities[0]]
    };
    name.match_indices('_').any(is_both)
}

fn only(live: &TableSchema, key: &[String]) -> Vec<(String, String)> {
    let own = live.columns.iter().filter(|column| !key.contains(&column.name));
    own.filter_map(|column| Some((column.name.clone(), test_of(column)?))).collect()
}
