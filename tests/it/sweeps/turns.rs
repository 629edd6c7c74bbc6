//! When a rule has its turn: panics, stops, pauses, missed and shared turns.

use super::moody::{Mood, Moody};
use super::{MONDAYS, START, entered, prompt, quick, run_until, silence, with_silent};
use crate::support::{Database, instant, postgres};
use crate::world::{Kind, World, days, hours, minutes};
use nudged::engine::port::{Owner, Store};
use nudged::engine::{Event, Settings, Swept};
use nudged::model::Lane;
use nudged::store::postgres::PostgresStore;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_sweep_that_panics_is_told_and_tried_again() {
    let world = with_silent(1, Settings::default(), &prompt()).await;
    world.clock.advance(hours(1));
    let source = Moody::new(&world.source);
    let engine = world.engine_over(source.clone(), world.store.clone(), Settings::default());
    engine.adopt().await.unwrap();
    let mut events = engine.events();
    source.next(Mood::Panic);
    run_until(&engine, async || {
        while let Ok(event) = events.try_recv() {
            if matches!(event, Event::SweepFailed { .. }) {
                world.clock.advance(minutes(2));
            }
        }
        world.webhooks.messages.lock().unwrap().len() == 1
    })
    .await;
    assert!(source.moods.lock().unwrap().is_empty(), "it did panic");
}

#[tokio::test]
async fn a_generation_over_which_the_engine_panics_is_told_and_taken_over_again() {
    let world = with_silent(1, Settings::default(), &prompt()).await;
    world.clock.advance(hours(1));
    let settings = Settings { poll: Duration::from_millis(20), ..Settings::default() };
    let engine = world.engine_over(world.source.clone(), world.store.clone(), settings);
    let mut events = engine.events();
    world.wire.panic_at("now");
    let mut told = Vec::new();
    run_until(&engine, async || {
        while let Ok(event) = events.try_recv() {
            if let Event::StateFailed { reason } = event {
                told.push(reason);
            }
        }
        world.clock.advance(minutes(2));
        world.webhooks.messages.lock().unwrap().len() == 1
    })
    .await;
    assert!(told.iter().any(|reason| reason.contains("it panicked")), "{told:?}");
}

/// A rule that is due, on a state that nodes share, whose leases last a moment.
async fn due_on_shared_state() -> (World, Database, Arc<dyn Store>) {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("mondays.yaml", MONDAYS)]).await;
    let created = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (1, 'Ada', 'AT', {created})")).await;
    let database = tokio::task::spawn_blocking(postgres).await.unwrap();
    let store = PostgresStore::open(&database.url, world.now()).await.unwrap().with_lease(Duration::from_secs(1));
    let store: Arc<dyn Store> = Arc::new(store);
    world.engine_over(world.source.clone(), store.clone(), Settings::default()).adopt().await.unwrap();
    // Monday, ten o'clock in Vienna.
    world.clock.advance(days(2) + hours(1));
    (world, database, store)
}

#[tokio::test]
async fn a_planned_turn_survives_the_death_of_who_had_taken_it() {
    let (world, _database, store) = due_on_shared_state().await;
    let begun = store.begin_sweep(&"mondays".into(), Lane::Live, &"".into(), &Owner("dead".into())).await.unwrap();
    assert!(begun.is_some());
    let engine = world.engine_over(world.source.clone(), store, Settings::default());
    run_until(&engine, async || world.webhooks.messages.lock().unwrap().len() == 1).await;
}

#[tokio::test]
async fn a_stop_gives_up_the_sweep_that_it_cuts_off() {
    let (world, database, store) = due_on_shared_state().await;
    let source = Moody::new(&world.source);
    let engine = world.engine_over(source.clone(), store.clone(), Settings::default());
    engine.adopt().await.unwrap();
    source.next(Mood::Hang);
    run_until(&engine, async || *source.hanging.borrow()).await;
    let states = sqlx::PgPool::connect(&database.url).await.unwrap();
    let owners: Vec<Option<String>> =
        sqlx::query_scalar("SELECT owner FROM rule_state").fetch_all(&states).await.unwrap();
    assert_eq!(owners, [None]);
}

#[tokio::test]
async fn a_resumed_rule_makes_up_for_the_turn_it_was_paused_at() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("mondays.yaml", MONDAYS)]).await;
    let created = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (1, 'Ada', 'AT', {created})")).await;
    world.store.set_paused(&"mondays".into(), true).await.unwrap();
    world.clock.advance(days(2) + hours(1));
    let source = Moody::new(&world.source);
    let engine = world.engine_over(source, world.store.clone(), quick(100));
    let mut looks = 0;
    run_until(&engine, async || {
        looks += 1;
        if looks == 20 {
            // By now the first look has been turned away.
            world.store.set_paused(&"mondays".into(), false).await.unwrap();
        }
        world.webhooks.messages.lock().unwrap().len() == 1
    })
    .await;
}

#[tokio::test]
async fn unchanged_rules_keep_their_timers_over_a_reload() {
    let world = with_silent(1, Settings::default(), &silence(10, "AT")).await;
    world.clock.advance(minutes(40));
    world
        .load(&[
            ("silence.yaml", &silence(10, "AT")),
            ("other.yaml", &silence(9, "AT").replace("id: silence", "id: other")),
        ])
        .await;
    world.clock.advance(minutes(20));
    let swept = world.engine.sweep_due().await.unwrap();
    let rules: Vec<_> = swept
        .iter()
        .map(|swept| match swept {
            Swept::Done(report) => report.rule.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(rules, ["silence"], "due an hour after its adoption; the new rule is not");
}

#[tokio::test]
async fn a_schedule_makes_up_for_missed_instants_once() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("mondays.yaml", MONDAYS)]).await;
    let created = world.crm.time(world.now());
    world
        .crm
        .run(&format!("INSERT INTO accounts VALUES (1, 'Ada', 'AT', {created}), (2, 'Bob', 'FR', {created})"))
        .await;
    world.pass(days(1)).await;
    assert_eq!(world.webhooks.take().len(), 0, "Sunday");
    world.pass(days(1)).await;
    assert_eq!(world.webhooks.take().len(), 1, "Monday, nine o'clock in Vienna");
    // Three Mondays go by while nobody looks.
    world.pass(days(22)).await;
    assert_eq!(world.webhooks.take().len(), 1);
    let occasions: Vec<String> = entered(&world).await.into_keys().map(|(_, occasion)| occasion).collect();
    assert_eq!(occasions.len(), 2);
    // 3 November is a Tuesday.
    assert!(occasions[1].starts_with("2026-11-02T08:00:00"), "the latest, in winter time: {occasions:?}");
}

/// A script that fails on whoever has no name.
const NAMED: (&str, &str) = ("scripts/named.rhai", "fn eligible(record, now) { record.name.len() > 0 }");

#[tokio::test]
async fn a_script_that_failed_at_a_planned_instant_is_asked_again_before_the_next() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.load(&[("mondays.yaml", &MONDAYS.replace("on_rematch", "script: named.rhai\non_rematch")), NAMED]).await;
    let created = world.crm.time(world.now());
    world
        .crm
        .run(&format!("INSERT INTO accounts VALUES (1, 'Ada', 'AT', {created}), (2, NULL, 'AT', {created})"))
        .await;
    world.pass(days(2)).await;
    let monday = instant("2026-10-12T07:00:00Z");
    assert_eq!(world.now(), monday);
    assert_eq!(entered(&world).await.len(), 1);
    world.events();
    world.pass(minutes(4)).await;
    assert!(world.events().is_empty(), "not swept again at once");
    world.crm.run("UPDATE accounts SET name = 'Bob' WHERE id = 2").await;
    world.pass(minutes(1)).await;
    let both = ["1", "2"].map(|key| (key.to_owned(), "2026-10-12T07:00:00.000000Z".to_owned()));
    assert_eq!(entered(&world).await.into_keys().collect::<Vec<_>>(), both, "of the same occasion");
    world.events();
    world.pass(hours(1)).await;
    assert!(world.events().is_empty(), "nothing is left to ask");
}
