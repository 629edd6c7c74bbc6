//! Several occasions of one record: what `on_rematch` makes of them live is what a preview shows and a simulation counts.

use super::{nothing, previewer};
use crate::support::instant;
use crate::world::{Kind, Setup, World, days, hours};
use nudged::engine::placing::Place;
use nudged::engine::port::{EnrollmentFilter, Message, SweepId, View};
use nudged::engine::rehearse::{RuleDays, Simulator, explain, released};
use nudged::engine::{Preview, PreviewScope, Prospect, Settings, preview};
use nudged::model::{RecordId, RuleId};
use nudged::store::sqlite::SqliteStore;
use std::collections::BTreeMap;
use std::sync::Arc;

const START: &str = "2026-11-28T08:00:00Z";
const RULE: &str = "version: 1
id: low
description: A low score.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  survey: {of: responses, kind: nps, score: {at_most: 6}, settle: none}
backfill: 30 days
late: within 60 days
on_rematch: ignore
guard: {floor: 1000}
check_every: 1 hour
steps:
  - webhook: {to: sink}
  - wait: {for: 7 days}
  - webhook: {id: later, to: sink}
";

/// The first customer answered twice, the keys saying nothing of the order, and the second once.
async fn world(kind: Kind, rule: &str) -> World {
    let world = World::set_up(Setup::of(kind, instant(START))).await;
    for id in 1..=2 {
        world.crm.run(&format!("INSERT INTO accounts VALUES ({id}, 'C', 'AT', NULL)")).await;
    }
    for (key, customer, ago) in [(7, 1, 2), (8, 1, 3), (9, 2, 2)] {
        answer(&world, key, customer, ago).await;
    }
    world.load(&[("low.yaml", rule)]).await;
    world
}

async fn answer(world: &World, key: i64, customer: i64, ago: i64) {
    let at = world.crm.time(world.ago(hours(ago)));
    world.crm.run(&format!("INSERT INTO surveys VALUES ({key}, {customer}, 'nps', 3, {at})")).await;
}

async fn previewed(world: &World, last: i64) -> Preview {
    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(world, &generation, &sender);
    preview(&look, &RuleId::from("low"), &PreviewScope::Last(hours(last))).await.unwrap()
}

/// Of each that would match its answer, its place, and the day of each of its messages, in the order of the answers.
fn shown(world: &World, found: &Preview) -> Vec<(String, Place, Vec<i64>)> {
    let day = |at: jiff::Timestamp| at.duration_since(world.now()).as_hours() / 24;
    let fresh = found.matches.iter().filter(|matched| matched.would_match());
    let mut shown: Vec<_> = fresh
        .map(|matched| {
            let due = matched.messages.iter().map(|message| day(message.due_at)).collect();
            (matched.occasion.to_string(), matched.place.unwrap(), due)
        })
        .collect();
    shown.sort_by(|a, b| a.0.cmp(&b.0));
    shown
}

/// The same of what really happens: each answer, and when its messages left.
async fn lived(world: &World) -> Vec<(String, Vec<i64>)> {
    let start = world.now();
    for _ in 0..16 {
        world.pass(days(1)).await;
    }
    let mut lived = Vec::new();
    for enrollment in world.enrollments().await {
        let lines = world.store.timelines(&[enrollment.id]).await.unwrap();
        let sent = lines.iter().filter(|line| line.attempt.is_some());
        let days = sent.map(|line| line.at.duration_since(start).as_hours() / 24 - 1).collect();
        lived.push((enrollment.occasion.unwrap().to_string(), days));
    }
    lived.sort();
    lived
}

fn places(shown: &[(String, Place, Vec<i64>)]) -> Vec<Place> {
    shown.iter().map(|one| one.1).collect()
}

fn messages(shown: Vec<(String, Place, Vec<i64>)>) -> Vec<(String, Vec<i64>)> {
    shown.into_iter().map(|(answer, _, days)| (answer, days)).collect()
}

#[tokio::test]
async fn a_preview_shows_what_is_sent_of_two_occasions_whatever_on_rematch_says() {
    use Place::{Nothing, Queued, Replaced, Running};
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        for (word, expected) in [
            ("ignore", [Nothing, Running, Running]),
            ("restart", [Running, Replaced, Running]),
            ("queue", [Queued, Running, Running]),
            ("parallel", [Running, Running, Running]),
        ] {
            let text = RULE.replace("on_rematch: ignore", &format!("on_rematch: {word}"));
            let world = world(kind, &text).await;
            let shown = shown(&world, &previewed(&world, 24).await);
            if word != "parallel" {
                assert_eq!(places(&shown), expected, "{kind:?}: {word}");
            }
            assert_eq!(messages(shown), lived(&world).await, "{kind:?}: {word}");
        }
    }
}

#[tokio::test]
async fn a_preview_knows_what_is_under_way_and_takes_nobody_into_it_who_is_left_out() {
    let world = world(Kind::Sqlite, RULE).await;
    world.pass(hours(1)).await;
    answer(&world, 10, 1, 0).await;
    let found = previewed(&world, 1).await;
    assert_eq!(shown(&world, &found), [("10".to_owned(), Place::Nothing, vec![])]);
    assert!(found.matches.iter().filter(|matched| matched.known).all(|matched| matched.place.is_none()));

    // Under another name as well.
    let renamed = RULE.replace("id: low", "id: lower\nwas: [low]");
    world.load(&[("lower.yaml", &renamed)]).await;
    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(&world, &generation, &sender);
    let found = preview(&look, &RuleId::from("lower"), &PreviewScope::Last(hours(1))).await.unwrap();
    assert_eq!(places(&shown(&world, &found)), [Place::Nothing]);

    // What was said before the rule looks is in nobody's way.
    let fresh = RULE.replace("backfill: 30 days", "backfill: none");
    let world = self::world(Kind::Sqlite, &fresh).await;
    world.pass(hours(1)).await;
    answer(&world, 10, 1, 0).await;
    let shown = shown(&world, &previewed(&world, 24).await);
    assert_eq!(places(&shown), [Place::Running, Place::Nothing, Place::Running, Place::Running]);
    assert_eq!(shown[0].0, "10");
}

/// What is told, and how many are entered.
async fn simulated(world: &World) -> (RuleDays, u64) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("state.db"), world.now()).await.unwrap());
    let simulator = Simulator {
        source: world.source.clone(),
        store: store.clone(),
        generation: world.generation(),
        settings: Settings::default(),
        from: world.now(),
        until: world.now() + days(10),
        only: Vec::new(),
    };
    let mut told = simulator.run(|_| {}).await.unwrap();
    let all = EnrollmentFilter::default();
    let entered = store.count_enrollments(&all).await.unwrap();
    (told.remove(&RuleId::from("low")).unwrap(), entered)
}

fn counted<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(what, count)| (what.to_owned(), count)).collect()
}

#[tokio::test]
async fn a_simulation_accounts_for_every_match() {
    const IGNORED: &str = "another of the same record was under way (`on_rematch: ignore`)";
    const REPLACED: &str = "a newer match took its place";
    for (word, came_to, cancelled) in [
        ("ignore", counted([("cancelled", 1), ("completed", 2)]), counted([(IGNORED, 1)])),
        ("restart", counted([("cancelled", 1), ("completed", 2)]), counted([(REPLACED, 1)])),
        ("queue", counted([("completed", 2), ("under_way", 1)]), counted([])),
    ] {
        let text = RULE.replace("on_rematch: ignore", &format!("on_rematch: {word}"));
        let world = world(Kind::Sqlite, &text).await;
        let (told, entered) = simulated(&world).await;
        assert_eq!((told.matched, &told.came_to, &told.cancelled), (3, &came_to, &cancelled), "{word}");
        assert_eq!(entered, came_to.values().sum::<u64>());
    }
}

#[tokio::test]
async fn a_simulation_accounts_for_what_is_held_or_was_brought_by_another_rule() {
    let held = RULE.replace("guard: {floor: 1000}", "guard: {per_day: 1, floor: 1}");
    let (told, _) = simulated(&world(Kind::Sqlite, &held).await).await;
    assert_eq!((told.matched, told.came_to, told.held.len()), (3, counted([("held", 3)]), 1));

    let second = RULE.replace("survey: {of: responses, kind: nps, score: {at_most: 6}, settle: none}", "enrolled: {}");
    let second = second.replace("backfill: 30 days\n", "").replace("check_every: 1 hour\n", "");
    let second = second.replace("guard: {floor: 1000}\n", "");
    let first = RULE
        .replace("id: low", "id: first")
        .replace("  - webhook: {id: later, to: sink}\n", "  - enroll: {rule: low}\n");
    let world = world(Kind::Sqlite, RULE).await;
    world.load(&[("first.yaml", &first), ("low.yaml", &second)]).await;
    let (told, _) = simulated(&world).await;
    assert_eq!((told.matched, told.came_to), (2, counted([("under_way", 2)])));
}

/// The age in hours of the answer that the first step would be about.
async fn explained(world: &World) -> i64 {
    let (generation, sender) = (world.generation(), nothing());
    let look = previewer(world, &generation, &sender);
    let record = RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() };
    let told = explain(&look, &RuleId::from("low"), &record).await.unwrap();
    let Ok(Message::Webhook(call)) = &told.steps[0].content else { panic!("{:?}", told.steps) };
    let at = instant(call.body["data"]["occasion"]["at"].as_str().unwrap());
    world.now().duration_since(at).as_hours()
}

#[tokio::test]
async fn explain_shows_the_steps_of_the_occasion_that_begins() {
    for (word, ago) in [("ignore", 3), ("restart", 2), ("queue", 3), ("parallel", 2)] {
        let text = RULE.replace("on_rematch: ignore", &format!("on_rematch: {word}"));
        assert_eq!(explained(&world(Kind::Sqlite, &text).await).await, ago, "{word}");
    }
}

#[tokio::test]
async fn what_a_held_sweep_has_twice_of_a_record_begins_once() {
    for (word, [acts, waits, ends]) in [("ignore", [2, 0, 1]), ("restart", [2, 0, 1]), ("queue", [2, 1, 0])] {
        let text = RULE.replace("on_rematch: ignore", &format!("on_rematch: {word}"));
        let world = world(Kind::Sqlite, &text.replace("floor: 1000", "per_day: 1")).await;
        world.pass(hours(1)).await;
        let sweep = SweepId(world.store.held_sweeps().await.unwrap()[0].id.clone());
        let held = world.store.held_matches(&sweep, 0, 100).await.unwrap();
        let (generation, sender) = (world.generation(), nothing());
        let told = released(&previewer(&world, &generation, &sender), &held).await.unwrap();
        let count = |of: fn(&Prospect) -> bool| told.iter().filter(|one| of(one)).count();
        let shown = [
            count(|one| matches!(one, Prospect::Acts)),
            count(|one| matches!(one, Prospect::Waits(_))),
            count(|one| matches!(one, Prospect::Nothing { .. })),
        ];
        assert_eq!(shown, [acts, waits, ends], "{word}: {told:?}");
    }
}
