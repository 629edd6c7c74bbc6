//! Whom a rule found there when it first looked: it never acts on them, and nothing says that it did.

use super::{nothing, previewer};
use crate::support::instant;
use crate::world::{Kind, World, days, minutes};
use nudged::engine::Settings;
use nudged::engine::rehearse::{RuleDays, Simulator, Verdict, explain, why};
use nudged::model::{RecordId, RuleId};
use nudged::store::sqlite::SqliteStore;
use std::sync::Arc;

const OVERDUE: &str = "version: 1
id: overdue
mode: live
purpose: service
for_each: customer
trigger:
  query: {sql: \"SELECT account_id, id FROM orders WHERE status = 'overdue'\", key: account_id, occasion: id}
backfill: none
check_every: 15 minutes
guard: {floor: 1000}
steps:
  - webhook: {to: sink}
";

async fn world(customers: std::ops::RangeInclusive<i64>) -> World {
    let world = owing(customers).await;
    world.load(&[("overdue.yaml", OVERDUE)]).await;
    world
}

/// Each of these customers owes something.
async fn owing(customers: std::ops::RangeInclusive<i64>) -> World {
    let world = World::new(Kind::Sqlite, instant("2026-06-01T08:00:00Z"), Settings::default()).await;
    for id in customers {
        let at = world.crm.time(world.ago(days(9)));
        world.crm.run(&format!("INSERT INTO accounts VALUES ({id}, 'A{id}', 'AT', {at})")).await;
        overdue(&world, id, id).await;
    }
    world
}

async fn overdue(world: &World, invoice: i64, customer: i64) {
    let at = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES ({invoice}, {customer}, {at}, 'overdue')")).await;
}

fn customer() -> RecordId {
    RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() }
}

/// What `why` says of customer 1, and the verdict of `explain`.
async fn told(world: &World) -> (&'static str, String, Verdict) {
    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(world, &generation, &sender);
    let stories = why(&look, &customer(), world.ago(days(30))).await.unwrap();
    let explained = explain(&look, &RuleId::from("overdue"), &customer()).await.unwrap();
    (stories[0].outcome.code, stories[0].outcome.text.clone(), explained.verdict)
}

#[tokio::test]
async fn a_simulation_counts_them_apart() {
    let world = world(1..=5).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("state.db"), world.now()).await.unwrap());
    let simulator = Simulator {
        source: world.source.clone(),
        store,
        generation: world.generation(),
        settings: Settings::default(),
        from: world.now(),
        until: world.now() + days(1),
        only: Vec::new(),
    };
    let counts = simulator.run(|_| {}).await.unwrap();
    assert_eq!(counts[&RuleId::from("overdue")], RuleDays { left_out: 5, ..RuleDays::default() });
}

/// The day of the catalog's zone on which each of these invoices is due.
const DUE: &str = "version: 1
id: due
mode: live
purpose: service
for_each: customer
trigger:
  query: {sql: \"SELECT account_id, id, date(placed_at) AS due FROM orders\", key: account_id, occasion: id, at: due}
check_every: 15 minutes
guard: {floor: 1000}
steps:
  - webhook: {to: sink}
";

#[tokio::test]
async fn of_days_only_those_that_are_over_are_counted() {
    let world = owing(1..=5).await;
    world.crm.run("UPDATE orders SET placed_at = '2026-05-31 00:00:00' WHERE id < 3").await;
    world.load(&[("due.yaml", DUE)]).await;
    assert_eq!(world.left_out().await, Some(2), "today has not passed for the others");
}

#[tokio::test]
async fn they_were_there_before_until_something_new_comes() {
    let world = world(1..=2).await;
    world.clock.advance(minutes(1));
    let (code, text, verdict) = told(&world).await;
    assert_eq!((code, verdict), ("before_activation", Verdict::ThereAtFirst), "{text}");
    world.turn().await;
    let looked = world.now();
    let (code, text, verdict) = told(&world).await;
    assert_eq!(verdict, Verdict::ThereBefore { at: looked });
    let there = "no match: it was there when the rule first looked, 2026-06-01 08:01Z, and such are left out";
    assert!(code == "before_activation" && text.starts_with(there), "{code}: {text}");

    overdue(&world, 11, 1).await;
    let (code, text, verdict) = told(&world).await;
    assert!(matches!(verdict, Verdict::Matches { .. }), "{verdict:?}");
    assert!(code == "matches" && text.ends_with("and the next sweep enters it"), "{code}: {text}");

    world.pass(minutes(20)).await;
    let (code, text, _) = told(&world).await;
    assert!(code == "sent" && text.starts_with("matched 2026-06-01 08:"), "{code}: {text}");
    overdue(&world, 12, 1).await;
    let (code, text, _) = told(&world).await;
    assert!(code == "sent" && text.contains("; crossed again 2026-06-01 08:"), "{code}: {text}");
}
