//! Records that a rule's own SQL returns: over random rows as a naive oracle finds them, bounded by the
//! parameters of the window or not at all.

use super::form::{FORMS, Form, instants};
use super::world::{World, told_crossings, window};
use crate::support::runner;
use jiff::{SignedDuration, Timestamp};
use nudged::engine::port::SourceError;
use nudged::model::{Key, Value};
use nudged::rule::compiled::{Reach, Window};
use nudged::rule::statement::Dialect;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::fmt::Write;

const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer: {table: accounts, key: id, only: {active: true}, fields: {name: name}}
";

const TABLES: &str = "
CREATE TABLE accounts (id integer PRIMARY KEY, active boolean NOT NULL, name varchar(20));
CREATE TABLE invoices (id integer PRIMARY KEY, account_id integer, amount integer,
  at_native {instant}, at_naive {naive}, at_local varchar(40), at_utc varchar(40), at_seconds bigint, at_millis bigint, at_day {date});
";

fn rule(trigger: &str) -> String {
    format!(
        "version: 1\nid: r\nmode: live\npurpose: service\nfor_each: customer\ntrigger:\n  query:\n{trigger}steps:\n  - wait: {{for: 1 day}}\n"
    )
}

/// In the words of each database, each with the type of time it has.
const DATED: &str = "    sql:
      postgres: SELECT account_id, id, at_native AS t, amount FROM invoices WHERE at_native > :after AND at_native <= :until
      mysql: SELECT account_id, id, at_naive AS t, amount FROM invoices WHERE at_naive > :after AND at_naive <= :until
      sqlite: SELECT account_id, id, at_naive AS t, amount FROM invoices WHERE at_naive > :after AND at_naive <= :until
    key: account_id
    occasion: id
    at: t
    row: [amount]
";

const UTC: &str = "    sql:
      postgres: SELECT account_id, id, at_native AS t, amount FROM invoices WHERE at_native AT TIME ZONE 'UTC' > :after_utc
      mysql: SELECT account_id, id, at_native AS t, amount FROM invoices WHERE at_native > :after_utc AND at_native <= :now_utc
      sqlite: SELECT account_id, id, at_utc AS t, amount FROM invoices WHERE replace(at_utc, 'T', ' ') > :after_utc
    key: account_id
    occasion: id
    at: t
    row: [amount]
";

/// A day counts once it is over, and the statement knows nothing of that.
const DAYS: &str =
    "    sql: SELECT account_id, id, at_day AS t, amount FROM invoices WHERE at_day > :after AND at_day <= :until
    key: account_id
    occasion: id
    at: t
    row: [amount]
";

#[derive(Debug, Clone)]
struct Invoice {
    account: usize,
    at: Option<Timestamp>,
}

fn invoices() -> impl Strategy<Value = Vec<Invoice>> {
    let invoice =
        (0..8_usize, proptest::option::weighted(0.9, instants())).prop_map(|(account, at)| Invoice { account, at });
    proptest::collection::vec(invoice, 30)
}

async fn store(world: &World, invoices: &[Invoice]) {
    let mut sql = String::from("DELETE FROM invoices;\nDELETE FROM accounts;\n");
    for account in 0..8 {
        let active = if account == 3 { "FALSE" } else { "TRUE" };
        writeln!(sql, "INSERT INTO accounts VALUES ({account}, {active}, 'C{account}');").unwrap();
    }
    let columns = FORMS.map(Form::column).join(", ");
    for (number, invoice) in invoices.iter().enumerate() {
        let cells = FORMS.map(|form| form.cell(invoice.at, world.dialect())).join(", ");
        writeln!(
            sql,
            "INSERT INTO invoices (id, account_id, amount, {columns}) VALUES ({number}, {}, {}, {cells});",
            invoice.account,
            number * 10
        )
        .unwrap();
    }
    world.execute(&sql).await;
}

/// `account invoice` of those that happened in the window.
fn oracle(invoices: &[Invoice], form: Form, window: Window) -> Vec<String> {
    let mut found = Vec::new();
    for (number, invoice) in invoices.iter().enumerate().filter(|(_, invoice)| invoice.account != 3) {
        let at = invoice.at.map(|at| form.readings(at)[0]);
        if at.is_some_and(|at| window.after < at && at <= window.until) {
            found.push(format!("{} {number}", invoice.account));
        }
    }
    found.sort();
    found
}

async fn compare(world: World, cases: usize) {
    world.execute(TABLES).await;
    let dated = if world.dialect() == Dialect::Postgres { Form::Native } else { Form::Naive };
    let utc = if world.dialect() == Dialect::Sqlite { Form::UtcText } else { Form::Native };
    let mut runner = runner();
    for (text, form) in [(DATED, dated), (UTC, utc), (DAYS, Form::Day)] {
        let (rule, _) = world.rule(CATALOG, &rule(text)).await;
        for _ in 0..cases {
            let invoices = invoices().new_tree(&mut runner).unwrap().current();
            store(&world, &invoices).await;
            let picks = proptest::collection::vec(0..1_000_usize, 5).new_tree(&mut runner).unwrap().current();
            let read = |at: Timestamp| if form == Form::Day { form.readings(at)[0] } else { at };
            let edges: Vec<Timestamp> = invoices.iter().filter_map(|invoice| invoice.at.map(read)).collect();
            let mut chosen: Vec<Timestamp> = picks
                .iter()
                .map(|pick| {
                    edges[pick % edges.len()] + SignedDuration::from_micros(i64::try_from(pick % 3).unwrap() - 1)
                })
                .collect();
            chosen.sort();
            for pair in chosen.windows(2) {
                let window = Window { after: pair[0], until: pair[1], now: pair[1] };
                let found = world.crossings(&rule, Reach::Crossed(window)).await;
                let mut told = told_crossings(&found);
                told.sort();
                let what = format!("{:?} {form:?} {window:?}", world.dialect());
                assert_eq!(told, oracle(&invoices, form, window), "{what}\n{invoices:#?}");
                for crossing in found {
                    let amount = crossing.occasion.as_str().parse::<i64>().unwrap() * 10;
                    assert_eq!(crossing.row["amount"], Value::Int(amount), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn own_sql_on_sqlite() {
    compare(World::sqlite(), 12).await;
}

#[tokio::test]
async fn own_sql_on_postgres() {
    compare(World::postgres(), 8).await;
}

#[tokio::test]
async fn own_sql_on_mariadb() {
    compare(World::mariadb(), 8).await;
}

/// Without times every row counts, at the moment it is looked at; occasions of any type have one text.
#[tokio::test]
async fn without_times_all_of_it_is_read_and_named_by_its_occasion() {
    let cases = [
        ("id", "7 3"),
        ("at_day", "7 2026-03-01"),
        ("at_utc", "7 2026-03-01T09:00:00Z"),
        ("at_seconds", "7 1772355600"),
        ("CONCAT('n-', amount)", "7 n-30"),
    ];
    for world in World::all() {
        world.execute(TABLES).await;
        world
            .execute(
                "INSERT INTO accounts VALUES (7, TRUE, 'C7'), (8, FALSE, 'C8');\n\
                 INSERT INTO invoices (id, account_id, amount, at_utc, at_seconds, at_day) VALUES \
                 (3, 7, 30, '2026-03-01T09:00:00Z', 1772355600, '2026-03-01'), (4, 8, 40, 'x', 1, '2026-03-01');\n",
            )
            .await;
        for (occasion, expected) in cases {
            let occasion = if world.dialect() == Dialect::Sqlite {
                occasion.replace("CONCAT('n-', amount)", "'n-' || amount")
            } else {
                occasion.to_owned()
            };
            let sql = format!(
                "    sql: |\n      SELECT account_id AS k, {occasion} AS o\n      FROM invoices -- all of them\n    key: k\n    occasion: o\n"
            );
            let (rule, _) = world.rule(CATALOG, &rule(&sql)).await;
            let window = window("2026-11-20T11:00:00Z", "2026-11-20T12:00:00Z");
            let found = world.crossings(&rule, Reach::Crossed(window)).await;
            assert_eq!(told_crossings(&found), [expected], "{:?} {occasion}", world.dialect());
            assert_eq!(found[0].crossed_at, window.until);
            assert_eq!(world.count(rule.count_until(window.until).unwrap()).await, 1);
            let of = |key: &str| [Key::new(key)];
            assert_eq!(world.crossings(&rule, Reach::Of(window, &of("7"))).await.len(), 1, "{:?}", world.dialect());
            assert_eq!(world.crossings(&rule, Reach::Of(window, &of("9"))).await.len(), 0);
        }
    }
}

/// What the check can't see, the read-only transaction does: SQLSTATE 25006.
#[tokio::test]
async fn a_function_that_writes_is_stopped_by_the_transaction() {
    let world = World::postgres();
    world.execute(TABLES).await;
    world.execute("CREATE SEQUENCE numbers;\nINSERT INTO accounts VALUES (7, TRUE, 'C7');\n").await;
    let sql = "    sql: \"SELECT id, nextval('numbers') AS o FROM accounts\"\n    key: id\n    occasion: o\n";
    let (rule, _) = world.rule(CATALOG, &rule(sql)).await;
    let statement = rule.crossings(Reach::Crossed(window("2026-11-20T11:00:00Z", "2026-11-20T12:00:00Z"))).remove(0);
    let tenant = nudged::model::Tenant::new("");
    let rows: Result<Vec<_>, _> = futures::TryStreamExt::try_collect(world.source.rows(&tenant, statement)).await;
    assert!(matches!(&rows, Err(SourceError::Refused(why)) if why.contains("25006")), "{rows:?}");
}
