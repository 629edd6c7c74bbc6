//! An outage longer than `late`, once for each trigger: what happened at its beginning is entered when it ends, and
//! acts no more; after a short one it acts.

use super::START;
use crate::support::instant;
use crate::world::{Kind, World, days, hours, minutes};
use nudged::engine::port::Inbound;
use nudged::engine::{Settings, Swept};
use nudged::model::EndReason;
use serde_json::json;

struct Case {
    trigger: &'static str,
    /// What happens, at `{now}`.
    facts: &'static str,
    /// How long after that it crosses.
    crosses: i64,
    /// Somebody looks once before the outage.
    seen: bool,
}

const CASES: [Case; 8] = [
    Case {
        trigger: "survey: {of: responses, kind: nps, score: {at_most: 6}, settle: 1 hour}",
        facts: "INSERT INTO surveys VALUES (1, 1, 'nps', 3, {now})",
        crosses: 1,
        seen: false,
    },
    Case {
        trigger: "created: {at: created_at}",
        facts: "INSERT INTO accounts VALUES (5, 'New', 'AT', {now})",
        crosses: 0,
        seen: false,
    },
    Case {
        trigger: "query: {sql: \"SELECT account_id, id, placed_at FROM orders\", key: account_id, occasion: id, at: placed_at}",
        facts: "INSERT INTO orders VALUES (1, 1, {now}, 'paid')",
        crosses: 0,
        seen: false,
    },
    // The event is told beside it.
    Case { trigger: "event: {name: signed-up, key: data.who}", facts: "", crosses: 0, seen: false },
    Case {
        trigger: "count: {of: orders, at_least: 2, within: 10 days}",
        facts: "INSERT INTO orders VALUES (1, 1, {now}, 'paid'), (2, 1, {now}, 'paid')",
        crosses: 0,
        seen: false,
    },
    Case {
        trigger: "decline: {of: orders, by: 50, from_at_least: 4, window: 2 days}",
        facts: "INSERT INTO orders VALUES (1, 1, {now}, 'paid'), (2, 1, {now}, 'paid'), (3, 1, {now}, 'paid'), (4, 1, {now}, 'paid')",
        crosses: 48,
        seen: false,
    },
    Case {
        trigger: "segment: {when: {country: DE}, leaves: true, min_out: 2 hours}",
        facts: "UPDATE accounts SET country_code = 'AT' WHERE id = 1",
        crosses: 2,
        seen: true,
    },
    Case {
        trigger: "inactivity: {of: orders, for: 1 day}",
        facts: "INSERT INTO orders VALUES (1, 1, {now}, 'paid')",
        crosses: 24,
        seen: false,
    },
];

async fn watched(trigger: &str) -> World {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    let long_ago = world.crm.time(world.ago(days(100)));
    for customer in 0..4 {
        world.crm.run(&format!("INSERT INTO accounts VALUES ({customer}, 'C', 'DE', {long_ago})")).await;
    }
    let rule = format!(
        "version: 1\nid: watched\nmode: live\npurpose: service\nfor_each: customer\nto: main_contact\ntrigger:\n  {trigger}\n\
         check_every: 1 hour\nlate: within 2 days\nsteps:\n  - webhook: {{to: sink}}\n"
    );
    world.load(&[("watched.yaml", &rule)]).await;
    world.pass(hours(1)).await;
    assert_eq!(world.enrollments().await.len(), 0);
    world
}

/// What one sweep found: matched, too late, newly entered.
async fn swept(world: &World) -> (u64, u64, u64) {
    match world.engine.sweep_rule(&"watched".into()).await.unwrap().remove(0) {
        Swept::Done(report) => (report.matched, report.late, report.entered),
        other => panic!("{other:?}"),
    }
}

async fn after_an_outage(case: &Case, lasts: jiff::SignedDuration) -> (World, (u64, u64, u64)) {
    let world = watched(case.trigger).await;
    world.clock.advance(minutes(1));
    if case.facts.is_empty() {
        let body = json!({"data": {"who": 1}});
        let event = Inbound { name: "signed-up".into(), id: "1".into(), received_at: world.now(), body };
        assert!(world.store.accept(&event).await.unwrap());
    } else {
        world.crm.run(&case.facts.replace("{now}", &world.crm.time(world.now()))).await;
    }
    if case.seen {
        assert_eq!(swept(&world).await, (0, 0, 0), "{}", case.trigger);
    }
    world.clock.advance(hours(case.crosses) + lasts);
    let found = swept(&world).await;
    world.engine.dispatch_due().await.unwrap();
    (world, found)
}

#[tokio::test]
async fn after_an_outage_longer_than_late_a_match_is_entered_and_does_not_act() {
    for case in &CASES {
        let (world, found) = after_an_outage(case, days(3)).await;
        assert_eq!(found, (1, 1, 1), "{}", case.trigger);
        assert_eq!(world.webhooks.take().len(), 0, "{}", case.trigger);
        let ended: Vec<_> = world.enrollments().await.into_iter().map(|view| view.ended).collect();
        assert_eq!(ended, [Some(EndReason::Late)], "{}", case.trigger);
        world.pass(hours(1)).await;
        assert_eq!(world.enrollments().await.len(), 1, "{}: it is in the ledger", case.trigger);
        assert_eq!(world.webhooks.take().len(), 0, "{}", case.trigger);
    }
}

#[tokio::test]
async fn after_a_short_outage_it_acts() {
    for case in &CASES {
        let (world, found) = after_an_outage(case, days(1)).await;
        assert_eq!(found, (1, 0, 1), "{}", case.trigger);
        assert_eq!(world.webhooks.take().len(), 1, "{}", case.trigger);
    }
}

/// A condition and a value have no history: their edge is when somebody looks, which is never late.
#[tokio::test]
async fn what_has_no_history_crosses_when_it_is_seen() {
    for trigger in ["segment: {when: {country: AT}}", "changed: {field: country, to: AT}"] {
        let facts = "UPDATE accounts SET country_code = 'AT' WHERE id = 1";
        let case = Case { trigger, facts, crosses: 0, seen: false };
        let (world, found) = after_an_outage(&case, days(3)).await;
        assert_eq!(found, (1, 0, 1), "{trigger}");
        assert_eq!(world.webhooks.take().len(), 1, "{trigger}");
    }
}
