//! Six weeks before a contract renews: branches, waits of every kind, a split and exits, on both stores; and the same
//! with a process that dies at every settlement.

use super::mortal::{At, Cut, Mortal, cuts};
use super::timeline;
use crate::support::{PATIENCE, instant, wait_until};
use crate::world::{Kind, Setup, World};
use jiff::Timestamp;
use nudged::engine::Engine;
use nudged::engine::port::{DeliveryFilter, Message, Store};
use nudged::model::DeliveryId;
use rstest::rstest;
use std::collections::HashSet;
use std::sync::Arc;

const RENEWAL: &str = r#"version: 1
id: renewal
description: Six weeks before a contract renews.
mode: live
purpose: service
for_each: subscription
to: signatory
trigger:
  date: {field: renews_on, at: "09:00"}
where:
  - status: {in: [active, trial, considering]}
exit_when: {status: signed}
check_every: 12 hours
calendar: AT
offsets:
  42 days before:
    - webhook: {id: six-weeks, to: sink}
    - wait: {id: a-week, for: 7 days, at: "10:00"}
    - branch:
        cases:
          - name: trial
            when: {status: trial}
            steps:
              - webhook: {id: trial, to: sink}
              - wait: {id: some-days, for: 12 business days, at: "09:00"}
              - webhook: {id: trial-ends, to: sink}
        otherwise:
          - split:
              salt: renewal
              arms:
                - {name: a, weight: 2, steps: [webhook: {id: arm-a, to: sink}]}
                - {name: b, weight: 2, steps: [webhook: {id: arm-b, to: sink}]}
                - {name: control, holdout: true}
    - wait:
        id: answer
        until:
          when: {status: considering}
          at_most: 10 days
          check_every: 12 hours
          otherwise: [webhook: {id: reminder, to: sink}]
    - enroll: {rule: advice}
    - wait: {id: near, until: {date: renews_on, offset: 7 days before}, at: "09:00"}
    - webhook: {id: last-week, to: sink}
    - wait: {id: eve, until: {after_entry: 41 days}, days: [MON, TUE, WED, THU, FRI], at: "08:00"}
    - webhook: {id: last-day, to: sink}
"#;

const ADVICE: &str = r#"version: 1
id: advice
description: For those who are thinking about it.
mode: live
purpose: service
for_each: subscription
to: signatory
trigger: {enrolled: {}}
where:
  - status: {in: [active, considering]}
steps:
  - wait: {for: 2 business days, at: "10:00"}
  - webhook: {id: advice, to: sink}
"#;

/// What happens in the CRM meanwhile.
const CHANGES: [(&str, &str); 5] = [
    ("2026-03-12T12:00:00Z", "UPDATE subscriptions SET status = 'cancelled' WHERE id = 5"),
    ("2026-03-14T12:00:00Z", "DELETE FROM subscriptions WHERE id = 6"),
    ("2026-03-18T12:00:00Z", "UPDATE subscriptions SET status = 'considering' WHERE id = 4"),
    ("2026-03-20T12:00:00Z", "UPDATE contacts SET tz = 'America/New_York' WHERE id = 7"),
    ("2026-03-25T12:00:00Z", "UPDATE subscriptions SET status = 'signed' WHERE id = 3"),
];

const END: &str = "2026-04-25T00:00:00Z";

async fn world(shared: bool) -> World {
    let at = instant("2026-03-05T08:00:00Z");
    let world = World::set_up(Setup { shared, ..Setup::of(Kind::Sqlite, at) }).await;
    for id in [1, 2, 3, 4, 5, 6, 7, 9] {
        let status = if id == 2 { "trial" } else { "active" };
        world
            .crm
            .run(&format!(
                "INSERT INTO contacts VALUES ({id}, {id}, 'p{id}@example.org', 'P{id}', 'Europe/Vienna', true);
                 INSERT INTO subscriptions VALUES ({id}, {id}, {id}, '{status}', '2026-04-20')"
            ))
            .await;
    }
    world.load(&[("renewal.yaml", RENEWAL), ("advice.yaml", ADVICE)]).await;
    world
}

/// What was sent, each delivery once however often it was tried.
#[derive(Default)]
struct Sent {
    seen: HashSet<DeliveryId>,
    lines: Vec<String>,
    tries: usize,
}

impl Sent {
    fn take(&mut self, world: &World) {
        for message in world.webhooks.take() {
            let Message::Webhook(call) = message else { panic!("{message:?}") };
            self.tries += 1;
            if self.seen.insert(call.delivery) {
                let (key, step) =
                    (call.body["data"]["record"]["key"].as_str().unwrap(), call.body["type"].as_str().unwrap());
                self.lines.push(format!("{} {key} {step}", world.now().strftime("%a %m-%d %H:%M")));
            }
        }
        self.lines.sort_by(|a, b| a[4..].cmp(&b[4..]));
    }
}

/// What came of six weeks.
struct Played {
    sent: Sent,
    ends: Vec<String>,
    settled: usize,
}

/// Plays the six weeks; a process that dies at the cut is followed by another one on the same state.
async fn play(world: &World, first: Arc<dyn Store>, cut: Option<Cut>) -> Played {
    let mortal = Mortal::new(first, At::Settlements, cut);
    let mut engine = world.life("first", mortal.clone());
    let (mut alive, mut sent) = (true, Sent::default());
    let mut changes = CHANGES.iter().map(|(at, sql)| (instant(at), *sql)).peekable();
    loop {
        while let Some((_, sql)) = changes.next_if(|(at, _)| *at <= world.now()) {
            world.crm.run(sql).await;
        }
        let died = tokio::select! {
            () = turn(&engine) => false,
            () = mortal.died(), if alive => true,
        };
        sent.take(world);
        if died {
            alive = false;
            drop(engine);
            engine = world.life("second", world.store.clone());
            take_over(world, &engine).await;
            continue;
        }
        let next = engine.next_due().await.unwrap().unwrap_or(Timestamp::MAX);
        assert!(next > world.now(), "what is due is done");
        let change = changes.peek().map_or(Timestamp::MAX, |(at, _)| *at);
        let next = next.min(change);
        if next > instant(END) {
            break;
        }
        world.clock.set(next);
    }
    let mut ends: Vec<String> = world
        .enrollments()
        .await
        .iter()
        .map(|view| {
            let key = view.record.as_ref().unwrap().key.as_str();
            format!("{} {key} {}", view.rule, view.ended.map_or("running", |reason| reason.as_str()))
        })
        .collect();
    ends.sort();
    Played { sent, ends, settled: mortal.written().len() }
}

pub async fn turn(engine: &Engine) {
    engine.sweep_due().await.unwrap();
    engine.dispatch_due().await.unwrap();
}

/// On a state that nodes share, what a dead one held is free once its leases have run out.
pub async fn take_over(world: &World, engine: &Engine) {
    wait_until(PATIENCE, async || {
        engine.rescue().await.unwrap();
        let sending = world.store.overview(world.now()).await.unwrap().outbox_sending;
        sending == 0 && world.store.deliveries(&claimed_only()).await.unwrap().is_empty()
    })
    .await;
}

fn claimed_only() -> DeliveryFilter {
    DeliveryFilter { state: Some("claimed".into()), limit: 100, ..Default::default() }
}

#[tokio::test]
async fn six_weeks_as_they_should_be() {
    let world = world(false).await;
    let played = play(&world, world.store.clone(), None).await;
    let story = format!(
        "sent\n{}\n\nended\n{}\n\nin between\n{}",
        played.sent.lines.join("\n"),
        played.ends.join("\n"),
        timeline(&world).await.join("\n")
    );
    insta::assert_snapshot!("six-weeks", story);
    assert_eq!(played.sent.tries, played.sent.lines.len(), "nothing is tried twice");
}

#[tokio::test]
async fn six_weeks_are_the_same_on_both_stores() {
    let (sqlite, postgres) = (world(false).await, world(true).await);
    let one = play(&sqlite, sqlite.store.clone(), None).await;
    let other = play(&postgres, postgres.store.clone(), None).await;
    assert_eq!((one.sent.lines, one.ends), (other.sent.lines, other.ends));
    assert_eq!(timeline(&sqlite).await, timeline(&postgres).await);
}

/// Deaths at every settlement, before and after its commit, on PostgreSQL by turns. `remainder`: those of one of four tests, which share the
/// work.
#[rstest]
#[tokio::test]
async fn killed_at_every_settlement(#[values(false, true)] shared: bool, #[values(0, 1, 2, 3)] remainder: usize) {
    let whole = {
        let world = world(shared).await;
        play(&world, world.store.clone(), None).await
    };
    assert!(whole.settled > 40, "{}", whole.settled);
    let mut repeated = 0;
    for number in (1..=whole.settled).filter(|number| number % 4 == remainder) {
        for cut in cuts(number, shared) {
            let world = world(shared).await;
            let store = if shared { world.short_leased().await } else { world.store.clone() };
            let played = play(&world, store, Some(cut)).await;
            assert_eq!(played.sent.lines, whole.sent.lines, "{cut:?}");
            assert_eq!(played.ends, whole.ends, "{cut:?}");
            repeated += played.sent.tries - played.sent.lines.len();
        }
    }
    assert!(repeated > 0 || shared, "some died between sending and writing it down, and sent again under the same id");
}
