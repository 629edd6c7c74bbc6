//! Answers to surveys as rows of the CRM's own tables, by the catalog's recipe.

use super::fit::equal;
use super::sql::{Fill, Fragment, Renderer};
use super::statement::{Dialect, Statement};
use super::task::{TaskValues, Writer};
use crate::catalog::{Catalog, ColumnType, Expression, InsertValue, Question, Tasks};
use crate::model::{RecordId, Value};
use jiff::Timestamp;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// What was answered.
#[derive(Debug, Clone)]
pub struct AnswerValues<'a> {
    /// The delivery id of the mail that asked: a row with it is there already.
    pub reference: &'a str,
    pub record: &'a RecordId,
    /// Of the record when it was asked, as [`kept_fields`] has them.
    pub fields: &'a Map<String, Json>,
    pub score: i64,
    pub comment: Option<&'a str>,
    pub at: Timestamp,
}

/// The fields that an answer's row will need, to be kept until there is one.
#[must_use]
pub fn kept_fields(question: &Question, record: &BTreeMap<String, Value>) -> Map<String, Json> {
    let needed = question.insert.set.iter().flat_map(|(_, value)| value.parts()).filter_map(|value| match value {
        InsertValue::RecordField(name) => Some(name.as_str()),
        _ => None,
    });
    needed.filter_map(|name| Some((name.to_owned(), record.get(name)?.to_json()))).collect()
}

/// The row, where it isn't there yet, and then what was answered: so the same answer twice is one row, and a changed one
/// changes it. Both in one transaction.
#[must_use]
pub fn statements(
    catalog: &Catalog,
    dialect: Dialect,
    question: &Question,
    values: &AnswerValues<'_>,
) -> [Statement; 2] {
    let fields = typed(catalog, values);
    let tasks = Tasks { open: Vec::new(), inserts: vec![question.insert.clone()] };
    let supplied = TaskValues {
        reference: values.reference,
        record: values.record,
        facts: Some(&fields),
        title: "",
        body: None,
        due: None,
        assignee_key: None,
        assignee_email: None,
        score: Some(values.score),
        comment: values.comment,
        now: values.at,
    };
    let writer = Writer { renderer: Renderer::new(dialect, catalog), catalog, tasks: &tasks, values: &supplied };
    let fill = Fill::at(values.at, &catalog.time_zone);
    let table = writer.renderer.table(&question.insert.table);
    let pairs = |wanted: fn(&InsertValue) -> bool| {
        let set = question.insert.set.iter().filter(move |(_, value)| wanted(value));
        set.map(|(column, value)| (column, Fragment::name(dialect, &column.name), writer.value(0, column, value)))
    };
    let said: Vec<Fragment> = pairs(|value| matches!(value, InsertValue::Score | InsertValue::Comment))
        .map(|(_, name, value)| Fragment::of("{} = {}", &[&name, &value]))
        .collect();
    let same: Vec<Fragment> = pairs(|value| matches!(value, InsertValue::Ref))
        .map(|(column, name, value)| equal(column, &name, &value, dialect))
        .collect();
    let update =
        Fragment::of("UPDATE {} SET {} WHERE {}", &[&table, &Fragment::join(&said, ", "), &Fragment::all(&same)]);
    [writer.insert(0).fill(dialect, &fill), update.fill(dialect, &fill)]
}

/// Fields as the record had them: JSON has no UUIDs, dates and instants.
fn typed(catalog: &Catalog, values: &AnswerValues<'_>) -> BTreeMap<String, Value> {
    let entity = catalog.entity(&values.record.entity);
    let ty = |name: &str| {
        let entity = entity?;
        let field = entity.fields.get(name)?;
        match &field.expression {
            Expression::Column(_) => Some(catalog.field_type(entity, field)),
            _ => None,
        }
    };
    let typed = |name: &str, value: &Json| match value {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| number.as_f64().map_or(Value::Null, Value::Float), Value::Int)
        }
        Json::String(text) => match ty(name) {
            Some(ColumnType::Uuid(_)) => text.parse().map_or_else(|_| Value::Text(text.clone()), Value::Uuid),
            Some(ColumnType::Decimal) => text.parse().map_or_else(|_| Value::Text(text.clone()), Value::Decimal),
            Some(ColumnType::Date(_)) => text.parse().map_or_else(|_| Value::Text(text.clone()), Value::Date),
            Some(ColumnType::Instant(_)) => text.parse().map_or_else(|_| Value::Text(text.clone()), Value::Instant),
            _ => Value::Text(text.clone()),
        },
        other => Value::Text(other.to_string()),
    };
    values.fields.iter().map(|(name, value)| (name.clone(), typed(name, value))).collect()
}
