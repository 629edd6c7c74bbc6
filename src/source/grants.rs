//! What a login must be allowed for one catalog: to read its tables, to insert into those that tasks are written to, and
//! to write the columns that it says may be written.

use crate::catalog::{Catalog, ConsentTest, Entity, Expression, Field, Origin, Table};
use crate::rule::statement::Dialect;
use std::collections::{BTreeMap, BTreeSet};

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
    let writes = Writes::of(catalog);
    for entity in catalog.entities.values() {
        if let Origin::Sql(_) = entity.origin {
            lines.push(format!("-- `{}` comes from SQL: allow SELECT on what that reads", entity.name));
        }
        let fields = queries(entity, dialect);
        lines.extend(fields.map(|field| format!("-- `{field}` has SQL of its own: allow SELECT on what that reads")));
    }
    if dialect == Dialect::Sqlite {
        lines.push("-- SQLite knows no logins: the permissions of the file decide.".to_owned());
        let writes = if writes.0.is_empty() { "read" } else { "read and write" };
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
        lines.push(allow(&writes.privileges(dialect, table), table));
    }
    if dialect == Dialect::Postgres {
        lines.extend(
            sequences.iter().map(|table| format!("GRANT USAGE ON SEQUENCE {} TO {role};", name(dialect, table))),
        );
    }
    lines
}

/// The entity's fields whose own SQL looks into tables, which it alone names.
fn queries(entity: &Entity, dialect: Dialect) -> impl Iterator<Item = String> {
    let own = move |field: &Field| -> Option<bool> {
        let (Expression::Column(column) | Expression::Means { column, .. }) = &field.expression else { return None };
        let sql = column.own_sql()?;
        let text = match dialect {
            Dialect::Postgres => &sql.postgres,
            Dialect::MySql => &sql.mysql,
            Dialect::Sqlite => &sql.sqlite,
        };
        Some(text.as_ref()?.to_lowercase().contains("select"))
    };
    let fields = entity.fields.iter().filter(move |(_, field)| own(field) == Some(true));
    fields.map(|(name, _)| format!("{}.{name}", entity.name))
}

/// What is written into a table.
#[derive(Default)]
struct Written {
    inserts: bool,
    deletes: bool,
    /// Only these are ever changed.
    columns: BTreeSet<String>,
}

struct Writes(BTreeMap<Table, Written>);

impl Writes {
    fn of(catalog: &Catalog) -> Self {
        let mut writes: BTreeMap<Table, Written> = BTreeMap::new();
        let mut into = |table: &Table, note: &dyn Fn(&mut Written)| note(writes.entry(table.clone()).or_default());
        for insert in catalog.tasks.iter().flat_map(|tasks| &tasks.inserts) {
            into(&insert.table, &|written| written.inserts = true);
        }
        for insert in catalog.surveys.values().map(|question| &question.insert) {
            // An answer may be changed.
            let columns = insert.set.iter().map(|(column, _)| column.name.clone()).collect::<Vec<_>>();
            into(&insert.table, &|written| {
                written.inserts = true;
                written.columns.extend(columns.clone());
            });
        }
        for entity in catalog.entities.values() {
            if let Some(tags) = &entity.tags {
                into(&tags.table, &|written| (written.inserts, written.deletes) = (true, true));
            }
            let Some(table) = entity.table() else { continue };
            for column in written_columns(entity) {
                into(table, &|written| written.columns.extend([column.to_owned()]));
            }
        }
        for pool in catalog.pools.values() {
            let marks = pool.marks.iter().map(|(column, _)| column).chain([&pool.reference]);
            for column in marks {
                into(&pool.table, &|written| written.columns.extend([column.name.clone()]));
            }
        }
        Self(writes)
    }

    fn privileges(&self, dialect: Dialect, table: &Table) -> String {
        let Some(written) = self.0.get(table) else { return "SELECT".to_owned() };
        let mut privileges = vec!["SELECT".to_owned()];
        privileges.extend(written.inserts.then(|| "INSERT".to_owned()));
        privileges.extend(written.deletes.then(|| "DELETE".to_owned()));
        if !written.columns.is_empty() {
            let columns: Vec<String> = written.columns.iter().map(|column| quoted(dialect, column)).collect();
            privileges.push(format!("UPDATE ({})", columns.join(", ")));
        }
        privileges.join(", ")
    }
}

/// Columns of the entity's own table that steps or readers' decisions change.
fn written_columns(entity: &Entity) -> impl Iterator<Item = &str> {
    let fields = entity.writable.iter().filter_map(|name| match &entity.fields.get(name)?.expression {
        Expression::Column(column) | Expression::Means { column, .. } => Some(column),
        Expression::Aggregate(_) => None,
    });
    let consents = entity.consent.iter().filter(|consent| consent.write_back.is_some()).flat_map(|consent| {
        let (ConsentTest::Is(column) | ConsentTest::Not(column)) = &consent.test;
        consent.given_at.iter().chain([column])
    });
    let tags = entity.tag_list.iter().map(|list| &list.column);
    fields.chain(consents).chain(tags).map(|column| column.name.as_str())
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
            entities: BTreeMap::new(),
            suppressions: vec![crate::catalog::SuppressionTable {
                table: Table { schema: Some("crm".into()), name: "odd\"`name".into() },
                email: None,
                phone: None,
                reason: None,
            }],
            tasks: None,
            surveys: BTreeMap::new(),
            tenants: None,
            calendars: BTreeMap::new(),
            usual_calendar: crate::model::BusinessCalendar::default(),
            pools: BTreeMap::new(),
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
