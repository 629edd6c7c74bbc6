//! Which indexes a rule's queries lean on. Without them every sweep reads a whole table.

use super::CheckedRule;
use super::checked::{Action, Trigger};
use super::condition::Condition;
use super::sql::{Fill, Fragment, Renderer};
use super::statement::Dialect;
use crate::catalog::{Catalog, Column, Entity, Expression, Hop, Join, Member, Origin, Place, Schema, Table, TableKind};
use crate::model::{FieldName, RelationName, RoleName};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// A column that a query looks rows up by, or reads a range of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeededIndex {
    pub table: Table,
    pub column: String,
    /// What it is for, in words.
    pub purpose: Purpose,
    how: How,
}

/// What the database wants to be told of the table and the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct How {
    partitioned: bool,
    /// Of a type whose values may be of any length.
    unbounded: bool,
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
        let name = Fragment::name(dialect, &index_name(&self.table.name, &self.column));
        let column = Fragment::name(dialect, &self.column);
        let table = Renderer::new(dialect, catalog).table(&self.table);
        let statement = match (dialect, &self.table.schema) {
            // Without locking the table; of a table in parts that can't be asked.
            (Dialect::Postgres, _) if !self.how.partitioned => {
                Fragment::of("CREATE INDEX CONCURRENTLY {} ON {} ({})", &[&name, &table, &column])
            }
            (Dialect::Sqlite, Some(schema)) => {
                let (schema, table) = (Fragment::name(dialect, schema), Fragment::name(dialect, &self.table.name));
                Fragment::of("CREATE INDEX {}.{} ON {} ({})", &[&schema, &name, &table, &column])
            }
            (Dialect::MySql, _) if self.how.unbounded => {
                Fragment::of("CREATE INDEX {} ON {} ({}(100))", &[&name, &table, &column])
            }
            _ => Fragment::of("CREATE INDEX {} ON {} ({})", &[&name, &table, &column]),
        };
        statement.fill(dialect, &Fill::at(Timestamp::UNIX_EPOCH, &catalog.time_zone)).sql
    }
}

/// The indexes that the rule needs and the database doesn't have.
#[must_use]
pub fn missing(rule: &CheckedRule, catalog: &Catalog, schema: &Schema) -> Vec<NeededIndex> {
    let mut needs = Needs { catalog, schema, found: BTreeSet::new() };
    if let Some(entity) = catalog.entity(&rule.for_each) {
        needs.rule(rule, entity);
    }
    needs.found.into_iter().collect()
}

struct Needs<'a> {
    catalog: &'a Catalog,
    schema: &'a Schema,
    found: BTreeSet<NeededIndex>,
}

impl Needs<'_> {
    fn rule(&mut self, rule: &CheckedRule, entity: &Entity) {
        self.stands(entity, &entity.key, Purpose::Record);
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
            self.role(entity, role);
        }
    }

    /// A role, and whoever stands in for it.
    fn role(&mut self, entity: &Entity, role: &RoleName) {
        let (mut next, mut asked) = (Some(role), BTreeSet::new());
        while let Some(recipient) =
            next.take().filter(|role| asked.insert(*role)).and_then(|role| entity.recipients.get(role))
        {
            if let Some(relation) = recipient.pick.as_ref().and_then(|pick| pick.relation.as_ref()) {
                self.relation(entity, relation);
            }
            next = recipient.otherwise.as_ref();
        }
    }

    fn trigger(&mut self, trigger: &Trigger, entity: &Entity) {
        let catalog = self.catalog;
        let related = |relation: &RelationName| {
            entity.relations.get(relation).and_then(|relation| catalog.entity(&relation.entity))
        };
        let mut read = None;
        match trigger {
            Trigger::Inactivity(inactivity) => {
                read = related(&inactivity.of);
                self.relation(entity, &inactivity.of);
                self.range(entity, inactivity.fallback.as_ref());
            }
            Trigger::Survey(survey) => read = related(&survey.of),
            Trigger::Count(_) | Trigger::Decline(_) => {
                if let Some(tide) = trigger.tide() {
                    read = related(tide.of);
                    self.relation(entity, tide.of);
                    let inner = read.into_iter().flat_map(|read| tide.only.iter().map(move |term| (read, term)));
                    inner.for_each(|(read, term)| self.condition(read, term));
                }
            }
            Trigger::Date(date) => self.range(entity, Some(&date.field)),
            Trigger::Yearly(yearly) => self.range(entity, Some(&yearly.field)),
            Trigger::Created(created) => self.range(entity, Some(&created.at)),
            Trigger::Abandoned(abandoned) => {
                let cart = abandoned.of.as_ref().map_or(Some(entity), related);
                if let Some(cart) = cart {
                    self.range(cart, Some(&abandoned.changed_at));
                    abandoned.open.iter().for_each(|term| self.condition(cart, &term.condition));
                    self.range(cart, cart.updated_at.as_ref().filter(|_| abandoned.of.is_some()));
                }
                for relation in abandoned.of.iter().chain(&abandoned.unless) {
                    self.relation(entity, relation);
                }
            }
            // They ask all records of the entity, or leave it to the database which.
            Trigger::Segment(segment) => {
                segment.when.iter().for_each(|term| self.condition(entity, &term.condition));
            }
            Trigger::Changed(changed) => {
                if let Some(Expression::Aggregate(aggregate)) =
                    entity.fields.get(&changed.field).map(|field| &field.expression)
                {
                    self.relation(entity, &aggregate.relation);
                }
            }
            Trigger::Query(_) | Trigger::Schedule(_) => {}
            Trigger::Event(_) | Trigger::Enrolled => return,
        }
        if let Some(read) = read {
            self.range(read, read.at.as_ref());
            self.range(read, read.updated_at.as_ref());
        }
        self.range(entity, entity.updated_at.as_ref());
    }

    fn condition(&mut self, entity: &Entity, condition: &Condition) {
        match condition {
            Condition::All(inner) | Condition::Any(inner) => {
                for condition in inner {
                    self.condition(entity, condition);
                }
            }
            Condition::Not(inner) => self.condition(entity, inner),
            Condition::Field { field, .. } => match entity.fields.get(field).map(|field| &field.expression) {
                Some(Expression::Aggregate(aggregate)) => self.relation(entity, &aggregate.relation),
                Some(Expression::Column(column) | Expression::Means { column, .. }) => self.elsewhere(column),
                None => {}
            },
            Condition::Score(_) | Condition::Saved(_) => {}
            Condition::Related(related) => {
                self.relation(entity, &related.relation);
                let inner =
                    entity.relations.get(&related.relation).and_then(|found| self.catalog.entity(&found.entity));
                if let Some(inner) = inner {
                    related.filter.iter().for_each(|condition| self.condition(inner, condition));
                }
            }
        }
    }

    /// The indexes by which a record's related rows are found.
    fn relation(&mut self, entity: &Entity, relation: &RelationName) {
        let Some(relation) = entity.relations.get(relation) else { return };
        let Some(related) = self.catalog.entity(&relation.entity) else { return };
        self.way(related, &relation.join);
    }

    fn way(&mut self, related: &Entity, join: &Join) {
        match join {
            Join::By(field) => self.field(related, field, Purpose::Related),
            Join::To(_) => self.stands(related, &related.key, Purpose::Related),
            Join::Through(path) => {
                for Hop { table, from, .. } in &path.hops {
                    self.need(table, &from.name, Purpose::Related);
                }
                match &path.end {
                    Some(field) => self.field(related, field, Purpose::Related),
                    None => self.stands(related, &related.key, Purpose::Related),
                }
            }
            Join::AnyOf(ways) => ways.iter().for_each(|way| self.way(related, way)),
        }
    }

    /// The column behind a field, where there is one.
    fn field(&mut self, entity: &Entity, field: &FieldName, purpose: Purpose) {
        match entity.fields.get(field).map(|field| &field.expression) {
            Some(Expression::Column(column) | Expression::Means { column, .. }) => {
                self.stands(entity, column, purpose);
            }
            Some(Expression::Aggregate(aggregate)) => self.relation(entity, &aggregate.relation),
            None => self.stands(entity, &Column::named(field.as_str()), purpose),
        }
    }

    /// A column that a window is cut out of.
    fn range(&mut self, entity: &Entity, field: Option<&FieldName>) {
        if let Some(field) = field {
            self.field(entity, field, Purpose::Crossings);
        }
    }

    /// Where a column stands that rows are found by. What is taken out of JSON, computed, or a cell of another row
    /// can't be found by an index over a column.
    fn stands(&mut self, entity: &Entity, column: &Column, purpose: Purpose) {
        match &column.place {
            Place::Row => match &entity.origin {
                Origin::Table(table) => self.need(table, &column.name, purpose),
                Origin::Union(members) => self.members(members, &column.name, purpose),
                Origin::Sql(_) => {}
            },
            Place::Parent(number) => {
                if let Some(parent) = entity.parents.get(*number) {
                    self.need(&parent.table, &column.name, purpose);
                }
            }
            Place::Json(..) | Place::Sql(_) | Place::Where(..) | Place::Number(_) => {}
            Place::Attribute(_) | Place::LookUp(_) => self.elsewhere(column),
        }
    }

    /// The rows in which a value stands that isn't in the record's own.
    fn elsewhere(&mut self, column: &Column) {
        match &column.place {
            Place::Attribute(attribute) => self.need(&attribute.table, &attribute.record.name, Purpose::Related),
            Place::LookUp(look_up) => {
                if let Some(entity) = self.catalog.entity(&look_up.entity) {
                    self.stands(entity, &entity.key, Purpose::Related);
                    self.elsewhere(&look_up.cell);
                }
            }
            Place::Where(inner, _) | Place::Number(inner) | Place::Json(inner, _) => self.elsewhere(inner),
            Place::Row | Place::Parent(_) | Place::Sql(_) => {}
        }
    }

    /// A range over a union reaches the indexes of its parts, where their columns need no reading.
    fn members(&mut self, members: &[Member], name: &str, purpose: Purpose) {
        let theirs = |member: &Member| {
            let entity = self.catalog.entity(&member.entity)?;
            let (_, field) = member.fields.iter().find(|(own, _)| own.as_str() == name)?;
            match entity.fields.get(field).map(|field| &field.expression) {
                Some(Expression::Column(column) | Expression::Means { column, .. }) => Some((entity, column.clone())),
                Some(Expression::Aggregate(_)) => None,
                None => Some((entity, Column::named(field.as_str()))),
            }
        };
        let columns: Vec<(&Entity, Column)> = members.iter().filter_map(theirs).collect();
        let alike = columns.iter().all(|(_, column)| columns.first().is_some_and(|(_, first)| first.ty == column.ty));
        for (entity, column) in columns.iter().filter(|(_, column)| alike && column.missing.is_empty()) {
            self.stands(entity, column, purpose);
        }
    }

    fn need(&mut self, table: &Table, column: &str, purpose: Purpose) {
        let Some(live) = self.schema.table(table).filter(|live| live.exists && live.kind != TableKind::View) else {
            return;
        };
        let Some(found) = live.column(column) else { return };
        let begins = |columns: &[String]| columns.first().is_some_and(|first| first.eq_ignore_ascii_case(column));
        if live.indexes.iter().any(|index| begins(&index.columns)) {
            return;
        }
        let (table, column) = (table.clone(), column.to_owned());
        let how = How { partitioned: live.kind == TableKind::Partitioned, unbounded: is_unbounded(&found.declared) };
        self.found.insert(NeededIndex { table, column, purpose, how });
    }
}

/// MySQL's types whose values an index can only begin.
fn is_unbounded(declared: &str) -> bool {
    let declared = declared.to_ascii_lowercase();
    ["text", "blob", "json"].iter().any(|word| declared.contains(word))
}

/// Databases cut or refuse longer names; this one stays one's own.
fn index_name(table: &str, column: &str) -> String {
    const LONGEST: usize = 60;
    let name = format!("{table}_{column}_idx");
    if name.len() <= LONGEST {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let start: String = name
        .chars()
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= LONGEST - 13).then_some(c)
        })
        .collect();
    format!("{start}_{:02x}{:02x}{:02x}{:02x}_idx", digest[0], digest[1], digest[2], digest[3])
}
