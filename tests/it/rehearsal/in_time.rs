//! Times kept as text, with offsets of all kinds, don't sort by time: which answer was first, and which is told, goes by
//! the instants, and of two at once by one order everywhere.

use super::{nothing, previewer};
use crate::support::instant;
use crate::world::{Kind, Setup, World, days, hours};
use nudged::engine::port::{EnrollmentFilter, Standing, View};
use nudged::engine::rehearse::{Backtester, Explanation, Simulator, Told, explain};
use nudged::engine::{PreviewScope, Settings, preview};
use nudged::model::{RecordId, RuleId};
use nudged::store::sqlite::SqliteStore;
use std::sync::Arc;

const START: &str = "2026-11-28T08:00:00Z";
const EVERYWHERE: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::MariaDb];
const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer: {table: people, key: id, relations: {responses: {entity: response, by: person}, carts: {entity: cart, by: person}}}
  response: {table: said, key: id, at: said_at, score: rating, kind: kind, fields: {said_at: {column: at, type: instant_text}}}
  cart: {table: carts, key: id, updated_at: touched_at, fields: {touched_at: {column: touched_at, type: instant_text}}}
";
const TABLES: &str = "
CREATE TABLE people (id INTEGER PRIMARY KEY);
CREATE TABLE said (id VARCHAR(9) PRIMARY KEY, person INTEGER, kind VARCHAR(9), rating INTEGER, at VARCHAR(40));
CREATE TABLE carts (id INTEGER PRIMARY KEY, person INTEGER, worth INTEGER, touched_at VARCHAR(40));
INSERT INTO people VALUES (1), (2), (3);
";
const RULE: &str = "version: 1
id: low
description: A low score.
mode: live
purpose: service
for_each: customer
trigger:
  survey: {of: responses, kind: nps, score: {at_most: 6}, settle: none, cooldown: 5 days}
backfill: all
late: within 60 days
on_rematch: parallel
guard: {floor: 1000}
check_every: 1 hour
steps:
  - webhook: {to: sink}
";

async fn world(kind: Kind, rule: &str, rows: &str) -> World {
    let own = (CATALOG.to_owned(), Some(TABLES.to_owned()));
    let world = World::set_up(Setup { catalog: own.0, own_tables: own.1, ..Setup::of(kind, instant(START)) }).await;
    world.crm.run(rows).await;
    world.load(&[("low.yaml", rule)]).await;
    world
}

fn low() -> RuleId {
    RuleId::from("low")
}

async fn explained(world: &World, id: &str) -> Explanation {
    let (generation, sender) = (world.generation(), nothing());
    let record = RecordId { tenant: "".into(), entity: "customer".into(), key: id.into() };
    explain(&previewer(world, &generation, &sender), &low(), &record).await.unwrap()
}

/// What was found for each of the trigger's terms.
fn found(told: &Explanation) -> Vec<String> {
    told.trigger.iter().flat_map(|term| &term.operands).map(|one| format!("{} = {}", one.name, one.found())).collect()
}

#[tokio::test]
async fn explain_tells_of_the_answer_that_matched_and_not_of_the_last_by_its_text() {
    const ANSWERS: &str = "INSERT INTO said VALUES
        ('a', 1, 'nps', 3, '2026-11-25T01:00:00+05:00'), ('b', 1, 'nps', 2, '2026-11-24T22:00:00Z');
        INSERT INTO said VALUES
        ('c', 2, 'nps', 9, '2026-11-25T01:00:00+05:00'), ('d', 2, 'nps', 8, '2026-11-24T22:00:00Z'),
        ('e', 2, 'nps', 7, '2026-11-24T22:30:00');";
    for kind in EVERYWHERE {
        let world = world(kind, RULE, ANSWERS).await;
        let first = ["responses.rating = 3", "responses: answered = 2026-11-24T20:00:00Z"];
        assert_eq!(found(&explained(&world, "1").await), first, "{kind:?}: the other is within its cooldown");
        let none = ["responses.rating = 8", "responses: answered = 2026-11-24T22:00:00Z"];
        assert_eq!(found(&explained(&world, "2").await), none, "{kind:?}: none is in range, and this came last");
        assert_eq!(
            found(&explained(&world, "3").await),
            ["responses.rating = missing", "responses: answered = missing"]
        );
        world.pass(hours(1)).await;
        assert_eq!(found(&explained(&world, "1").await), first, "{kind:?}: once it has matched as well");

        world.load(&[("low.yaml", &RULE.replace(", cooldown: 5 days", ""))]).await;
        let last = ["responses.rating = 2", "responses: answered = 2026-11-24T22:00:00Z"];
        assert_eq!(found(&explained(&world, "1").await), last, "{kind:?}: both match, and the newest is told");
    }
}

#[tokio::test]
async fn explain_tells_of_the_cart_that_crossed_and_not_of_the_last_by_its_text() {
    const CARTS: &str = "INSERT INTO carts VALUES
        (1, 1, 30, '2026-11-25T01:00:00+05:00'), (2, 1, 20, '2026-11-24T22:00:00Z');";
    let rule = RULE.replace(
        "survey: {of: responses, kind: nps, score: {at_most: 6}, settle: none, cooldown: 5 days}",
        "abandoned: {of: carts, open: {worth: {at_least: 1}}, idle: 3 hours}",
    );
    for kind in EVERYWHERE {
        let world = world(kind, &rule, CARTS).await;
        let last = ["carts.worth = 20", "carts.touched_at = 2026-11-24T22:00:00Z"];
        assert_eq!(found(&explained(&world, "1").await), last, "{kind:?}");
    }
}

/// Each record and the answer of it that matches.
async fn everywhere(world: &World, simulates: bool) -> Vec<(&'static str, Vec<String>)> {
    let (generation, sender) = (world.generation(), nothing());
    let line = |record: &RecordId, occasion: &str| format!("{} {occasion}", record.key);
    let look = previewer(world, &generation, &sender);
    let shown = preview(&look, &low(), &PreviewScope::Last(days(20))).await.unwrap();
    let previewed = shown.matches.iter().filter(|found| found.would_match());
    let mut named = vec![("preview", previewed.map(|found| line(&found.record, found.occasion.as_str())).collect())];

    let mut told = Vec::new();
    for id in ["1", "2", "3"] {
        let explained = explained(world, id).await;
        let new = explained.crossings.iter().filter(|crossed| crossed.standing == Standing::New);
        told.extend(new.map(|crossed| line(&explained.record, crossed.occasion.as_str())));
    }
    named.push(("explain", told));

    let (from, until) = (world.ago(days(20)), world.now());
    for batch in [1, 100] {
        let source = &*world.source;
        let backtester = Backtester { generation: &generation, source, store: None, from, until, every: None, batch };
        let (mut hits, rule) = (Vec::new(), low());
        let tested = backtester.run(&rule, |told| match told {
            Told::Hit(hit) if hit.matched => hits.push(line(&hit.record, hit.occasion.as_str())),
            Told::Hit(_) | Told::Looked(_) => {}
        });
        tested.await.unwrap();
        named.push(("backtest", hits));
    }

    if simulates {
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
        named.push(("simulate", entered(&*store).await));
    }
    world.pass(hours(1)).await;
    named.push(("live", entered(&*world.store).await));
    for (_, records) in &mut named {
        records.sort();
    }
    named
}

async fn entered(store: &dyn View) -> Vec<String> {
    let all = EnrollmentFilter { limit: 100, ..EnrollmentFilter::default() };
    let found = store.enrollments(&all).await.unwrap().into_iter();
    found.map(|found| format!("{} {}", found.record.unwrap().key, found.occasion.unwrap())).collect()
}

/// The databases' own orders are all different ones: by the text of the time, and then by the key.
#[tokio::test]
async fn of_two_answers_at_once_all_name_the_same() {
    const AT_ONCE: &str = "INSERT INTO said VALUES
        ('a', 1, 'nps', 3, '2026-11-24T10:00:00+01:00'), ('b', 1, 'nps', 2, '2026-11-24T09:00:00Z');
        INSERT INTO said VALUES
        ('d', 2, 'nps', 3, '2026-11-24T09:00:00Z'), ('c', 2, 'nps', 2, '2026-11-24 10:00:00');
        INSERT INTO said VALUES
        ('9', 3, 'nps', 3, '2026-11-24T09:00:00Z'), ('10', 3, 'nps', 2, '2026-11-24T09:00:00Z');";
    for kind in EVERYWHERE {
        let world = world(kind, RULE, AT_ONCE).await;
        for (who, named) in everywhere(&world, matches!(kind, Kind::Sqlite)).await {
            assert_eq!(named, ["1 a", "2 c", "3 10"], "{kind:?}: {who}");
        }
    }
}
