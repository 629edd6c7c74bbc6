//! From checked rules to SQL: a small renderer of our own for three dialects.
//!
//! It knows the catalog and the conditions, but no driver: its product is [`Fragment`]s of text with typed
//! holes, rendered once when a rule is compiled and filled with window, keys and "now" at each sweep.
//! Names are always quoted and qualified, values are always bound.
//!
//! Every predicate over time comes down to one question, "is the stored value at most this instant?",
//! asked by [`wire::Form`] in the form the column keeps. Text is compared byte by byte on all dialects,
//! whatever the column's collation, and a value that can't be read as its declared type is null.

mod abandoned;
mod addressees;
pub(super) mod batch;
mod condition;
mod created;
mod dialect;
mod edge;
mod episodes;
mod facts;
pub(super) mod filter;
mod fragment;
mod hole;
mod inactivity;
mod iso;
mod listed;
mod nearest;
mod on_date;
mod operand;
pub(super) mod own;
pub(super) mod people;
mod place;
mod plan;
mod query;
pub(super) mod read;
mod relation;
mod scope;
mod settled;
mod survey;
mod test;
mod union;
pub(super) mod wire;
mod yearly;

pub use addressees::{Addressee, Addressees};
use dialect::join_of;
pub(super) use dialect::key_value;
pub use edge::EdgePlan;
pub(super) use episodes::CoursePlan;
pub use facts::Unsaid;
pub(super) use facts::{FactsPlan, Open, roles};
pub(super) use fragment::Fragment;
pub(super) use hole::{Fill, Hole};
pub use listed::Unwanted;
pub(super) use listed::{Lists, last_digits, lower};
pub use nearest::{AnswersPlan, row_of};
pub(super) use plan::{CrossingPlan, Parts};

use super::statement::Dialect;
use crate::catalog::{Catalog, Column, Entity, Expression, Field, Relation};
use crate::model::{EntityName, FieldName, RelationName};
use std::cell::{Cell, RefCell};
use wire::Form;

/// A name that the catalog doesn't have. The check stage finds these first, with their place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RenderError {
    #[error("the catalog has no entity `{0}`")]
    Entity(String),
    #[error("entity `{entity}` has no relation `{relation}`")]
    Relation { entity: String, relation: String },
    #[error("entity `{entity}` has no recipient `{role}`")]
    Role { entity: String, role: String },
    #[error("entity `{0}` names no field for when its rows happened: add `at:` to it in the catalog")]
    NoTime(String),
    #[error("entity `{0}` names no score: add `score:` to it in the catalog")]
    NoScore(String),
    #[error("a script's score is no question to the database")]
    Score,
    #[error("`{field}` of entity `{entity}` is computed; this place needs a column")]
    NotAColumn { entity: String, field: String },
    #[error("`{0}` counts `since: entry`, but at this place nobody has entered yet")]
    SinceOutside(String),
}

/// What a per-record instant of the batch stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Facts newer than this count for `since: entry`.
    Since,
    /// The end of `goal.within`.
    Deadline,
}

/// What the record is called in every statement. SQL of the admin's own stands in the same statement, and may call
/// its rows anything but this: names of ours end in `_`, and the catalog takes none of them in SQL of the admin's.
pub(super) const RECORD: &str = "r_";

/// Renders parts of one rule: hands out aliases, and collects what the batch must carry for each record.
pub(super) struct Renderer<'a> {
    pub dialect: Dialect,
    pub catalog: &'a Catalog,
    aliases: Cell<usize>,
    anchors: RefCell<Vec<(Anchor, Form)>>,
}

impl<'a> Renderer<'a> {
    pub fn new(dialect: Dialect, catalog: &'a Catalog) -> Self {
        Self { dialect, catalog, aliases: Cell::new(0), anchors: RefCell::default() }
    }

    /// An alias nobody else has in this statement.
    pub fn alias(&self, stem: &str) -> String {
        let number = self.aliases.get();
        self.aliases.set(number + 1);
        format!("{stem}{number}_")
    }

    /// The batch's column that holds this record's instant in the form of some column.
    pub fn anchor(&self, anchor: Anchor, form: &Form) -> Fragment {
        let mut anchors = self.anchors.borrow_mut();
        let place = anchors.iter().position(|(kind, known)| *kind == anchor && known == form).unwrap_or_else(|| {
            anchors.push((anchor, form.clone()));
            anchors.len() - 1
        });
        Fragment::text(format!("b.s{place}"))
    }

    /// What the batch has to carry beside the keys.
    pub fn into_anchors(self) -> Vec<(Anchor, Form)> {
        self.anchors.into_inner()
    }

    pub fn entity(&self, name: &EntityName) -> Result<&'a Entity, RenderError> {
        self.catalog.entity(name).ok_or_else(|| RenderError::Entity(name.to_string()))
    }

    pub fn relation(entity: &'a Entity, name: &RelationName) -> Result<&'a Relation, RenderError> {
        let missing = || RenderError::Relation { entity: entity.name.to_string(), relation: name.to_string() };
        entity.relations.get(name).ok_or_else(missing)
    }

    /// A declared field, or the column of that name.
    pub fn field(entity: &Entity, name: &FieldName) -> Field {
        entity.fields.get(name).cloned().unwrap_or_else(|| Field {
            name: name.clone(),
            expression: Expression::Column(Column::named(name.as_str())),
            currency: None,
        })
    }

    /// The stored column behind a field.
    pub fn column(entity: &Entity, name: &FieldName) -> Result<Column, RenderError> {
        match Self::field(entity, name).expression {
            Expression::Column(column) | Expression::Means { column, .. } => Ok(column),
            Expression::Aggregate(_) => {
                Err(RenderError::NotAColumn { entity: entity.name.to_string(), field: name.to_string() })
            }
        }
    }

    /// The column that says when a row of this entity happened.
    pub fn time_of(entity: &Entity) -> Result<Column, RenderError> {
        let at = entity.at.as_ref().ok_or_else(|| RenderError::NoTime(entity.name.to_string()))?;
        Self::column(entity, at)
    }
}
