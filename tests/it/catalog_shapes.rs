//! Awkward schemas: one file per shape in `tests/fixtures/schemas`, with its tables for every database where it can
//! occur, a catalog, rules that match, and the tasks they must have written.

use crate::support::instant;
use crate::world::{Kind, Setup, World, hours, minutes};
use futures::TryStreamExt;
use nudged::model::{Tenant, Value};
use nudged::rule::statement::Statement;
use serde::Deserialize;
use std::fmt::Write;

const START: &str = "2026-11-20T12:30:00Z";

/// Where a shape keeps no task table of its own.
const LIST: &str = "CREATE TABLE todo (id VARCHAR(40) PRIMARY KEY, title VARCHAR(200) NOT NULL, \
                    record VARCHAR(80) NOT NULL, ref VARCHAR(80) NOT NULL);\n";
const LIST_RECIPE: &str =
    "tasks:\n  insert: [{table: todo, set: {id: $uuid, title: $title, record: $record.key, ref: $ref}}]\n";
const LIST_ASK: &str = "SELECT title FROM todo ORDER BY title";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    /// What is awkward about it.
    #[expect(dead_code, reason = "for people who read the file")]
    about: String,
    /// Tables that differ by database; a database without them is left out, unless all share `tables`.
    postgres: Option<String>,
    mariadb: Option<String>,
    sqlite: Option<String>,
    /// What is the same everywhere, run after those.
    #[serde(default)]
    tables: String,
    catalog: String,
    /// Each without version, id, mode and purpose. All records of a schedule match.
    rules: Vec<String>,
    /// The tasks, asked by `ask`.
    written: Vec<String>,
    ask: Option<String>,
}

impl Shape {
    fn tables(&self, kind: Kind) -> Option<String> {
        let own = match kind {
            Kind::Postgres => &self.postgres,
            Kind::MariaDb => &self.mariadb,
            Kind::Sqlite => &self.sqlite,
        };
        let anywhere = self.postgres.is_none() && self.mariadb.is_none() && self.sqlite.is_none();
        if own.is_none() && !anywhere {
            return None;
        }
        let (json, zoned, naive) = match kind {
            Kind::Postgres => ("JSONB", "TIMESTAMPTZ", "TIMESTAMP"),
            Kind::MariaDb => ("JSON", "TIMESTAMP(6) NULL", "DATETIME(6)"),
            Kind::Sqlite => ("TEXT", "DATETIME", "DATETIME"),
        };
        let sql = format!("{}{}", own.as_deref().unwrap_or_default(), self.tables);
        let sql = sql.replace("{json}", json).replace("{zoned}", zoned).replace("{naive}", naive);
        let todo = if self.catalog.contains("tasks:") { "" } else { LIST };
        Some(format!("{sql}\n{todo}"))
    }

    fn catalog(&self, kind: Kind) -> String {
        let recipe = if self.catalog.contains("tasks:") { "" } else { LIST_RECIPE };
        format!("version: 1\ntime_zone: Europe/Vienna\n{}{recipe}", by_database(&self.catalog, kind))
    }

    async fn holds(&self, name: &str, kind: Kind, tables: String) {
        let setup = Setup { catalog: self.catalog(kind), own_tables: Some(tables), ..Setup::of(kind, instant(START)) };
        let world = World::set_up(setup).await;
        let rules: Vec<(String, String)> = self
            .rules
            .iter()
            .enumerate()
            .map(|(number, rule)| {
                let head = format!("version: 1\nid: rule-{number}\nmode: live\npurpose: service\nbackfill: all\n");
                // Every record of a schedule matches, and it has no past.
                let head = if rule.contains("schedule") { head.replace("backfill: all\n", "") } else { head };
                (format!("rule-{number}.yaml"), format!("{head}{rule}"))
            })
            .collect();
        let files: Vec<(&str, &str)> = rules.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        world.load(&files).await;
        world.pass(hours(1)).await;
        // Two tasks at once may deadlock in MariaDB, and the loser is tried again. Nobody is written twice.
        for _ in 0..5 {
            world.pass(minutes(5)).await;
        }
        let ask = self.ask.clone().unwrap_or_else(|| LIST_ASK.to_owned());
        let expected: Vec<String> = self.written.iter().map(|line| by_database(line, kind)).collect();
        assert_eq!(written(&world, ask).await, expected, "{name} on {kind:?}\n{}", told(&world).await);
    }
}

/// The few words that the databases can't share: a table in another schema or database, and how a UUID is kept.
fn by_database(text: &str, kind: Kind) -> String {
    let (order, uuid) = match kind {
        Kind::Postgres => ("Sales-EU.Order", "uuid"),
        Kind::MariaDb => ("Sales-EU.Order", "uuid_binary"),
        Kind::Sqlite => ("'\"Sales-EU.Order\"'", "uuid_binary"),
    };
    text.replace("${order}", order).replace("${uuid}", uuid)
}

pub async fn written(world: &World, sql: String) -> Vec<String> {
    let (tenant, statement) = (Tenant::new(""), Statement { sql, binds: Vec::new() });
    let rows: Vec<_> = world.source.rows(&tenant, statement).try_collect().await.unwrap();
    rows.iter().map(|row| row.0.iter().map(text).collect::<Vec<_>>().join(" | ")).collect()
}

fn text(value: &Value) -> String {
    match value.to_json() {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

/// What the engine says of itself, for a failure.
async fn told(world: &World) -> String {
    let mut told = String::new();
    for event in world.events() {
        let _ = writeln!(told, "{event:?}");
    }
    for delivery in world.deliveries().await {
        let _ = writeln!(told, "{delivery:?}");
    }
    told
}

async fn all_shapes(kind: Kind) {
    let mut names: Vec<_> =
        std::fs::read_dir("tests/fixtures/schemas").unwrap().map(|file| file.unwrap().path()).collect();
    names.sort();
    let only = std::env::var("SHAPE").unwrap_or_default();
    let mut seen = 0;
    for path in names {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !name.contains(&only) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let shape: Shape = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Some(tables) = shape.tables(kind) {
            shape.holds(&name, kind, tables).await;
            seen += 1;
        }
    }
    assert!(seen > 0, "no shapes were found");
}

#[tokio::test]
async fn awkward_schemas_match_and_are_written_on_sqlite() {
    all_shapes(Kind::Sqlite).await;
}

#[tokio::test]
async fn awkward_schemas_match_and_are_written_on_postgres() {
    all_shapes(Kind::Postgres).await;
}

#[tokio::test]
async fn awkward_schemas_match_and_are_written_on_mariadb() {
    all_shapes(Kind::MariaDb).await;
}
