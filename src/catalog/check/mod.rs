//! From the written catalog to the checked one. Goes on after every mistake, so that all are reported.

mod calendar;
mod entity;
mod field;
mod filter;
mod path;
mod place;
mod question;
mod recipient;
mod relation;
mod task;
mod writing;

pub use writing::{IN_WORDS, WORDS_HELP};

use super::written::{CatalogFile, EntityEntry};
use super::{
    Catalog, Column, ColumnType, Entity, Field, InsertValue, KeyType, Literal, OwnSql, Parent, Place, SuppressionTable,
    Table, Tenants,
};
use crate::diagnostic::yaml::{self, At};
use crate::diagnostic::{Finding, Report, SourceFile, suggest};
use crate::model::{EntityName, FieldName, Locale, Tenant, Topic};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// What came of reading a catalog.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// `None` when its shape is broken. With errors it is as complete as it can be, so that rules can still
    /// be checked against it.
    pub catalog: Option<Catalog>,
    /// Every column the catalog names, for holding it against a live database.
    pub uses: Vec<ColumnUse>,
    /// Every table, where it is first named.
    pub tables: BTreeMap<Table, Range<usize>>,
    /// Topics that consent is mapped for.
    pub topics: Vec<(Topic, Range<usize>)>,
    /// Expressions, by their field and where they stand, and unions: the dialect decides whether they can be read.
    pub expressions: Vec<(OwnSql, Range<usize>, Range<usize>)>,
    pub unions: Vec<(EntityName, Range<usize>)>,
    /// Entities that are queries of the admin's own, and what they are expected to return.
    pub queries: Vec<(String, EntityName, Range<usize>)>,
    pub findings: Vec<Finding>,
}

/// A column of a real table, where the catalog names it, and what it expects of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnUse {
    pub table: Table,
    pub column: String,
    pub expected: ColumnType,
    /// Constants it is held against.
    pub literals: Vec<Literal>,
    /// What it holds where a field gives it words of its own.
    pub named: Vec<Literal>,
    /// What an insert puts into it.
    pub given: Option<InsertValue>,
    /// It is meant to hold several values.
    pub is_list: bool,
    pub range: Range<usize>,
}

/// Reads and checks `catalog.yaml` alone: without the files that its calendars name.
#[must_use]
pub fn read(file: &Arc<SourceFile>) -> Reading {
    read_with(file, None)
}

/// As [`read`], with the files of `calendars/`.
#[must_use]
pub fn read_with(file: &Arc<SourceFile>, calendars: Option<&[Arc<SourceFile>]>) -> Reading {
    match yaml::read::<CatalogFile>(file) {
        Err(_) => Reading { findings: yaml::refusals::<CatalogFile>(file), ..Reading::default() },
        Ok(written) => {
            let calendar_files = calendars.map(<[_]>::to_vec);
            Checker { calendar_files, ..Checker::new(file) }.catalog(&written)
        }
    }
}

pub(super) type Fields = BTreeMap<FieldName, Field>;

/// What the checks of one catalog share.
struct Checker {
    report: Report,
    /// `None`: they are not at hand.
    calendar_files: Option<Vec<Arc<SourceFile>>>,
    /// Findings in other files.
    elsewhere: Vec<Finding>,
    zone: TimeZone,
    uses: Vec<ColumnUse>,
    topics: Vec<(Topic, Range<usize>)>,
    expressions: Vec<(OwnSql, Range<usize>, Range<usize>)>,
    unions: Vec<(EntityName, Range<usize>)>,
    queries: Vec<(String, EntityName, Range<usize>)>,
    table_places: BTreeMap<Table, Range<usize>>,
    /// Fields of every entity, complete before anything refers to them. Columns that relations and roles
    /// name become fields of their own.
    fields: BTreeMap<EntityName, Fields>,
    tables: BTreeMap<EntityName, Option<Table>>,
    keys: BTreeMap<EntityName, (Column, KeyType)>,
    parents: BTreeMap<EntityName, Vec<(Parent, BTreeSet<String>)>>,
    /// By entity and the name that fields use, without the attribute's own name.
    attributes: BTreeMap<(EntityName, String), place::Attributes>,
}

impl Checker {
    fn new(file: &Arc<SourceFile>) -> Self {
        Self {
            report: Report::new(file),
            calendar_files: None,
            elsewhere: Vec::new(),
            zone: TimeZone::UTC,
            uses: Vec::new(),
            topics: Vec::new(),
            expressions: Vec::new(),
            unions: Vec::new(),
            queries: Vec::new(),
            table_places: BTreeMap::new(),
            fields: BTreeMap::new(),
            tables: BTreeMap::new(),
            keys: BTreeMap::new(),
            parents: BTreeMap::new(),
            attributes: BTreeMap::new(),
        }
    }

    fn catalog(mut self, written: &CatalogFile) -> Reading {
        self.version(written.version.as_ref());
        self.zone = self.time_zone(written.time_zone.as_ref());
        if written.entities.0.is_empty() {
            let finding = Finding::error("catalog.no-entities", "no entities: nothing can be watched");
            self.report.add(&(0..0), finding.help("add `entities:` with at least one table"));
        }
        for (name, entry) in written.entities.iter() {
            self.name(name);
            let table = self.origin_table(name, entry);
            self.tables.insert(EntityName::new(name.as_str()), table);
        }
        for (name, entry) in written.entities.iter() {
            self.surroundings(name, entry);
        }
        self.all_fields(written);
        let mut entities = self.entities(written);
        for (name, entity) in &mut entities {
            // Relations of other entities may have added fields since this one was built.
            entity.fields = self.fields.get(name).cloned().unwrap_or_default();
        }
        for (name, entry) in written.entities.iter() {
            if let Some(entity) = entities.get_mut(name.as_str()) {
                self.writing(entity, entry);
            }
        }
        let suppressions = written.suppressions.iter().filter_map(|entry| self.suppression(entry)).collect();
        let tasks = written.tasks.as_ref().map(|tasks| self.tasks(tasks));
        let surveys = self.questions(written);
        let tenants = written.tenants.as_ref().map(|tenants| Tenants {
            names: tenants.names.iter().map(|name| Tenant::new(name.as_str())).collect(),
            per_transaction: tenants.per_transaction.as_ref().map(|sql| sql.value.clone()),
        });
        let pools = self.pools(written);
        let locale = self.locale(written.locale.as_ref());
        let (calendars, usual_calendar) = self.calendars(written);
        let time_zone = self.zone.clone();
        let catalog = Catalog {
            time_zone,
            locale,
            entities,
            suppressions,
            tasks,
            surveys,
            tenants,
            calendars,
            usual_calendar,
            pools,
        };
        let mut findings = self.report.into_findings();
        findings.extend(self.elsewhere);
        Reading {
            catalog: Some(catalog),
            uses: self.uses,
            tables: self.table_places,
            topics: self.topics,
            expressions: self.expressions,
            unions: self.unions,
            queries: self.queries,
            findings,
        }
    }

    fn entities(&mut self, written: &CatalogFile) -> BTreeMap<EntityName, Entity> {
        let people: BTreeSet<&str> = written
            .entities
            .iter()
            .filter(|(_, entry)| entry.person.is_some())
            .map(|(name, _)| name.as_str())
            .collect();
        let built = written.entities.iter().map(|(name, entry)| self.entity(name, entry, &people));
        built.map(|entity| (entity.name.clone(), entity)).collect()
    }

    fn version(&mut self, version: Option<&At<u64>>) {
        match version {
            None => {
                let finding = Finding::error("catalog.version", "the key `version` is missing");
                self.report.add(&(0..0), finding.help("begin the file with `version: 1`"));
            }
            Some(version) if version.value != 1 => {
                let finding = Finding::error("catalog.version", format!("unknown version {}", version.value));
                self.report.add(&version.range, finding.help("this nudged reads version 1"));
            }
            Some(_) => {}
        }
    }

    fn time_zone(&mut self, name: Option<&At<String>>) -> TimeZone {
        let Some(name) = name else {
            let finding = Finding::error("catalog.time-zone", "the key `time_zone` is missing");
            let help = "naive timestamps mean nothing without it: `time_zone: Europe/Vienna`";
            self.report.add(&(0..0), finding.help(help));
            return TimeZone::UTC;
        };
        self.zone_named(name).unwrap_or(TimeZone::UTC)
    }

    fn locale(&mut self, written: Option<&At<String>>) -> Locale {
        let Some(written) = written else { return Locale::default() };
        Locale::parse(written).unwrap_or_else(|| {
            let finding = Finding::error("catalog.locale", format!("unknown locale `{}`", written.value));
            self.report.add(&written.range, finding.help("write a language, with a region if you like: `de`, `de-AT`"));
            Locale::default()
        })
    }

    fn zone_named(&mut self, name: &At<String>) -> Option<TimeZone> {
        let zone = TimeZone::get(name).ok();
        if zone.is_none() {
            let finding = Finding::error("catalog.time-zone", format!("unknown time zone `{}`", name.value));
            let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
            let help = suggest::nearest(name, known.iter().map(String::as_str)).map_or_else(
                || "write an IANA name such as `Europe/Vienna`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            self.report.add(&name.range, finding.help(help));
        }
        zone
    }

    /// Names are used in rules, templates and metrics, so they keep to letters, digits, `_` and `-`.
    fn name(&mut self, name: &At<String>) {
        let fine = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if !fine {
            let finding = Finding::error("catalog.name", format!("`{}` can't be a name", name.value));
            self.report.add(&name.range, finding.help("use letters, digits, `_` and `-`"));
        }
    }

    fn unknown(&mut self, code: &'static str, what: &str, name: &At<String>, known: &[String]) {
        let mut finding = Finding::error(code, format!("unknown {what} `{}`", name.value));
        if let Some(help) = suggest::help(name, known.iter().map(String::as_str)) {
            finding = finding.help(help);
        }
        self.report.add(&name.range, finding);
    }

    /// The column behind a name in `table`: a declared field's, or the column of that name.
    fn column(&mut self, entity: Option<&EntityName>, table: Option<&Table>, name: &At<String>) -> Option<Column> {
        let declared = entity.and_then(|entity| self.fields.get(entity)?.get(name.as_str()));
        let column = match declared.map(|field| &field.expression) {
            Some(super::Expression::Column(column) | super::Expression::Means { column, .. }) => column.clone(),
            Some(super::Expression::Aggregate(_)) => {
                let finding = Finding::error(
                    "catalog.computed",
                    format!("`{}` is computed; a column is needed here", name.value),
                );
                self.report.add(&name.range, finding);
                return None;
            }
            None => return Some(self.placed(entity, table, name, ColumnType::Unknown, &name.range)),
        };
        if column.place == Place::Row {
            self.used(table, &column, &name.range);
        }
        Some(column)
    }

    /// A column of the table, or of the entity's parent table that is said to have it.
    fn placed(
        &mut self,
        entity: Option<&EntityName>,
        table: Option<&Table>,
        name: &str,
        ty: ColumnType,
        range: &Range<usize>,
    ) -> Column {
        let parents = entity.and_then(|entity| self.parents.get(entity)).into_iter().flatten();
        let parent = parents.enumerate().find(|(_, (_, columns))| columns.contains(name));
        let found = parent.map(|(number, (parent, _))| (Place::Parent(number), parent.table.clone()));
        let (place, parent) = found.map_or((Place::Row, None), |(place, table)| (place, Some(table)));
        let column = Column { ty, place, ..Column::named(name) };
        self.used(parent.as_ref().or(table), &column, range);
        column
    }

    /// A field by name; a column that is not declared as a field becomes one.
    fn field_of(&mut self, entity: &EntityName, name: &At<String>) -> FieldName {
        let field = FieldName::new(name.as_str());
        let table = self.tables.get(entity).cloned().flatten();
        if self.fields.get(entity).is_some_and(|fields| !fields.contains_key(&field)) {
            let column = self.placed(Some(entity), table.as_ref(), name, ColumnType::Unknown, &name.range);
            let expression = super::Expression::Column(column);
            let fields = self.fields.entry(entity.clone()).or_default();
            fields.insert(field.clone(), Field { name: field.clone(), expression, currency: None });
        }
        field
    }

    /// As [`Checker::field_of`], for a field that must hold points in time.
    fn time_field(&mut self, entity: &EntityName, name: &At<String>) -> FieldName {
        let field = self.field_of(entity, name);
        let Some(found) = self.fields.get_mut(entity).and_then(|fields| fields.get_mut(&field)) else { return field };
        if let super::Expression::Column(column) = &mut found.expression {
            if column.ty == ColumnType::Unknown {
                // How it is stored is left to the live schema.
                column.ty = ColumnType::Instant(super::InstantStorage::Native);
            }
            if column.ty.is_time() {
                return field;
            }
        }
        let finding = Finding::error("catalog.type", format!("`{}` is not a time", name.value));
        self.report.add(&name.range, finding.help("a date or a time is needed here"));
        field
    }

    /// As [`Checker::time_field`], but it may also be computed: the latest of a relation's times.
    fn activity_field(&mut self, entity: &EntityName, name: &At<String>) -> FieldName {
        use super::{Aggregate, AggregateFunction as Of, Expression};
        let found = self.fields.get(entity).and_then(|fields| fields.get(name.as_str()));
        match found.map(|field| &field.expression) {
            Some(Expression::Aggregate(Aggregate { function: Of::Max | Of::Min, .. })) => FieldName::new(name.as_str()),
            _ => self.time_field(entity, name),
        }
    }

    /// As [`Checker::column`], for a column that must hold points in time.
    fn time_column(&mut self, entity: &EntityName, table: Option<&Table>, name: &At<String>) -> Option<Column> {
        let mut column = self.column(Some(entity), table, name)?;
        if column.ty == ColumnType::Unknown {
            column.ty = ColumnType::Instant(super::InstantStorage::Native);
        } else if !column.ty.is_time() {
            let finding = Finding::error("catalog.type", format!("`{}` is {}", name.value, column.ty.in_words()));
            self.report.add(&name.range, finding.help("a date or a time is needed here"));
        }
        Some(column)
    }

    fn used(&mut self, table: Option<&Table>, column: &Column, range: &Range<usize>) {
        let Some(table) = table else { return };
        self.uses.push(ColumnUse {
            table: table.clone(),
            column: column.name.clone(),
            expected: column.ty.clone(),
            literals: Vec::new(),
            named: Vec::new(),
            given: None,
            is_list: false,
            range: range.clone(),
        });
    }

    fn suppression(&mut self, entry: &At<super::written::SuppressionEntry>) -> Option<SuppressionTable> {
        let table = self.table(&entry.table)?;
        if entry.email.is_none() && entry.phone.is_none() {
            let finding = Finding::error("catalog.suppression", "this table names no address column");
            self.report.add(&entry.table.range, finding.help("add `email:` or `phone:` with the column's name"));
        }
        let email = entry.email.as_ref().and_then(|name| self.column(None, Some(&table), name));
        let phone = entry.phone.as_ref().and_then(|name| self.column(None, Some(&table), name));
        Some(SuppressionTable { email, phone, reason: entry.reason.as_ref().map(|reason| reason.value.clone()), table })
    }

    /// `table`, `schema.table`, or with quotes `"odd.schema".table`.
    fn table(&mut self, name: &At<String>) -> Option<Table> {
        let parsed = parse_table(name);
        if let Some(table) = &parsed {
            self.table_places.entry(table.clone()).or_insert_with(|| name.range.clone());
        } else {
            let finding = Finding::error("catalog.table", format!("`{}` is not the name of a table", name.value));
            self.report.add(&name.range, finding.help("write `table` or `schema.table`"));
        }
        parsed
    }

    fn origin_table(&mut self, name: &At<String>, entry: &EntityEntry) -> Option<Table> {
        if let (Some((member, _)), true) =
            (entry.union.0.first(), entry.table.is_some() || entry.sql.is_some() || entry.key.is_some())
        {
            let finding = Finding::error("catalog.origin", "a union has no `table`, `sql` or `key` of its own");
            self.report.add(&member.range, finding.help("keep the union, or the table"));
            return None;
        }
        match (&entry.table, &entry.sql) {
            (Some(table), None) => self.table(table),
            (None, Some(sql)) => {
                self.queries.push((sql.value.clone(), EntityName::new(name.as_str()), sql.range.clone()));
                None
            }
            (Some(_), Some(sql)) => {
                let finding = Finding::error("catalog.origin", "both `table` and `sql`");
                self.report.add(&sql.range, finding.help("keep one"));
                None
            }
            (None, None) if !entry.union.0.is_empty() => None,
            (None, None) => {
                let finding = Finding::error("catalog.origin", format!("entity `{}` has no table", name.value));
                self.report.add(&name.range, finding.help("add `table:` (or `sql:` with a query)"));
                None
            }
        }
    }
}

fn parse_table(text: &str) -> Option<Table> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.find('.').map_or((rest, ""), |dot| rest.split_at(dot)),
        };
        parts.push(part.to_owned());
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return None,
        }
    }
    if parts.iter().any(String::is_empty) {
        return None;
    }
    let name = parts.pop()?;
    let schema = parts.pop();
    parts.is_empty().then_some(Table { schema, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_may_have_a_schema_and_odd_letters() {
        let table =
            |schema: Option<&str>, name: &str| Some(Table { schema: schema.map(str::to_owned), name: name.to_owned() });
        assert_eq!(parse_table("accounts"), table(None, "accounts"));
        assert_eq!(parse_table("crm.Order-Lines"), table(Some("crm"), "Order-Lines"));
        assert_eq!(parse_table("\"a.b\".c"), table(Some("a.b"), "c"));
        assert_eq!(parse_table("a.b.c"), None);
        assert_eq!(parse_table(""), None);
        assert_eq!(parse_table(".x"), None);
    }
}
