//! What a login must be allowed for one catalog: to read its tables, and to insert into those that tasks are written to.

use crate::catalog::{Catalog, Origin, Table};
use crate::rule::statement::Dialect;
use std::collections::BTreeSet;

/// Who is to be allowed it.
#[derive(Debug, Clone)]
pub struct Grantee {
    pub role: String,
    /// From where it may connect; only MySQL and MariaDB ask.
    pub host: String,
}

/// Statements in order, with comments on what they can't cover. `sequences` give the keys of inserted rows.
#[must_use]
pub fn grants(catalog: &Catalog, dialect: Dialect, to: &Grantee, sequences: &[Table]) -> Vec<String> {
    let mut lines = Vec::new();
    let read: BTreeSet<Table> = catalog.tables().into_iter().collect();
    let tasks = catalog.tasks.iter().flat_map(|tasks| &tasks.inserts);
    let answers = catalog.surveys.values().map(|question| &question.insert);
    let changed: BTreeSet<Table> = answers.clone().map(|insert| insert.table.clone()).collect();
    let written: BTreeSet<Table> = tasks.chain(answers).map(|insert| insert.table.clone()).collect();
    for entity in catalog.entities.values() {
        if let Origin::Sql(_) = entity.origin {
            lines.push(format!("-- `{}` comes from SQL: allow SELECT on what that reads", entity.name));
        }
    }
    if dialect == Dialect::Sqlite {
        lines.push("-- SQLite knows no logins: the permissions of the file decide.".to_owned());
        let writes = if written.is_empty() { "read" } else { "read and write" };
        lines.push(format!(
            "-- The user that nudged runs as must {writes} the database file, and its directory if it keeps a WAL."
        ));
        return lines;
    }
    let role = match dialect {
        Dialect::MySql => format!("{}@{}", text(&to.role), text(&to.host)),
        _ => quoted(dialect, &to.role),
    };
    let allow = |what: &str, table: &Table| format!("GRANT {what} ON {} TO {role};", name(dialect, table));
    if dialect == Dialect::Postgres {
        let schemas: BTreeSet<&String> =
            read.iter().chain(sequences).filter_map(|table| table.schema.as_ref()).collect();
        lines.extend(
            schemas.into_iter().map(|schema| format!("GRANT USAGE ON SCHEMA {} TO {role};", quoted(dialect, schema))),
        );
    }
    for table in &read {
        let what = match (written.contains(table), changed.contains(table)) {
            (_, true) => "SELECT, INSERT, UPDATE",
            (true, false) => "SELECT, INSERT",
            (false, false) => "SELECT",
        };
        lines.push(allow(what, table));
    }
    if dialect == Dialect::Postgres {
        lines.extend(
            sequences.iter().map(|table| format!("GRANT USAGE ON SEQUENCE {} TO {role};", name(dialect, table))),
        );
    }
    lines
}

fn name(dialect: Dialect, table: &Table) -> String {
    match &table.schema {
        Some(schema) => format!("{}.{}", quoted(dialect, schema), quoted(dialect, &table.name)),
        None => quoted(dialect, &table.name),
    }
}

fn quoted(dialect: Dialect, name: &str) -> String {
    let quote = if dialect == Dialect::MySql { '`' } else { '"' };
    format!("{quote}{}{quote}", name.replace(quote, &format!("{quote}{quote}")))
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_roles_stay_inside_their_quotes() {
        let catalog = Catalog {
            time_zone: jiff::tz::TimeZone::UTC,
            locale: crate::model::Locale::default(),
            entities: std::collections::BTreeMap::new(),
            suppressions: vec![crate::catalog::SuppressionTable {
                table: Table { schema: Some("crm".into()), name: "odd\"`name".into() },
                email: None,
                phone: None,
                reason: None,
            }],
            tasks: None,
            surveys: std::collections::BTreeMap::new(),
            tenants: None,
            calendars: std::collections::BTreeMap::new(),
            usual_calendar: crate::model::BusinessCalendar::default(),
        };
        let to = Grantee { role: "o'hara\"".into(), host: "%".into() };
        assert_eq!(
            grants(&catalog, Dialect::Postgres, &to, &[]),
            [
                "GRANT USAGE ON SCHEMA \"crm\" TO \"o'hara\"\"\";",
                "GRANT SELECT ON \"crm\".\"odd\"\"`name\" TO \"o'hara\"\"\";"
            ]
        );
        assert_eq!(
            grants(&catalog, Dialect::MySql, &to, &[]),
            ["GRANT SELECT ON `crm`.`odd\"``name` TO 'o''hara\"'@'%';"]
        );
        assert!(grants(&catalog, Dialect::Sqlite, &to, &[])[0].starts_with("-- SQLite knows no logins"));
    }
}
