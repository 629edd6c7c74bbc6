//! Holds the catalog against a live database: tables and columns that aren't there, types that don't fit.

use super::check::{ColumnUse, Reading};
use super::held::{longest, refusal};
use super::resolve::merged;
use super::{ColumnSchema, ColumnType, Insert, InsertValue, InstantStorage, Literal, Schema, TableSchema};
use crate::diagnostic::{Finding, Report, SourceFile, suggest};
use crate::model::Value;
use jiff::tz::TimeZone;
use std::ops::Range;
use std::sync::Arc;

/// What a kind of database does with the values of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habits {
    /// Holds columns to the lengths and types that they are declared with.
    pub keeps_lengths: bool,
    /// Has a date of `0000-00-00`.
    pub has_zero_dates: bool,
    /// Its type for UUIDs refuses what no version of them looks like, as a quarter of all references do.
    pub picks_uuids: bool,
}

/// What the catalog expects and the database doesn't have, at its places in the catalog.
#[must_use]
pub fn drift(reading: &Reading, schema: &Schema, file: &Arc<SourceFile>, habits: Habits) -> Vec<Finding> {
    let mut report = Report::new(file);
    let Some(catalog) = &reading.catalog else { return Vec::new() };
    for (table, range) in &reading.tables {
        if schema.table(table).is_some_and(|live| !live.exists) {
            let finding = Finding::error("catalog.no-table", format!("the database has no table `{table}`"));
            let help = "or this login may not read it, or not execute what the view calls; \
                        check the name, its schema and the GRANTs";
            report.add(range, finding.help(help));
        }
    }
    for (sql, entity, range) in &reading.queries {
        if schema.queries.get(sql).is_some_and(|live| !live.exists) {
            let finding = Finding::error("catalog.query", format!("the database doesn't accept the SQL of `{entity}`"));
            report.add(range, finding.help("run it there to see why; it must be one SELECT without parameters"));
        }
    }
    for used in &reading.uses {
        if let Some(table) = schema.table(&used.table).filter(|table| table.exists) {
            column(&mut report, used, table, (&catalog.time_zone, habits));
        }
    }
    for insert in catalog.tasks.iter().flat_map(|tasks| &tasks.inserts) {
        // Tasks are read after all entities.
        let range = reading.uses.iter().rev().find(|used| used.table == insert.table).map(|used| &used.range);
        if let (Some(range), Some(live)) = (range, schema.table(&insert.table).filter(|live| live.exists)) {
            left_out(&mut report, insert, live, range);
        }
    }
    report.into_findings()
}

/// Columns that must have a value and that an insert gives none. A trigger of the database may.
fn left_out(report: &mut Report, insert: &Insert, live: &TableSchema, range: &Range<usize>) {
    let set = |name: &str| insert.set.iter().any(|(column, _)| column.name.eq_ignore_ascii_case(name));
    let needed = live.columns.iter().filter(|column| !column.nullable && !column.has_default && !set(&column.name));
    let needed: Vec<String> = needed.map(|column| format!("`{}`", column.name)).collect();
    if needed.is_empty() {
        return;
    }
    let message = format!("tasks in `{}` get no {}, which must not be null", insert.table, needed.join(", no "));
    let help = "add it to `set`, unless a trigger of the database fills it";
    report.add(range, Finding::warning("catalog.not-null", message).help(help));
}

fn column(report: &mut Report, used: &ColumnUse, table: &TableSchema, (zone, habits): (&TimeZone, Habits)) {
    let Some(live) = table.column(&used.column) else {
        let message = format!("the table `{}` has no column `{}`", used.table, used.column);
        let mut finding = Finding::error("catalog.no-column", message);
        if let Some(help) = suggest::help(&used.column, table.columns.iter().map(|column| column.name.as_str())) {
            finding = finding.help(help);
        }
        report.add(&used.range, finding);
        return;
    };
    if live.is_array() && !used.is_list && used.given.is_none() {
        let message = format!("`{}` is {} in the database, and nudged reads no arrays", used.column, live.declared);
        report.add(&used.range, Finding::error("catalog.column-type", message).help(way_out_of_array(&used.column)));
        return;
    }
    let ty = merged(&used.expected, &live.ty, zone);
    if !fits(&ty, &live.ty) {
        let message =
            format!("`{}` is {} in the database, not {}", used.column, live.declared, used.expected.in_words());
        let help = if matches!(used.expected, ColumnType::Instant(_)) && live.ty.is_number() {
            "declare `type: epoch_seconds` or `type: epoch_millis`"
        } else {
            "declare the field's `type` as it is"
        };
        report.add(&used.range, Finding::error("catalog.column-type", message).help(help));
        return;
    }
    for literal in &used.literals {
        if let Err(misfit) = literal.retyped(&ty, zone) {
            let message = format!("{misfit}, but `{}` is {} in the database", used.column, live.declared);
            report.add(&used.range, Finding::error("catalog.constant", message));
        }
    }
    if let Some(words) = words(&live.declared) {
        let known = |literal: &&Literal| literal.value != Value::Null && !words.have(&literal.text);
        for literal in used.literals.iter().chain(&used.named).filter(known) {
            report.add(&used.range, none_of(literal, &words, live));
        }
    }
    for given in used.given.iter().flat_map(InsertValue::parts) {
        if let Some(finding) = misplaced(given, &ty, live, (zone, habits)) {
            report.add(&used.range, finding);
        }
    }
}

/// How the values of an array are asked for and printed.
pub fn way_out_of_array(column: &str) -> String {
    format!(
        "declare `{{sql: \"'…' = ANY($row.{column})\", type: bool}}` to ask for a value, or \
         `{{sql: \"array_to_string($row.{column}, ', ')\", type: text}}` to print them"
    )
}

/// What is said of a value that an insert puts into a column that can't hold it. A database may take it all the same,
/// as something else. `ty` is what the catalog and the database say of the column together.
fn misplaced(
    given: &InsertValue,
    ty: &ColumnType,
    live: &ColumnSchema,
    (zone, habits): (&TimeZone, Habits),
) -> Option<Finding> {
    if let InsertValue::Constant(literal) = given {
        return unheld(literal, live, (zone, habits));
    }
    let longest = longest(&live.declared).filter(|_| habits.keeps_lengths);
    let (name, kind, length) = supply(given)?;
    let column = format!("`{}` is {} in the database", live.name, live.declared);
    if !takes(ty, kind) || (kind.is_words() && holds_no_words(live)) {
        let message = format!("{column}, and `{name}` is {}", kind.in_words());
        let help = match kind {
            Kind::Time | Kind::Date if live.ty.is_number() => {
                format!("write `{{value: {name}, type: epoch_seconds}}`, or `epoch_millis`")
            }
            _ => "give it another column, or let this one hold what it is".to_owned(),
        };
        return Some(Finding::error("catalog.column-type", message).help(help));
    }
    if *given == InsertValue::Ref && habits.picks_uuids && is_too_narrow_for_references(&live.declared) {
        let message = format!("{column}, which doesn't take every `$ref`");
        let help = "let the column be `char(32)`, or give it another one";
        return Some(Finding::error("catalog.column-type", message).help(help));
    }
    let is_counted = matches!(ty, ColumnType::Instant(InstantStorage::EpochSeconds | InstantStorage::EpochMillis));
    let length = length.filter(|length| !is_counted && longest.is_some_and(|longest| *length > longest))?;
    let message = format!("{column}, and `{name}` is {length} characters long");
    let help = format!("let the column hold {length} characters, or give it another one");
    Some(Finding::error("catalog.column-type", message).help(help))
}

/// A constant of another type than its column's, longer than it, or none of its words.
fn unheld(literal: &Literal, live: &ColumnSchema, (zone, habits): (&TimeZone, Habits)) -> Option<Finding> {
    let text = literal.text.as_str();
    let words = words(&live.declared);
    let refused = refusal(text, &live.declared).filter(|_| habits.keeps_lengths);
    // A `tinyint(1)` is a small number as often as a boolean.
    let is_small = live.ty == ColumnType::Bool && live.declared.to_ascii_lowercase().starts_with("tinyint");
    let is_number = is_small && text.trim().parse().is_ok_and(|number: i16| (-128..256).contains(&number));
    // Old tables that must have a date keep this one for none.
    let is_zero_date = habits.has_zero_dates && live.ty.is_time() && is_zero_date(text);
    // Bytes are often text whose letters nobody has declared.
    let is_open = live.ty == ColumnType::Bytes || is_number || is_zero_date;
    let ty = if is_open { &ColumnType::Unknown } else { &live.ty };
    let problem = if let Err(misfit) = literal.retyped(ty, zone) {
        misfit.to_string()
    } else if let Some(refused) = refused {
        refused
    } else if words.as_ref().is_some_and(|words| !words.have(text)) {
        format!("`{text}` is none of its words")
    } else {
        return None;
    };
    let message = format!("{problem}, but `{}` is {} in the database", live.name, live.declared);
    let finding = Finding::error("catalog.constant", message);
    Some(match words.and_then(|words| suggest::help(text, words.all.iter().map(String::as_str))) {
        Some(help) => finding.help(help),
        None => finding,
    })
}

fn none_of(literal: &Literal, words: &Words, live: &ColumnSchema) -> Finding {
    let (text, column, declared) = (&literal.text, &live.name, &live.declared);
    let message = format!("`{column}` is never `{text}`: it is {declared} in the database");
    let finding = Finding::error("catalog.constant", message);
    match suggest::help(text, words.all.iter().map(String::as_str)) {
        Some(help) => finding.help(help),
        None => finding,
    }
}

fn is_zero_date(text: &str) -> bool {
    let (day, time) = text.trim().split_once([' ', 'T']).unwrap_or((text.trim(), ""));
    day == "0000-00-00" && time.chars().all(|c| matches!(c, '0' | ':' | '.'))
}

/// Types that nudged doesn't know and that no title and no address is one of.
fn holds_no_words(live: &ColumnSchema) -> bool {
    let others =
        ["interval", "time", "inet", "cidr", "macaddr", "point", "money", "int4range", "daterange", "tstzrange"];
    let name = live.declared.split(['(', ' ']).next().unwrap_or_default();
    live.ty == ColumnType::Unknown && (live.is_array() || others.contains(&name))
}

/// What nudged supplies: its name, of which kind it is, and how long where that is always the same.
fn supply(given: &InsertValue) -> Option<(&'static str, Kind, Option<usize>)> {
    Some(match given {
        InsertValue::Now => ("$now", Kind::Time, Some(19)),
        InsertValue::Due => ("$due", Kind::Date, Some(10)),
        InsertValue::Uuid => ("$uuid", Kind::Uuid, Some(36)),
        InsertValue::Ref => ("$ref", Kind::Ref, Some(32)),
        InsertValue::Title => ("$title", Kind::Text, None),
        InsertValue::Body => ("$body", Kind::Text, None),
        InsertValue::Comment => ("$comment", Kind::Text, None),
        InsertValue::AssigneeEmail => ("$assignee.email", Kind::Text, None),
        InsertValue::Constant(_)
        | InsertValue::Score
        | InsertValue::RecordKey
        | InsertValue::RecordField(_)
        | InsertValue::AssigneeKey
        | InsertValue::LookUp(_)
        | InsertValue::Earlier { .. }
        | InsertValue::Else(_) => return None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Hexadecimal digits, as many as a UUID has.
    Ref,
    Time,
    Date,
    Uuid,
}

impl Kind {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Text | Self::Ref => "text",
            Self::Time => "a point in time",
            Self::Date => "a date",
            Self::Uuid => "a UUID",
        }
    }

    const fn is_words(self) -> bool {
        matches!(self, Self::Text | Self::Ref | Self::Uuid)
    }
}

fn takes(live: &ColumnType, kind: Kind) -> bool {
    match live {
        ColumnType::Unknown | ColumnType::Text | ColumnType::Json => true,
        ColumnType::Date(_) | ColumnType::Instant(_) => matches!(kind, Kind::Time | Kind::Date),
        ColumnType::Uuid(_) => matches!(kind, Kind::Uuid | Kind::Ref),
        ColumnType::Bytes => matches!(kind, Kind::Uuid | Kind::Text | Kind::Ref),
        ColumnType::Bool
        | ColumnType::BoolText
        | ColumnType::Int
        | ColumnType::Decimal
        | ColumnType::Float
        | ColumnType::NumberText => false,
    }
}

/// MySQL's bytes keep references as the text that they are.
fn is_too_narrow_for_references(declared: &str) -> bool {
    let declared = declared.to_ascii_lowercase();
    let bytes = declared.strip_prefix("var").unwrap_or(&declared).strip_prefix("binary(");
    let length = bytes.and_then(|length| length.strip_suffix(')')?.parse::<usize>().ok());
    declared == "uuid" || length.is_some_and(|length| length < 32)
}

/// The words of a column that holds nothing else.
pub(super) struct Words {
    pub all: Vec<String>,
    /// PostgreSQL knows them only as they are, MySQL in any case.
    exact: bool,
}

impl Words {
    fn have(&self, text: &str) -> bool {
        // MySQL keeps what was none of them as an empty text.
        (!self.exact && text.is_empty())
            || self.all.iter().any(|word| if self.exact { word == text } else { word.eq_ignore_ascii_case(text) })
    }
}

/// `enum('new','done')` of MySQL, and with the type's name `enum crm.stage('new','done')` of PostgreSQL.
pub(super) fn words(declared: &str) -> Option<Words> {
    let (name, list) = declared.strip_prefix("enum")?.strip_suffix("')")?.split_once("('")?;
    let all = list.split("','").map(|word| word.replace("''", "'")).collect();
    Some(Words { all, exact: !name.is_empty() })
}

/// Whether a column of the live type can hold what the catalog says.
fn fits(ty: &ColumnType, live: &ColumnType) -> bool {
    use super::InstantStorage as S;
    use ColumnType as T;
    match (ty, live) {
        (_, T::Unknown) | (T::Unknown | T::Text | T::Json, _) => true,
        (T::Int | T::Decimal | T::Float, live) => live.is_number() || *live == T::Bool,
        (T::Bool, live) => matches!(live, T::Bool | T::Int),
        (T::BoolText | T::NumberText, live) => matches!(live, T::Text | T::Bool | T::Int),
        (T::Uuid(super::UuidStorage::Native), live) => matches!(live, T::Uuid(_)),
        (T::Uuid(super::UuidStorage::Binary), live) => matches!(live, T::Bytes | T::Uuid(_)),
        (T::Uuid(super::UuidStorage::Text), live) => matches!(live, T::Text | T::Uuid(_)),
        (T::Bytes, live) => *live == T::Bytes,
        (T::Date(super::DateStorage::Text), live) => matches!(live, T::Text | T::Date(_)),
        (T::Date(_), live) => live.is_time(),
        (T::Instant(S::EpochSeconds | S::EpochMillis), live) => live.is_number() || *live == T::Text,
        (T::Instant(S::Text(_)), live) => matches!(live, T::Text | T::Instant(S::Text(_))),
        (T::Instant(_), live) => matches!(live, T::Instant(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{DateStorage, InstantStorage, Table, TableKind, UuidStorage, read};

    /// A database with one table of these columns.
    fn schema<const N: usize>(name: &str, columns: [(&str, &str, ColumnType); N]) -> Schema {
        let column = |(name, declared, ty): (&str, &str, ColumnType)| ColumnSchema {
            name: name.to_owned(),
            declared: declared.to_owned(),
            ty,
            nullable: true,
            has_default: false,
            generated: false,
            padded: false,
        };
        let table = TableSchema {
            table: Table { schema: None, name: name.to_owned() },
            exists: true,
            kind: TableKind::Table,
            columns: columns.map(column).into(),
            indexes: Vec::new(),
        };
        Schema { tables: vec![table], ..Schema::default() }
    }

    /// What is told of tasks that set the column `it` of this type.
    fn told(set: &str, declared: &str, ty: ColumnType, is_mysql: bool) -> Vec<String> {
        let text = format!(
            "version: 1\ntime_zone: Europe/Vienna\nentities: {{thing: {{table: things, key: id}}}}\ntasks:\n  insert:\n    - table: tasks\n      set:\n        \
             it: {set}\n        ref: $ref\n"
        );
        let file = Arc::new(SourceFile { path: "catalog.yaml".to_owned(), text });
        let schema = schema("tasks", [("it", declared, ty), ("ref", "text", ColumnType::Text)]);
        let habits = Habits { keeps_lengths: is_mysql, has_zero_dates: is_mysql, picks_uuids: is_mysql };
        let findings = drift(&read(&file), &schema, &file, habits);
        findings
            .iter()
            .map(|finding| {
                let (line, _) = finding.place.as_ref().unwrap().line_column();
                format!("{} {line}", finding.code)
            })
            .collect()
    }

    /// Where the columns of this entity are held against a table of people with labels.
    fn told_of_labels(entity: &str) -> Vec<String> {
        let text =
            format!("version: 1\ntime_zone: UTC\nentities:\n  person:\n    table: people\n    key: id\n    {entity}\n");
        let file = Arc::new(SourceFile { path: "catalog.yaml".to_owned(), text });
        let schema = schema("people", [("id", "bigint", ColumnType::Int), ("labels", "text[]", ColumnType::Unknown)]);
        let habits = Habits { keeps_lengths: true, has_zero_dates: false, picks_uuids: false };
        drift(&read(&file), &schema, &file, habits).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_array_is_told_where_a_field_is_one_and_not_where_tags_or_sql_are_of_it() {
        for entity in
            ["fields: {tags: labels}", "fields: {labels: {column: labels, type: text}}", "only: {labels: vip}"]
        {
            let told = told_of_labels(entity).join("\n");
            assert!(told.starts_with("catalog.yaml:7:") && told.contains("is text[] in the database"), "{told}");
            assert!(told.contains("'…' = ANY($row.labels)"), "{told}");
        }
        for entity in [
            "tags: {column: labels, list: array}",
            "fields: {is_vip: {sql: \"'vip' = ANY($row.labels)\", type: bool}}",
            "fields: {key: id}",
        ] {
            assert_eq!(told_of_labels(entity), Vec::<String>::new(), "{entity}");
        }
    }

    #[test]
    fn what_tasks_put_into_columns_that_cannot_hold_it_is_told_at_its_line() {
        use ColumnType as T;
        let time = T::Instant(InstantStorage::Native);
        for (set, declared, ty, expected) in [
            ("$now", "bigint", T::Int, "catalog.column-type 8"),
            ("$due", "int(11)", T::Int, "catalog.column-type 8"),
            ("$title", "datetime", time.clone(), "catalog.column-type 8"),
            ("$ref", "character varying(20)", T::Text, "catalog.column-type 8"),
            ("$uuid", "char(32)", T::Text, "catalog.column-type 8"),
            ("nobody", "int(11)", T::Int, "catalog.constant 8"),
            ("much too long", "varchar(5)", T::Text, "catalog.constant 8"),
            ("nwe", "enum('new','it''s done')", T::Text, "catalog.constant 8"),
            ("nwe", "enum crm.stage('new','it''s done')", T::Text, "catalog.constant 8"),
            ("New", "enum crm.stage('new','it''s done')", T::Text, "catalog.constant 8"),
            ("{value: $assignee.key, else: nobody}", "int(11)", T::Int, "catalog.constant 8"),
            ("{value: $now, type: epoch_seconds}", "boolean", T::Bool, "catalog.column-type 8"),
            ("{value: $now}", "bigint", T::Int, "catalog.column-type 8"),
            ("$title", "uuid", T::Uuid(UuidStorage::Native), "catalog.column-type 8"),
            ("$title", "interval", T::Unknown, "catalog.column-type 8"),
            ("$ref", "text[]", T::Unknown, "catalog.column-type 8"),
            ("$ref", "uuid", T::Uuid(UuidStorage::Native), "catalog.column-type 8"),
            ("$ref", "binary(16)", T::Bytes, "catalog.column-type 8"),
            ("open", "tinyint(1)", T::Bool, "catalog.constant 8"),
            ("soon", "interval", T::Unknown, "catalog.constant 8"),
            ("300", "tinyint(1)", T::Bool, "catalog.constant 8"),
            ("0000-00-00 10:00", "datetime", time.clone(), "catalog.constant 8"),
        ] {
            assert_eq!(told(set, declared, ty, true), [expected], "{set} into {declared}");
        }
        for (set, declared, ty) in [
            ("$now", "timestamp with time zone", time),
            ("$now", "varchar(19)", T::Text),
            ("$ref", "varchar(32)", T::Text),
            ("$uuid", "binary(16)", T::Bytes),
            ("$ref", "varbinary(32)", T::Bytes),
            ("\"it's done\"", "enum('new','it''s done')", T::Text),
            ("New", "enum('new','it''s done')", T::Text),
            ("\"it's done\"", "enum crm.stage('new','it''s done')", T::Text),
            ("{value: $assignee.key, else: 1}", "bigint", T::Int),
            ("{value: $now, type: epoch_seconds}", "bigint", T::Int),
            ("{value: $due, type: epoch_millis}", "varchar(14)", T::Text),
            ("0", "tinyint(1)", T::Bool),
            ("3", "tinyint(1)", T::Bool),
            ("New", "varbinary(80)", T::Bytes),
            ("äöü", "varchar(3)", T::Text),
            ("$title", "geometry", T::Unknown),
            ("$now", "time without time zone", T::Unknown),
            ("1 day", "interval", T::Unknown),
            ("$title", "jsonb", T::Json),
            ("$now", "jsonb", T::Json),
            ("t", "boolean", T::Bool),
            ("t", "tinyint(1)", T::Bool),
            ("0000-00-00 00:00:00", "datetime", T::Instant(InstantStorage::Native)),
            ("0000-00-00", "date", T::Date(DateStorage::Native)),
        ] {
            assert_eq!(told(set, declared, ty, true), Vec::<String>::new(), "{set} into {declared}");
        }
        assert_eq!(told("$ref", "uuid", T::Uuid(UuidStorage::Native), false), Vec::<String>::new());
        assert_eq!(told("$ref", "varchar(20)", T::Text, false), Vec::<String>::new());
        let day = T::Date(DateStorage::Native);
        assert_eq!(told("0000-00-00", "date", day, false), ["catalog.constant 8"], "only MySQL has it");
    }
}
