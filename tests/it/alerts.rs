//! What a rule's owner is told of it: it went quiet or wild, or the guard holds it; and the guard's look at the
//! rule's own history.

use crate::support::instant;
use crate::world::{Kind, World, days, hours};
use jiff::SignedDuration;
use nudged::engine::port::{Message, RuleStatus, SweepId};
use nudged::engine::{Event, Mood, Settings};

const START: &str = "2026-06-01T08:00:00Z";

fn rule(mode: &str, more: &str) -> String {
    format!(
        "version: 1
id: silent
description: Silent for 30 days.
owner: team@acme.example
mode: {mode}
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {{of: orders, for: 30 days}}
check_every: 6 hours
{more}
steps:
  - webhook: {{to: sink}}
"
    )
}

async fn world(mode: &str, more: &str) -> World {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("silent.yaml", &rule(mode, more))]).await;
    world
}

/// `count` customers who fall silent in this time.
async fn fall_silent(world: &World, from: i64, count: i64, within: SignedDuration) {
    let ordered = world.crm.time(world.ago(days(30)) + within);
    let mut sql = Vec::new();
    for id in from..from + count {
        sql.push(format!(
            "INSERT INTO accounts VALUES ({id}, 'A', 'AT', {ordered});
             INSERT INTO orders VALUES ({id}, {id}, {ordered}, 'paid');"
        ));
    }
    world.crm.run(&sql.concat()).await;
}

async fn pass_days(world: &World, count: i64) {
    for _ in 0..count * 4 {
        world.pass(hours(6)).await;
    }
}

/// The subjects of what the owner got since the last call.
fn told(world: &World) -> Vec<String> {
    let mails = world.mail.take().into_iter().map(|message| match message {
        Message::Email(email) => {
            assert_eq!(email.to_address, "team@acme.example");
            assert!(email.headers.iter().any(|(name, _)| name == "Auto-Submitted"));
            email.subject
        }
        other => panic!("not a mail: {other:?}"),
    });
    mails.collect()
}

fn moods(world: &World) -> Vec<Mood> {
    let mood = |event| if let Event::Expectation { mood, .. } = event { Some(mood) } else { None };
    world.events().into_iter().filter_map(mood).collect()
}

#[tokio::test]
async fn what_came_too_late_is_told_to_the_owner_once_a_day() {
    let world = world("live", "late: within 1 day").await;
    fall_silent(&world, 1, 3, hours(1)).await;
    world.pass(hours(6)).await;
    assert_eq!((told(&world), world.webhooks.take().len()), (vec![], 3));
    // Nobody looks for five days.
    fall_silent(&world, 10, 2, hours(1)).await;
    world.pass(days(5)).await;
    assert_eq!(world.webhooks.take().len(), 0);
    assert_eq!(told(&world), ["[nudged] The rule silent came too late"]);
    pass_days(&world, 3).await;
    assert_eq!(told(&world), [""; 0], "nothing more came too late");
}

#[tokio::test]
async fn a_rule_that_goes_quiet_or_wild_is_told_to_its_owner_once() {
    for mode in ["live", "shadow"] {
        let world = world(mode, "expect: {per_week: 2..3}").await;
        pass_days(&world, 6).await;
        assert_eq!(told(&world), [""; 0], "not a whole week yet");
        pass_days(&world, 3).await;
        assert_eq!(told(&world), ["[nudged] The rule silent is quiet"]);
        assert_eq!(moods(&world), [Mood::Quiet]);
        pass_days(&world, 3).await;
        assert_eq!(told(&world), [""; 0], "told once");

        fall_silent(&world, 1, 2, hours(3)).await;
        pass_days(&world, 1).await;
        assert_eq!((told(&world), moods(&world)), (vec![], vec![Mood::Usual]));
        fall_silent(&world, 10, 2, hours(3)).await;
        pass_days(&world, 1).await;
        assert_eq!(
            (told(&world), moods(&world)),
            (vec!["[nudged] The rule silent is wild".to_owned()], vec![Mood::Wild])
        );
    }
}

/// The operator decides beside the daemon, which comes to know of it when it looks the next time.
#[tokio::test]
async fn what_was_held_counts_as_matched_once_it_is_released() {
    for release in [true, false] {
        let world = world("live", "expect: {per_week: 1..3}\nguard: {per_day: 2, floor: 1}").await;
        pass_days(&world, 8).await;
        assert_eq!(told(&world), ["[nudged] The rule silent is quiet"]);
        fall_silent(&world, 1, 5, hours(3)).await;
        pass_days(&world, 1).await;
        world.engine.rescue().await.unwrap();
        assert_eq!(told(&world), ["[nudged] The rule silent is held"]);
        world.events();
        let held = world.store.held_sweeps().await.unwrap();
        assert_eq!(world.store.decide_held(&SweepId(held[0].id.clone()), release, world.now()).await.unwrap(), 5);
        while world.store.expand(100).await.unwrap() > 0 {}
        world.engine.rescue().await.unwrap();
        let (mails, mood) =
            if release { (vec!["[nudged] The rule silent is wild"], vec![Mood::Wild]) } else { (vec![], vec![]) };
        assert_eq!((told(&world), moods(&world)), (mails.into_iter().map(str::to_owned).collect(), mood));
        world.engine.rescue().await.unwrap();
        assert_eq!(told(&world), [""; 0], "told once");
    }
}

#[tokio::test]
async fn a_rule_that_grows_beyond_its_own_history_is_held_and_its_owner_told() {
    let world = world("live", "guard: {percent_per_day: 100, growth: 4, floor: 6}").await;
    // Four a day for three weeks, then seven in one: no more than four ordinary days.
    for day in 0..21 {
        fall_silent(&world, 1 + day * 4, 4, hours(3)).await;
        pass_days(&world, 1).await;
    }
    fall_silent(&world, 100, 7, hours(3)).await;
    pass_days(&world, 1).await;
    assert!(world.store.held_sweeps().await.unwrap().is_empty(), "seven is not out of the ordinary");
    pass_days(&world, 2).await;
    fall_silent(&world, 200, 20, hours(3)).await;
    pass_days(&world, 1).await;
    let held = world.store.held_sweeps().await.unwrap();
    assert_eq!((held.len(), held[0].matches), (1, 20));
    assert!(held[0].reason.contains("`growth`"), "{}", held[0].reason);
    let states = world.store.rule_states().await.unwrap();
    assert!(matches!(&states[0].status, RuleStatus::Held(reason) if reason.contains("growth")));
    assert_eq!(told(&world), ["[nudged] The rule silent is held"]);
}

#[tokio::test]
async fn a_rule_without_a_history_is_not_measured_by_it() {
    let world = world("live", "guard: {percent_per_day: 100, growth: 2, floor: 6}").await;
    fall_silent(&world, 1, 20, hours(3)).await;
    pass_days(&world, 1).await;
    assert!(world.store.held_sweeps().await.unwrap().is_empty());
    assert_eq!(world.enrollments().await.len(), 20);
}
