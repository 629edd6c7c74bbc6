//! Tasks as rows of the CRM's own tables, by the catalog's recipe.

use super::compiled::ReadError;
use super::fit::{equal, fitted, fitted_constant, held_as, placed, record_key, stored_key, unwrapped};
use super::sql::batch::Batch;
use super::sql::read::{Cells, key};
use super::sql::{Fill, Fragment, Renderer, filter};
use super::statement::{Dialect, Row, Statement};
use crate::catalog::{Catalog, Column, ColumnType, Entity, Expression, Insert, InsertValue, KeyType, RowLookUp, Tasks};
use crate::model::{EntityName, Key, RecordId, Value};
use jiff::{Timestamp, civil};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What a task's columns can be filled from.
#[derive(Debug, Clone)]
pub struct TaskValues<'a> {
    /// The delivery id: a task with it is there already.
    pub reference: &'a str,
    pub record: &'a RecordId,
    pub facts: Option<&'a BTreeMap<String, Value>>,
    pub title: &'a str,
    pub body: Option<&'a str>,
    pub due: Option<civil::Date>,
    pub assignee_key: Option<&'a Key>,
    pub assignee_email: Option<&'a str>,
    /// Of an answer to a survey.
    pub score: Option<i64>,
    pub comment: Option<&'a str>,
    pub now: Timestamp,
}

/// The inserts, to be run in one transaction. None of them inserts what an earlier run with the same
/// reference has inserted: the task is found by its reference, rows that belong to it by the ids they
/// hold, and generated ids derive from the reference.
pub fn inserts(catalog: &Catalog, dialect: Dialect, values: &TaskValues<'_>) -> Vec<Statement> {
    let Some(tasks) = &catalog.tasks else { return Vec::new() };
    let writer = Writer { renderer: Renderer::new(dialect, catalog), catalog, tasks, values };
    let fill = Fill::at(values.now, &catalog.time_zone);
    let statement = |number| writer.insert(number).fill(dialect, &fill);
    (0..tasks.inserts.len()).map(statement).collect()
}

pub(super) struct Writer<'a> {
    pub renderer: Renderer<'a>,
    pub catalog: &'a Catalog,
    pub tasks: &'a Tasks,
    pub values: &'a TaskValues<'a>,
}

impl Writer<'_> {
    /// `INSERT INTO … SELECT … WHERE NOT EXISTS (…)`.
    pub fn insert(&self, number: usize) -> Fragment {
        let dialect = self.renderer.dialect;
        let insert = &self.tasks.inserts[number];
        let table = self.renderer.table(&insert.table);
        let columns: Vec<Fragment> =
            insert.set.iter().map(|(column, _)| Fragment::name(dialect, &column.name)).collect();
        let values: Vec<Fragment> =
            insert.set.iter().map(|(column, value)| self.value(number, column, value)).collect();
        let same: Vec<Fragment> = insert
            .set
            .iter()
            .zip(&values)
            .filter(|((_, value), _)| identifies(number, value))
            .map(|((column, _), value)| equal(column, &self.renderer.cell("e", column), value, dialect))
            .collect();
        let nowhere = if dialect == Dialect::MySql { " FROM DUAL" } else { "" };
        let guard = if same.is_empty() {
            Fragment::text("TRUE")
        } else {
            Fragment::of("NOT EXISTS (SELECT 1 FROM {} AS e WHERE {})", &[&table, &Fragment::all(&same)])
        };
        Fragment::of(
            &format!("INSERT INTO {{}} ({{}}) SELECT {{}}{nowhere} WHERE {{}}"),
            &[&table, &Fragment::join(&columns, ", "), &Fragment::join(&values, ", "), &guard],
        )
    }

    pub fn value(&self, number: usize, column: &Column, value: &InsertValue) -> Fragment {
        let (values, dialect) = (self.values, self.renderer.dialect);
        let text =
            |text: Option<&str>| text.map_or(Value::Null, |text| self.fitted(column, &Value::Text(text.to_owned())));
        let bound = match value {
            InsertValue::Constant(literal) => {
                fitted_constant(column, literal, &self.catalog.time_zone, self.renderer.dialect)
            }
            InsertValue::Uuid => self.fitted(column, &Value::Uuid(self.uuid(number, &column.name))),
            InsertValue::Title => text(Some(values.title)),
            InsertValue::Body => text(values.body),
            InsertValue::Due => values.due.map_or(Value::Null, |due| self.fitted(column, &Value::Date(due))),
            InsertValue::Now => self.fitted(column, &Value::Instant(values.now)),
            InsertValue::Ref => text(Some(values.reference)),
            InsertValue::RecordKey => record_key(self.catalog, column, values.record),
            InsertValue::RecordField(name) => values
                .facts
                .and_then(|facts| facts.get(name.as_str()))
                .map_or(Value::Null, |value| self.fitted(column, value)),
            InsertValue::AssigneeKey => values.assignee_key.map_or(Value::Null, |key| stored_key(&column.ty, key)),
            InsertValue::AssigneeEmail => text(values.assignee_email),
            InsertValue::Score => match (values.score, &column.ty) {
                (Some(score), ColumnType::Text) => Value::Text(score.to_string()),
                (score, _) => score.map_or(Value::Null, |score| self.fitted(column, &Value::Int(score))),
            },
            InsertValue::Comment => text(values.comment),
            InsertValue::Earlier { insert, column: name } => return self.earlier(number, *insert, name, &column.ty),
            InsertValue::LookUp(look_up) => return self.looked_up(number, look_up),
            InsertValue::Else(both) => return self.first_of(number, column, both),
        };
        placed(column, bound, dialect)
    }

    /// The first of two values, or the second where the first is null. What nudged has no value for needs no database to
    /// say so.
    fn first_of(&self, number: usize, column: &Column, (first, second): &(InsertValue, InsertValue)) -> Fragment {
        let known = self.value(number, column, first);
        if known == Fragment::text("NULL") {
            return self.value(number, column, second);
        }
        if !matches!(first, InsertValue::LookUp(_) | InsertValue::Earlier { .. }) {
            return known;
        }
        Fragment::of("COALESCE({}, {})", &[&known, &self.value(number, column, second)])
    }

    /// A cell of another table's first row with these values; null where there is none.
    fn looked_up(&self, number: usize, look_up: &RowLookUp) -> Fragment {
        let alias = self.renderer.alias("k");
        let take = self.renderer.cell(&alias, &look_up.take);
        let same: Vec<Fragment> = look_up
            .only
            .iter()
            .map(|(column, value)| {
                let cell = self.renderer.cell(&alias, column);
                equal(column, &cell, &self.value(number, column, value), self.renderer.dialect)
            })
            .collect();
        let table = self.renderer.table(&look_up.table);
        Fragment::of(
            "(SELECT {} FROM {} AS {} WHERE {} ORDER BY 1 LIMIT 1)",
            &[&take, &table, &Fragment::text(alias), &Fragment::all(&same)],
        )
    }

    /// What an earlier insert put into a column, or what the database gave the task there.
    fn earlier(&self, number: usize, insert: usize, name: &str, wanted: &ColumnType) -> Fragment {
        let Some(earlier) = self.tasks.inserts.get(insert).filter(|_| insert < number) else {
            return Fragment::text("NULL");
        };
        if let Some((column, value)) = earlier.set.iter().find(|(column, _)| column.name == name) {
            // One table keeps the key as text and another as what it is.
            let known = (*wanted != ColumnType::Unknown).then(|| Column { ty: wanted.clone(), ..Column::named(name) });
            return self.value(insert, known.as_ref().unwrap_or(column), value);
        }
        let Some(reference) = reference_column(earlier) else { return Fragment::text("NULL") };
        let (given, dialect) = (Column::named(name), self.renderer.dialect);
        let wanted = self.value(insert, reference, &InsertValue::Ref);
        let is_it = equal(reference, &self.renderer.cell("g", reference), &wanted, dialect);
        let table = self.renderer.table(&earlier.table);
        Fragment::of("(SELECT g.{} FROM {} AS g WHERE {})", &[&Fragment::name(dialect, &given.name), &table, &is_it])
    }

    /// The same for every run with this reference.
    fn uuid(&self, number: usize, column: &str) -> uuid::Uuid {
        let digest = Sha256::digest(format!("{}/{number}/{column}", self.values.reference).as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    fn fitted(&self, column: &Column, value: &Value) -> Value {
        fitted(column, value, &self.catalog.time_zone, self.renderer.dialect)
    }
}

/// Whether a value tells the rows of one task from those of another: the reference for the task itself,
/// ids for the rows that belong to it.
const fn identifies(number: usize, value: &InsertValue) -> bool {
    if number == 0 {
        return matches!(value, InsertValue::Ref);
    }
    matches!(value, InsertValue::Ref | InsertValue::Uuid | InsertValue::Earlier { .. } | InsertValue::RecordKey)
}

fn reference_column(insert: &Insert) -> Option<&Column> {
    insert.set.iter().find(|(_, value)| *value == InsertValue::Ref).map(|(column, _)| column)
}

/// An open task of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTask {
    pub record: Key,
    /// What `$ref` wrote, where the recipe writes it: the delivery id of a task that nudged made.
    pub reference: Option<String>,
}

/// Asks for the open tasks of these records of one entity. `None` when the catalog maps no tasks, or its
/// recipe doesn't write the record's key into the task.
pub fn open_tasks(catalog: &Catalog, dialect: Dialect, entity: &EntityName, keys: &[Key]) -> Option<Statement> {
    let tasks = catalog.tasks.as_ref()?;
    let task = tasks.inserts.first()?;
    let own = catalog.entity(entity)?;
    let (record, _) = task.set.iter().find(|(_, value)| holds_key(own, value))?;
    let renderer = Renderer::new(dialect, catalog);
    let held = if record.padded { KeyType::Padded } else { held_as(&own.key_type, &record.ty) };
    let batch = Batch::new(dialect, held, Vec::new(), None);
    let plain = batch.plain(keys.iter());
    let cell = |column: &Column| unwrapped(column, &renderer.cell("t", column), dialect);
    let (holder, reference) = (cell(record), reference_column(task).map_or_else(|| Fragment::text("NULL"), cell));
    let sql = Fragment::of(
        "SELECT {}, {} FROM {} JOIN {} AS t ON {} WHERE {}",
        &[
            &holder,
            &reference,
            &batch.from(plain),
            &renderer.table(&task.table),
            &batch.is_key(&holder, plain),
            &Fragment::all(&filter::all_of(&renderer, "t", &tasks.open)),
        ],
    );
    let fill = Fill { keys: Some(batch.keys_json(keys)), ..Fill::at(Timestamp::UNIX_EPOCH, &catalog.time_zone) };
    Some(sql.fill(dialect, &fill))
}

/// `$record.key`, or a field that is the key under another name.
pub(super) fn holds_key(entity: &Entity, value: &InsertValue) -> bool {
    match value {
        InsertValue::RecordKey => true,
        InsertValue::RecordField(name) => entity.fields.get(name).is_some_and(
            |field| matches!(&field.expression, Expression::Column(column) if column.name == entity.key.name),
        ),
        _ => false,
    }
}

/// Reads a row of [`open_tasks`].
pub fn read_open_task(catalog: &Catalog, entity: &EntityName, row: &Row) -> Result<OpenTask, ReadError> {
    let ty = catalog.entity(entity).map_or(&KeyType::Unknown, |entity| &entity.key_type);
    let mut cells = Cells::new(row, entity.as_str());
    let record = cells.key(ty)?;
    // A column of UUIDs keeps a reference as one.
    let reference = match cells.next()? {
        Value::Uuid(id) => Some(id.simple().to_string()),
        value => key(&KeyType::Text, value).map(|text| without_hyphens(text.as_str())),
    };
    Ok(OpenTask { record, reference })
}

fn without_hyphens(text: &str) -> String {
    let text = text.trim();
    text.parse::<uuid::Uuid>().map_or_else(|_| text.to_owned(), |id| id.simple().to_string())
}
