//! Tasks as rows of the CRM's own tables, by the catalog's recipe.

use super::compiled::Facts;
use super::statement::{Dialect, Statement};
use crate::catalog::Catalog;
use crate::model::{Key, RecordId};
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

/// Asks which of these records have an open task; rows hold the record's key. `None` when the catalog maps no tasks.
pub fn open_tasks(catalog: &Catalog, dialect: Dialect, facts: &[Facts]) -> Option<Statement> {
    let _ = (catalog, dialect, facts);
    todo!()
}
