//! How a record stands before an update: what its columns hold, and whether that isn't what they are to hold.
//!
//! A step that is tried again compares it with what its first try found, so that it doesn't write over what somebody has
//! changed since. Values are read as text, by which no type of a database is lost, and are compared as such.

use super::update::{UnfitValue, Update, Writer};
use crate::catalog::{Catalog, Column, Entity, TagList};
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
    /// The column that holds them all, where there is one: as it is read, and as it is compared.
    pub list: Option<(Value, Value)>,
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
    if let Some(list) = tag_list(entity, update) {
        columns.extend([writer.held(list), writer.stored(&list.column)]);
    } else if let Some(tags) = &entity.tags {
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
pub fn read_standing(row: &Row, entity: &Entity, update: &Update) -> Result<Standing, UnfitValue> {
    let is_set = |value: &Value| *value == Value::Int(1);
    let (flag, values) = row.0.split_at(1.min(row.0.len()));
    let (fields, tags) = values.split_at(update.set.len().min(values.len()));
    let (mut tags, mut list) = (tags.to_vec(), None);
    if let (Some(of), [held, stored]) = (tag_list(entity, update), tags.as_slice()) {
        list = Some((held.clone(), stored.clone()));
        let ours: Vec<&String> = update.remove_tags.iter().chain(&update.add_tags).collect();
        tags = of.has(held, &ours)?.into_iter().map(|there| Value::Int(i64::from(there))).collect();
    }
    let (removed, added) = tags.split_at(update.remove_tags.len().min(tags.len()));
    let tags_differ = removed.iter().any(is_set) || !added.iter().all(is_set);
    Ok(Standing { fields_differ: flag.iter().any(is_set), tags_differ, fields: fields.to_vec(), tags, list })
}

/// The column that the update changes for its tags.
pub(super) fn tag_list<'e>(entity: &'e Entity, update: &Update) -> Option<&'e TagList> {
    let has_tags = !update.add_tags.is_empty() || !update.remove_tags.is_empty();
    entity.tag_list.as_ref().filter(|_| has_tags)
}

impl Writer<'_> {
    /// A column's value as text.
    pub(super) fn stored(&self, column: &Column) -> Fragment {
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
        let same = cells.iter().zip(seen).map(|((column, _), seen)| self.is_as_seen(column, seen));
        Fragment::of("{} AND {}", &[set, &Fragment::all(&same.collect::<Vec<_>>())])
    }

    pub(super) fn is_as_seen(&self, column: &Column, seen: &Value) -> Fragment {
        let same = match self.renderer.dialect {
            Dialect::Postgres => "{} IS NOT DISTINCT FROM {}",
            Dialect::MySql => "{} <=> {}",
            Dialect::Sqlite => "{} IS {}",
        };
        Fragment::of(same, &[&self.stored(column), &Self::bound(seen)])
    }
}
