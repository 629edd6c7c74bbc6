//! What `explain` says agrees with what happens: however much crossed, whoever stopped the rule, and where only time
//! is missing.

use super::{nothing, previewer};
use crate::support::instant;
use crate::world::{Kind, World, days, hours, minutes};
use jiff::Timestamp;
use nudged::engine::port::{Inbound, Lease};
use nudged::engine::rehearse::{Explanation, Later, Verdict, explain, explain_within, why};
use nudged::engine::{Previewer, Settings};
use nudged::model::{Lane, RecordId, RuleId};
use nudged::rule::operands::Section;
use serde_json::json;
use std::time::Duration;

const START: &str = "2026-06-01T08:00:00Z";

fn rule(trigger: &str, more: &str) -> String {
    format!(
        "version: 1
id: told
description: Told.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  {trigger}
{more}guard: {{floor: 1000}}
check_every: 1 hour
steps:
  - webhook: {{to: sink}}
"
    )
}

/// One customer, there for 100 days.
async fn world(text: &str) -> World {
    world_at(START, text).await
}

async fn world_at(at: &str, text: &str) -> World {
    let world = World::new(Kind::Sqlite, instant(at), Settings::default()).await;
    let since = world.crm.time(world.ago(days(100)));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts VALUES (1, 'Ada', 'AT', {since});
             INSERT INTO contacts VALUES (1, 1, 'ada@x.example', 'Ada', 'Europe/Vienna', TRUE);"
        ))
        .await;
    world.load(&[("told.yaml", text)]).await;
    world
}

fn ada() -> RecordId {
    RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() }
}

async fn explained(world: &World) -> Explanation {
    let (generation, sender) = (world.generation(), nothing());
    let look = Previewer { limit: 20, ..previewer(world, &generation, &sender) };
    explain(&look, &RuleId::from("told"), &ada()).await.unwrap()
}

async fn verdict(world: &World) -> Verdict {
    explained(world).await.verdict
}

async fn answered(world: &World, id: i64, at: Timestamp) {
    let at = world.crm.time(at);
    world.crm.run(&format!("INSERT INTO surveys VALUES ({id}, 1, 'nps', 3, {at})")).await;
}

async fn ordered(world: &World, ids: std::ops::Range<i64>, at: Timestamp) {
    let at = world.crm.time(at);
    for id in ids {
        world.crm.run(&format!("INSERT INTO orders VALUES ({id}, 1, {at}, 'paid')")).await;
    }
}

#[tokio::test]
async fn of_many_crossings_the_newest_is_told() {
    let world = world(&rule("survey: {of: responses, score: {at_most: 6}, settle: none}", "")).await;
    for id in 1..=30 {
        answered(&world, id, world.ago(days(60)) + hours(id)).await;
    }
    assert!(matches!(verdict(&world).await, Verdict::BeforeActivation { .. }));
    answered(&world, 31, world.now() + minutes(30)).await;
    world.pass(hours(1)).await;
    let told = explained(&world).await;
    assert_eq!(told.verdict, Verdict::Matched { at: Some(world.now()), again: None });
    assert_eq!(told.crossings.len(), 20, "no more than are asked for");
    assert_eq!(told.crossings[0].crossed_at, world.ago(minutes(30)));
    assert!(told.crossings.is_sorted_by(|newer, older| newer.crossed_at >= older.crossed_at));
}

#[tokio::test]
async fn of_many_events_the_newest_is_told() {
    let world = world(&rule("event: {name: signed-up, key: customer}", "")).await;
    let keep = async |id: i64| {
        let body = json!({"customer": if id % 2 == 0 { 1 } else { 2 }});
        let event = Inbound { name: "signed-up".into(), id: format!("msg_{id}"), received_at: world.now(), body };
        world.store.accept(&event).await.unwrap();
    };
    for id in 1..=60 {
        keep(id).await;
        world.clock.advance(minutes(1));
    }
    world.pass(hours(1)).await;
    world.clock.advance(minutes(1));
    keep(62).await;
    world.clock.advance(minutes(1));
    let crossed_at = world.ago(minutes(1));
    assert_eq!(verdict(&world).await, Verdict::Matches { crossed_at });
    assert_eq!(explained(&world).await.crossings.len(), 20);
    world.turn().await;
    world.pass(hours(1)).await;
    assert!(matches!(verdict(&world).await, Verdict::Matched { at: Some(_), .. }));
}

#[tokio::test]
async fn behind_what_is_over_the_next_crossing_is_told() {
    let trigger = "yearly: {field: created_at, at: \"09:00\"}";
    let world = world_at("2026-06-01T00:23:00Z", &rule(trigger, "")).await;
    // Today is the second of her anniversaries.
    world.crm.run("UPDATE accounts SET created_at = '2024-06-01 12:00:00'").await;
    let (first, second) = (instant("2026-06-01T07:00:00Z"), instant("2027-06-01T07:00:00Z"));
    let told = explained(&world).await;
    assert_eq!(told.verdict, Verdict::NotYet { crosses_at: first });
    assert_eq!(told.steps[0].due_at, first, "not by the anniversary that is over");
    world.clock.set(first);
    world.pass(hours(1)).await;
    assert_eq!(verdict(&world).await, Verdict::Matched { at: Some(world.now()), again: Some(second) });

    let world = of_mondays().await;
    let told = explained(&world).await;
    let monday = instant("2026-06-08T07:00:00Z");
    assert_eq!((told.verdict, told.steps[0].due_at), (Verdict::NotYet { crosses_at: monday }, monday));
    world.pass(days(7)).await;
    let again = Some(instant("2026-06-15T07:00:00Z"));
    assert_eq!(verdict(&world).await, Verdict::Matched { at: Some(world.now()), again });
}

#[tokio::test]
async fn a_creation_that_lies_ahead_is_foretold() {
    let world = world(&rule("created: {at: created_at, settle: 1 day}", "")).await;
    let created_at = world.now() + days(20);
    world.crm.run(&format!("UPDATE accounts SET created_at = {}", world.crm.time(created_at))).await;
    let crosses_at = created_at + days(1);
    let told = explained(&world).await;
    assert_eq!((told.verdict, told.steps[0].due_at), (Verdict::NotYet { crosses_at }, crosses_at));
}

#[tokio::test]
async fn what_a_query_dates_ahead_is_foretold_if_it_says_the_same_then() {
    let sql = |bound: &str| {
        let sql = format!("SELECT account_id, id, placed_at FROM orders WHERE status = 'paid'{bound}");
        rule(&format!("query: {{sql: \"{sql}\", key: account_id, occasion: id, at: placed_at}}"), "")
    };
    let never = Verdict::Awaited { what: "the rule's query returns no row for it".to_owned() };
    for (bound, foretold, comes) in [
        ("", true, true),
        (" AND placed_at > :after AND placed_at <= :until", true, true),
        (" AND placed_at <= :now", true, true),
        (" AND placed_at > :now", false, false),
        (" AND placed_at < date(:now, '+1 day')", true, true),
        // It fails over decades, and says what is so now.
        (" AND (:until < '2030-01-01' OR json(placed_at) IS NULL)", false, true),
    ] {
        let world = world(&sql(bound)).await;
        let crosses_at = world.now() + days(20);
        ordered(&world, 1..2, crosses_at).await;
        let told = explained(&world).await;
        let expected = if foretold { Verdict::NotYet { crosses_at } } else { never.clone() };
        assert_eq!(told.verdict, expected, "{bound}");
        world.pass(days(20)).await;
        let then = verdict(&world).await;
        let matched = Verdict::Matched { at: Some(crosses_at), again: None };
        assert_eq!(then, if comes { matched } else { never.clone() }, "{bound}");
    }
}

#[tokio::test]
async fn who_was_inside_when_the_rule_began_is_told_so_and_no_time_is_made_up() {
    let world = world(&rule("segment: {when: {country: AT}}", "")).await;
    let baseline = world.now();
    world.clock.advance(hours(1));
    assert_eq!(verdict(&world).await, Verdict::InsideBefore { baseline }, "no sweep has looked yet");
    world.turn().await;
    let told = verdict(&world).await;
    assert_eq!(told, Verdict::InsideBefore { baseline });
    assert!(told.to_string().starts_with("no match: it was inside already when the rule began, 2026-"), "{told}");
    world.crm.run("UPDATE accounts SET country_code = 'DE'").await;
    world.pass(hours(1)).await;
    world.pass(days(2)).await;
    world.crm.run("UPDATE accounts SET country_code = 'AT'").await;
    let crossed_at = world.now();
    assert_eq!(verdict(&world).await, Verdict::Matches { crossed_at }, "it comes inside anew");
}

#[tokio::test]
async fn blanks_at_the_ends_of_a_text_are_seen() {
    let world = world(&rule("segment: {when: {name: Ada}}", "")).await;
    world.crm.run("UPDATE accounts SET name = 'Ada '").await;
    let told = verdict(&world).await.to_string();
    assert!(told.ends_with("`name: Ada` is not true (name = \"Ada \")"), "{told}");
    world.crm.run("UPDATE accounts SET name = 'Eve'").await;
    assert!(verdict(&world).await.to_string().ends_with("(name = Eve)"));
}

async fn of_mondays() -> World {
    world(&rule("schedule: {cron: \"0 9 * * MON\"}", "").replace("check_every: 1 hour\n", "")).await
}

#[tokio::test]
async fn who_has_left_a_segment_crosses_once_it_was_out_for_long_enough() {
    let trigger = "segment: {when: {country: AT}, leaves: true, min_out: 1 day}";
    let world = world(&rule(trigger, "")).await;
    let inside = Verdict::Inside { since: None };
    assert_eq!(verdict(&world).await, inside, "no sweep has looked yet");
    world.pass(hours(1)).await;
    assert_eq!(verdict(&world).await, inside, "nobody knows since when");
    assert!(inside.to_string().contains("still inside"), "{inside}");
    world.crm.run("UPDATE accounts SET country_code = 'DE'").await;
    let crosses_at = world.now() + days(1);
    assert_eq!(verdict(&world).await, Verdict::NotYet { crosses_at }, "no sweep has seen it yet");
    world.turn().await;
    world.pass(hours(1)).await;
    let crosses_at = match verdict(&world).await {
        Verdict::NotYet { crosses_at } => crosses_at,
        other => panic!("{other}"),
    };
    world.clock.set(crosses_at);
    world.turn().await;
    world.pass(hours(1)).await;
    assert!(matches!(verdict(&world).await, Verdict::Matched { at: Some(at), .. } if at >= crosses_at));
}

#[tokio::test]
async fn a_decline_that_comes_by_time_alone_is_foretold() {
    let trigger = "decline: {of: orders, by: 50, from_at_least: 4, window: 30 days}";
    let world = world(&rule(trigger, "")).await;
    world.pass(hours(1)).await;
    ordered(&world, 1..5, world.ago(days(10))).await;
    let crosses_at = world.now() + days(20);
    assert_eq!(verdict(&world).await, Verdict::NotYet { crosses_at });
    for _ in 0..21 {
        world.pass(days(1)).await;
    }
    assert!(matches!(verdict(&world).await, Verdict::Matched { at: Some(at), .. } if at >= crosses_at));
}

#[tokio::test]
async fn an_episode_that_came_to_nothing_is_told_after_its_end() {
    let trigger = "count: {of: orders, at_least: 2, within: 2 days}";
    let world = world(&rule(trigger, "where: [{name: Bob}]\nkeep_trying: none\n")).await;
    world.pass(hours(1)).await;
    let crossed_at = world.now() + minutes(30);
    ordered(&world, 1..3, crossed_at).await;
    world.pass(hours(1)).await;
    assert!(matches!(verdict(&world).await, Verdict::Fails { .. }));
    world.pass(days(3)).await;
    world.pass(hours(1)).await;
    assert_eq!(verdict(&world).await, Verdict::Missed { crossed_at, reason: "name: Bob".to_owned() });
    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(&world, &generation, &sender);
    let stories = why(&look, &ada(), world.ago(days(30))).await.unwrap();
    assert!(stories[0].outcome.text.contains("`name: Bob` was not true (now name = Ada)"), "{:?}", stories[0].outcome);
}

#[tokio::test]
async fn a_rule_that_rests_is_no_rule_that_matches() {
    let world = world(&rule("survey: {of: responses, score: {at_most: 6}, settle: none}", "")).await;
    world.pass(hours(1)).await;
    answered(&world, 1, world.now() + minutes(1)).await;
    world.clock.advance(minutes(2));
    let crossed_at = world.ago(minutes(1));
    assert_eq!(verdict(&world).await, Verdict::Matches { crossed_at });
    let id = RuleId::from("told");
    world.store.set_paused(&id, true).await.unwrap();
    let told = verdict(&world).await;
    assert_eq!((told.code(), &told), ("paused", &Verdict::Paused { crossed_at, by_file: false }));
    world.store.set_paused(&id, false).await.unwrap();

    let state = world.store.rule_states().await.unwrap().remove(0);
    let (rule_id, tenant) = (state.rule.clone(), state.tenant.clone());
    let owner = nudged::engine::port::Owner("test".into());
    let lease: Lease = world.store.begin_sweep(&rule_id, Lane::Live, &tenant, &owner).await.unwrap().unwrap();
    world.store.trip(&lease, "its script failed").await.unwrap();
    let told = verdict(&world).await;
    assert_eq!(told.code(), "rule_held");
    assert!(told.to_string().ends_with("but the rule is held: its script failed"), "{told}");
    let (generation, sender) = (world.generation(), nothing());
    let stories = why(&previewer(&world, &generation, &sender), &ada(), world.ago(days(30))).await.unwrap();
    assert_eq!(stories[0].outcome.text, told.to_string(), "and once is enough");

    let paused = rule("survey: {of: responses, score: {at_most: 6}, settle: none}", "").replace("live", "paused");
    world.load(&[("told.yaml", &paused)]).await;
    assert_eq!(verdict(&world).await, Verdict::Paused { crossed_at, by_file: true });
}

#[tokio::test]
async fn where_only_time_is_missing_it_says_when() {
    // She is 100 days old.
    let trigger = "survey: {of: responses, score: {at_most: 6}, settle: none}";
    let old =
        |days: u32, more: &str| rule(trigger, &format!("where: [{{created_at: {{older_than: {days} days}}}}]\n{more}"));
    let world = world(&old(110, "keep_trying: 20 days\n")).await;
    world.pass(hours(1)).await;
    answered(&world, 1, world.now() + minutes(1)).await;
    world.pass(hours(1)).await;
    let holds_from = instant(START) + days(10);
    let told = verdict(&world).await;
    let Verdict::NotTrueYet { holds_at, .. } = &told else { panic!("{told}") };
    assert!(holds_at.duration_since(holds_from).abs() <= minutes(1), "{told}");
    assert!(told.to_string().contains("only time is missing: `created_at: {older_than: 110 days}`"), "{told}");
    for _ in 0..10 {
        world.pass(days(1)).await;
    }
    world.pass(hours(1)).await;
    assert!(matches!(verdict(&world).await, Verdict::Matched { at: Some(at), .. } if at >= holds_from), "as it said");

    world.load(&[("told.yaml", &old(200, "keep_trying: none\n"))]).await;
    world.pass(hours(1)).await;
    answered(&world, 2, world.now() + minutes(1)).await;
    world.pass(hours(1)).await;
    let told = verdict(&world).await;
    let Verdict::Fails { later: Later::At(later), .. } = &told else { panic!("{told}") };
    assert!(later.duration_since(instant(START) + days(100)).abs() <= minutes(1), "{told}");
}

/// Every term has its own instant, and only after the last one all hold.
#[tokio::test]
async fn it_looks_on_however_many_terms_wait_for_time_and_says_where_it_stopped() {
    let term = |days: u32| format!("{{created_at: {{older_than: {days} days}}}}");
    let terms: Vec<String> = (101..=140).map(term).collect();
    let trigger = "survey: {of: responses, score: {at_most: 6}, settle: none}";
    let world = world(&rule(trigger, &format!("where: [{}]\n", terms.join(", ")))).await;
    world.pass(hours(1)).await;
    answered(&world, 1, world.now() + minutes(1)).await;
    world.pass(hours(1)).await;
    let told = verdict(&world).await;
    assert_eq!(told.holds_at().map(|at| at.duration_since(instant(START) + days(40)).abs() <= minutes(1)), Some(true));

    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(&world, &generation, &sender);
    let told = explain_within(&look, &RuleId::from("told"), &ada(), Duration::ZERO).await.unwrap().verdict;
    assert!(matches!(&told, Verdict::Fails { later: Later::NotUntil(until), .. } if *until == world.now()), "{told}");
    assert!(told.to_string().contains("up to 2026-06-01 10:00Z; the look ahead was cut off there"), "{told}");

    world.load(&[("told.yaml", &rule("segment: {when: {created_at: {older_than: 101 days}}}", ""))]).await;
    let generation = world.generation();
    let look = Previewer { generation: &generation, ..look };
    let told = explain_within(&look, &RuleId::from("told"), &ada(), Duration::ZERO).await.unwrap().verdict;
    assert!(matches!(&told, Verdict::NotUntil { .. }), "{told}");
}

#[tokio::test]
async fn terms_are_judged_as_of_the_crossing_that_is_to_come() {
    let trigger = "inactivity: {of: orders, for: 30 days}";
    let terms = "where: [{responses: {none: {}, within_last: 5 days}}, {created_at: {older_than: 105 days}}]\n";
    let world = world(&rule(trigger, terms)).await;
    ordered(&world, 1..2, world.ago(days(20))).await;
    answered(&world, 1, world.ago(days(1))).await;
    let crosses_at = world.now() + days(10);
    assert_eq!(verdict(&world).await, Verdict::NotYet { crosses_at }, "both hold by then");
    world.load(&[("told.yaml", &rule(trigger, "where: [{created_at: {older_than: 120 days}}]\n"))]).await;
    let told = verdict(&world).await;
    assert!(matches!(&told, Verdict::NotYetAndFails { later: Later::At(_), asked: true, .. }), "{told}");
    let once = "where: [{created_at: {older_than: 120 days}}]\nkeep_trying: none\n";
    world.load(&[("told.yaml", &rule(trigger, once))]).await;
    let told = verdict(&world).await;
    assert!(matches!(&told, Verdict::NotYetAndFails { later: Later::At(_), asked: false, .. }), "{told}");
    assert!(told.to_string().ends_with(", when nobody asks any more"), "{told}");
}

#[tokio::test]
async fn who_leaves_a_segment_by_time_alone_is_foretold() {
    let trigger = "segment: {when: {created_at: {within_last: 103 days}}, leaves: true, min_out: 1 day}";
    let world = world(&rule(trigger, "")).await;
    for _ in 0..2 {
        world.turn().await;
        let told = verdict(&world).await;
        let Verdict::NotYet { crosses_at } = told else { panic!("{told}") };
        let expected = instant(START) + days(3) + days(1);
        let seen_after = crosses_at.duration_since(expected);
        assert!(
            seen_after >= minutes(0) && seen_after <= hours(1) + minutes(1),
            "a sweep sees it within the hour: {crosses_at}"
        );
        world.clock.advance(hours(1));
    }
}

#[tokio::test]
async fn what_came_late_is_entered_by_a_sweep_that_looks_back() {
    let world = world(&rule("survey: {of: responses, score: {at_most: 6}, settle: none}", "")).await;
    world.clock.advance(hours(5));
    world.turn().await;
    answered(&world, 1, world.ago(hours(2))).await;
    let crossed_at = world.ago(hours(2));
    assert_eq!(verdict(&world).await, Verdict::MatchesLookingBack { crossed_at });
    world.pass(hours(1)).await;
    let told = verdict(&world).await;
    assert_eq!(told, Verdict::MatchesLookingBack { crossed_at });
    assert!(told.to_string().ends_with("one that looks back enters it, tonight at the latest"), "{told}");
    world.pass(days(1)).await;
    assert!(matches!(verdict(&world).await, Verdict::Matched { .. }));
}

#[tokio::test]
async fn who_comes_into_a_segment_by_time_alone_is_foretold() {
    let world = world(&rule("segment: {when: {created_at: {older_than: 101 days}}}", "")).await;
    world.pass(hours(1)).await;
    let told = verdict(&world).await;
    let Verdict::NotYet { crosses_at } = told else { panic!("{told}") };
    assert!(crosses_at.duration_since(instant(START) + days(1)).abs() <= minutes(1), "{crosses_at}");
}

#[tokio::test]
async fn facts_dated_ahead_count_by_the_time_they_are_due() {
    let text = rule("inactivity: {of: orders, for: 30 days}", "");
    let world = world(&text).await;
    let start = world.now();
    ordered(&world, 1..2, world.ago(days(20))).await;
    let crosses_at = start + days(10);
    assert_eq!(verdict(&world).await, Verdict::NotYet { crosses_at });
    ordered(&world, 2..3, start + days(3)).await;
    let crosses_at = start + days(33);
    assert_eq!(verdict(&world).await, Verdict::NotYet { crosses_at }, "the order of the third day breaks the silence");
    ordered(&world, 3..4, start + days(40)).await;
    assert_eq!(verdict(&world).await, Verdict::NotYet { crosses_at }, "which is over before the next one");
    world.crm.run("DELETE FROM orders WHERE id < 3").await;
    assert_eq!(verdict(&world).await, Verdict::NotYet { crosses_at: start + days(70) }, "nothing but what is to come");

    ordered(&world, 1..2, start - days(20)).await;
    ordered(&world, 2..3, start + days(3)).await;
    for _ in 0..34 {
        world.pass(days(1)).await;
    }
    world.pass(hours(1)).await;
    let entered = world.enrollments().await;
    assert_eq!(entered.len(), 1);
    assert!(entered[0].entered_at.duration_since(crosses_at).abs() <= days(1), "as it said");
}

/// The table of terms says what the steps say.
#[tokio::test]
async fn what_ends_a_sequence_under_way_is_asked_since_its_own_entry() {
    let goal = "goal: {name: answered again, when: {responses: {some: {}, since: entry}}}\n";
    let text = rule("survey: {of: responses, score: {at_most: 6}, settle: none}", goal)
        .replace("steps:\n", "steps:\n  - wait: {for: 2 days}\n");
    let world = world(&text).await;
    answered(&world, 1, world.now() + minutes(30)).await;
    world.pass(hours(1)).await;
    let goal = |told: &Explanation| {
        let term = told.terms.iter().find(|term| term.section == Section::Goal).unwrap();
        (term.holds, term.operands[0].found())
    };
    assert_eq!(goal(&explained(&world).await), (Some(false), "0".to_owned()));
    world.clock.advance(hours(3));
    let at = world.crm.time(world.ago(hours(1)));
    world.crm.run(&format!("INSERT INTO surveys VALUES (2, 1, 'nps', 10, {at})")).await;
    let told = explained(&world).await;
    assert_eq!(goal(&told), (Some(true), "1".to_owned()));
    let reason = told.steps[0].content.as_ref().unwrap_err();
    assert!(reason.starts_with("ended (goal)"), "{reason}");
}
