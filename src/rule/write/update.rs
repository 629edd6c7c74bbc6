//! New values and tags as statements, to be run in one transaction.

use super::standing::{Standing, tag_list};
use crate::catalog::{
    self, Catalog, Column, ColumnType, Consent, ConsentTest, Entity, Expression, Place, TagList, Tags,
};
use crate::model::{FieldName, Key, Value};
use crate::rule::fit::{fitted, held_as, stored_flag, stored_key};
use crate::rule::sql::{Fill, Fragment, Hole, Renderer, key_value};
use crate::rule::statement::{Dialect, Statement};
use jiff::{Timestamp, tz::TimeZone};

/// One field's new value, everything rendered.
#[derive(Debug, Clone, PartialEq)]
pub enum NewCell {
    Null,
    Now,
    Value(Value),
    /// What a template gave; read by the column's type.
    Text(String),
    /// The key of a record of another entity.
    Key(Key),
}

/// What an update writes into one record.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Update {
    pub set: Vec<(FieldName, NewCell)>,
    pub add_tags: Vec<String>,
    pub remove_tags: Vec<String>,
}

/// A value that its column can't hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` can't be written: {why}")]
pub struct UnfitValue {
    pub field: String,
    pub why: String,
}

/// The writes of an update of one record: that of its fields first, if there are any. None of them touches a row that is
/// as it should be already, and fields only while they are as they were `seen`.
pub fn update(
    catalog: &Catalog,
    dialect: Dialect,
    (entity, key): (&Entity, &Key),
    update: &Update,
    now: Timestamp,
    seen: Option<&Standing>,
) -> Result<Vec<Statement>, UnfitValue> {
    let writer = Writer { renderer: Renderer::new(dialect, catalog), zone: &catalog.time_zone, now };
    let cells = writer.cells(entity, update)?;
    let set = writer.set(entity, key, &cells).map(|set| match seen {
        Some(seen) => writer.while_seen(&set, &cells, &seen.fields),
        None => set,
    });
    let mut statements: Vec<Fragment> = set.into_iter().collect();
    if let Some(list) = tag_list(entity, update) {
        let (held, stored) = seen.and_then(|seen| seen.list.clone()).unwrap_or((Value::Null, Value::Null));
        let changed = list.changed(&held, update)?;
        statements.extend(changed.and_then(|value| writer.list(entity, key, list, (&value, &stored))));
    } else if let Some(tags) = &entity.tags {
        let holder = Writer::holder(entity, tags, key);
        statements.extend(update.remove_tags.iter().map(|tag| writer.remove(tags, &holder, tag)));
        statements.extend(update.add_tags.iter().map(|tag| writer.add(tags, &holder, tag)));
    } else if update.add_tags.len() + update.remove_tags.len() > 0 {
        let why = "the catalog names no `tags` of this entity any more".to_owned();
        return Err(UnfitValue { field: "tags".to_owned(), why });
    }
    Ok(writer.fill(statements))
}

/// Locks the row, so that what is read of it next is what is written over. `None` where the transaction itself locks.
#[must_use]
pub fn locks(catalog: &Catalog, dialect: Dialect, entity: &Entity, key: &Key) -> Option<Statement> {
    if dialect == Dialect::Sqlite {
        return None;
    }
    let now = Timestamp::UNIX_EPOCH;
    let writer = Writer { renderer: Renderer::new(dialect, catalog), zone: &catalog.time_zone, now };
    let table = writer.renderer.table(entity.table()?);
    let locked = Fragment::of("SELECT 1 FROM {} WHERE {} FOR UPDATE", &[&table, &writer.is_record(entity, key)]);
    writer.fill(vec![locked]).pop()
}

/// What somebody decided.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    pub allowed: bool,
    pub since: Timestamp,
    /// Whose address it is: a row with another one is left alone.
    pub email: &'a str,
}

/// A decision in the columns that the catalog maps for it: the statement for one person's row.
#[must_use]
pub fn consent(
    catalog: &Catalog,
    dialect: Dialect,
    (person, key): (&Entity, &Key),
    consent: &Consent,
    decided: Decided<'_>,
) -> Option<Statement> {
    let (yes, no) = consent.write_back.as_ref()?;
    let now = decided.since;
    let writer = Writer { renderer: Renderer::new(dialect, catalog), zone: &catalog.time_zone, now };
    let (ConsentTest::Is(column) | ConsentTest::Not(column)) = &consent.test;
    let literal = if decided.allowed { yes } else { no };
    let mut cells = vec![(column, stored_flag(column, &literal.value, dialect))];
    if let Some(given_at) = consent.given_at.as_ref().filter(|_| decided.allowed) {
        cells.push((given_at, writer.fitted(given_at, &Value::Instant(now))));
    }
    let email = person.person.as_ref()?.email.as_ref().filter(|email| email.place == Place::Row)?;
    let address = Writer::bound(&Value::Text(decided.email.to_owned()));
    let own = Fragment::of("{} = {}", &[&Fragment::name(dialect, &email.name), &address]);
    let written = Fragment::of("{} AND {}", &[&writer.set(person, key, &cells)?, &own]);
    writer.fill(vec![written]).pop()
}

pub(super) struct Writer<'a> {
    pub renderer: Renderer<'a>,
    pub zone: &'a TimeZone,
    pub now: Timestamp,
}

impl Writer<'_> {
    /// The columns that an update sets, and what they are to hold.
    pub fn cells<'e>(&self, entity: &'e Entity, update: &Update) -> Result<Vec<(&'e Column, Value)>, UnfitValue> {
        let mut cells = Vec::new();
        for (field, cell) in &update.set {
            let unfit = |why: &str| UnfitValue { field: field.to_string(), why: why.to_owned() };
            // The catalog may have changed since the step was checked.
            let known = entity.fields.get(field).filter(|_| entity.writable.contains(field));
            let known = known.ok_or_else(|| unfit("the catalog doesn't call it `writable` any more"))?;
            let value = self.cell(&known.expression, cell).map_err(|why| unfit(&why))?;
            if let Expression::Column(column) | Expression::Means { column, .. } = &known.expression {
                cells.push((column, value));
            }
        }
        Ok(cells)
    }

    pub fn fill(&self, fragments: Vec<Fragment>) -> Vec<Statement> {
        let fill = Fill::at(self.now, self.zone);
        fragments.into_iter().map(|fragment| fragment.fill(self.renderer.dialect, &fill)).collect()
    }

    fn cell(&self, expression: &Expression, cell: &NewCell) -> Result<Value, String> {
        let column = match expression {
            Expression::Column(column) | Expression::Means { column, .. } => column,
            Expression::Aggregate(_) => return Err("it is computed from other rows".to_owned()),
        };
        let text = match cell {
            NewCell::Null => return Ok(Value::Null),
            NewCell::Now => return Ok(self.fitted(column, &Value::Instant(self.now))),
            NewCell::Key(key) => return Ok(stored_key(&column.ty, key)),
            NewCell::Value(Value::Text(text)) | NewCell::Text(text) => text,
            NewCell::Value(value) => return Ok(self.fitted(column, value)),
        };
        if let Expression::Means { words, .. } = expression {
            let stored = words.iter().find(|(word, _)| word == text).and_then(|(_, stored)| stored.first());
            let stored = stored.ok_or_else(|| format!("`{text}` is none of its words"))?;
            return Ok(self.fitted(column, &stored.value));
        }
        if matches!(cell, NewCell::Text(_)) && text.trim().is_empty() && column.ty != ColumnType::Text {
            return Ok(Value::Null);
        }
        let value = catalog::value(text, true, &column.ty, self.zone).map_err(|misfit| misfit.to_string())?;
        Ok(self.fitted(column, &value))
    }

    /// A value in the form that the column keeps.
    fn fitted(&self, column: &Column, value: &Value) -> Value {
        fitted(column, value, self.zone, self.renderer.dialect)
    }

    pub fn bound(value: &Value) -> Fragment {
        if *value == Value::Null { Fragment::text("NULL") } else { Fragment::hole(Hole::Constant(value.clone())) }
    }

    pub fn is_record(&self, entity: &Entity, key: &Key) -> Fragment {
        let own = Fragment::name(self.renderer.dialect, &entity.key.name);
        Fragment::of("{} = {}", &[&own, &Self::bound(&key_value(&entity.key_type, key))])
    }

    /// Only where something differs: an `updated_at` that moved by itself would look like somebody's work.
    fn set(&self, entity: &Entity, key: &Key, cells: &[(&Column, Value)]) -> Option<Fragment> {
        let table = entity.table().filter(|_| !cells.is_empty())?;
        let assigned = cells.iter().map(|(column, value)| {
            let name = Fragment::name(self.renderer.dialect, &column.name);
            Fragment::of("{} = {}", &[&name, &Self::bound(value)])
        });
        let assigned: Vec<Fragment> = assigned.collect();
        let (assigned, differs) = (Fragment::join(&assigned, ", "), self.differs(cells));
        let parts = [&self.renderer.table(table), &assigned, &self.is_record(entity, key), &differs];
        Some(Fragment::of("UPDATE {} SET {} WHERE {} AND {}", &parts))
    }

    /// A list is computed from what was seen, so it is written only while that stands there: nobody else's tag is lost.
    fn list(&self, entity: &Entity, key: &Key, list: &TagList, (value, seen): (&Value, &Value)) -> Option<Fragment> {
        let table = self.renderer.table(entity.table()?);
        let (name, value) = (Fragment::name(self.renderer.dialect, &list.column.name), self.list_value(list, value));
        let parts = [&table, &name, &value, &self.is_record(entity, key), &self.is_as_seen(&list.column, seen)];
        Some(Fragment::of("UPDATE {} SET {} = {} WHERE {} AND {}", &parts))
    }

    /// Whether a column holds something else.
    pub fn differs(&self, cells: &[(&Column, Value)]) -> Fragment {
        let dialect = self.renderer.dialect;
        let differs = cells.iter().map(|(column, value)| {
            let (name, bound) = (Fragment::name(dialect, &column.name), Self::bound(value));
            match (dialect, value) {
                (_, Value::Null) => Fragment::of("{} IS NOT NULL", &[&name]),
                (Dialect::Postgres, _) => Fragment::of("{} IS DISTINCT FROM {}", &[&name, &bound]),
                // Byte by byte: a letter that was made great is a change.
                (Dialect::MySql, Value::Text(_)) => {
                    Fragment::of("NOT (CAST({} AS BINARY) <=> CAST({} AS BINARY))", &[&name, &bound])
                }
                (Dialect::MySql, _) => Fragment::of("NOT ({} <=> {})", &[&name, &bound]),
                (Dialect::Sqlite, _) => Fragment::of("{} IS NOT {}", &[&name, &bound]),
            }
        });
        Fragment::any(&differs.collect::<Vec<_>>())
    }

    /// The record's key as the table of tags keeps it.
    pub fn holder(entity: &Entity, tags: &Tags, key: &Key) -> Value {
        key_value(&held_as(&entity.key_type, &tags.record.ty), key)
    }

    pub fn is_tag(&self, tags: &Tags, holder: &Value, tag: &str) -> Fragment {
        let name = |column: &Column| Fragment::name(self.renderer.dialect, &column.name);
        let (holder, tag) = (Self::bound(holder), Self::bound(&Value::Text(tag.to_owned())));
        Fragment::of("{} = {} AND {} = {}", &[&name(&tags.record), &holder, &name(&tags.tag), &tag])
    }

    fn remove(&self, tags: &Tags, holder: &Value, tag: &str) -> Fragment {
        let table = self.renderer.table(&tags.table);
        Fragment::of("DELETE FROM {} WHERE {}", &[&table, &self.is_tag(tags, holder, tag)])
    }

    fn add(&self, tags: &Tags, holder: &Value, tag: &str) -> Fragment {
        let dialect = self.renderer.dialect;
        let name = |column: &Column| Fragment::name(dialect, &column.name);
        let table = self.renderer.table(&tags.table);
        let nowhere = if dialect == Dialect::MySql { " FROM DUAL" } else { "" };
        Fragment::of(
            &format!(
                "INSERT INTO {{}} ({{}}, {{}}) SELECT {{}}, {{}}{nowhere} WHERE NOT EXISTS (SELECT 1 FROM {{}} WHERE {{}})"
            ),
            &[
                &table,
                &name(&tags.record),
                &name(&tags.tag),
                &Self::bound(holder),
                &Self::bound(&Value::Text(tag.to_owned())),
                &table,
                &self.is_tag(tags, holder, tag),
            ],
        )
    }
}
