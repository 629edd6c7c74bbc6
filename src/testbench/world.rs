//! The database of one example: the catalog's tables in a throw-away SQLite file, filled by catalog names.

use super::plain::link;
use super::shape::table_of;
use super::stage::Stage;
use crate::catalog::{ColumnType, Entity, Expression, Filter, Hop, KeyType, Origin, Place, Table, UuidStorage};
use crate::diagnostic::{Finding, Report};
use crate::engine::port::{Source, SourceError};
use crate::model::{Clock, EntityName, Key, Tenant, Value};
use crate::rule::example::{Change, GivenRow, Put, RowClock, default_for, read_cell};
use crate::rule::statement::Statement;
use crate::source::{self, SourceOptions};
use jiff::{Timestamp, tz::TimeZone};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Names that SQLite keeps for itself.
const OWN_SCHEMAS: [&str; 2] = ["main", "temp"];
/// Keys of rows that are given none begin here.
const FIRST_KEY: u64 = 1_000_001;

/// A folder that goes away with it.
pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("nudged-test-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The system clears its temporary directory of what can't be removed now.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) struct World<'a> {
    stage: &'a Stage,
    pub source: Arc<dyn Source>,
    /// Of times that a row gives without a zone.
    zone: TimeZone,
    next_key: u64,
    /// Keys of the rule's records, as the tests gave them.
    pub keys: BTreeSet<Key>,
    /// Points in time that lie ahead of the row's own: something becomes visible then.
    pub ahead: BTreeSet<Timestamp>,
}

impl<'a> World<'a> {
    pub async fn create(
        stage: &'a Stage,
        folder: &Folder,
        clock: Arc<dyn Clock>,
        zone: TimeZone,
    ) -> Result<Self, SourceError> {
        let schemas: BTreeSet<String> =
            stage.tables.tables.iter().filter_map(|table| table.table.schema.clone()).collect();
        let beside = schemas.into_iter().filter(|schema| !OWN_SCHEMAS.contains(&schema.as_str()));
        let source = source::connect(&SourceOptions::scratch(&folder.0, beside).clock(clock))?;
        let (keys, ahead) = (BTreeSet::new(), BTreeSet::new());
        let world = Self { stage, source, zone, next_key: FIRST_KEY, keys, ahead };
        world.run(world.tables()).await?;
        Ok(world)
    }

    async fn run(&self, statements: Vec<Statement>) -> Result<Vec<u64>, SourceError> {
        self.source.write(&Tenant::from(""), statements).await
    }

    fn tables(&self) -> Vec<Statement> {
        let create = |table: &crate::catalog::TableSchema| {
            let columns: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
            let sql = format!("CREATE TABLE {} ({})", place(&table.table), columns.join(", "));
            Statement { sql, binds: Vec::new() }
        };
        let tables = self.stage.tables.tables.iter().filter(|table| !table.columns.is_empty()).map(create);
        tables.chain(self.keys_once()).collect()
    }

    /// A key names one row, as it does in the real tables.
    fn keys_once(&self) -> impl Iterator<Item = Statement> {
        let entities = self.stage.generation.catalog.entities.values();
        let keys: BTreeSet<(Table, String)> = entities
            .filter(|entity| !matches!(entity.origin, Origin::Union(_)))
            .map(|entity| (table_of(entity), entity.key.name.clone()))
            .collect();
        keys.into_iter().enumerate().map(|(number, (table, key))| {
            let index = Table { name: format!("key {number}"), ..table.clone() };
            let sql = format!("CREATE UNIQUE INDEX {} ON {} ({})", place(&index), quoted(&table.name), quoted(&key));
            Statement { sql, binds: Vec::new() }
        })
    }

    /// Puts the rows of an example's beginning into the tables. Times count from `now`.
    pub async fn give(&mut self, rows: &[GivenRow], now: Timestamp) -> Result<(), Finding> {
        for row in rows {
            self.change(Change::Insert, row, now).await?;
        }
        Ok(())
    }

    /// One change of a row. A finding says why it can't be made.
    pub async fn change(&mut self, change: Change, row: &GivenRow, now: Timestamp) -> Result<(), Finding> {
        let catalog = Arc::clone(&self.stage.generation);
        let Some(entity) = catalog.catalog.entity(&row.entity) else { return Ok(()) };
        let (mut own, joined) = self.read(entity, row, now)?;
        let key_column = entity.key.name.clone();
        let statements = match change {
            Change::Insert => {
                for filter in entity.only.iter().chain(conditions_of(entity, row)) {
                    own.entry(filter.column.name.clone()).or_insert_with(|| default_for(filter, now));
                }
                let key = own.get(&key_column).filter(|key| !key.is_missing()).cloned();
                let key = key.unwrap_or_else(|| self.fresh_key(entity));
                own.insert(key_column, key.clone());
                self.note_key(&entity.name, &key);
                let mut statements = vec![insert(&table_of(entity), own)];
                for (relation, keys) in joined {
                    let way = entity.relations.get(relation.as_str()).and_then(|relation| link(&relation.join));
                    let Some(Hop { table, from, to, only }) = way else { continue };
                    for other in keys {
                        let mut cells: BTreeMap<String, Value> = defaults(only, now);
                        cells.insert(from.name.clone(), key.clone());
                        cells.insert(to.name.clone(), other);
                        statements.push(insert(table, cells));
                    }
                }
                statements
            }
            Change::Update => {
                let key = own.remove(&key_column).unwrap_or(Value::Null);
                let (names, mut binds): (Vec<String>, Vec<Value>) = own.into_iter().unzip();
                if names.is_empty() {
                    return Err(self.at(row, "this changes nothing", "name a field that changes"));
                }
                let set: Vec<String> = names.iter().map(|name| format!("{} = ?", quoted(name))).collect();
                binds.push(key);
                let table = place(&table_of(entity));
                let sql = format!("UPDATE {table} SET {} WHERE {} = ?", set.join(", "), quoted(&key_column));
                vec![Statement { sql, binds }]
            }
            Change::Delete => {
                let key = own.remove(&key_column).unwrap_or(Value::Null);
                let sql = format!("DELETE FROM {} WHERE {} = ?", place(&table_of(entity)), quoted(&key_column));
                vec![Statement { sql, binds: vec![key] }]
            }
        };
        let touched = self.run(statements).await.map_err(|error| {
            let error = error.to_string();
            if error.contains("UNIQUE constraint") {
                let message = format!("there is a row of `{}` with this key already", entity.name);
                return self.at(row, &message, "give it another `key`, or none");
            }
            self.at(row, &error, "compare the row with the catalog")
        })?;
        if touched.first() == Some(&0) {
            return Err(self.at(row, &format!("there is no {} with this key", entity.name), "give it under `given`"));
        }
        Ok(())
    }

    #[expect(clippy::type_complexity, reason = "a row is its own cells and those of join tables, nothing more")]
    fn read(
        &mut self,
        entity: &Entity,
        row: &GivenRow,
        now: Timestamp,
    ) -> Result<(BTreeMap<String, Value>, Vec<(crate::model::RelationName, Vec<Value>)>), Finding> {
        let (mut own, mut joined) = (BTreeMap::new(), Vec::new());
        for (name, node) in &row.cells {
            let source = &self.stage.file.text;
            let clock = RowClock { now, zone: &self.zone, long_enough: self.stage.rule.rule.trigger.length() };
            match read_cell(entity, (name, node), source, clock) {
                Ok(Put::Own { column, value }) => {
                    self.note_time(&value, now);
                    own.insert(column, value);
                }
                Ok(Put::Joined { relation, keys }) => joined.push((relation, keys)),
                Err(misplaced) => {
                    let report = Report::new(&self.stage.file);
                    let finding = Finding::error("rule.test", misplaced.message).at(report.place(&node.range));
                    return Err(misplaced.help.into_iter().fold(finding, Finding::help));
                }
            }
        }
        Ok((own, joined))
    }

    fn note_time(&mut self, value: &Value, now: Timestamp) {
        if let Value::Instant(instant) = value
            && *instant > now
        {
            self.ahead.insert(*instant);
        }
    }

    fn note_key(&mut self, entity: &EntityName, key: &Value) {
        if *entity == self.stage.rule.rule.for_each {
            self.keys.insert(Key::new(match key {
                Value::Text(text) => text.clone(),
                other => other.to_json().to_string().trim_matches('"').to_owned(),
            }));
        }
    }

    fn fresh_key(&mut self, entity: &Entity) -> Value {
        let number = self.next_key;
        self.next_key += 1;
        match (&entity.key_type, &entity.key.ty) {
            (KeyType::Uuid(UuidStorage::Binary), _) => {
                Value::Bytes(Uuid::from_u128(u128::from(number)).as_bytes().to_vec())
            }
            (KeyType::Uuid(_), _) => Value::Uuid(Uuid::from_u128(u128::from(number))),
            (KeyType::Text, _) | (_, ColumnType::Text) => Value::Text(format!("{}-{number}", entity.name)),
            (KeyType::Bytes, _) => Value::Bytes(number.to_be_bytes().to_vec()),
            _ => Value::Int(number as i64),
        }
    }

    fn at(&self, row: &GivenRow, message: &str, help: &str) -> Finding {
        let place = Report::new(&self.stage.file).place(&row.range);
        Finding::error("rule.test", message).at(place).help(help)
    }
}

/// What must hold of the row for the given fields to have their values: the currency of an amount in euros.
fn conditions_of<'e>(entity: &'e Entity, row: &GivenRow) -> Vec<&'e Filter> {
    let fields = row.cells.iter().filter_map(|(name, _)| entity.fields.get(name.as_str()));
    let columns = fields.filter_map(|field| match &field.expression {
        Expression::Column(column) | Expression::Means { column, .. } => Some(column),
        Expression::Aggregate(_) => None,
    });
    let filters = columns.flat_map(|column| match &column.place {
        Place::Where(_, only) => only.as_slice(),
        _ => &[],
    });
    filters.filter(|filter| filter.column.place == Place::Row).collect()
}

fn defaults(filters: &[Filter], now: Timestamp) -> BTreeMap<String, Value> {
    filters.iter().map(|filter| (filter.column.name.clone(), default_for(filter, now))).collect()
}

fn insert(table: &Table, cells: BTreeMap<String, Value>) -> Statement {
    let (names, binds): (Vec<String>, Vec<Value>) = cells.into_iter().unzip();
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    let marks = vec!["?"; names.len()].join(", ");
    Statement { sql: format!("INSERT INTO {} ({}) VALUES ({marks})", place(table), names.join(", ")), binds }
}

fn place(table: &Table) -> String {
    match &table.schema {
        Some(schema) => format!("{}.{}", quoted(schema), quoted(&table.name)),
        None => quoted(&table.name),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
