//! Over random histories, the crossings of silence equal those of a naive oracle, whatever form the source
//! keeps time in; and two windows find what one window over both finds.

use super::form::{FORMS, Form, Reading, floor, instants, vienna};
use super::world::World;
use crate::support::runner;
use jiff::{SignedDuration, Timestamp, Unit};
use nudged::model::Period;
use nudged::rule::compiled::{Reach, Window};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::fmt::Write;

const PERIODS: [&str; 3] = ["90 days", "1 month", "30 minutes"];

#[derive(Debug, Clone)]
struct Customer {
    created: Option<Timestamp>,
    orders: Vec<(Option<Timestamp>, bool)>,
}

fn customers() -> impl Strategy<Value = Vec<Customer>> {
    let order = (proptest::option::weighted(0.9, instants()), proptest::bool::weighted(0.8));
    let customer = (proptest::option::of(instants()), proptest::collection::vec(order, 0..4))
        .prop_map(|(created, orders)| Customer { created, orders });
    proptest::collection::vec(customer, 25)
}

/// Sweep instants: moments at which something of this history crosses, and moments beside them.
fn sweeps(customers: &[Customer], picks: &[usize]) -> Vec<Timestamp> {
    let mut edges: Vec<Timestamp> = Vec::new();
    for at in customers.iter().flat_map(|c| c.orders.iter().filter_map(|(at, _)| *at).chain(c.created)) {
        for period in PERIODS {
            let period: Period = period.parse().unwrap();
            edges.push(period.after(at, &vienna()));
            edges.push(Reading::Day(vienna().to_datetime(at).date()).crosses(period));
        }
    }
    edges.sort();
    edges.dedup();
    let mut chosen: Vec<Timestamp> = picks
        .iter()
        .map(|pick| edges[pick % edges.len()] + SignedDuration::from_micros(i64::try_from(pick % 3).unwrap() - 1))
        .collect();
    chosen.sort();
    chosen.dedup();
    chosen
}

/// (customer, last activity) of all that cross in the window.
fn oracle(
    customers: &[Customer],
    form: Form,
    fallback: bool,
    period: Period,
    window: Window,
) -> Vec<(usize, Timestamp)> {
    let mut found = Vec::new();
    for (number, customer) in customers.iter().enumerate() {
        let counted = customer.orders.iter().filter(|(_, paid)| *paid).filter_map(|(at, _)| *at);
        // Of two that began together an activity counts and not the fallback.
        let created = customer.created.filter(|_| fallback).map(|at| Form::Native.reading(at));
        let readings = created.into_iter().chain(counted.map(|at| form.reading(at)));
        let visible = readings.filter(|reading| reading.start() <= window.now);
        let last = visible.max_by_key(|reading| reading.start());
        if let Some(last) = last {
            let crosses = last.crosses(period);
            if window.after < crosses && crosses <= window.until {
                found.push((number, last.start()));
            }
        }
    }
    found
}

fn catalog() -> String {
    let mut relations = String::new();
    let mut entities = String::new();
    for form in FORMS {
        let column = form.column();
        writeln!(relations, "      {column}: {{entity: order_{column}, by: customer}}").unwrap();
        writeln!(
            entities,
            "  order_{column}:\n    table: orders\n    key: id\n    at: {column}\n    only: {{paid: true}}\n    \
             fields:\n      customer: account_id\n      {column}: {}",
            form.ty()
        )
        .unwrap();
    }
    format!(
        "version: 1\ntime_zone: Europe/Vienna\nentities:\n  customer:\n    table: accounts\n    key: id\n    \
         fields:\n      created_at: {{type: instant, zone: UTC}}\n    relations:\n{relations}{entities}"
    )
}

fn rules() -> Vec<(Form, bool, Period, String)> {
    let mut rules = Vec::new();
    for form in FORMS {
        for period in PERIODS {
            for fallback in [false, true] {
                let parsed: Period = period.parse().unwrap();
                // Half an hour of a whole day has no meaning.
                if form == Form::Day && parsed.unit == nudged::model::Unit::Minute {
                    continue;
                }
                let id = format!("{}-{}-{fallback}", form.column().replace('_', "-"), period.replace(' ', "-"));
                let otherwise = if fallback { ", fallback: created_at" } else { "" };
                let rule = format!(
                    "version: 1\nid: {id}\nmode: live\npurpose: service\nfor_each: customer\ntrigger:\n  \
                     inactivity: {{of: {}, for: {period}{otherwise}}}\nsteps:\n  - wait: {{for: 1 day}}\n",
                    form.column()
                );
                rules.push((form, fallback, parsed, rule));
            }
        }
    }
    rules
}

async fn store(world: &World, customers: &[Customer]) {
    let dialect = world.dialect();
    let mut sql = String::from("DELETE FROM orders;\nDELETE FROM accounts;\n");
    for (number, customer) in customers.iter().enumerate() {
        let created = customer.created.map_or_else(|| "NULL".to_owned(), |at| Form::Native.literal(at, dialect));
        writeln!(sql, "INSERT INTO accounts VALUES ({number}, {created});").unwrap();
        for (at, paid) in &customer.orders {
            let cells: Vec<String> =
                FORMS.iter().map(|form| at.map_or_else(|| "NULL".to_owned(), |at| form.literal(at, dialect))).collect();
            let paid = if *paid { "TRUE" } else { "FALSE" };
            writeln!(
                sql,
                "INSERT INTO orders (account_id, paid, {}) VALUES ({number}, {paid}, {});",
                FORMS.map(Form::column).join(", "),
                cells.join(", ")
            )
            .unwrap();
        }
    }
    world.execute(&sql).await;
}

const TABLES: &str = "
CREATE TABLE accounts (id integer PRIMARY KEY, created_at {instant});
CREATE TABLE orders (id {serial}, account_id integer, paid boolean NOT NULL,
  at_native {instant}, at_naive {naive}, at_local varchar(40), at_utc varchar(40), at_seconds bigint, at_millis bigint, at_day {date});
CREATE INDEX orders_native ON orders (account_id, at_native);
";

async fn compare(world: World, cases: usize) {
    world.execute(TABLES).await;
    let rules = rules();
    let texts: Vec<&str> = rules.iter().map(|(_, _, _, text)| text.as_str()).collect();
    let generation = world.generation(&catalog(), &texts).await;
    let mut runner = runner();
    for _ in 0..cases {
        let customers = customers().new_tree(&mut runner).unwrap().current();
        let picks = proptest::collection::vec(0_usize..10_000, 3).new_tree(&mut runner).unwrap().current();
        let sweeps = sweeps(&customers, &picks);
        store(&world, &customers).await;
        for (form, fallback, period, text) in &rules {
            let rule = generation.rules.values().find(|rule| &*rule.text == text.as_str()).unwrap();
            let last = *sweeps.last().unwrap();
            let mut windows: Vec<Window> =
                sweeps.windows(2).map(|pair| Window { after: pair[0], until: pair[1], now: pair[1] }).collect();
            windows.push(Window { after: sweeps[0], until: last, now: last });
            windows.push(Window { after: Timestamp::MIN, until: last, now: last });
            for window in windows {
                let found = world.crossings(rule, Reach::Crossed(window)).await;
                let mut found: Vec<(usize, Timestamp)> = found
                    .iter()
                    .map(|crossing| (crossing.key.as_str().parse().unwrap(), crossing.occasion_at.unwrap()))
                    .collect();
                found.sort();
                let expected = oracle(&customers, *form, *fallback, *period, window);
                assert_eq!(
                    found,
                    expected,
                    "{:?} {form:?} {fallback} {period} {window:?}\n{customers:#?}",
                    world.dialect()
                );
            }
            if period.is_calendar() || *form == Form::Day {
                continue;
            }
            let count = world.count(rule.count_until(last).unwrap()).await;
            let ever = Window { after: Timestamp::MIN, until: last, now: last };
            let expected = oracle(&customers, *form, *fallback, *period, ever).len();
            assert_eq!(usize::try_from(count).unwrap(), expected, "{:?} {form:?} {fallback} {period}", world.dialect());
        }
    }
}

#[tokio::test]
async fn random_histories_on_sqlite() {
    compare(World::sqlite(), 12).await;
}

#[tokio::test]
async fn random_histories_on_postgres() {
    compare(World::postgres(), 8).await;
}

#[tokio::test]
async fn random_histories_on_mariadb() {
    compare(World::mariadb(), 8).await;
}

#[test]
fn the_oracle_reads_whole_seconds_down() {
    let at: Timestamp = "2026-01-01T00:00:00.999999Z".parse().unwrap();
    assert_eq!(
        floor(at, 1_000_000),
        at.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor)).unwrap()
    );
}
