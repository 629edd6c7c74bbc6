//! Side tables: more columns of the rows of another table, under the same key.

use super::guess::Source;
use super::words;
use super::{Entity, KeyFrom, Side};

/// Tells both entities of each pair about the other table.
pub(super) fn relate(sources: &[Source<'_>], entities: &mut [Entity]) {
    for side in sources {
        let Some((main, certain)) = main_of(side, sources) else { continue };
        let marks = marks_of(main, side, entities);
        let main_side = Side {
            table: main.listed.table.clone(),
            key: main.key.column.clone(),
            columns: marks.iter().map(|(column, _)| column.clone()).collect(),
            only: marks,
            certain,
        };
        let more = Side {
            table: side.listed.table.clone(),
            key: side.key.column.clone(),
            columns: own_columns(side, main),
            only: Vec::new(),
            certain,
        };
        for entity in entities.iter_mut() {
            if entity.name == side.name {
                entity.main = Some(main_side.clone());
            } else if entity.name == main.name && !more.columns.is_empty() {
                entity.sides.push(more.clone());
            }
        }
    }
}

/// The table whose rows they are, and whether a foreign key says so.
fn main_of<'s, 'a>(side: &Source<'a>, sources: &'s [Source<'a>]) -> Option<(&'s Source<'a>, bool)> {
    if side.key.from == KeyFrom::Name {
        return None;
    }
    let others = || sources.iter().filter(|other| other.listed.table != side.listed.table && same_type(side, other));
    if let Some(declared) = side.listed.references.iter().find(|reference| reference.column == side.key.column) {
        return others().find(|other| other.listed.table == declared.table).map(|main| (main, true));
    }
    others().find(|other| is_named_after(side, other)).map(|main| (main, false))
}

fn same_type(side: &Source<'_>, main: &Source<'_>) -> bool {
    let ty = |source: &Source<'_>| source.live.column(&source.key.column).map(|column| column.ty.clone());
    main.key.from != KeyFrom::Name && ty(side).is_some() && ty(side) == ty(main)
}

/// `account_details` with the key `account_id` after `accounts`, and `accounts_cstm` with `id_c`.
fn is_named_after(side: &Source<'_>, main: &Source<'_>) -> bool {
    let (key, table) = (words::snake(&side.key.column), words::snake(&side.listed.table.name));
    let begins = table.strip_prefix(&words::snake(&main.listed.table.name)).is_some_and(|rest| rest.starts_with('_'));
    words::names_row(&key).is_some_and(|named| named == main.name) || key == "id_c" && begins
}

/// The tests of the main table's rows that the side table has no columns of its own for.
fn marks_of(main: &Source<'_>, side: &Source<'_>, entities: &[Entity]) -> Vec<(String, String)> {
    let found = entities.iter().find(|entity| entity.name == main.name);
    let marks = found.into_iter().flat_map(|entity| &entity.only);
    marks.filter(|(column, _)| side.live.column(column).is_none()).cloned().collect()
}

fn own_columns(side: &Source<'_>, main: &Source<'_>) -> Vec<String> {
    let own = side.live.columns.iter().filter(|column| main.live.column(&column.name).is_none());
    own.map(|column| column.name.clone()).filter(|name| *name != side.key.column).collect()
}
