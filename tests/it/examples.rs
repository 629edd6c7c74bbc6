//! The examples, each loaded into a real server.

use crate::support::{Database, mariadb, postgres};

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
