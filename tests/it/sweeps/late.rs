//! An outage longer than `late`, once for each trigger: what happened at its beginning is entered when it ends, and
//! acts no more; after a short one it acts.

use super::START;
use crate::support::instant;
use crate::world::{Kind, World, days, hours, minutes};
use jiff::SignedDuration;
use nudged::engine::port::Inbound;
use nudged::engine::{Settings, Swept};
use nudged::model::EndReason;
use serde_json::json;

const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::MariaDb];

#[derive(Clone, Copy)]
struct Case {
    trigger: &'static str,
    /// What happens, at `{now}`.
    facts: &'static str,
    /// How long after that it crosses.
    crosses: i64,
    /// Somebody looks once before the outage.
    seen: bool,
}

const CASES: [Case; 12] = [
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
    Case {
        trigger: "abandoned: {of: orders, open: {status: paid}, idle: 2 hours}",
        facts: "INSERT INTO orders VALUES (1, 1, {now}, 'paid')",
        crosses: 2,
        seen: false,
    },
    Case {
        trigger: "date: {field: renews_on, at: \"09:00\"}",
        facts: "INSERT INTO subscriptions VALUES (1, 1, 1, 'active', '2026-10-11')",
        crosses: 23,
        seen: false,
    },
    Case {
        trigger: "yearly: {field: renews_on, at: \"09:00\"}",
        facts: "INSERT INTO subscriptions VALUES (1, 1, 1, 'active', '2021-10-11')",
        crosses: 23,
        seen: false,
    },
    // For whoever is there: one.
    Case {
        trigger: "schedule: {cron: \"0 12 10 * *\"}",
        facts: "DELETE FROM accounts WHERE id <> 1",
        crosses: 2,
        seen: false,
    },
];

/// One webhook; a rule on a date says when, around the date.
fn steps_of(trigger: &str) -> &'static str {
    if trigger.starts_with("date") {
        "offsets:\n  on the day:\n    - webhook: {to: sink}\n"
    } else {
        "steps:\n  - webhook: {to: sink}\n"
    }
}

/// Contracts for the triggers that read a date, customers for the others.
fn record_of(trigger: &str) -> &'static str {
    if trigger.contains("renews_on") { "subscription\nto: signatory" } else { "customer\nto: main_contact" }
}

async fn watched(kind: Kind, trigger: &str) -> World {
    let world = World::new(kind, instant(START), Settings::default()).await;
    // No rule runs over an empty table.
    world.crm.run("INSERT INTO subscriptions VALUES (9, 9, 9, 'active', NULL)").await;
    let long_ago = world.crm.time(world.ago(days(100)));
    for customer in 0..4 {
        world.crm.run(&format!("INSERT INTO accounts VALUES ({customer}, 'C', 'DE', {long_ago})")).await;
    }
    let (record, steps) = (record_of(trigger), steps_of(trigger));
    let check = if trigger.starts_with("schedule") { "" } else { "check_every: 1 hour\n" };
    let rule = format!(
        "version: 1\nid: watched\nmode: live\npurpose: service\nfor_each: {record}\ntrigger:\n  {trigger}\n\
         {check}late: within 2 days\n{steps}"
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

async fn after_an_outage(kind: Kind, case: &Case, lasts: SignedDuration) -> (World, (u64, u64, u64)) {
    let world = watched(kind, case.trigger).await;
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

/// Every case in a world of its own.
async fn everywhere(check: impl AsyncFn(Kind, &Case)) {
    for kind in KINDS {
        for case in &CASES {
            check(kind, case).await;
        }
    }
}

#[tokio::test]
async fn after_an_outage_longer_than_late_a_match_is_entered_and_does_not_act() {
    everywhere(async |kind, case| {
        let told = format!("{kind:?}: {}", case.trigger);
        let (world, found) = after_an_outage(kind, case, days(3)).await;
        assert_eq!(found, (1, 1, 1), "{told}");
        assert_eq!(world.webhooks.take().len(), 0, "{told}");
        let ended: Vec<_> = world.enrollments().await.into_iter().map(|view| view.ended).collect();
        assert_eq!(ended, [Some(EndReason::Late)], "{told}");
        world.pass(hours(1)).await;
        assert_eq!(world.enrollments().await.len(), 1, "{told}: it is in the ledger");
        assert_eq!(world.webhooks.take().len(), 0, "{told}");
    })
    .await;
}

#[tokio::test]
async fn after_a_short_outage_it_acts() {
    everywhere(async |kind, case| {
        let (world, found) = after_an_outage(kind, case, days(1)).await;
        assert_eq!(found, (1, 0, 1), "{kind:?}: {}", case.trigger);
        assert_eq!(world.webhooks.take().len(), 1, "{kind:?}: {}", case.trigger);
    })
    .await;
}

/// A condition and a value have no history: their edge is when somebody looks, which is never late.
#[tokio::test]
async fn what_has_no_history_crosses_when_it_is_seen() {
    for kind in KINDS {
        for trigger in ["segment: {when: {country: AT}}", "changed: {field: country, to: AT}"] {
            let facts = "UPDATE accounts SET country_code = 'AT' WHERE id = 1";
            let case = Case { trigger, facts, crosses: 0, seen: false };
            let (world, found) = after_an_outage(kind, &case, days(3)).await;
            assert_eq!(found, (1, 0, 1), "{kind:?}: {trigger}");
            assert_eq!(world.webhooks.take().len(), 1, "{kind:?}: {trigger}");
        }
    }
}

/// What crossed six and what crossed fifty days before the rule was loaded, as facts of customers 1 and 2.
const PAST: [(&str, &str); 7] = [
    (
        "survey: {of: responses, kind: nps, score: {at_most: 6}}",
        "INSERT INTO surveys VALUES (1, 1, 'nps', 3, {six}), (2, 2, 'nps', 3, {fifty})",
    ),
    ("created: {at: created_at}", "UPDATE accounts SET created_at = CASE id WHEN 1 THEN {six} ELSE {fifty} END"),
    (
        "query: {sql: \"SELECT account_id, id, placed_at FROM orders\", key: account_id, occasion: id, at: placed_at}",
        "INSERT INTO orders VALUES (1, 1, {six}, 'paid'), (2, 2, {fifty}, 'paid')",
    ),
    (
        "inactivity: {of: orders, for: 1 hour}",
        "INSERT INTO orders VALUES (1, 1, {six}, 'paid'), (2, 2, {fifty}, 'paid')",
    ),
    (
        "abandoned: {of: orders, open: {status: paid}, idle: 1 hour}",
        "INSERT INTO orders VALUES (1, 1, {six}, 'paid'), (2, 2, {fifty}, 'paid')",
    ),
    (
        "date: {field: renews_on, at: \"09:00\"}",
        "INSERT INTO subscriptions VALUES (1, 1, 1, 'active', '2026-10-04'), (2, 2, 2, 'active', '2026-08-21')",
    ),
    (
        "yearly: {field: renews_on, at: \"09:00\"}",
        "INSERT INTO subscriptions VALUES (1, 1, 1, 'active', '2021-10-04'), (2, 2, 2, 'active', '2021-08-21')",
    ),
];

#[tokio::test]
async fn a_backfill_reaches_as_far_back_as_it_says() {
    for kind in KINDS {
        for (trigger, facts) in PAST {
            for (backfill, expected) in [("none", &[][..]), ("30 days", &["1"]), ("all", &["1", "2"])] {
                let world = World::new(kind, instant(START), Settings::default()).await;
                world.crm.run("INSERT INTO accounts VALUES (1, 'C', 'AT', NULL), (2, 'C', 'AT', NULL)").await;
                world.crm.run("INSERT INTO subscriptions VALUES (9, 9, 9, 'active', NULL)").await;
                let [six, fifty] = [6, 50].map(|ago| world.crm.time(world.ago(days(ago))));
                // PostgreSQL takes what stands in a CASE for text, unless it is told.
                let stamp = |text: String| if kind == Kind::Postgres { format!("{text}::timestamptz") } else { text };
                world.crm.run(&facts.replace("{six}", &stamp(six)).replace("{fifty}", &stamp(fifty))).await;
                let (record, steps) = (record_of(trigger), steps_of(trigger));
                let rule = format!(
                    "version: 1\nid: watched\nmode: live\npurpose: service\nfor_each: {record}\ntrigger:\n  {trigger}\n\
                     check_every: 1 hour\nlate: within 5 years\nbackfill: {backfill}\n{steps}"
                );
                world.load(&[("watched.yaml", &rule)]).await;
                world.pass(hours(1)).await;
                let mut found: Vec<_> =
                    world.enrollments().await.into_iter().map(|view| view.record.unwrap().key.to_string()).collect();
                found.sort();
                assert_eq!(found, expected, "{kind:?}: {trigger}, backfill: {backfill}");
                assert_eq!(world.webhooks.take().len(), expected.len(), "{kind:?}: {trigger}, backfill: {backfill}");
            }
        }
    }
}

/// A task is never skipped, also where a later offset of the same date has been reached.
#[tokio::test]
async fn an_overdue_task_is_written_beside_the_latest_offset() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.crm.run("INSERT INTO subscriptions VALUES (9, 9, 9, 'active', NULL)").await;
    let rule = "version: 1\nid: watched\nmode: live\npurpose: service\nfor_each: subscription\nto: signatory\n\
                trigger:\n  date: {field: renews_on, at: \"09:00\"}\ncheck_every: 1 hour\noffsets:\n  \
                5 days before:\n    - task: {title: Call them}\n  4 days before:\n    - webhook: {to: sink}\n  \
                3 days before:\n    - webhook: {to: sink}\n";
    world.load(&[("watched.yaml", rule)]).await;
    world.pass(hours(1)).await;
    world.crm.run("UPDATE subscriptions SET renews_on = '2026-10-19' WHERE id = 9").await;
    world.pass(days(7)).await;
    assert_eq!(world.webhooks.take().len(), 1, "the latest");
    let ended: Vec<_> =
        world.enrollments().await.into_iter().map(|view| (view.occasion.unwrap(), view.ended)).collect();
    let end = |offset: &str| ended.iter().find(|(occasion, _)| occasion.as_str().ends_with(offset)).unwrap().1;
    assert_eq!(end("-5 days"), Some(EndReason::Completed), "{ended:?}");
    assert_eq!(end("-4 days"), Some(EndReason::Late));
    assert_eq!(end("-3 days"), Some(EndReason::Completed));
    let tasks = world.deliveries().await.into_iter().filter(|(state, _)| state == "sent").count();
    assert_eq!(tasks, 2, "{:?}", world.deliveries().await);
}
