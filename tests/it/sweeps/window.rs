//! Which crossings a sweep reads: outages, baselines, a stepping clock, emptied tables, the night.

use super::moody::Moody;
use super::{entered, silence, sweep, with_silent};
use crate::world::{days, hours, minutes};
use nudged::engine::{Event, Settings, Swept};

#[tokio::test]
async fn an_outage_longer_than_late_enters_but_does_not_act() {
    let rule = silence(10, "AT").replace("within 5 years", "within 2 days");
    let world = with_silent(1, Settings::default(), &rule).await;
    world.clock.advance(days(3));
    let report = sweep(&world).await;
    assert_eq!((report.matched, report.late, report.entered), (1, 1, 1));
    assert_eq!(entered(&world).await.len(), 0);
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.matched, 0, "it is in the ledger");
}

#[tokio::test]
async fn what_a_baseline_leaves_out_is_counted() {
    let world = with_silent(4, Settings::default(), &silence(10, "AT")).await;
    let edited = silence(9, "AT");
    world.load(&[("silence.yaml", &edited)]).await;
    assert_eq!(world.left_out().await, Some(4), "silent for nine days before the edit");
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.matched, 0);
}

#[tokio::test]
async fn backfill_takes_in_who_was_silent_before() {
    let rule = silence(9, "AT").replace("check_every", "backfill: 30 days\ncheck_every");
    let world = with_silent(4, Settings::default(), &rule).await;
    world.clock.advance(minutes(1));
    assert_eq!(sweep(&world).await.matched, 4);
}

#[tokio::test]
async fn a_step_back_of_the_clock_waits_and_loses_nothing() {
    let world = with_silent(1, Settings::default(), &silence(10, "AT")).await;
    world.clock.advance(minutes(10));
    sweep(&world).await;
    world.clock.advance(-minutes(5));
    let swept = world.engine.sweep_rule(&"silence".into()).await.unwrap();
    assert!(matches!(&swept[..], [Swept::Postponed(reason)] if reason.contains("stepped back")), "{swept:?}");
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.matched, 1);
}

#[tokio::test]
async fn an_emptied_table_holds_the_watermark() {
    let world = with_silent(1, Settings::default(), &silence(10, "AT")).await;
    sweep(&world).await;
    world.crm.run("ALTER TABLE accounts RENAME TO safe; CREATE TABLE accounts AS SELECT * FROM safe WHERE 1 = 0").await;
    world.clock.advance(hours(1));
    let swept = world.engine.sweep_rule(&"silence".into()).await.unwrap();
    assert!(matches!(&swept[..], [Swept::Postponed(reason)] if reason.contains("no customer records")), "{swept:?}");
    world.crm.run("DROP TABLE accounts; ALTER TABLE safe RENAME TO accounts").await;
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.matched, 1);
}

#[tokio::test]
async fn a_table_emptied_within_the_hour_or_over_a_restart_holds_the_watermark() {
    let world = with_silent(1, Settings::default(), &silence(10, "AT")).await;
    sweep(&world).await;
    world.crm.run("ALTER TABLE accounts RENAME TO safe; CREATE TABLE accounts AS SELECT * FROM safe WHERE 1 = 0").await;
    world.clock.advance(minutes(10));
    let restarted = world.engine_over(world.source.clone(), world.store.clone(), Settings::default());
    for engine in [&world.engine, &restarted] {
        let swept = engine.sweep_rule(&"silence".into()).await.unwrap();
        assert!(
            matches!(&swept[..], [Swept::Postponed(reason)] if reason.contains("no customer records")),
            "{swept:?}"
        );
    }
    // A rule that never saw a record has nothing to miss.
    world.load(&[("silence.yaml", &silence(9, "AT"))]).await;
    world.clock.advance(hours(1));
    sweep(&world).await;
}

#[tokio::test]
async fn the_night_finds_what_was_deleted_behind_the_watermark() {
    // `keep_trying: 1 hour` leaves the finding to the reconcile.
    let rule = silence(10, "AT").replace("check_every", "keep_trying: 1 hour\ncheck_every");
    let world = with_silent(1, Settings::default(), &rule).await;
    let fresh = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES (99, 1, {fresh}, 'paid')")).await;
    world.clock.advance(hours(3));
    assert_eq!(sweep(&world).await.crossed, 0);
    // The newest order was a mistake: the silence is ten days old after all, since three hours.
    world.crm.run("DELETE FROM orders WHERE id = 99").await;
    world.clock.advance(hours(1));
    assert_eq!(sweep(&world).await.crossed, 0, "behind the watermark, beyond the overlap");
    world.clock.advance(hours(20));
    sweep(&world).await;
    assert_eq!(entered(&world).await.len(), 1);
    let reconciled = world.events().into_iter().any(|event| match event {
        Event::SweepFinished(report) => report.reconcile && report.entered == 1,
        _ => false,
    });
    assert!(reconciled);
}

#[tokio::test]
async fn a_source_whose_clock_is_off_is_waited_for() {
    let world = with_silent(1, Settings::default(), &silence(10, "AT")).await;
    world.clock.advance(hours(1));
    let source = Moody::new(&world.source);
    let engine = world.engine_over(source.clone(), world.store.clone(), Settings::default());
    for (skew, side) in [(minutes(6), "360 s ahead of"), (-minutes(6), "360 s behind")] {
        *source.skew.lock().unwrap() = skew;
        let swept = engine.sweep_rule(&"silence".into()).await.unwrap();
        assert!(matches!(&swept[..], [Swept::Postponed(reason)] if reason.contains(side)), "{swept:?}");
    }
    *source.skew.lock().unwrap() = -minutes(4);
    let swept = engine.sweep_rule(&"silence".into()).await.unwrap();
    assert!(matches!(&swept[..], [Swept::Done(report)] if report.matched == 1), "the source's clock rules: {swept:?}");
}
