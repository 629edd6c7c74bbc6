//! Whom a rule over counted rows takes in with its first sweep: everybody says the same, also of those who are no longer
//! inside.

use super::{nothing, previewer};
use crate::support::instant;
use crate::world::{Kind, World, days, hours};
use jiff::Timestamp;
use nudged::catalog::Tenants;
use nudged::engine::rehearse::{Comparer, RuleComparison, Verdict, explain};
use nudged::engine::{PreviewScope, Settings, preview};
use nudged::model::{RecordId, RuleId};
use nudged::rule::generation::Generation;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

const START: &str = "2026-06-21T08:00:00Z";

fn rule(trigger: &str, backfill: &str) -> String {
    format!(
        "version: 1
id: watched
description: Watched.
mode: live
purpose: service
for_each: customer
trigger:
  {trigger}
{backfill}guard: {{floor: 1000}}
check_every: 1 hour
steps:
  - webhook: {{to: sink}}
"
    )
}

const COUNT: &str = "count: {of: orders, at_least: 3, within: 14 days}";
const DECLINE: &str = "decline: {of: orders, by: 50, from_at_least: 3, window: 10 days}";

/// Each customer with the days since its orders.
async fn world(orders: &[Vec<i64>]) -> World {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    let mut sql = String::new();
    let mut number = 0;
    for (customer, ago) in (1..).zip(orders) {
        write!(sql, "INSERT INTO accounts VALUES ({customer}, 'C{customer}', 'AT', NULL);").unwrap();
        for ago in ago {
            number += 1;
            let placed = world.crm.time(world.ago(days(*ago)) + hours(3));
            write!(sql, "INSERT INTO orders VALUES ({number}, {customer}, {placed}, 'paid');").unwrap();
        }
    }
    world.crm.run(&sql).await;
    world
}

fn customer(id: usize) -> RecordId {
    RecordId { tenant: "".into(), entity: "customer".into(), key: id.to_string().as_str().into() }
}

async fn planned(world: &World, text: &str) -> RuleComparison {
    let (new, sender) = (world.build(&[("watched.yaml", text)]), nothing());
    let comparer = Comparer { previewer: previewer(world, &new, &sender), running: None, batch: 7, names: 100 };
    comparer.compare().await.unwrap().rules.remove(0)
}

async fn explained(world: &World, text: &str, id: usize) -> Verdict {
    let (new, sender) = (world.build(&[("watched.yaml", text)]), nothing());
    explain(&previewer(world, &new, &sender), &RuleId::from("watched"), &customer(id)).await.unwrap().verdict
}

/// Whom the first sweep enters.
async fn entered(world: &World, text: &str) -> BTreeSet<RecordId> {
    world.load(&[("watched.yaml", text)]).await;
    world.pass(hours(1)).await;
    world.enrollments().await.into_iter().map(|enrollment| enrollment.record.unwrap()).collect()
}

/// Up to nine orders in the last sixty days, for each of forty customers.
fn scattered() -> Vec<Vec<i64>> {
    let mut number = 7_u64;
    let mut next = move |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((number >> 33) % below).unwrap()
    };
    (0..40).map(|_| (0..next(10)).map(|_| next(60) + 1).collect()).collect()
}

#[tokio::test]
async fn plan_and_explain_say_of_counted_rows_what_the_first_sweep_does() {
    let mut taken = 0;
    for trigger in [COUNT, DECLINE] {
        for backfill in ["", "backfill: 5 days\n", "backfill: 14 days\n", "backfill: all\n"] {
            let (world, text) = (world(&scattered()).await, rule(trigger, backfill));
            let plan = planned(&world, &text).await;
            let mut matching = BTreeSet::new();
            for id in 1..=scattered().len() {
                if matches!(explained(&world, &text, id).await, Verdict::Matches { .. }) {
                    matching.insert(customer(id));
                }
            }
            let live = entered(&world, &text).await;
            assert_eq!(matching, live, "explain, {trigger} {backfill}");
            assert_eq!(plan.at_once, live.len() as u64, "plan, {trigger} {backfill}");
            assert!(live.iter().all(|record| plan.newly.named.contains(record)), "{:?}", plan.newly);
            taken += live.len();
        }
    }
    assert!(taken > 10, "{taken}");
}

/// Its orders make an episode that lasts until eleven days ago; the rule begins in the middle of it, and sees three within
/// fourteen days once more.
#[tokio::test]
async fn an_episode_from_before_the_rule_looks_hides_none_of_its_own() {
    let world = world(&[vec![29, 28, 25, 13, 12]]).await;
    let text = rule(COUNT, "backfill: 14 days\n");
    let plan = planned(&world, &text).await;
    assert_eq!((plan.after, plan.at_once), (1, 1));
    let verdict = explained(&world, &text, 1).await.to_string();
    assert_eq!(verdict, "matches: crossed 2026-06-09 11:00Z, and the next sweep enters it");
    assert_eq!(entered(&world, &text).await.len(), 1);
}

#[tokio::test]
async fn what_came_and_went_before_the_first_look_is_told_as_over() {
    let world = world(&[vec![25, 24, 23]]).await;
    let text = rule(COUNT, "backfill: 30 days\n");
    let told = "no match: crossed 2026-05-29 11:00Z, and was over 2026-06-12 11:00Z, before the rule first looks, which \
                takes in who is still inside then";
    let verdict = explained(&world, &text, 1).await;
    assert_eq!((verdict.code(), verdict.to_string().as_str()), ("over", told));
    assert_eq!(planned(&world, &text).await.at_once, 0);
    assert_eq!(entered(&world, &text).await.len(), 0);
    assert_eq!(explained(&world, &text, 1).await.to_string(), told, "and afterwards");
}

#[tokio::test]
async fn a_preview_says_since_when_it_looked_and_what_the_first_sweep_takes_in_before() {
    let world = world(&[vec![25, 24, 23]]).await;
    let sender = nothing();
    for (trigger, backfill, since, first) in [
        (COUNT, "backfill: 30 days\n", Some(hours(1)), Some(days(30))),
        (COUNT, "", Some(hours(1)), None),
        ("segment: {when: {country: AT}}", "backfill: all\n", None, None),
    ] {
        let new = world.build(&[("watched.yaml", &rule(trigger, backfill))]);
        let look = previewer(&world, &new, &sender);
        let shown = preview(&look, &RuleId::from("watched"), &PreviewScope::LastInterval).await.unwrap();
        let ago = |at: Option<Timestamp>| at.map(|at| world.now().duration_since(at));
        assert_eq!((ago(shown.since), ago(shown.first_sweep)), (since, first), "{trigger} {backfill}");
        let shown = preview(&look, &RuleId::from("watched"), &PreviewScope::Last(days(60))).await.unwrap();
        assert_eq!((ago(shown.since), shown.first_sweep), (since.map(|_| days(60)), None), "all of it was looked at");
    }
    let text = rule(COUNT, "backfill: 30 days\n");
    entered(&world, &text).await;
    let generation = world.generation();
    let look = previewer(&world, &generation, &sender);
    let shown = preview(&look, &RuleId::from("watched"), &PreviewScope::LastInterval).await.unwrap();
    assert_eq!((shown.since, shown.first_sweep), (Some(world.ago(hours(1))), None), "it has run");
}

#[tokio::test]
async fn a_record_without_its_tenant_is_told_to_have_one() {
    let world = world(&[vec![1]]).await;
    let text = rule(COUNT, "");
    let (mut new, sender) = (world.build(&[("watched.yaml", &text)]), nothing());
    let told = async |new: &Generation, record: &RecordId| {
        explain(&previewer(&world, new, &sender), &RuleId::from("watched"), record).await.map(|_| ())
    };
    told(&new, &customer(1)).await.unwrap();
    let stray = RecordId { tenant: "west".into(), ..customer(1) };
    let refused = told(&new, &stray).await.unwrap_err().to_string();
    assert_eq!(refused, "`west/customer:1` is of no tenant of the catalog: name it as customer:1");
    let names = vec!["north".into(), "south".into()];
    let mut catalog = (*new.catalog).clone();
    catalog.tenants = Some(Tenants { names, per_transaction: None });
    new.catalog = Arc::new(catalog);
    let refused = told(&new, &customer(1)).await.unwrap_err().to_string();
    let named = "name it as north/customer:1 or south/customer:1";
    assert_eq!(refused, format!("`customer:1` is of no tenant of the catalog: {named}"));
}
