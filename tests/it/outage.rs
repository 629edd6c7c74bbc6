//! The source is away for a while: nothing is lost, nothing is sent that is too late, and nobody hammers it.

use crate::support::{PATIENCE, instant, wait_until};
use crate::world::{Kind, World, days, hours, minutes};
use jiff::SignedDuration;
use nudged::engine::{Event, Settings};
use nudged::model::EndReason;
use std::sync::Arc;

const RULE: &str = "version: 1
id: silence
description: Silent.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 10 days}
where:
  - country: AT
check_every: 1 hour
late: within 2 days
steps:
  - webhook: {to: sink, body: {n: 1}}
  - wait: {for: 1 day}
  - webhook: {to: sink, body: {n: 2}}
";

/// Customers whose silence is ten days old this long after the start; customer 0 never is.
async fn world(after: impl IntoIterator<Item = SignedDuration>) -> World {
    let world = World::new(Kind::Sqlite, instant("2026-06-01T08:00:00Z"), Settings::default()).await;
    let now = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (0, 'Zoe', 'AT', {now})")).await;
    for (index, after) in after.into_iter().enumerate() {
        let (id, ordered) = (index + 1, world.crm.time(world.ago(days(10)) + after));
        world
            .crm
            .run(&format!(
                "INSERT INTO accounts VALUES ({id}, 'C{id}', 'AT', {now});
                 INSERT INTO orders VALUES ({id}, {id}, {ordered}, 'paid')"
            ))
            .await;
    }
    world.load(&[("silence.yaml", RULE)]).await;
    world
}

/// Hours go by with the source away.
async fn hours_away(world: &World, count: i64) {
    world.wire.cut(true);
    for _ in 0..count {
        world.clock.advance(hours(1));
        assert!(world.engine.sweep_due().await.unwrap_err().source_away());
        world.engine.dispatch_due().await.unwrap();
    }
    assert_eq!(world.webhooks.take().len(), 0);
    world.wire.cut(false);
}

#[tokio::test]
async fn a_short_outage_loses_nothing_and_repeats_nothing() {
    let world = world([minutes(30), hours(10), hours(30)]).await;
    world.pass(hours(1)).await;
    assert_eq!(world.webhooks.take().len(), 1);
    world.events();
    // One silence begins meanwhile, and one second message becomes due.
    hours_away(&world, 26).await;
    let told = world.events();
    let count = |matching: fn(&Event) -> bool| told.iter().filter(|event| matching(event)).count();
    assert_eq!(count(|event| matches!(event, Event::SourceLost { .. })), 1, "told once, not every hour");
    assert_eq!(count(|event| matches!(event, Event::EnrollmentEnded { .. } | Event::EnrollmentHeld { .. })), 0);

    world.pass(minutes(2)).await;
    assert_eq!(world.webhooks.take().len(), 2, "the second of one, the first of another");
    assert!(world.events().iter().any(|event| matches!(event, Event::SourceBack { .. })));
    for _ in 0..40 {
        world.pass(hours(2)).await;
    }
    assert_eq!(world.webhooks.take().len(), 3, "three customers, two messages each");
    let ends: Vec<_> = world.enrollments().await.into_iter().map(|enrollment| enrollment.ended).collect();
    assert_eq!(ends, [Some(EndReason::Completed); 3]);
}

#[tokio::test]
async fn a_long_outage_ends_without_a_blast() {
    let world = world((0..8).map(|day| days(day) + minutes(30))).await;
    world.pass(hours(1)).await;
    assert_eq!(world.webhooks.take().len(), 1);
    hours_away(&world, 6 * 24).await;
    // A moment is no lateness.
    world.pass(minutes(6)).await;
    // Silences of days 1 to 4 are found more than two days late. Those of days 5 and 6 are in time; the
    // second message of the first customer is not.
    assert_eq!(world.webhooks.take().len(), 2);
    let late = world.enrollments().await.into_iter().filter(|found| found.ended == Some(EndReason::Late)).count();
    assert_eq!(late, 4);
    let skipped = world.deliveries().await.into_iter().filter(|(state, _)| state == "skipped").count();
    assert_eq!(skipped, 1);
    for _ in 0..24 {
        world.pass(hours(3)).await;
    }
    assert_eq!(world.webhooks.take().len(), 4, "the second of those two, and both of day 7");
}

/// What follows without a wait is as late as the step before it, and our own people's work is never too late.
#[tokio::test]
async fn what_stands_behind_a_late_step_is_as_late() {
    const SHAPES: &[(&str, &[&str], usize)] = &[
        ("  - webhook: {to: sink, body: {n: 2}}\n", &["skipped"], 0),
        ("  - webhook: {to: sink, body: {n: 2}}\n  - webhook: {to: sink, body: {n: 3}}\n", &["skipped", "skipped"], 0),
        (
            "  - branch:\n      cases: [{name: far, when: {country: DE}, steps: [stop: {}]}]\n      otherwise: [webhook: {to: sink, body: {n: 2}}]\n",
            &["skipped"],
            0,
        ),
        ("  - task: {title: Call}\n  - webhook: {to: sink, body: {n: 2}}\n", &["skipped"], 0),
        (
            "  - webhook: {to: sink, body: {n: 2}}\n  - wait: {for: 1 day}\n  - webhook: {to: sink, body: {n: 3}}\n",
            &["skipped"],
            1,
        ),
    ];
    for (steps, late, later) in SHAPES {
        let world = world([minutes(30)]).await;
        let rule = RULE.replace("  - webhook: {to: sink, body: {n: 2}}\n", steps);
        world.load(&[("silence.yaml", &rule)]).await;
        world.pass(hours(1)).await;
        assert_eq!(world.webhooks.take().len(), 1);
        world.store.set_paused(&"silence".into(), true).await.unwrap();
        world.clock.advance(days(20));
        world.store.set_paused(&"silence".into(), false).await.unwrap();
        world.pass(minutes(2)).await;
        let told: Vec<String> =
            world.deliveries().await.into_iter().map(|(state, _)| state).filter(|state| state == "skipped").collect();
        assert_eq!((told, world.webhooks.take().len()), (late.iter().map(ToString::to_string).collect(), 0), "{steps}");
        world.pass(days(2)).await;
        assert_eq!(world.webhooks.take().len(), *later, "{steps}");
    }
}

/// As after an outage: what grew too old is left out and on record, the rest goes on, and each but once.
#[tokio::test]
async fn a_long_pause_ends_without_a_blast() {
    let world = world((0..8).map(|day| days(day) + minutes(30))).await;
    world.pass(hours(1)).await;
    assert_eq!(world.webhooks.take().len(), 1);
    world.store.set_paused(&"silence".into(), true).await.unwrap();
    for _ in 0..6 * 24 {
        world.clock.advance(hours(1));
        world.engine.sweep_due().await.unwrap();
        world.engine.dispatch_due().await.unwrap();
    }
    assert_eq!(world.webhooks.take().len(), 0);
    world.store.set_paused(&"silence".into(), false).await.unwrap();
    world.pass(minutes(6)).await;
    assert_eq!(world.webhooks.take().len(), 2, "the silences of days 5 and 6");
    let skipped = world.deliveries().await.into_iter().filter(|(state, _)| state == "skipped").count();
    assert_eq!(skipped, 1, "the second message of the first customer");
    for _ in 0..24 {
        world.pass(hours(3)).await;
    }
    assert_eq!(world.webhooks.take().len(), 4, "the second of those two, and both of day 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_engine_asks_less_and_less_often() {
    let world = Arc::new(world([minutes(30)]).await);
    let stop = tokio::sync::watch::Sender::new(false);
    let (running, stopping) = (Arc::clone(&world), stop.subscribe());
    let engine = tokio::spawn(async move { running.engine.run(stopping).await });
    let sent = |count: usize| {
        let world = Arc::clone(&world);
        wait_until(PATIENCE, async move || world.webhooks.messages.lock().unwrap().len() == count)
    };
    world.clock.advance(hours(1));
    sent(1).await;
    wait_until(PATIENCE, async || world.deliveries().await.len() == 1).await;

    world.wire.cut(true);
    // Counted from here: the engine may ask before this thread gets any further than the next line.
    world.wire.questions();
    world.clock.advance(days(1) - minutes(1));
    let mut postponed = 0;
    // A sweep is due, and soon the second message. Half an hour in steps of a second, each of which would
    // let somebody impatient ask again.
    for _ in 0..1_800 {
        world.clock.advance(SignedDuration::from_secs(1));
        tokio::task::yield_now().await;
        postponed += postponements(&world);
    }
    wait_until(PATIENCE, async || {
        world.clock.advance(SignedDuration::from_secs(1));
        postponed += postponements(&world);
        postponed > 2
    })
    .await;
    let asked = world.wire.questions();
    assert!((3..150).contains(&asked), "asked {asked} times");

    world.wire.cut(false);
    world.clock.advance(minutes(2));
    sent(2).await;
    stop.send_replace(true);
    tokio::time::timeout(PATIENCE, engine).await.unwrap().unwrap();
}

fn postponements(world: &World) -> usize {
    world.events().into_iter().filter(|event| matches!(event, Event::SweepPostponed { .. })).count()
}
