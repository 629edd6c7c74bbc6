//! Which indexes a rule's queries lean on. Without them every sweep reads a whole table.

use super::CheckedRule;
use super::checked::{Action, Trigger};
use super::condition::Condition;
use super::sql::{Fill, Fragment, Renderer, last_digits, lower};
use super::statement::Dialect;
use crate::catalog::{
    Catalog, Column, ColumnType, Entity, Expression, Filter, FilterTest, Hop, Index, InsertValue, Join, Member, Origin,
    Place, Schema, Table, TableKind,
};
use crate::model::{FieldName, RelationName, RoleName, Value};
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
    over: Over,
    how: How,
}

/// What the index is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Over {
    Column,
    /// Addresses as lists are asked for them.
    Mailboxes,
    Numbers,
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
    /// A task that was made already.
    Task,
    /// The open tasks of a record.
    OpenTasks,
    /// Who must not be written to.
    Unwanted,
}

impl Purpose {
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Crossings => "every sweep of it reads the whole table",
            Self::Related => "looking up related rows reads the whole table",
            Self::Record => "looking up its records reads the whole table",
            Self::Task => "every task that is made reads the whole table",
            Self::OpenTasks => "looking up open tasks reads the whole table",
            Self::Unwanted => "looking up who must not be written to reads the whole table",
        }
    }
}

impl Over {
    fn of(self, dialect: Dialect, column: &str) -> Fragment {
        let column = Fragment::name(dialect, column);
        match self {
            Self::Column => column,
            Self::Mailboxes => lower(dialect, &column),
            Self::Numbers => last_digits(dialect, &column),
        }
    }
}

impl NeededIndex {
    /// What it begins with: a column, or an expression over it.
    #[must_use]
    pub fn begins_with(&self, dialect: Dialect, catalog: &Catalog) -> String {
        match self.over {
            Over::Column => self.column.clone(),
            over => sql(&over.of(dialect, &self.column), dialect, catalog),
        }
    }

    /// The statement that makes it.
    #[must_use]
    pub fn create(&self, dialect: Dialect, catalog: &Catalog) -> String {
        let name = Fragment::name(dialect, &index_name(&self.table.name, &self.column));
        let column = self.over.of(dialect, &self.column);
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
        sql(&statement, dialect, catalog)
    }
}

fn sql(fragment: &Fragment, dialect: Dialect, catalog: &Catalog) -> String {
    fragment.fill(dialect, &Fill::at(Timestamp::UNIX_EPOCH, &catalog.time_zone)).sql
}

/// The indexes that the rule needs and the database doesn't have.
#[must_use]
pub fn missing(rule: &CheckedRule, catalog: &Catalog, schema: &Schema, dialect: Dialect) -> Vec<NeededIndex> {
    let mut needs = Needs { catalog, schema, dialect, found: BTreeSet::new() };
    if let Some(entity) = catalog.entity(&rule.for_each) {
        needs.rule(rule, entity);
    }
    needs.found.into_iter().collect()
}

struct Needs<'a> {
    catalog: &'a Catalog,
    schema: &'a Schema,
    dialect: Dialect,
    found: BTreeSet<NeededIndex>,
}

/// How a column is asked for.
#[derive(Clone, Copy)]
struct Asked<'f> {
    purpose: Purpose,
    /// What else the rows are asked for: an index may begin with what is always equal.
    beside: &'f [&'f [Filter]],
}

impl From<Purpose> for Asked<'_> {
    fn from(purpose: Purpose) -> Self {
        Self { purpose, beside: &[] }
    }
}

impl Needs<'_> {
    fn rule(&mut self, rule: &CheckedRule, entity: &Entity) {
        self.stands(entity, &entity.key, Purpose::Record.into());
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
        self.written(rule, entity);
    }

    /// What is asked before a task is made or somebody is written to.
    fn written(&mut self, rule: &CheckedRule, entity: &Entity) {
        let catalog = self.catalog;
        let actions = || rule.nodes.iter().filter_map(|node| node.step.action()).flat_map(Action::ways);
        if let Some(tasks) = catalog.tasks.as_ref().filter(|_| actions().any(|action| action.task().is_some())) {
            let first =
                tasks.inserts.iter().take(1).flat_map(|task| task.set.iter().map(move |set| (&task.table, set)));
            let guards = actions().filter_map(Action::task).any(|task| task.unless_open.is_some());
            for (table, (column, value)) in first {
                if *value == InsertValue::Ref {
                    self.need(table, &column.name, Purpose::Task.into());
                } else if guards && super::task::holds_key(entity, value) {
                    let open = [tasks.open.as_slice()];
                    self.need(table, &column.name, Asked { purpose: Purpose::OpenTasks, beside: &open });
                }
            }
        }
        let mails = actions().any(|action| matches!(action, Action::Email(_)));
        let texts = actions().any(|action| matches!(action, Action::Sms(_)));
        for list in &catalog.suppressions {
            for (column, over, is_asked) in [(&list.email, Over::Mailboxes, mails), (&list.phone, Over::Numbers, texts)]
            {
                if let Some(column) = column.as_ref().filter(|_| is_asked) {
                    self.need_over(&list.table, &column.name, over);
                }
            }
        }
    }

    /// An index over an expression, where the database has such.
    fn need_over(&mut self, table: &Table, column: &str, over: Over) {
        if self.dialect == Dialect::MySql {
            return;
        }
        let Some(live) = self.schema.table(table).filter(|live| live.exists && live.kind != TableKind::View) else {
            return;
        };
        let wanted = plain(&sql(&over.of(self.dialect, column), self.dialect, self.catalog), column);
        let serves = |found: &str| found == wanted || found.contains(&format!("({wanted}"));
        let has =
            live.indexes.iter().filter_map(|index| index.columns.first()).any(|first| serves(&plain(first, column)));
        if live.column(column).is_some() && !has {
            let how = How { partitioned: live.kind == TableKind::Partitioned, unbounded: false };
            let (table, column) = (table.clone(), column.to_owned());
            self.found.insert(NeededIndex { table, column, purpose: Purpose::Unwanted, over, how });
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
        self.way(related, &relation.join, &relation.only);
    }

    fn way(&mut self, related: &Entity, join: &Join, only: &[Filter]) {
        let beside = [only, related.only.as_slice()];
        let asked = Asked { purpose: Purpose::Related, beside: &beside };
        match join {
            Join::By(field) => self.field(related, field, asked),
            Join::To(_) => self.stands(related, &related.key, asked),
            Join::Through(path) => {
                for Hop { table, from, only, .. } in &path.hops {
                    self.need(table, &from.name, Asked { purpose: Purpose::Related, beside: &[only] });
                }
                match &path.end {
                    Some(field) => self.field(related, field, asked),
                    None => self.stands(related, &related.key, asked),
                }
            }
            Join::AnyOf(ways) => ways.iter().for_each(|way| self.way(related, way, only)),
        }
    }

    /// The column behind a field, where there is one.
    fn field(&mut self, entity: &Entity, field: &FieldName, asked: Asked<'_>) {
        match entity.fields.get(field).map(|field| &field.expression) {
            Some(Expression::Column(column) | Expression::Means { column, .. }) => {
                self.stands(entity, column, asked);
            }
            Some(Expression::Aggregate(aggregate)) => self.relation(entity, &aggregate.relation),
            None => self.stands(entity, &Column::named(field.as_str()), asked),
        }
    }

    /// A column that a window is cut out of.
    fn range(&mut self, entity: &Entity, field: Option<&FieldName>) {
        if let Some(field) = field {
            self.field(entity, field, Purpose::Crossings.into());
        }
    }

    /// Where a column stands that rows are found by. What is taken out of JSON, computed, or a cell of another row
    /// can't be found by an index over a column.
    fn stands(&mut self, entity: &Entity, column: &Column, asked: Asked<'_>) {
        match &column.place {
            Place::Row => match &entity.origin {
                Origin::Table(table) => self.need(table, &column.name, asked),
                Origin::Union(members) => self.members(members, &column.name, asked.purpose),
                Origin::Sql(_) => {}
            },
            Place::Parent(number) => {
                if let Some(parent) = entity.parents.get(*number) {
                    self.need(&parent.table, &column.name, asked.purpose.into());
                }
            }
            Place::Json(..) | Place::Sql(_) | Place::Where(..) | Place::Number(_) => {}
            Place::Attribute(_) | Place::LookUp(_) => self.elsewhere(column),
        }
    }

    /// The rows in which a value stands that isn't in the record's own.
    fn elsewhere(&mut self, column: &Column) {
        match &column.place {
            Place::Attribute(attribute) => {
                let asked = Asked { purpose: Purpose::Related, beside: &[&attribute.only] };
                self.need(&attribute.table, &attribute.record.name, asked);
            }
            Place::LookUp(look_up) => {
                if let Some(entity) = self.catalog.entity(&look_up.entity) {
                    self.stands(entity, &entity.key, Purpose::Related.into());
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
            self.stands(entity, column, purpose.into());
        }
    }

    fn need(&mut self, table: &Table, column: &str, Asked { purpose, beside }: Asked<'_>) {
        let Some(live) = self.schema.table(table).filter(|live| live.exists && live.kind != TableKind::View) else {
            return;
        };
        let Some(found) = live.column(column) else { return };
        let fixed = |name: &str| {
            let mut filters = beside.iter().copied().flatten().filter(|filter| filter.column.place == Place::Row);
            filters.any(|filter| filter.column.name.eq_ignore_ascii_case(name) && self.fixes(filter))
        };
        // Before the column only what is always equal.
        let serves = |index: &Index| {
            let found = index.columns.iter().find(|name| !fixed(name) || name.eq_ignore_ascii_case(column));
            found.is_some_and(|name| name.eq_ignore_ascii_case(column))
                && (index.ordered || (purpose != Purpose::Crossings && index.columns.len() == 1))
        };
        if live.indexes.iter().any(serves) {
            return;
        }
        let (table, column) = (table.clone(), column.to_owned());
        let how = How { partitioned: live.kind == TableKind::Partitioned, unbounded: is_unbounded(&found.declared) };
        self.found.insert(NeededIndex { table, column, purpose, over: Over::Column, how });
    }

    /// Whether a filter asks a bare column for one value, so that an index may begin with it.
    fn fixes(&self, filter: &Filter) -> bool {
        let FilterTest::In(literals) = &filter.test else { return false };
        let [literal] = literals.as_slice() else { return false };
        match (&filter.column.ty, &literal.value) {
            (ColumnType::Text, Value::Text(_)) | (ColumnType::Uuid(_), _) => true,
            (ColumnType::Int, Value::Int(_)) => self.dialect != Dialect::Sqlite,
            (ColumnType::Bool, Value::Bool(_)) => self.dialect == Dialect::Postgres,
            _ => false,
        }
    }
}

/// An expression without what databases spell in several ways: quotes, blanks, casts of the column to text.
fn plain(expression: &str, column: &str) -> String {
    let bare = |text: &str| -> String {
        let text = text.to_lowercase().replace(r"e' \t\r\n'", "''").replace("::text", "");
        text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '`')).collect()
    };
    let column = bare(column);
    bare(expression).replace(&format!("cast({column}astext)"), &column).replace(&format!("({column})"), &column)
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
