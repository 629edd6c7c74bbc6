//! Holds the catalog against a live database: tables and columns that aren't there, types that don't fit.

use super::check::{ColumnUse, Reading};
use super::resolve::merged;
use super::{ColumnType, Insert, Schema, TableSchema};
use crate::diagnostic::{Finding, Report, SourceFile, suggest};
use jiff::tz::TimeZone;
use std::ops::Range;
use std::sync::Arc;

/// What the catalog expects and the database doesn't have, at its places in the catalog.
#[must_use]
pub fn drift(reading: &Reading, schema: &Schema, file: &Arc<SourceFile>) -> Vec<Finding> {
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
            column(&mut report, used, table, &catalog.time_zone);
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

fn column(report: &mut Report, used: &ColumnUse, table: &TableSchema, zone: &TimeZone) {
    let Some(live) = table.column(&used.column) else {
        let message = format!("the table `{}` has no column `{}`", used.table, used.column);
        let mut finding = Finding::error("catalog.no-column", message);
        if let Some(help) = suggest::help(&used.column, table.columns.iter().map(|column| column.name.as_str())) {
            finding = finding.help(help);
        }
        report.add(&used.range, finding);
        return;
    };
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
