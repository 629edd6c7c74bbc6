//! How a record stands before an update: what its columns hold, and whether that isn't what they are to hold.
//!
//! A step that is tried again compares it with what its first try found, so that it doesn't write over what somebody has
//! changed since. Values are read as text, by which no type of a database is lost, and are compared as such.

use super::update::{UnfitValue, Update, Writer};
use crate::catalog::{Catalog, Column, Entity};
use crate::model::{Key, Value};
use crate::rule::sql::{Fragment, Renderer};
use crate::rule::statement::{Dialect, Row, Statement};
use jiff::Timestamp;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// A field holds something else than it is to hold.
    pub fields_differ: bool,
    /// A tag is there, or isn't, against what is wanted.
    pub tags_differ: bool,
    /// What the fields hold, in the order of the update.
    pub fields: Vec<Value>,
    /// Whether each tag is there: those to be removed, then those to be added.
    pub tags: Vec<Value>,
}

/// Asks how the record stands. `None`: it has no table of its own.
pub fn standing(
    catalog: &Catalog,
    dialect: Dialect,
    (entity, key): (&Entity, &Key),
    update: &Update,
    now: Timestamp,
) -> Result<Option<Statement>, UnfitValue> {
    let writer = Writer { renderer: Renderer::new(dialect, catalog), zone: &catalog.time_zone, now };
    let cells = writer.cells(entity, update)?;
    let Some(table) = entity.table() else { return Ok(None) };
    let flag = |condition: &Fragment| Fragment::of("CASE WHEN {} THEN 1 ELSE 0 END", &[condition]);
    let mut columns = vec![match cells.as_slice() {
        [] => Fragment::text("0"),
        cells => flag(&writer.differs(cells)),
    }];
    columns.extend(cells.iter().map(|(column, _)| writer.stored(column)));
    if let Some(tags) = &entity.tags {
        let holder = Writer::holder(entity, tags, key);
        let table = writer.renderer.table(&tags.table);
        let has = |tag: &String| {
            let is_tag = writer.is_tag(tags, &holder, tag);
            flag(&Fragment::of("EXISTS (SELECT 1 FROM {} WHERE {})", &[&table, &is_tag]))
        };
        columns.extend(update.remove_tags.iter().chain(&update.add_tags).map(has));
    }
    let columns = Fragment::join(&columns, ", ");
    let parts = [&columns, &writer.renderer.table(table), &writer.is_record(entity, key)];
    Ok(writer.fill(vec![Fragment::of("SELECT {} FROM {} WHERE {}", &parts)]).pop())
}

/// Reads the row that [`standing`] asked for.
#[must_use]
pub fn read_standing(row: &Row, update: &Update) -> Standing {
    let is_set = |value: &Value| *value == Value::Int(1);
    let (flag, values) = row.0.split_at(1.min(row.0.len()));
    let (fields, tags) = values.split_at(update.set.len().min(values.len()));
    let (removed, added) = tags.split_at(update.remove_tags.len().min(tags.len()));
    Standing {
        fields_differ: flag.iter().any(is_set),
        tags_differ: removed.iter().any(is_set) || !added.iter().all(is_set),
        fields: fields.to_vec(),
        tags: tags.to_vec(),
    }
}

impl Writer<'_> {
    /// A column's value as text.
    fn stored(&self, column: &Column) -> Fragment {
        let name = Fragment::name(self.renderer.dialect, &column.name);
        let text = match self.renderer.dialect {
            Dialect::Postgres => "CAST({} AS text)",
            Dialect::MySql => "HEX(CAST({} AS BINARY))",
            Dialect::Sqlite => "quote({})",
        };
        Fragment::of(text, &[&name])
    }

    /// Narrows an update to the row as it was seen.
    pub(super) fn while_seen(&self, set: &Fragment, cells: &[(&Column, Value)], seen: &[Value]) -> Fragment {
        let same = cells.iter().zip(seen).map(|((column, _), seen)| {
            let same = match self.renderer.dialect {
                Dialect::Postgres => "{} IS NOT DISTINCT FROM {}",
                Dialect::MySql => "{} <=> {}",
                Dialect::Sqlite => "{} IS {}",
            };
            Fragment::of(same, &[&self.stored(column), &Self::bound(seen)])
        });
        Fragment::of("{} AND {}", &[set, &Fragment::all(&same.collect::<Vec<_>>())])
    }
}
