//! The people that records lead to by a role, with their email addresses: no rule is asked, so that it can be told of the mails
//! of a rule that is gone.

use super::batch::Batch;
use super::facts::of_records;
use super::hole::Fill;
use super::people::{Detail, People};
use super::plan::Parts;
use super::read::Cells;
use super::{RECORD, RenderError, Renderer};
use crate::catalog::{Catalog, Entity};
use crate::model::{Key, RoleName};
use crate::rule::compiled::{ReadError, Subject};
use crate::rule::statement::{Dialect, Row, Statement};
use jiff::Timestamp;

/// One question about some records, and how its rows are read.
#[derive(Debug)]
pub struct Addressees {
    pub statement: Statement,
    parts: Parts,
    people: People,
}

/// A person, as a role leads to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// The role that picks them: the one asked for, or one that stands in for it.
    pub role: RoleName,
    pub key: Key,
    pub email: String,
}

impl Addressees {
    /// `None`: the catalog has no such role.
    #[must_use]
    pub fn of(catalog: &Catalog, dialect: Dialect, entity: &Entity, role: &RoleName, keys: &[Key]) -> Option<Self> {
        Self::render(catalog, dialect, entity, role, keys).ok()
    }

    fn render(
        catalog: &Catalog,
        dialect: Dialect,
        entity: &Entity,
        role: &RoleName,
        keys: &[Key],
    ) -> Result<Self, RenderError> {
        let renderer = Renderer::new(dialect, catalog);
        let people = People::plan(&renderer, entity, &[role.clone()].into())?;
        let sql = people.sql(&renderer, entity, Detail::Address)?;
        let text = of_records(&renderer, entity, &sql.cells, &sql);
        let (records, key) = (renderer.rows_of(entity, RECORD), renderer.key_of(entity, RECORD));
        let parts = Parts::of(&renderer, entity);
        let batch = Batch::new(dialect, entity.key_type.clone(), renderer.into_anchors(), None);
        let subject = |key: &Key| Subject { key: key.clone(), since: None, entered: None };
        let subjects: Vec<Subject> = keys.iter().map(subject).collect();
        let keys = Some(batch.json(&subjects, &parts.zone));
        let fill = Fill { keys, ..Fill::at(Timestamp::UNIX_EPOCH, &parts.zone) };
        let from = batch.leading(&records, &key, batch.plain(subjects.iter().map(|subject| &subject.key)));
        Ok(Self { statement: text.splice(&from).fill(dialect, &fill), parts, people })
    }

    pub fn read(&self, row: &Row) -> Result<Vec<Addressee>, ReadError> {
        let people = self.people.read_addresses(&mut Cells::new(row, self.parts.entity.as_str()))?;
        Ok(people.into_iter().map(|(role, key, email)| Addressee { role, key, email }).collect())
    }
}
