//! The examples, each loaded into a real server.

use crate::support::{Database, mariadb, postgres};
use nudged::rule::generation::{Generation, Surroundings};
use nudged::rule::statement::Dialect;
use nudged::rulebook::{Limits, read_tree};
use std::path::Path;
use std::sync::Arc;

fn load(database: &Database, example: &str) {
    let path = format!("{}/examples/{example}/schema.sql", env!("CARGO_MANIFEST_DIR"));
    database.execute(&std::fs::read_to_string(path).unwrap());
}

#[test]
fn the_postgres_schema_loads_with_its_data() {
    let database = postgres();
    load(&database, "postgres");
    assert_eq!(database.rows("SELECT count(*) FROM crm.orders"), ["10"]);
    assert_eq!(database.rows("SELECT count(*) FROM crm.contacts"), ["8"]);
    assert_eq!(database.rows("SELECT count(*) FROM crm.subscriptions"), ["4"]);
}

#[test]
fn the_mariadb_schema_loads_with_its_data() {
    let database = mariadb();
    load(&database, "mariadb");
    assert_eq!(database.rows("SELECT count(*) FROM `order`"), ["10"]);
    assert_eq!(database.rows("SELECT count(*) FROM `service-plans`"), ["4"]);
}

/// All findings of a rules directory, offline.
fn findings(rules: &str, dialect: Dialect) -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(rules);
    let tree = Arc::new(read_tree(&directory, &Limits::default(), None).unwrap());
    let surroundings = Surroundings {
        dialect,
        schema: None,
        destinations: ["team-chat".to_owned()].into(),
        topics: ["offers".into()].into(),
    };
    match Generation::build(tree, &surroundings) {
        Ok(generation) => generation.warnings.iter().map(ToString::to_string).collect(),
        Err(findings) => findings.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_rules_of_the_demo_and_of_every_example_are_without_a_finding() {
    assert_eq!(findings("rules", Dialect::Sqlite), [""; 0]);
    assert_eq!(findings("examples/postgres/rules", Dialect::Postgres), [""; 0]);
    assert_eq!(findings("examples/mariadb/rules", Dialect::MySql), [""; 0]);
}
