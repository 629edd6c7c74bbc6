//! Tasks as rows of the CRM's own tables, by the catalog's recipe.

use super::compiled::{Facts, ReadError};
use super::statement::{Dialect, Row, Statement};
use crate::catalog::Catalog;
use crate::model::{EntityName, Key, RecordId};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What a task's columns can be filled from.
#[derive(Debug, Clone)]
pub struct TaskValues<'a> {
    /// The delivery id: a task with it is there already.
    pub reference: &'a str,
    pub record: &'a RecordId,
    pub facts: Option<&'a BTreeMap<String, crate::model::Value>>,
    pub title: &'a str,
    pub body: Option<&'a str>,
    pub due: Option<jiff::civil::Date>,
    pub assignee_key: Option<&'a Key>,
    pub assignee_email: Option<&'a str>,
    pub now: Timestamp,
}

/// The inserts, to be run in one transaction. Each inserts nothing when a task with this reference exists.
pub fn inserts(catalog: &Catalog, dialect: Dialect, values: &TaskValues<'_>) -> Vec<Statement> {
    let _ = (catalog, dialect, values);
    todo!()
}

/// An open task of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTask {
    pub record: Key,
    /// What `$ref` wrote, where the recipe writes it: the delivery id of a task that nudged made.
    pub reference: Option<String>,
}

/// Asks for the open tasks of these records of one entity. `None` when the catalog maps no tasks.
pub fn open_tasks(catalog: &Catalog, dialect: Dialect, entity: &EntityName, records: &[&Facts]) -> Option<Statement> {
    let _ = (catalog, dialect, entity, records);
    todo!()
}

pub fn read_open_task(catalog: &Catalog, entity: &EntityName, row: &Row) -> Result<OpenTask, ReadError> {
    let _ = (catalog, entity, row);
    todo!()
}
