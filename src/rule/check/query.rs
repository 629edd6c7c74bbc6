use super::Checker;
use super::select;
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::{At, ShortOr};
use crate::rule::checked::{Query, SqlPart};
use crate::rule::statement::Dialect;
use crate::rule::written::{QueryEntry, QuerySql};

impl Checker<'_> {
    pub(super) fn query(&mut self, written: &QueryEntry) -> Option<Query> {
        let sql = self.sql(&written.sql);
        let key = self.result_column(&written.key);
        let occasion = self.result_column(&written.occasion);
        let at = match &written.at {
            Some(at) => Some(self.result_column(at)?),
            None => None,
        };
        let row = written.row.iter().map(|name| self.result_column(name)).collect::<Option<Vec<_>>>();
        Some(Query { sql: sql?, key: key?, occasion: occasion?, at, row: row? })
    }

    /// The text for the database at hand; those for others are looked at as well.
    fn sql(&mut self, written: &At<ShortOr<QuerySql>>) -> Option<Vec<SqlPart>> {
        let ours = self.known.dialect;
        match &written.value {
            ShortOr::Short(text) => {
                let text = At { value: text.clone(), range: written.range.clone(), source: written.source.clone() };
                self.select(&text, ours)
            }
            ShortOr::Wrong(found) => {
                let message = format!("expected SQL, found {found}");
                self.wrong(&written.range, "rule.query", message, "write one SELECT, or one for each database");
                None
            }
            ShortOr::Long(by_database) => {
                let texts = [
                    (Dialect::Postgres, &by_database.postgres),
                    (Dialect::MySql, &by_database.mysql),
                    (Dialect::Sqlite, &by_database.sqlite),
                ];
                let mut found = None;
                for (dialect, text) in texts {
                    let parts = text.as_ref().map(|text| self.select(text, dialect));
                    if dialect == ours {
                        found = parts;
                    }
                }
                if found.is_none() {
                    let message = format!("no SQL for {}, which the source is", in_words(ours));
                    self.wrong(&written.range, "rule.query", message, "add it beside the others");
                }
                found.flatten()
            }
        }
    }

    fn select(&mut self, text: &At<String>, dialect: Dialect) -> Option<Vec<SqlPart>> {
        match select::read(text, dialect) {
            Ok(parts) => Some(parts),
            Err(problem) => {
                let message = format!("this is not one SELECT for {}: {problem}", in_words(dialect));
                let help = "a query trigger reads with one SELECT or WITH statement";
                self.report.add(&text.range, Finding::error("rule.query", message).help(help));
                None
            }
        }
    }

    /// The name of a column that the query returns.
    fn result_column(&mut self, name: &At<String>) -> Option<String> {
        let fine = !name.is_empty() && name.len() <= 64 && !name.chars().any(char::is_control);
        if !fine {
            let message = format!("`{}` can't be the name of a column", name.value);
            self.wrong(&name.range, "rule.query", message, "name a column as the query returns it");
        }
        fine.then(|| name.value.clone())
    }
}

const fn in_words(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "PostgreSQL",
        Dialect::MySql => "MySQL and MariaDB",
        Dialect::Sqlite => "SQLite",
    }
}
