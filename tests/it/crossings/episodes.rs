//! Rows that are counted: each once, whatever joins lead to it, on days and at instants.

use super::world::{World, window};
use jiff::{SignedDuration, Timestamp};
use nudged::model::Key;
use nudged::rule::CompiledRule;
use nudged::rule::compiled::Reach;
use nudged::rule::statement::{Dialect, Statement};
use nudged::rule::tide::When;
use std::fmt::Write;

const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: id
    relations:
      tickets: {entity: ticket, through: pairs, from: account_id, to: ticket_id}
      orders: {entity: order, by: customer}
  ticket: {table: tickets, key: id, at: opened, fields: {opened: {type: date}, status: status}}
  order: {table: orders, key: id, at: placed_at, fields: {customer: account_id, placed_at: {type: instant, zone: UTC}}}
";

const TABLES: &str = "
CREATE TABLE accounts (id varchar(40) PRIMARY KEY);
CREATE TABLE tickets (id integer PRIMARY KEY, opened {date}, status varchar(20));
CREATE TABLE pairs (account_id varchar(40), ticket_id integer);
CREATE TABLE orders (id integer PRIMARY KEY, account_id varchar(40), placed_at {instant});
INSERT INTO accounts VALUES ('a-1'), ('Ä 2');
INSERT INTO tickets VALUES (1, '2026-03-01', 'open'), (2, '2026-03-05', 'open'), (3, '2026-03-05', 'open'), (4, '2026-03-06', 'closed'), (5, NULL, 'open');
INSERT INTO pairs VALUES ('a-1', 1), ('a-1', 1), ('a-1', 2), ('Ä 2', 3), ('Ä 2', 3), ('Ä 2', 4), ('Ä 2', 5);
INSERT INTO orders VALUES (1, 'a-1', '2026-01-01 10:00:00'), (2, 'a-1', '2026-01-02 10:00:00'), (3, 'a-1', '2026-01-03 10:00:00'), (4, 'a-1', '2026-01-04 10:00:00'), (5, 'a-1', '2026-01-20 10:00:00'), (6, 'Ä 2', '2026-01-04 10:00:00'), (7, 'a-1', NULL);
";

fn rule(trigger: &str) -> String {
    format!(
        "version: 1\nid: r\nmode: live\npurpose: service\nfor_each: customer\ntrigger:\n  {trigger}\nsteps:\n  - wait: {{for: 1 day}}\n"
    )
}

async fn keys(world: &World, rule: &CompiledRule, statement: Statement) -> Vec<String> {
    let rows = world.rows(statement).await;
    let mut keys: Vec<String> = rows.iter().map(|row| rule.read_key(row).unwrap().as_str().to_owned()).collect();
    keys.sort();
    keys
}

/// Who is inside at that instant, and that a fresh baseline would count as many.
async fn inside(world: &World, rule: &CompiledRule, at: &str) -> Vec<String> {
    let at: Timestamp = at.parse().unwrap();
    let inside = keys(world, rule, rule.inside(at).unwrap()).await;
    assert_eq!(world.count(rule.count_until(at).unwrap()).await, inside.len() as i64, "{:?} {at}", world.dialect());
    inside
}

#[tokio::test]
async fn a_row_counts_once_also_where_a_join_table_names_it_twice_and_days_count_whole() {
    let trigger = "count: {of: tickets, only: {status: open}, at_least: 2, within: 14 days}";
    for world in World::all() {
        world.execute(TABLES).await;
        let (rule, _) = world.rule(CATALOG, &rule(trigger)).await;
        let noon = window("2026-03-05T11:45:00Z", "2026-03-05T12:00:00Z");
        let [statement] = rule.crossings(Reach::Crossed(noon)).try_into().unwrap();
        assert_eq!(keys(&world, &rule, statement).await, ["a-1", "Ä 2"], "{:?}", world.dialect());

        let everybody = [Key::new("a-1"), Key::new("Ä 2"), Key::new("nobody")];
        let rows = world.rows(rule.course(&everybody, noon).unwrap()).await;
        let mut rows: Vec<_> = rows.iter().map(|row| rule.read_course(row).unwrap()).collect();
        rows.sort_by_key(|(key, when)| (key.clone(), format!("{when:?}")));
        let day = |day| Some(When::Day(jiff::civil::date(2026, 3, day)));
        let expected = [("a-1", day(1)), ("a-1", day(5)), ("Ä 2", day(5))];
        assert_eq!(rows, expected.map(|(key, when)| (Key::new(key), when)), "{:?}", world.dialect());

        assert_eq!(inside(&world, &rule, "2026-03-04T22:59:00Z").await, [""; 0]);
        assert_eq!(inside(&world, &rule, "2026-03-04T23:00:00Z").await, ["a-1"]);
        assert_eq!(inside(&world, &rule, "2026-03-14T22:59:00Z").await, ["a-1"]);
        assert_eq!(inside(&world, &rule, "2026-03-14T23:00:00Z").await, [""; 0]);
    }
}

#[tokio::test]
async fn a_decline_compares_with_the_window_before_or_with_last_year() {
    for world in World::all() {
        world.execute(TABLES).await;
        let before = "decline: {of: orders, by: 50, from_at_least: 4, window: 14 days}";
        let (before, _) = world.rule(CATALOG, &rule(before)).await;
        // The fourth of four orders leaves the window on the 18th, the first leaves both on the 29th.
        assert_eq!(inside(&world, &before, "2026-01-18T09:59:00Z").await, [""; 0]);
        assert_eq!(inside(&world, &before, "2026-01-18T10:00:00Z").await, ["a-1"]);
        assert_eq!(inside(&world, &before, "2026-01-29T09:59:00Z").await, ["a-1"]);
        assert_eq!(inside(&world, &before, "2026-01-29T10:00:00Z").await, [""; 0]);
        let crossed = window("2026-01-18T09:45:00Z", "2026-01-18T10:00:00Z");
        let [statement] = before.crossings(Reach::Crossed(crossed)).try_into().unwrap();
        assert_eq!(keys(&world, &before, statement).await, ["a-1", "Ä 2"]);

        let last_year = "decline: {of: orders, by: 50, from_at_least: 4, window: 14 days, compared_with: last_year}";
        let (last_year, _) = world.rule(CATALOG, &rule(last_year)).await;
        assert_eq!(inside(&world, &last_year, "2026-01-18T10:00:00Z").await, [""; 0]);
        assert_eq!(inside(&world, &last_year, "2027-01-04T10:00:00Z").await, ["a-1"]);
        let crossed = window("2027-01-04T09:45:00Z", "2027-01-04T10:00:00Z");
        let [statement] = last_year.crossings(Reach::Crossed(crossed)).try_into().unwrap();
        assert_eq!(keys(&world, &last_year, statement).await, ["a-1", "Ä 2"]);
    }
}

/// The cost follows what is new: a day of three years, and the orders of three customers of a thousand.
#[tokio::test]
async fn candidates_and_their_rows_are_read_by_indexes() {
    for world in World::all() {
        world.execute(TABLES).await;
        let mut accounts = String::from("INSERT INTO accounts VALUES ");
        let mut orders = String::from("INSERT INTO orders VALUES ");
        let start: Timestamp = "2023-01-01T00:00:00Z".parse().unwrap();
        for number in 0..10_000_i64 {
            let comma = if number == 0 { "" } else { ", " };
            if number < 1_000 {
                write!(accounts, "{comma}('c{number}')").unwrap();
            }
            let at = (start + SignedDuration::from_hours(number * 2)).strftime("%F %T");
            write!(orders, "{comma}({}, 'c{}', '{at}')", number + 100, number % 1_000).unwrap();
        }
        let indexes = "CREATE INDEX orders_placed ON orders (placed_at);\nCREATE INDEX orders_of ON orders (account_id, placed_at);\n";
        world.execute(&format!("{accounts};\n{orders};\n{indexes}")).await;
        let analyze = if world.dialect() == Dialect::MySql { "ANALYZE TABLE accounts, orders" } else { "ANALYZE" };
        world.execute(&format!("{analyze};\n")).await;
        for trigger in [
            "count: {of: orders, at_least: 3, within: 14 days}",
            "decline: {of: orders, by: 50, from_at_least: 4, window: 14 days}",
        ] {
            let (rule, _) = world.rule(CATALOG, &rule(trigger)).await;
            let day = window("2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z");
            let plan = world.plan(rule.crossings(Reach::Crossed(day)).remove(0)).await;
            assert!(plan.contains("orders_placed"), "{:?}\n{plan}", world.dialect());
            let three = ["c1", "c2", "c3"].map(Key::new);
            let plan = world.plan(rule.course(&three, day).unwrap()).await;
            // By customer or by time, whichever is less.
            assert!(plan.contains("orders_"), "{:?}\n{plan}", world.dialect());
        }
    }
}
