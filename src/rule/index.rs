//! Which indexes a rule's queries lean on. Without them every sweep reads a whole table.

use super::CheckedRule;
use super::checked::{Action, Trigger};
use super::condition::{Condition, Quantity};
use super::sql::{Fill, Fragment, Renderer};
use super::statement::Dialect;
use crate::catalog::{Catalog, Entity, Expression, Hop, Join, Schema, Table};
use crate::model::{FieldName, RelationName, RoleName};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// A column that a query looks rows up by, or reads a range of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeededIndex {
    pub table: Table,
    pub column: String,
    /// What it is for, in words.
    pub purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Who crossed the trigger's edge: asked at every sweep.
    Crossings,
    /// Rows that belong to a record: asked for every batch of crossers.
    Related,
    /// The record itself.
    Record,
}

impl Purpose {
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Crossings => "every sweep of it reads the whole table",
            Self::Related => "looking up related rows reads the whole table",
            Self::Record => "looking up its records reads the whole table",
        }
    }
}

impl NeededIndex {
    /// The statement that makes it.
    #[must_use]
    pub fn create(&self, dialect: Dialect, catalog: &Catalog) -> String {
        let name = format!("{}_{}_idx", self.table.name, self.column);
        let name = Fragment::name(dialect, &name);
        let column = Fragment::name(dialect, &self.column);
        let renderer = Renderer::new(dialect, catalog);
        let table = renderer.table(&self.table);
        let statement = match (dialect, &self.table.schema) {
            (Dialect::Postgres, _) => {
                Fragment::of("CREATE INDEX CONCURRENTLY {} ON {} ({})", &[&name, &table, &column])
            }
            (Dialect::Sqlite, Some(schema)) => {
                let (schema, table) = (Fragment::name(dialect, schema), Fragment::name(dialect, &self.table.name));
                Fragment::of("CREATE INDEX {}.{} ON {} ({})", &[&schema, &name, &table, &column])
            }
            _ => Fragment::of("CREATE INDEX {} ON {} ({})", &[&name, &table, &column]),
        };
        statement.fill(dialect, &Fill::at(Timestamp::UNIX_EPOCH, &catalog.time_zone)).sql
    }

    /// Whether the live table has an index that begins with the column.
    fn is_there(&self, schema: &Schema) -> bool {
        let Some(live) = schema.table(&self.table).filter(|live| live.exists) else { return true };
        let begins = |columns: &[String]| columns.first().is_some_and(|first| first.eq_ignore_ascii_case(&self.column));
        live.indexes.iter().any(|index| begins(&index.columns))
    }
}

/// The indexes that the rule needs and the database doesn't have.
#[must_use]
pub fn missing(rule: &CheckedRule, catalog: &Catalog, schema: &Schema) -> Vec<NeededIndex> {
    let mut needs = Needs { catalog, found: BTreeSet::new() };
    if let Some(entity) = catalog.entity(&rule.for_each) {
        needs.rule(rule, entity);
    }
    needs.found.into_iter().filter(|needed| !needed.is_there(schema)).collect()
}

struct Needs<'a> {
    catalog: &'a Catalog,
    found: BTreeSet<NeededIndex>,
}

impl Needs<'_> {
    fn rule(&mut self, rule: &CheckedRule, entity: &Entity) {
        self.need(entity, &entity.key.name, Purpose::Record);
        self.trigger(&rule.trigger, entity);
        let terms = rule.conditions.iter().chain(&rule.only_at_entry).chain(&rule.exit_when);
        terms.for_each(|term| self.condition(entity, &term.condition));
        if let Some(goal) = &rule.goal {
            self.condition(entity, &goal.when);
        }
        let mut roles: Vec<&RoleName> = rule.to.iter().collect();
        for node in &rule.nodes {
            node.step.conditions().into_iter().for_each(|condition| self.condition(entity, condition));
            roles.extend(node.step.action().into_iter().flat_map(Action::ways).filter_map(Action::role));
        }
        for role in roles {
            let pick = entity.recipients.get(role).and_then(|recipient| recipient.pick.as_ref());
            if let Some(relation) = pick.and_then(|pick| pick.relation.as_ref()) {
                self.relation(entity, relation);
            }
        }
    }

    fn trigger(&mut self, trigger: &Trigger, entity: &Entity) {
        let related = |relation: &RelationName| {
            entity.relations.get(relation).and_then(|relation| self.catalog.entity(&relation.entity))
        };
        match trigger {
            Trigger::Inactivity(inactivity) => {
                if let Some(related) = related(&inactivity.of) {
                    self.range(related, related.at.as_ref());
                }
                self.relation(entity, &inactivity.of);
                self.range(entity, inactivity.fallback.as_ref());
            }
            Trigger::Survey(survey) => {
                if let Some(related) = related(&survey.of) {
                    self.range(related, related.at.as_ref());
                }
            }
            Trigger::Date(date) => self.range(entity, Some(&date.field)),
            Trigger::Created(created) => self.range(entity, Some(&created.at)),
            Trigger::Abandoned(abandoned) => {
                let cart = abandoned.of.as_ref().map_or(Some(entity), related);
                if let Some(cart) = cart {
                    self.range(cart, Some(&abandoned.changed_at));
                }
                for relation in abandoned.of.iter().chain(&abandoned.unless) {
                    self.relation(entity, relation);
                }
            }
            // They ask all records of the entity, or leave it to the database which.
            _ => {}
        }
    }

    fn condition(&mut self, entity: &Entity, condition: &Condition) {
        match condition {
            Condition::All(inner) | Condition::Any(inner) => {
                for condition in inner {
                    self.condition(entity, condition);
                }
            }
            Condition::Not(inner) => self.condition(entity, inner),
            Condition::Field { field, .. } => {
                if let Some(Expression::Aggregate(aggregate)) = entity.fields.get(field).map(|field| &field.expression)
                {
                    self.relation(entity, &aggregate.relation);
                }
            }
            Condition::Score(_) => {}
            Condition::Related(related) => {
                self.relation(entity, &related.relation);
                let inner =
                    entity.relations.get(&related.relation).and_then(|found| self.catalog.entity(&found.entity));
                if let (Some(inner), Quantity::Some | Quantity::None | Quantity::Count(_)) = (inner, &related.quantity)
                {
                    related.filter.iter().for_each(|condition| self.condition(inner, condition));
                }
            }
        }
    }

    /// The column by which a record's related rows are found.
    fn relation(&mut self, entity: &Entity, relation: &RelationName) {
        let Some(relation) = entity.relations.get(relation) else { return };
        let Some(related) = self.catalog.entity(&relation.entity) else { return };
        self.way(related, &relation.join);
    }

    fn way(&mut self, related: &Entity, join: &Join) {
        match join {
            Join::By(field) => {
                if let Some(column) = column_of(related, field) {
                    self.need(related, &column, Purpose::Related);
                }
            }
            Join::Through(path) => {
                for Hop { table, from, .. } in &path.hops {
                    let (table, column) = (table.clone(), from.name.clone());
                    self.found.insert(NeededIndex { table, column, purpose: Purpose::Related });
                }
            }
            Join::AnyOf(ways) => ways.iter().for_each(|way| self.way(related, way)),
            Join::To(_) => {}
        }
    }

    /// A column that a window is cut out of.
    fn range(&mut self, entity: &Entity, field: Option<&FieldName>) {
        if let Some(column) = field.and_then(|field| column_of(entity, field)) {
            self.need(entity, &column, Purpose::Crossings);
        }
    }

    fn need(&mut self, entity: &Entity, column: &str, purpose: Purpose) {
        if let Some(table) = entity.table() {
            self.found.insert(NeededIndex { table: table.clone(), column: column.to_owned(), purpose });
        }
    }
}

fn column_of(entity: &Entity, field: &FieldName) -> Option<String> {
    match &entity.fields.get(field)?.expression {
        Expression::Column(column) | Expression::Means { column, .. } => Some(column.name.clone()),
        Expression::Aggregate(_) => None,
    }
}
