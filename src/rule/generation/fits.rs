//! What a catalog asks of the database it is for: an expression in its SQL, members of a union that it can put
//! together.

use super::Surroundings;
use crate::catalog::{Catalog, ColumnType, DateStorage, Expression, InstantStorage, Member, Origin, Reading};
use crate::diagnostic::{Finding, Place, SourceFile};
use crate::model::EntityName;
use crate::rule::sql::own;
use crate::rule::statement::Dialect;
use std::sync::Arc;

/// Errors at their places in the catalog.
pub(super) fn unfit(
    reading: &Reading,
    catalog: &Catalog,
    surroundings: &Surroundings,
    file: &Arc<SourceFile>,
) -> Vec<Finding> {
    let dialect = surroundings.dialect;
    let made_up = surroundings.schema.as_ref().is_some_and(|schema| schema.made_up);
    let at = |range: &std::ops::Range<usize>| Place { file: Arc::clone(file), range: range.clone() };
    let (database, key) = match dialect {
        Dialect::Postgres => ("PostgreSQL", "postgres"),
        Dialect::MySql => ("MySQL", "mysql"),
        Dialect::Sqlite => ("SQLite", "sqlite"),
    };
    let mut findings = Vec::new();
    for (sql, name, range) in &reading.expressions {
        let there = match dialect {
            Dialect::Postgres => &sql.postgres,
            Dialect::MySql => &sql.mysql,
            Dialect::Sqlite => &sql.sqlite,
        };
        // What a test makes up has values in place of expressions.
        if made_up {
            continue;
        }
        let Some(there) = there else {
            let finding = Finding::error("catalog.sql", format!("there is no expression for {database} here"));
            findings.push(finding.at(at(name)).help(format!("add `{key}:`, which the configured database speaks")));
            continue;
        };
        if let Some(flaw) = own::flaw(there, dialect, true) {
            let finding = Finding::error("catalog.sql", format!("this is no expression for {database}: {flaw}"));
            findings.push(finding.at(at(range)).help("write one expression; `$row` is the row it is about"));
        } else if let Some(name) = own::name_of_ours(there, dialect) {
            let finding = Finding::error("catalog.sql", format!("`{name}` is what nudged calls a row of its own"));
            let help = "call it something that doesn't end in `_`, or say whose column it is: `t.a_`";
            findings.push(finding.at(at(range)).help(help));
        }
    }
    for (sql, entity, range) in reading.queries.iter().filter(|_| !made_up) {
        if let Some(flaw) = own::flaw(sql, dialect, false) {
            let message = format!("the query of `{entity}` is none for {database}: {flaw}");
            let finding = Finding::error("catalog.sql", message);
            findings.push(finding.at(at(range)).help("write one SELECT that reads"));
        }
    }
    for (entity, range) in &reading.unions {
        for (field, ways) in mixed(catalog, entity, dialect) {
            let message =
                format!("the members of `{entity}` keep `{field}` in ways that can't be put together: {ways}");
            let finding = Finding::error("catalog.union", message);
            let help = "let every member name a column of the same type, or an `sql` field that makes it so";
            findings.push(finding.at(at(range)).help(help));
        }
    }
    findings
}

/// Fields whose members keep time in ways that no expression of the dialect can bring together safely, and those ways.
fn mixed(catalog: &Catalog, entity: &EntityName, dialect: Dialect) -> Vec<(String, String)> {
    let Some(Origin::Union(members)) = catalog.entity(entity).map(|entity| &entity.origin) else { return Vec::new() };
    let type_in = |member: &Member, number: usize| {
        let theirs = catalog.entity(&member.entity)?;
        let field = theirs.fields.get(&member.fields.get(number)?.1)?;
        match &field.expression {
            Expression::Aggregate(_) => None,
            _ => Some(catalog.field_type(theirs, field)),
        }
    };
    let types_of =
        |number: usize| -> Vec<ColumnType> { members.iter().filter_map(|member| type_in(member, number)).collect() };
    let way = |member: &Member, number: usize| match member.fields.get(number) {
        Some((_, theirs)) => {
            let kept = type_in(member, number).map_or("a computed value", |ty| kept_as(&ty));
            format!("`{}` has `{theirs}` as {kept}", member.entity)
        }
        None => format!("`{}` has none", member.entity),
    };
    let ways = |number: usize| members.iter().map(|member| way(member, number)).collect::<Vec<String>>().join(", ");
    let fields = members.first().map(|member| member.fields.as_slice()).unwrap_or_default();
    let odd = fields.iter().enumerate().filter(|(number, _)| {
        let types = types_of(*number);
        types.len() < members.len() || !compatible(&types, dialect)
    });
    odd.map(|(number, (name, _))| (name.to_string(), ways(number))).collect()
}

/// How a member keeps a value, in words.
const fn kept_as(ty: &ColumnType) -> &'static str {
    match ty {
        ColumnType::Date(DateStorage::Native) => "a date",
        ColumnType::Date(DateStorage::Text) => "a date in text",
        ColumnType::Instant(InstantStorage::Native) => "a time that knows its zone",
        ColumnType::Instant(InstantStorage::Naive(_)) => "a time without a zone",
        ColumnType::Instant(InstantStorage::Text(_)) => "a time in text",
        ColumnType::Instant(InstantStorage::EpochSeconds) => "seconds since 1970",
        ColumnType::Instant(InstantStorage::EpochMillis) => "milliseconds since 1970",
        other => other.in_words(),
    }
}

fn compatible(types: &[ColumnType], dialect: Dialect) -> bool {
    let known: Vec<&ColumnType> = types.iter().filter(|ty| **ty != ColumnType::Unknown).collect();
    let same = known.iter().all(|ty| known.first() == Some(ty));
    let timed = known.iter().filter(|ty| ty.is_time()).count();
    if same || timed == 0 || dialect == Dialect::Sqlite {
        return same || timed == 0 || timed == known.len();
    }
    let stored_as = |storage: fn(&ColumnType) -> bool| known.iter().any(|ty| storage(ty));
    let text = stored_as(|ty| {
        matches!(
            ty,
            ColumnType::Date(DateStorage::Text)
                | ColumnType::Instant(
                    InstantStorage::Text(_) | InstantStorage::EpochSeconds | InstantStorage::EpochMillis
                )
        )
    });
    let native = stored_as(|ty| matches!(ty, ColumnType::Instant(InstantStorage::Native)));
    let zones: Vec<&ColumnType> =
        known.iter().copied().filter(|ty| matches!(ty, ColumnType::Instant(InstantStorage::Naive(_)))).collect();
    let one_zone = zones.iter().all(|ty| zones.first() == Some(ty)) && !zones.is_empty();
    let fits = match dialect {
        // Everything can be made a point in time.
        Dialect::Postgres => true,
        // Conversion between zones needs tables that may not be filled.
        _ => !native && one_zone,
    };
    timed == known.len() && !text && fits
}
