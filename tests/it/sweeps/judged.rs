//! What a sweep makes of whom it found.

use super::{Entry, START, entered, silence, sweep, with_silent};
use crate::support::instant;
use crate::world::{Kind, World, days, hours, minutes};
use nudged::engine::{Event, Settings};

#[tokio::test]
async fn a_miss_says_which_term_failed() {
    let world = with_silent(1, Settings::default(), &silence(10, "DE")).await;
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.missed, 1);
    let reasons: Vec<String> = world
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Missed { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].contains("country"), "{reasons:?}");
    // Within `keep_trying` a later sweep gives it another chance.
    world.crm.run("UPDATE accounts SET country_code = 'DE'").await;
    world.clock.advance(days(1));
    assert_eq!(sweep(&world).await.matched, 1);
}

const SURVEY: &str = "version: 1
id: survey
description: Low scores.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  survey: {of: responses, kind: nps, score: {at_most: 6}, settle: 1 hour}
where:
  - country: AT
check_every: 1 hour
on_rematch: parallel
steps:
  - webhook: {to: sink, body: {score: \"{{ occasion.value }}\"}}
";

#[tokio::test]
async fn each_answer_in_range_matches_once_after_it_settled() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("survey.yaml", SURVEY)]).await;
    let at = |ago| world.crm.time(world.now() - minutes(ago));
    let (just_now, before) = (at(-30), at(10));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts VALUES (1, 'Ada', 'AT', {before}), (2, 'Bob', 'FR', {before});
             INSERT INTO surveys VALUES (1, 1, 'nps', 3, {just_now}), (2, 1, 'nps', 9, {just_now}),
                 (3, 1, 'csat', 1, {just_now}), (4, 1, 'nps', 6, {just_now}), (5, 2, 'nps', 0, {just_now}),
                 (6, 1, 'nps', 0, NULL)"
        ))
        .await;
    world.clock.advance(minutes(75));
    world.turn().await;
    assert_eq!(world.webhooks.take().len(), 0, "not settled");
    world.pass(hours(1)).await;
    let matched: Vec<Entry> = entered(&world).await.into_keys().collect();
    assert_eq!(matched, [("1".into(), "1".into()), ("1".into(), "4".into())]);
    assert_eq!(world.webhooks.take().len(), 2);
    // One chance only: moving to Austria later changes nothing for an old answer.
    world.crm.run("UPDATE accounts SET country_code = 'AT'").await;
    for _ in 0..4 {
        world.pass(hours(12)).await;
    }
    assert_eq!(entered(&world).await.len(), 2);
}

#[tokio::test]
async fn a_zone_that_nobody_knows_is_reported() {
    let world = with_silent(3, Settings::default(), &silence(10, "AT")).await;
    world
        .crm
        .run(
            "INSERT INTO contacts VALUES (7, 1, NULL, 'A', 'Europe/Vienna', true), (8, 2, NULL, 'B', 'Mars/Olympus', true),
                 (9, 3, NULL, 'C', NULL, true)",
        )
        .await;
    world.clock.advance(hours(1));
    let report = sweep(&world).await;
    assert_eq!((report.matched, report.zone_unknown), (3, 1));
    assert_eq!(report.zone_unknown_of.unwrap().key.as_str(), "2");
}

#[tokio::test]
async fn an_answer_within_the_cooldown_is_left_out() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("survey.yaml", &SURVEY.replace("settle: 1 hour", "settle: 1 hour, cooldown: 30 days"))]).await;
    let created = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (1, 'Ada', 'AT', {created})")).await;
    let answer = async |id: i64| {
        let now = world.crm.time(world.now());
        world.crm.run(&format!("INSERT INTO surveys VALUES ({id}, 1, 'nps', 3, {now})")).await;
        world.pass(hours(2)).await;
        world.webhooks.take().len()
    };
    world.clock.advance(minutes(10));
    assert_eq!(answer(1).await, 1);
    world.pass(days(20)).await;
    assert_eq!(answer(2).await, 0, "three weeks later");
    world.pass(days(9)).await;
    assert_eq!(answer(3).await, 0, "counted from the one that matched");
    world.pass(days(2)).await;
    assert_eq!(answer(4).await, 1);
    assert_eq!(entered(&world).await.len(), 2);
}
