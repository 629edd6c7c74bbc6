//! Of a record's answers the first in time matches, and those within its cooldown don't: live, whatever the keys and
//! however they are spread over batches, and wherever somebody asks.

use super::{nothing, previewer};
use crate::support::instant;
use crate::world::{Kind, Setup, World, days, hours, minutes};
use nudged::engine::port::{EnrollmentFilter, Standing, View};
use nudged::engine::rehearse::{Backtester, Explanation, Simulator, Tally, Told, Verdict, explain};
use nudged::engine::{PreviewScope, Settings, preview};
use nudged::model::{RecordId, RuleId};
use nudged::store::sqlite::SqliteStore;
use std::sync::Arc;

const START: &str = "2026-11-28T08:00:00Z";
const RULE: &str = "version: 1
id: low
description: A low score.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  survey: {of: responses, kind: nps, score: {at_most: 6}, settle: none, cooldown: 5 days}
where:
  - country: AT
backfill: all
on_rematch: parallel
guard: {per_day: 4}
late: within 60 days
check_every: 1 hour
steps:
  - webhook: {to: sink}
";

/// Key, customer and how many days ago it was answered. The keys say nothing of the order.
const ANSWERS: [(i64, i64, i64); 8] =
    [(101, 1, 18), (2, 1, 17), (50, 1, 12), (3, 1, 11), (4, 2, 17), (90, 2, 11), (1, 2, 16), (5, 3, 18)];
/// One per cooldown, from the first on; the third customer is no Austrian.
const MATCHING: [&str; 4] = ["1 101", "1 50", "2 4", "2 90"];

async fn world(kind: Kind, batch: usize) -> World {
    let settings = Settings { batch, ..Settings::default() };
    let world = World::set_up(Setup { settings, ..Setup::of(kind, instant(START)) }).await;
    for id in 1..=3 {
        let country = if id == 3 { "CH" } else { "AT" };
        world.crm.run(&format!("INSERT INTO accounts VALUES ({id}, 'C', '{country}', NULL)")).await;
    }
    for (key, customer, ago) in ANSWERS {
        let at = world.crm.time(world.ago(days(ago)));
        world.crm.run(&format!("INSERT INTO surveys VALUES ({key}, {customer}, 'nps', 3, {at})")).await;
    }
    world.load(&[("low.yaml", RULE)]).await;
    world
}

fn low() -> RuleId {
    RuleId::from("low")
}

fn sorted(found: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = found.collect();
    found.sort();
    found
}

async fn entered(store: &dyn View) -> Vec<String> {
    let all = EnrollmentFilter { limit: 100, ..EnrollmentFilter::default() };
    let found = store.enrollments(&all).await.unwrap().into_iter();
    sorted(found.map(|found| format!("{} {}", found.record.unwrap().key, found.occasion.unwrap())))
}

#[tokio::test]
async fn live_the_first_answer_in_time_matches_whatever_the_keys_and_the_batches() {
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        for batch in [1, 3, 1_000] {
            let world = world(kind, batch).await;
            // The guard lets four through, and counts nobody who is too close.
            world.pass(hours(1)).await;
            assert_eq!(entered(&*world.store).await, MATCHING, "{kind:?}, {batch} at a time");
            assert!(world.store.held_sweeps().await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn preview_backtest_and_simulate_say_the_same() {
    let world = world(Kind::Sqlite, 1_000).await;
    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(&world, &generation, &sender);
    let shown = preview(&look, &low(), &PreviewScope::Last(days(20))).await.unwrap();
    let line = |found: &nudged::engine::PreviewMatch| format!("{} {}", found.record.key, found.occasion);
    assert_eq!(sorted(shown.matches.iter().filter(|found| found.would_match()).map(line)), MATCHING);
    assert!(shown.matches.iter().all(|found| !found.known), "the ledger is empty");
    let close = shown.matches.iter().find(|found| found.occasion.as_str() == "2").unwrap();
    assert_eq!((close.too_close_to, shown.closeness), (Some(world.ago(days(18))), "within the cooldown of"));

    for batch in [1, 2, 100] {
        let (from, until) = (world.ago(days(20)), world.now());
        let source = &*world.source;
        let backtester = Backtester { generation: &generation, source, store: None, from, until, every: None, batch };
        let (mut hits, rule) = (Vec::new(), low());
        let tested = backtester.run(&rule, |told| match told {
            Told::Hit(hit) if hit.matched => hits.push(format!("{} {}", hit.record.key, hit.occasion)),
            Told::Hit(_) | Told::Looked(_) => {}
        });
        let tested = tested.await.unwrap();
        assert_eq!(sorted(hits.into_iter()), MATCHING);
        assert_eq!((tested.total, tested.cooling), (Tally { crossed: 8, as_of: 5, matched: 4 }, 3));
    }

    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("state.db"), world.now()).await.unwrap());
    let simulator = Simulator {
        source: world.source.clone(),
        store: store.clone(),
        generation: world.generation(),
        settings: Settings::default(),
        from: world.now(),
        until: world.now() + days(1),
        only: Vec::new(),
    };
    simulator.run(|_| {}).await.unwrap();
    assert_eq!(entered(&*store).await, MATCHING);
}

async fn explained(world: &World, id: &str) -> Explanation {
    let (generation, sender) = (world.generation(), nothing());
    let record = RecordId { tenant: "".into(), entity: "customer".into(), key: id.into() };
    explain(&previewer(world, &generation, &sender), &low(), &record).await.unwrap()
}

/// Each answer with what is said of it, the newest first.
fn standings(told: &Explanation) -> Vec<(&str, Standing)> {
    told.crossings.iter().map(|crossed| (crossed.occasion.as_str(), crossed.standing.clone())).collect()
}

#[tokio::test]
async fn explain_says_which_answer_is_within_the_cooldown_of_which_match() {
    let world = world(Kind::Sqlite, 1_000).await;
    let close = |ago| Standing::TooClose { to: instant(START) - days(ago) };
    let told = explained(&world, "1").await;
    let new = Standing::New;
    assert_eq!(standings(&told), [("3", close(12)), ("50", new.clone()), ("2", close(18)), ("101", new)]);
    assert_eq!(told.verdict, Verdict::Matches { crossed_at: world.ago(days(12)) });
    let passed_by = explained(&world, "3").await;
    assert!(matches!(passed_by.verdict, Verdict::Fails { .. }), "nothing cools that doesn't match");

    world.pass(hours(1)).await;
    let told = explained(&world, "1").await;
    let known = Standing::Known;
    assert_eq!(standings(&told), [("3", close(12)), ("50", known.clone()), ("2", close(18)), ("101", known)]);
    assert_eq!(told.verdict, Verdict::Matched { at: Some(world.now()), again: None });
}

#[tokio::test]
async fn an_answer_that_did_not_match_begins_no_cooldown() {
    let world = world(Kind::Sqlite, 1_000).await;
    let text = RULE.replace("backfill: all", "backfill: none").replace("score: {at_most: 6}", "score: {at_most: 5}");
    world.load(&[("low.yaml", &text)]).await;
    let answer = async |key: i64, minute: i64| {
        let at = world.crm.time(instant(START) + minutes(minute));
        world.crm.run(&format!("INSERT INTO surveys VALUES ({key}, 3, 'nps', 3, {at})")).await;
    };
    answer(200, 55).await;
    world.pass(hours(1)).await;
    world.crm.run("UPDATE accounts SET country_code = 'AT' WHERE id = 3").await;
    // It came a little late, so the second look finds both in what it reads twice.
    answer(201, 58).await;
    world.pass(hours(1)).await;
    assert_eq!(entered(&*world.store).await, ["3 201"]);
}

/// Texts with and without an offset don't sort by time: nowhere does a database's order decide.
#[tokio::test]
async fn of_times_kept_as_text_the_first_in_time_matches_too() {
    const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer: {table: people, key: id, fields: {country: {sql: \"'AT'\", type: text}}, relations: {responses: {entity: response, by: person}}}
  response: {table: said, key: id, at: said_at, score: rating, kind: kind, fields: {said_at: {column: at, type: instant_text}}}
";
    const TABLES: &str = "
CREATE TABLE people (id INTEGER PRIMARY KEY);
CREATE TABLE said (id INTEGER PRIMARY KEY, person INTEGER, kind VARCHAR(9), rating INTEGER, at VARCHAR(40));
INSERT INTO people VALUES (1), (2), (3);
INSERT INTO said VALUES
  (1, 1, 'nps', 3, '2026-11-25T01:00:00+05:00'), (2, 1, 'nps', 2, '2026-11-24 22:00:00'),
  (3, 2, 'nps', 3, '2026-11-24'), (4, 2, 'nps', 3, '2026-11-24 00:30:00'), (5, 2, 'nps', 3, '2026-11-23T22:45:00Z'),
  (9, 3, 'nps', 3, '2026-11-24T10:00:00'), (10, 3, 'nps', 3, '2026-11-24T09:00:00Z');
";
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        for batch in [1, 1_000] {
            let settings = Settings { batch, ..Settings::default() };
            let own = (CATALOG.to_owned(), Some(TABLES.to_owned()));
            let setup = Setup { settings, catalog: own.0, own_tables: own.1, ..Setup::of(kind, instant(START)) };
            let world = World::set_up(setup).await;
            world.load(&[("low.yaml", &RULE.replace("to: main_contact\n", ""))]).await;
            let mut foretold = Vec::new();
            for id in ["1", "2", "3"] {
                let told = explained(&world, id).await;
                let new = told.crossings.iter().filter(|crossed| crossed.standing == Standing::New);
                foretold.extend(new.map(|crossed| format!("{id} {}", crossed.occasion)));
            }
            world.pass(hours(1)).await;
            let entered = entered(&*world.store).await;
            assert_eq!(entered, ["1 1", "2 5", "3 10"], "{kind:?}, {batch} at a time");
            assert_eq!(foretold, entered, "{kind:?}");
        }
    }
}
