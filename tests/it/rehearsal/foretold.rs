//! What a preview foretells of times and steps is what comes, and one occasion counts once however often it is named.

use super::{nothing, previewer};
use crate::support::instant;
use crate::world::{Kind, World, days, hours};
use jiff::Timestamp;
use nudged::engine::rehearse::{Backtester, explain};
use nudged::engine::{Preview, PreviewScope, Settings, preview};
use nudged::model::{RecordId, RuleId};

const START: &str = "2026-11-28T08:00:00Z";

fn rule(trigger: &str, more: &str, steps: &str) -> String {
    format!(
        "version: 1
id: foretold
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  {trigger}
backfill: 30 days
on_rematch: parallel
guard: {{floor: 1000}}
check_every: 1 hour
{more}steps:
{steps}"
    )
}

/// Two customers, each with orders of the last days.
async fn world(files: &[(&str, &str)]) -> World {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    for id in 1..=2 {
        world.crm.run(&format!("INSERT INTO accounts VALUES ({id}, 'C{id}', 'AT', NULL)")).await;
        world
            .crm
            .run(&format!("INSERT INTO contacts VALUES ({id}, {id}, 'c{id}@x.example', NULL, 'Europe/Vienna', TRUE)"))
            .await;
        for order in 0..2 {
            let at = world.crm.time(world.ago(hours(20 + order)));
            world.crm.run(&format!("INSERT INTO orders VALUES ({id}{order}, {id}, {at}, 'paid')")).await;
        }
    }
    world.load(files).await;
    world
}

async fn previewed(world: &World) -> Preview {
    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(world, &generation, &sender);
    preview(&look, &RuleId::from("foretold"), &PreviewScope::Last(days(2))).await.unwrap()
}

#[tokio::test]
async fn matches_that_are_spread_are_due_when_a_preview_says() {
    let query =
        "query: {sql: \"SELECT account_id, id, placed_at FROM orders\", key: account_id, occasion: id, at: placed_at}";
    let world = world(&[("r.yaml", &rule(query, "spread: 6 hours\n", "  - webhook: {to: sink}\n"))]).await;
    let mut foretold: Vec<Timestamp> =
        previewed(&world).await.matches.iter().flat_map(|matched| &matched.messages).map(|sent| sent.due_at).collect();
    foretold.sort();
    let mut left = Vec::new();
    loop {
        world.turn().await;
        left.extend(world.webhooks.take().iter().map(|_| world.now()));
        match world.engine.next_due().await.unwrap() {
            Some(next) if next < instant(START) + hours(7) => world.clock.set(next),
            _ => break,
        }
    }
    assert_eq!(left.len(), 4);
    let apart = |(one, other): (&Timestamp, &Timestamp)| one.duration_since(*other).abs().as_secs();
    assert!(foretold.iter().zip(&left).all(|pair| apart(pair) == 0), "{foretold:?} {left:?}");
    assert!(left.last() > left.first(), "{left:?}");
}

/// As any join makes them.
#[tokio::test]
async fn rows_that_name_an_occasion_again_are_one_occasion() {
    let orders = "SELECT account_id, id, placed_at FROM orders";
    for at in [", at: placed_at", ""] {
        let query = format!("query: {{sql: \"{orders} UNION ALL {orders}\", key: account_id, occasion: id{at}}}");
        let text = rule(&query, "", "  - webhook: {to: sink}\n").replace("backfill: 30 days", "backfill: all");
        let world = world(&[("r.yaml", &text)]).await;
        let found = previewed(&world).await;
        let mut occasions: Vec<_> = found.matches.iter().map(|matched| matched.occasion.to_string()).collect();
        occasions.sort();
        assert_eq!(occasions, ["10", "11", "20", "21"], "{at}");
        let (generation, sender) = (world.generation(), nothing());
        let look = previewer(&world, &generation, &sender);
        let record = RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() };
        let told = explain(&look, &RuleId::from("foretold"), &record).await.unwrap();
        assert_eq!(told.crossings.len(), 2, "{at}");
        if !at.is_empty() {
            let (from, until) = (world.ago(days(2)), world.now());
            let (source, store) = (&*world.source, None);
            let backtester = Backtester { generation: &generation, source, store, from, until, every: None, batch: 1 };
            assert_eq!(backtester.run(&RuleId::from("foretold"), |_| ()).await.unwrap().total.crossed, 4);
        }
        world.turn().await;
        assert_eq!(world.enrollments().await.len(), 4, "{at}");
    }
}

#[tokio::test]
async fn what_stands_behind_a_mail_that_fails_is_not_on_its_way() {
    let steps = "  - email: {template: hello}\n  - webhook: {to: sink}\n";
    let text = rule("inactivity: {of: orders, for: 10 hours}", "", steps);
    let hello = "---\nsubject: Hello {{ to.first_name }}\n---\nHello\n";
    let world = world(&[("r.yaml", &text), ("templates/hello.md", hello)]).await;
    let found = previewed(&world).await;
    assert_eq!(found.matches.len(), 2);
    for matched in &found.matches {
        assert_eq!(matched.messages.len(), 1, "{:?}", matched.messages);
        assert!(matched.messages[0].content.is_err());
    }
    world.turn().await;
    assert!(world.webhooks.take().is_empty());
    let stands = world.store.overview(world.now()).await.unwrap().held_enrollments;
    assert_eq!(stands, 2);
}
