//! `why`, with what the state remembers, and `plan`, with what a change would do to whom.

use super::{nothing, previewer};
use crate::support::instant;
use crate::world::{Kind, World, days, hours};
use nudged::engine::Settings;
use nudged::engine::port::{DeliveryFilter, Inbound};
use nudged::engine::rehearse::{Change, Comparer, Comparison, Happened, Part, People, Simulator, why};
use nudged::model::{AddressHash, Channel, Lane, Outcome, RecordId, RuleId, Suppression, SuppressionReason};
use nudged::store::sqlite::SqliteStore;
use std::sync::Arc;

const START: &str = "2026-06-01T08:00:00Z";
const HELLO: (&str, &str) = ("templates/hello.md", "---\nsubject: We miss you, {{ to.first_name }}\n---\nHello\n");
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

fn silent(for_days: u32, more: &str) -> String {
    format!(
        "version: 1
id: win-back
description: Silent for a while.
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  inactivity: {{of: orders, for: {for_days} days}}
where:
  - country: [AT, DE]
  - responses: {{none: {{}}, within_last: 30 days}}
guard: {{floor: 1000}}
check_every: 1 hour
{more}
steps:
  - email: {{template: hello}}
  - wait: {{for: 7 days}}
  - webhook: {{to: sink}}
"
    )
}

/// Customers 1, 2, … whose last order is 30 days old in 1, 2, … hours, but for 9, who has been silent for long.
async fn world(rule: &str) -> World {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    let mut sql = Vec::new();
    for id in 1..=9 {
        let ordered = world.crm.time(if id == 9 { world.ago(days(200)) } else { world.ago(days(30)) + hours(id) });
        let country = if id == 2 { "CH" } else { "AT" };
        let agreed = id != 3;
        sql.push(format!(
            "INSERT INTO accounts VALUES ({id}, 'A{id}', '{country}', {ordered});
             INSERT INTO contacts VALUES ({id}, {id}, 'p{id}@x.example', 'P{id}', 'Europe/Vienna', {agreed});
             INSERT INTO orders VALUES ({id}, {id}, {ordered}, 'paid');"
        ));
    }
    sql.push(format!("INSERT INTO surveys VALUES (1, 5, 'nps', 5, {})", world.crm.time(world.ago(days(3)))));
    world.crm.run(&sql.concat()).await;
    world.load(&[("win-back.yaml", rule), HELLO, LAYOUT]).await;
    world
}

fn customer(id: &str) -> RecordId {
    RecordId { tenant: "".into(), entity: "customer".into(), key: id.into() }
}

/// Code and sentence of the one rule.
async fn told(world: &World, id: &str) -> (&'static str, String) {
    let (generation, sender) = (world.generation(), nothing());
    let since = world.ago(days(30));
    let stories = why(&previewer(world, &generation, &sender), &customer(id), since).await.unwrap();
    assert_eq!(stories.len(), 1);
    (stories[0].outcome.code, stories[0].outcome.text.clone())
}

#[tokio::test]
async fn every_rule_says_what_it_did_or_why_it_did_not() {
    let world = world(&silent(30, "")).await;
    let hash: AddressHash = world.store.secret().address_hash(Channel::Email, "p4@x.example");
    let (channel, reason) = (Channel::Email, SuppressionReason::Complained);
    let entry = Suppression { hash, channel, address: None, reason, since: world.now() };
    world.store.suppress(&[entry]).await.unwrap();
    world.pass(hours(6)).await;

    let (code, text) = told(&world, "1").await;
    assert_eq!(code, "sent");
    assert!(text.contains("email-hello sent") || text.contains("hello sent"), "{text}");
    assert!(
        text.contains("(ok)") && text.contains("in its steps, the next at 2026-06-08"),
        "the server's reply: {text}"
    );
    let (code, text) = told(&world, "2").await;
    assert!(code == "fails" && text.contains("`country: [AT, DE]` is not true (now country = CH)"), "{text}");
    let (code, text) = told(&world, "3").await;
    assert!(code == "skipped" && text.contains("left out") && text.contains("no_consent"), "{text}");
    let (code, text) = told(&world, "4").await;
    assert!(code == "skipped" && text.contains("suppressed: complained"), "{text}");
    let (code, text) = told(&world, "5").await;
    assert!(code == "fails" && text.contains("(now responses = 1)"), "{text}");
    let (code, text) = told(&world, "8").await;
    assert!(code == "not_yet" && text.contains("only time is missing; it crosses 2026-06-01 16:00Z"), "{text}");
    let (code, text) = told(&world, "9").await;
    assert!(code == "before_activation" && text.contains("the rule looks at what crosses after"), "{text}");
    assert_eq!(told(&world, "77").await.0, "no_record");

    // The order that came since hides the crossing; what the state remembers of it stays.
    let ordered = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES (50, 2, {ordered}, 'paid')")).await;
    let (code, text) = told(&world, "2").await;
    assert!(code == "fails" && text.starts_with("crossed 2026-06-01 10:00Z, but `country: [AT, DE]`"), "{text}");

    world.store.set_paused(&RuleId::from("win-back"), true).await.unwrap();
    assert!(told(&world, "8").await.1.ends_with("an operator paused the rule"));
    world.load(&[LAYOUT, HELLO]).await;
    let (code, text) = told(&world, "1").await;
    assert!(code == "sent" && text.contains("sent"), "a rule that is gone is still remembered: {text}");
}

async fn compared(world: &World, files: &[(&str, &str)]) -> Comparison {
    let (running, new, sender) = (world.generation(), world.build(files), nothing());
    let comparer = Comparer { previewer: previewer(world, &new, &sender), running: Some(&running), batch: 2, names: 3 };
    comparer.compare().await.unwrap()
}

fn names(people: &People) -> Vec<&str> {
    people.named.iter().map(|record| record.key.as_str()).collect()
}

#[tokio::test]
async fn a_plan_names_who_newly_matches_who_no_longer_does_and_who_is_under_way() {
    let world = world(&silent(30, "")).await;
    world.pass(hours(4)).await;
    let same = compared(&world, &[("win-back.yaml", &silent(30, "")), HELLO, LAYOUT]).await;
    assert!(same.rules.is_empty() && same.unchanged == 1 && same.files.is_empty());

    // From 30 days to 29: 6, 7 and 8 fell silent in between; 2 and 5 fail `where` as before.
    let shorter = silent(29, "backfill: 10 days");
    let plan = compared(&world, &[("win-back.yaml", &shorter), HELLO, LAYOUT]).await;
    let [rule] = plan.rules.as_slice() else { panic!("one rule: {plan:?}") };
    assert_eq!(rule.change, Change::Changed(vec![Part::WhoMatches]));
    assert_eq!((rule.before, rule.after, rule.newly.count, rule.no_longer.count), (4, 7, 3, 0));
    assert_eq!(names(&rule.newly), ["6", "7", "8"]);
    assert_eq!(rule.at_once, 3, "`backfill` takes them in");
    assert_eq!((rule.under_way.people.count, rule.under_way.ending.count), (3, 0));
    assert_eq!(names(&rule.under_way.people).len(), 3);
    let none = compared(&world, &[("win-back.yaml", &silent(29, "")), HELLO, LAYOUT]).await;
    assert_eq!(none.rules[0].at_once, 0, "`backfill: none` leaves them out");

    let germans = silent(30, "on_change: cancel").replace("[AT, DE]", "[DE]").replace("7 days", "9 days");
    let plan = compared(&world, &[("win-back.yaml", &germans), HELLO, LAYOUT]).await;
    let rule = &plan.rules[0];
    assert_eq!(rule.change, Change::Changed(vec![Part::WhoMatches, Part::Steps]));
    assert_eq!((rule.newly.count, rule.no_longer.count), (0, 4));
    assert_eq!(rule.under_way.ending.count, 3, "none of them is German");
    assert!(rule.under_way.fate.contains("on_change: cancel"));

    let hello = (HELLO.0, "---\nsubject: Hi\n---\nHi\n");
    let renamed = silent(30, "was: [win-back]").replace("id: win-back", "id: win-back-2");
    let plan = compared(&world, &[("win-back.yaml", &renamed), hello, LAYOUT]).await;
    assert!(matches!(&plan.rules[0].change, Change::Renamed { from, .. } if from.as_str() == "win-back"), "{plan:?}");
    assert_eq!(plan.files, ["templates/hello.md"]);

    let plan = compared(&world, &[HELLO, LAYOUT]).await;
    assert_eq!((&plan.rules[0].change, plan.rules[0].no_longer.count), (&Change::Removed, 4));
    assert!(plan.rules[0].under_way.fate.contains("on_delete: drain"));
}

/// A schedule has no past: nobody is left out of it.
#[tokio::test]
async fn a_plan_tells_when_a_schedule_reaches_those_it_newly_matches() {
    let world = world(&silent(30, "")).await;
    world.pass(hours(4)).await;
    let mondays = "version: 1\nid: mondays\nmode: live\npurpose: staff\nfor_each: customer\n\
                   trigger: {schedule: {cron: \"0 9 * * MON\"}}\nsteps: [webhook: {to: sink}]\n";
    let (silent, paused) = (silent(30, ""), mondays.replace("live", "paused"));
    let plan = compared(&world, &[("win-back.yaml", &silent), ("m.yaml", mondays), HELLO, LAYOUT]).await;
    let [rule] = plan.rules.as_slice() else { panic!("one rule: {plan:?}") };
    let monday = rule.planned.expect("it is planned");
    assert!(rule.newly.count > 0 && rule.at_once == 0 && monday > world.now(), "{rule:?}");
    assert_eq!(monday.to_zoned(jiff::tz::TimeZone::UTC).weekday(), jiff::civil::Weekday::Monday);
    let plan = compared(&world, &[("win-back.yaml", &silent), ("m.yaml", &paused), HELLO, LAYOUT]).await;
    assert_eq!(plan.rules[0].planned, None);
}

#[tokio::test]
async fn a_plan_names_whom_a_rule_newly_acts_on_in_the_lane_it_moves_to() {
    let live = silent(30, "backfill: all");
    let shadow = live.replace("mode: live", "mode: shadow");
    let world = world(&shadow).await;
    world.pass(hours(6)).await;
    let planned = async |text: &str| {
        let plan = compared(&world, &[("win-back.yaml", text), HELLO, LAYOUT]).await.rules.remove(0);
        assert_eq!(plan.change, Change::Changed(vec![Part::Mode]));
        plan
    };
    let lanes = async || {
        let entered = world.enrollments().await;
        [Lane::Shadow, Lane::Live].map(|lane| entered.iter().filter(|entered| entered.lane == lane).count() as u64)
    };
    let of = DeliveryFilter { lane: Some(Lane::Shadow), limit: 20, ..DeliveryFilter::default() };
    let recorded = world.store.deliveries(&of).await.unwrap();
    let to_whom = "to p1@x.example: We miss you, P1";
    assert!(recorded.iter().any(|one| one.state == "recorded" && one.detail == to_whom), "{recorded:?}");
    // 2 is Swiss, 5 has answered, 7 and 8 are not silent yet.
    let plan = planned(&live).await;
    assert_eq!((plan.moved_to, plan.before, plan.after, plan.at_once), (Some(Lane::Live), 0, 5, 5));
    assert_eq!((plan.newly.count, names(&plan.newly)), (5, vec!["1", "3", "4"]));
    let fresh = planned(&silent(30, "")).await;
    assert_eq!((fresh.newly.count, fresh.at_once), (5, 0), "`backfill: none` begins anew in that lane");
    assert_eq!(lanes().await, [5, 0]);
    world.load(&[("win-back.yaml", &live), HELLO, LAYOUT]).await;
    world.pass(hours(1)).await;
    assert_eq!(lanes().await, [5, 6], "7 is silent by now");

    let plan = planned(&shadow).await;
    let (live_ones, elsewhere) = (&plan.under_way, plan.under_way.elsewhere.unwrap());
    assert_eq!((live_ones.people.count, live_ones.fate), (6, "are held while its file says `mode: shadow`"));
    assert_eq!((elsewhere.lane, elsewhere.count), (Lane::Shadow, 5), "nobody is counted twice");
    assert!(elsewhere.fate.starts_with("go on"), "{elsewhere:?}");
    assert_eq!(
        (plan.moved_to, plan.before, plan.newly.count),
        (Some(Lane::Shadow), 5, 1),
        "it knows five from earlier"
    );
    assert_eq!((names(&plan.newly), plan.at_once), (vec!["7"], 1));

    let paused = live.replace("mode: live", "mode: paused");
    assert_eq!(planned(&paused).await.moved_to, None, "nobody is acted on");
    world.load(&[("win-back.yaml", &paused), HELLO, LAYOUT]).await;
    world.pass(hours(2)).await;
    let plan = planned(&live).await;
    assert_eq!((plan.moved_to, plan.before, plan.after), (Some(Lane::Live), 6, 7));
    assert_eq!((names(&plan.newly), plan.at_once), (vec!["8"], 1), "who fell silent meanwhile");
    world.load(&[("win-back.yaml", &live), HELLO, LAYOUT]).await;
    world.pass(hours(1)).await;
    assert_eq!(lanes().await, [5, 7]);
}

/// A rule that watches, over customers whose orders and answers [`world`] has made.
fn watching(trigger: &str, more: &str) -> String {
    silent(30, more).replace("  inactivity: {of: orders, for: 30 days}\n", &format!("  {trigger}\n"))
}

#[tokio::test]
async fn a_plan_counts_episodes_by_who_is_inside_now() {
    let world = world(&silent(30, "")).await;
    world.pass(hours(1)).await;
    for id in 1..=4 {
        let at = world.crm.time(world.ago(days(3)) + hours(id));
        world.crm.run(&format!("INSERT INTO orders VALUES ({}, {id}, {at}, 'paid')", 100 + id)).await;
    }
    // Customers 1, 3 and 4; 2 is Swiss.
    let files = |text: &str| [("win-back.yaml", text.to_owned())];
    let planned = async |text: &str| {
        let [(path, text)] = files(text);
        compared(&world, &[(path, &text), HELLO, LAYOUT]).await.rules.remove(0)
    };
    let count = planned(&watching("count: {of: orders, at_least: 1, within: 7 days}", "backfill: 4 days")).await;
    assert_eq!((count.uncounted, count.after, count.at_once), (None, 3, 3));
    let count = planned(&watching("count: {of: orders, at_least: 1, within: 7 days}", "")).await;
    assert_eq!((count.after, count.at_once), (3, 0), "they came inside before it looks");
    let segment = planned(&watching("segment: {when: {orders: {some: {}, within_last: 7 days}}}", "")).await;
    assert_eq!((segment.after, segment.at_once), (3, 0));
    let segment = watching("segment: {when: {orders: {some: {}, within_last: 7 days}}}", "backfill: all");
    assert_eq!(planned(&segment).await.at_once, 3);
    let decline = planned(&watching("decline: {of: orders, by: 50, from_at_least: 1, window: 25 days}", "")).await;
    // Those without a new order, but for 5, who has answered lately, and 9, whose order is too long ago.
    assert_eq!((names(&decline.newly).len(), decline.after), (3, 3), "{decline:?}");
    for trigger in ["changed: {field: country}", "segment: {when: {country: AT}, leaves: true}"] {
        let plan = planned(&watching(trigger, "")).await;
        assert!(plan.uncounted.is_some_and(|reason| reason.contains("only sweeps")), "{plan:?}");
        assert_eq!((plan.before, plan.after), (0, 0));
    }
}

#[tokio::test]
async fn a_plan_counts_events_that_were_kept() {
    let world = world(&silent(30, "")).await;
    for id in [6, 2, 7, 7, 77] {
        let number = world.now().as_microsecond();
        let event = Inbound {
            name: "signed-up".into(),
            id: format!("msg_{number}"),
            received_at: world.now(),
            body: serde_json::json!({"customer": id}),
        };
        world.store.accept(&event).await.unwrap();
        world.clock.advance(hours(1));
    }
    let text = watching("event: {name: signed-up, key: customer}", "backfill: 10 days");
    let plan = compared(&world, &[("win-back.yaml", &text), HELLO, LAYOUT]).await.rules.remove(0);
    assert_eq!((plan.after, plan.at_once, names(&plan.newly)), (2, 2, vec!["6", "7"]), "{plan:?}");
}

#[tokio::test]
async fn everybody_under_way_is_counted_however_many_they_are() {
    let unguarded = silent(30, "").replace("floor: 1000", "floor: 100000");
    let world = world(&unguarded).await;
    let ordered = world.crm.time(world.ago(days(30)) + hours(1));
    // More than are read at once.
    let many = |table: &str, row: &str| {
        format!(
            "WITH RECURSIVE n(id) AS (SELECT 1000 UNION ALL SELECT id + 1 FROM n WHERE id < 11200)
             INSERT INTO {table} SELECT {row} FROM n;"
        )
    };
    let sql = [
        "CREATE INDEX of_contacts ON contacts (account_id); CREATE INDEX of_orders ON orders (account_id);".to_owned(),
        many("accounts", &format!("id, 'A' || id, 'AT', {ordered}")),
        many("contacts", "id, id, 'p' || id || '@x.example', 'P', NULL, TRUE"),
        many("orders", &format!("id, id, {ordered}, 'paid'")),
    ];
    world.crm.run(&sql.concat()).await;
    world.clock.advance(hours(2));
    world.engine.sweep_due().await.unwrap();
    let germans = unguarded.replace("[AT, DE]", "[DE]");
    let (running, sender) = (world.generation(), nothing());
    let new = world.build(&[("win-back.yaml", &germans), HELLO, LAYOUT]);
    let look = previewer(&world, &new, &sender);
    let comparer = Comparer { previewer: look, running: Some(&running), batch: 4_000, names: 3 };
    let plan = comparer.compare().await.unwrap().rules.remove(0);
    assert_eq!(plan.under_way.people.count, 10_202);
    assert_eq!((plan.under_way.ending.count, names(&plan.under_way.people).len()), (10_202, 3));
}

#[tokio::test]
async fn a_simulation_comes_to_what_then_happens() {
    let world = world(&silent(30, "")).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("state.db"), world.now()).await.unwrap());
    let simulator = Simulator {
        source: world.source.clone(),
        store,
        generation: world.generation(),
        settings: Settings::default(),
        from: world.now(),
        until: world.now() + days(8),
        only: vec![RuleId::from("win-back")],
    };
    let mut foretold = Vec::new();
    let counts = simulator.run(|happened| {
        if let Happened::Attempt(attempt) = happened {
            foretold.push(format!("{} {} {}", attempt.record.unwrap(), attempt.step, attempt.outcome));
        }
    });
    let counts = counts.await.unwrap();
    assert_eq!(world.mail.mails(), [], "nothing was sent");
    assert!(world.enrollments().await.is_empty(), "nothing was written");
    for _ in 0..8 * 24 {
        world.pass(hours(1)).await;
    }
    let attempts = world.store.attempts(0, 1_000).await.unwrap();
    let mut happened: Vec<String> =
        attempts.iter().map(|a| format!("{} {} {}", a.record.clone().unwrap(), a.step, a.outcome)).collect();
    happened.sort();
    foretold.sort();
    assert_eq!(foretold, happened);
    let days = &counts[&RuleId::from("win-back")];
    assert_eq!((days.matched, days.outcomes["skipped"]), (6, 1));
    assert_eq!(days.outcomes["sent"], 11, "five mails, and six calls a week later");
}

#[tokio::test]
async fn a_simulation_asks_the_guard_and_does_not_wait_for_ever() {
    let world = world(&silent(30, "").replace("{floor: 1000}", "{per_day: 2}")).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("state.db"), world.now()).await.unwrap());
    let simulator = Simulator {
        source: world.source.clone(),
        store,
        generation: world.generation(),
        settings: Settings::default(),
        from: world.now(),
        until: world.now() + days(3),
        only: Vec::new(),
    };
    let counts = simulator.run(|_| {}).await.unwrap();
    let held = &counts[&RuleId::from("win-back")].held;
    assert!(held.iter().any(|reason| reason.contains("per_day")), "{held:?}");
}

#[tokio::test]
async fn a_sequence_that_stands_still_is_told_with_its_step_the_reason_and_the_way_on() {
    use nudged::engine::rehearse::explain;
    for (outcome, code, what) in [
        (Outcome::Permanent { reason: "550 no such user".into() }, "failed", "which failed for good"),
        (Outcome::Unknown { reason: "550 no such user".into() }, "unknown", "which may or may not have arrived"),
    ] {
        let world = world(&silent(30, "")).await;
        world.mail.answer([outcome]);
        world.pass(hours(2)).await;
        let (told_code, text) = told(&world, "1").await;
        let says = |text: &str| {
            text.contains(&format!("stopped at email-hello, {what} (550 no such user): `nudged deliveries retry "))
                && text.contains("`nudged deliveries discard ")
                && !text.contains("the next at")
        };
        assert!(told_code == code && says(&text), "{told_code}: {text}");
        let (generation, sender) = (world.generation(), nothing());
        let look = previewer(&world, &generation, &sender);
        let explained = explain(&look, &RuleId::from("win-back"), &customer("1")).await.unwrap();
        assert!(says(&explained.stuck.unwrap().to_string()));
        assert!(explained.steps.is_empty(), "nothing comes after it by itself: {:?}", explained.steps);
    }
}
