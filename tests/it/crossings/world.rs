//! A small CRM on each of the three databases, and rules compiled against it.

use crate::support::{Database, mariadb, postgres};
use futures::TryStreamExt;
use jiff::Timestamp;
use nudged::catalog::Catalog;
use nudged::diagnostic::SourceFile;
use nudged::engine::port::Source;
use nudged::model::{Key, Tenant};
use nudged::rule::CompiledRule;
use nudged::rule::compiled::{Calls, Crossing, Facts, Reach, Subject, Unwanted, Window};
use nudged::rule::generation::{Gateways, Generation, Surroundings, Tree};
use nudged::rule::statement::{Dialect, Row, Statement};
use nudged::source::{SourceOptions, connect};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One database and the source that reads it.
pub struct World {
    pub source: Arc<dyn Source>,
    _home: Home,
}

enum Home {
    Private(#[expect(dead_code, reason = "kept until the test ends")] Database),
    File(#[expect(dead_code, reason = "kept until the test ends")] tempfile::TempDir),
}

pub const NOBODY: &str = "";

impl World {
    pub fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("crm.db");
        std::fs::File::create(&path).unwrap();
        Self::over(&format!("sqlite:{}", path.display()), Home::File(dir))
    }

    pub fn postgres() -> Self {
        let database = postgres();
        Self::over(&database.url.clone(), Home::Private(database))
    }

    pub fn mariadb() -> Self {
        let database = mariadb();
        Self::over(&database.url.clone(), Home::Private(database))
    }

    /// One of each.
    pub fn all() -> [Self; 3] {
        [Self::sqlite(), Self::postgres(), Self::mariadb()]
    }

    fn over(url: &str, home: Home) -> Self {
        Self { source: connect(&SourceOptions::new(url)).unwrap(), _home: home }
    }

    pub fn dialect(&self) -> Dialect {
        self.source.dialect()
    }

    /// Statements separated by `;` at the end of a line. `{instant}` and `{naive}` stand for the dialect's
    /// types of time, `{json}` for documents, `{uuid}` and `{bytes}` for its keys, `{odd}` for a table whose name is hard to quote.
    pub async fn execute(&self, sql: &str) {
        let (instant, naive, date, uuid, bytes, serial) = match self.dialect() {
            Dialect::Postgres => ("timestamptz(6)", "timestamp(6)", "date", "uuid", "bytea", "serial PRIMARY KEY"),
            Dialect::MySql => (
                "timestamp(6) NULL DEFAULT NULL",
                "datetime(6)",
                "date",
                "uuid",
                "varbinary(16)",
                "integer AUTO_INCREMENT PRIMARY KEY",
            ),
            Dialect::Sqlite => ("timestamp", "datetime", "date", "text", "blob", "integer PRIMARY KEY"),
        };
        let json = match self.dialect() {
            Dialect::Postgres => "jsonb",
            Dialect::MySql => "json",
            Dialect::Sqlite => "text",
        };
        let sql = sql
            .replace("{json}", json)
            .replace("{instant}", instant)
            .replace("{naive}", naive)
            .replace("{date}", date)
            .replace("{uuid}", uuid)
            .replace("{bytes}", bytes)
            .replace("{serial}", serial);
        let odd = if self.dialect() == Dialect::MySql { "`we-ird \"Tab``le\"`" } else { "\"we-ird \"\"Tab`le\"\"\"" };
        let sql = sql.replace("{odd}", odd);
        let statements: Vec<Statement> = sql
            .split(";\n")
            .map(|part| part.trim().trim_end_matches(';'))
            .filter(|part| !part.is_empty())
            .map(|part| Statement { sql: part.to_owned(), binds: Vec::new() })
            .collect();
        self.source.write(&Tenant::new(NOBODY), statements).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    }

    pub async fn rows(&self, statement: Statement) -> Vec<Row> {
        let text = format!("{statement:?}");
        let tenant = Tenant::new(NOBODY);
        let rows: Result<Vec<Row>, _> = self.source.rows(&tenant, statement).try_collect().await;
        rows.unwrap_or_else(|error| panic!("{:?}: {error}\n{text}", self.dialect()))
    }

    /// The catalog and rules, checked against this database.
    pub async fn generation(&self, catalog: &str, rules: &[&str]) -> Generation {
        let file = |path: String, text: &str| Arc::new(SourceFile { path, text: text.to_owned() });
        let mut files = vec![file("catalog.yaml".to_owned(), catalog)];
        files.extend(rules.iter().enumerate().map(|(number, rule)| file(format!("rule-{number}.yaml"), rule)));
        let tree = Arc::new(Tree { files });
        let mut surroundings = Surroundings {
            dialect: self.dialect(),
            schema: None,
            destinations: ["crm".to_owned()].into(),
            chats: ["sales".to_owned()].into(),
            gateways: Gateways::default(),
            topics: ["offers".into()].into(),
        };
        let offline = Generation::build(Arc::clone(&tree), &surroundings)
            .unwrap_or_else(|findings| panic!("{}", told(&findings)));
        surroundings.schema = Some(self.source.schema(&offline.catalog.tables()).await.unwrap());
        Generation::build(tree, &surroundings).unwrap_or_else(|findings| panic!("{}", told(&findings)))
    }

    pub async fn rule(&self, catalog: &str, rule: &str) -> (Arc<CompiledRule>, Arc<Catalog>) {
        let generation = self.generation(catalog, &[rule]).await;
        let rule = Arc::clone(generation.rules.values().next().unwrap());
        for statement in rule.crossings(Reach::Crossed(window("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"))) {
            self.source.prepare(&statement).await.unwrap_or_else(|error| panic!("{error}\n{}", statement.sql));
        }
        (rule, Arc::clone(&generation.catalog))
    }

    pub async fn crossings(&self, rule: &CompiledRule, reach: Reach<'_>) -> Vec<Crossing> {
        let window = match reach {
            Reach::Crossed(window)
            | Reach::Untested(window)
            | Reach::Changed(window, _)
            | Reach::Chunk { window, .. }
            | Reach::Of(window, _) => window,
        };
        let mut found = Vec::new();
        for (number, statement) in rule.crossings(reach).into_iter().enumerate() {
            for row in self.rows(statement).await {
                found.extend(rule.read_crossing(number, &row, window).unwrap());
            }
        }
        found.sort_by(|a, b| (a.key.as_str(), a.occasion.as_str()).cmp(&(b.key.as_str(), b.occasion.as_str())));
        found
    }

    pub async fn facts(&self, rule: &CompiledRule, subjects: &[Subject], now: Timestamp) -> BTreeMap<String, Facts> {
        let rows = self.rows(rule.facts(subjects, now)).await;
        let mut facts: Vec<Facts> = rows.iter().map(|row| rule.read_facts(row, now, Calls::Always).unwrap()).collect();
        let mut unwanted = Unwanted::default();
        for (number, statement) in rule.unwanted(&facts) {
            for row in self.rows(statement).await {
                rule.read_unwanted(number, &row, &mut unwanted);
            }
        }
        unwanted.tell(&mut facts);
        facts.into_iter().map(|facts| (facts.key.to_string(), facts)).collect()
    }

    /// What the database says of how it would run the statement.
    pub async fn plan(&self, statement: Statement) -> String {
        let explain = if self.dialect() == Dialect::Sqlite { "EXPLAIN QUERY PLAN" } else { "EXPLAIN" };
        let rows = self.rows(Statement { sql: format!("{explain} {}", statement.sql), ..statement }).await;
        let texts = |Row(cells): &Row| cells.iter().filter_map(|cell| cell.as_text().map(str::to_owned)).collect();
        rows.iter().map(texts).map(|texts: Vec<String>| texts.join(" ")).collect::<Vec<_>>().join("\n")
    }

    pub async fn count(&self, statement: Statement) -> i64 {
        match self.rows(statement).await.first() {
            Some(Row(cells)) => match cells.as_slice() {
                [nudged::model::Value::Int(count)] => *count,
                other => panic!("a count, not {other:?}"),
            },
            None => panic!("no row"),
        }
    }
}

fn told(findings: &[nudged::diagnostic::Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

pub fn window(after: &str, until: &str) -> Window {
    let until: Timestamp = until.parse().unwrap();
    Window { after: after.parse().unwrap(), until, now: until }
}

pub fn subject(key: &str) -> Subject {
    Subject { key: Key::new(key), since: None, entered: None }
}

/// `key occasion` of each crossing.
pub fn told_crossings(found: &[Crossing]) -> Vec<String> {
    found.iter().map(|crossing| format!("{} {}", crossing.key, crossing.occasion)).collect()
}
