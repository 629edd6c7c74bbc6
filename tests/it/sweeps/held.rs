//! Sweeps that an operator has to look at, and large ones that died before they were expanded.

use super::{entered, occasion, prompt, quick, run_until, silence, sweep, with_silent};
use crate::world::{World, days, hours, minutes};
use nudged::engine::Settings;
use nudged::engine::port::{Found, NewMatch, Owner, Progress, Rematch, RuleStatus, SweepId, Verdict};
use nudged::model::{EndReason, Lane, MatchIdentity, Occasion, RecordId, RuleId};

#[tokio::test]
async fn a_breach_of_the_guard_holds_the_whole_sweep_for_review() {
    let rule = silence(10, "AT").replace("per_day: 100000", "per_day: 3");
    for batch in [2, 2_000] {
        let world = with_silent(5, Settings { batch, ..Settings::default() }, &rule).await;
        world.clock.advance(hours(1));
        let report = sweep(&world).await;
        assert!(report.held.as_ref().is_some_and(|reason| reason.contains("5 matches")), "{report:?}");
        assert_eq!(entered(&world).await.len(), 0);
        let states = world.store.rule_states().await.unwrap();
        assert!(matches!(states[0].status, RuleStatus::Held(_)));
        let held = world.store.held_sweeps().await.unwrap();
        assert_eq!((held.len(), held[0].matches), (1, 5));
        let id = SweepId(held[0].id.clone());
        world.store.decide_held(&id, true, world.now()).await.unwrap();
        world.clock.advance(hours(1));
        sweep(&world).await;
        world.engine.rescue().await.unwrap();
        assert_eq!(entered(&world).await.len(), 5, "released, and none twice");
    }
}

async fn guarded(batch: usize) -> (World, SweepId) {
    let rule = prompt().replace("per_day: 100000", "per_day: 3");
    let world = with_silent(5, Settings { batch, ..Settings::default() }, &rule).await;
    world.pass(hours(1)).await;
    let held = world.store.held_sweeps().await.unwrap();
    assert_eq!((held.len(), held[0].matches, world.webhooks.take().len()), (1, 5, 0));
    (world, SweepId(held[0].id.clone()))
}

#[tokio::test]
async fn a_held_sweep_acts_once_an_operator_has_released_it() {
    for batch in [2, 2_000] {
        let (world, id) = guarded(batch).await;
        let mut released = false;
        // Released while the daemon runs, by another process.
        run_until(&world.engine_over(world.source.clone(), world.store.clone(), quick(batch)), async || {
            if !released {
                world.store.decide_held(&id, true, world.now()).await.unwrap();
                released = true;
            }
            world.webhooks.messages.lock().unwrap().len() == 5
        })
        .await;
        assert_eq!(world.webhooks.take().len(), 5);
    }
}

#[tokio::test]
async fn a_dropped_sweep_ends_without_acting() {
    let (world, id) = guarded(2).await;
    world.store.decide_held(&id, false, world.now()).await.unwrap();
    world.engine.rescue().await.unwrap();
    world.turn().await;
    assert_eq!(world.webhooks.take().len(), 0);
    let ended: Vec<_> = world.enrollments().await.into_iter().map(|view| view.ended).collect();
    assert_eq!(ended, [Some(EndReason::Cancelled); 5], "nothing stays staged");
    world.pass(hours(1)).await;
    assert_eq!(world.enrollments().await.len(), 5, "they are in the ledger and never match again");
}

#[tokio::test]
async fn a_crash_between_the_end_of_a_large_sweep_and_its_first_steps_loses_nobody() {
    let world = with_silent(5, Settings::default(), &prompt()).await;
    world.clock.advance(hours(1));
    // What a sweep in batches leaves behind that is killed right after its closing transaction.
    let owner = Owner("killed".into());
    let lease = world.store.begin_sweep(&"silence".into(), Lane::Live, &"".into(), &owner).await.unwrap().unwrap();
    let id = SweepId("silence/live//1".into());
    let matches: Vec<NewMatch> = (1..=5).map(|key| staged(&world, &key.to_string())).collect();
    for batch in matches.chunks(2) {
        world.store.stage(&lease, &id, &Found { matches: batch.to_vec(), ..Found::default() }).await.unwrap();
    }
    let now = world.now();
    let progress = Progress { watermark: now, swept_at: now, ..lease.progress.clone() };
    world.store.close_sweep(&lease, &id, &Verdict::Released, &progress, None).await.unwrap();

    run_until(
        &world.engine_over(world.source.clone(), world.store.clone(), Settings { batch: 2, ..quick(2) }),
        async || world.webhooks.messages.lock().unwrap().len() == 5,
    )
    .await;
    assert_eq!(entered(&world).await.len(), 5);
}

fn staged(world: &World, key: &str) -> NewMatch {
    let record = RecordId { tenant: "".into(), entity: "customer".into(), key: key.into() };
    let last = world.ago(days(10)) - minutes(30);
    let occasion: Occasion = occasion(last).as_str().into();
    let secret = world.store.secret();
    let (rule, lane) = (RuleId::from("silence"), Lane::Live);
    let identity = MatchIdentity { rule: rule.clone(), lane, record: record.clone(), occasion: occasion.clone() };
    NewMatch {
        id: secret.match_id(&identity),
        former: Vec::new(),
        track: secret.track(&rule, lane, &record),
        former_tracks: Vec::new(),
        tolerance: None,
        version: world.generation().rules[&rule].version.clone(),
        rule,
        lane,
        record,
        occasion,
        occasion_at: Some(last),
        occasion_data: serde_json::json!({}),
        crossed_at: world.now(),
        matched_at: world.now(),
        planned_at: world.now(),
        entry: 0,
        first: Some((0, world.now())),
        skip: None,
        restart: Rematch::Parallel,
    }
}
