//! Six weeks before a contract renews: branches, waits of every kind, a split and exits, on both stores; and the same
//! with a process that dies at every settlement.

use super::lives::{At, Fate, Lives};
use super::timeline;
use crate::support::instant;
use crate::world::{Kind, Setup, World};
use nudged::engine::port::Message;
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
}

async fn play(world: &World, fate: &Arc<Fate>) -> Played {
    let (mut lives, mut sent) = (Lives::begin(world, fate), Sent::default());
    let mut changes = CHANGES.iter().map(|(at, sql)| (instant(at), *sql)).peekable();
    loop {
        while let Some((_, sql)) = changes.next_if(|(at, _)| *at <= world.now()) {
            world.crm.run(sql).await;
        }
        let next = lives.turn().await;
        sent.take(world);
        let next = changes.peek().map_or(next, |(at, _)| next.min(*at));
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
    Played { sent, ends }
}

#[tokio::test]
async fn six_weeks_as_they_should_be() {
    let world = world(false).await;
    let played = play(&world, &Fate::kind(At::Settlements)).await;
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
    let one = play(&sqlite, &Fate::kind(At::Settlements)).await;
    let other = play(&postgres, &Fate::kind(At::Settlements)).await;
    assert_eq!((one.sent.lines, one.ends), (other.sent.lines, other.ends));
    assert_eq!(timeline(&sqlite).await, timeline(&postgres).await);
}

/// `every`: some processes do a few things before they die, others one.
#[rstest]
#[tokio::test]
async fn killed_at_every_settlement(#[values(false, true)] shared: bool, #[values(1, 5)] every: usize) {
    let whole = {
        let world = world(shared).await;
        play(&world, &Fate::kind(At::Settlements)).await
    };
    let (world, fate) = (world(shared).await, Fate::deadly(At::Settlements, (every, 0)));
    let played = play(&world, &fate).await;
    assert_eq!(played.sent.lines, whole.sent.lines);
    assert_eq!(played.ends, whole.ends);
    assert!(fate.deaths() * every > 100, "{} deaths", fate.deaths());
    let repeated = played.sent.tries - played.sent.lines.len();
    assert!(repeated > 0, "some died between sending and writing it down, and sent again under the same id");
}
