use super::*;
use nudged::engine::port::{EnrollmentFilter, RuleStatus, Standing, StoredGeneration};

on_both_stores!(
    the_secret_stays,
    a_new_rule_gets_a_baseline_and_an_unchanged_one_keeps_it,
    a_new_definition_gets_a_new_baseline_and_stops_the_sweep_under_way,
    a_renamed_rule_keeps_its_past,
    a_rule_that_is_gone_is_marked_and_gets_a_new_baseline_when_it_returns,
    a_pause_survives_a_reload_and_a_rename,
    a_pause_holds_in_every_lane_and_for_every_tenant_that_a_file_brings,
    lanes_and_tenants_have_states_of_their_own,
    versions_that_nothing_needs_are_forgotten,
    the_last_generation_is_kept,
    a_thousand_rules_are_adopted_at_once,
);

async fn the_secret_stays(home: Home) {
    let secret = home.open().await.secret().0;
    assert_eq!(home.open().await.secret().0, secret);
    assert_ne!(secret, [0; 32]);
}

async fn a_new_rule_gets_a_baseline_and_an_unchanged_one_keeps_it(home: Home) {
    let store = home.open().await;
    let first = Adoption { baseline: now() - days(30), ..adoption("win-back") };
    let adopted = store.adopt(std::slice::from_ref(&first), now()).await.unwrap();
    assert_eq!(adopted.baselined, [(rule(), Lane::Live, tenant())]);
    let state = store.rule_states().await.unwrap().remove(0);
    assert_eq!((state.baseline, state.progress.watermark), (now() - days(30), now() - days(30)));
    assert_eq!(state.progress.swept_at, now(), "what backfill finds is not late");
    assert_eq!((state.status, state.left_out), (RuleStatus::Running, None));

    assert!(store.set_left_out(&rule(), Lane::Live, &tenant(), 41).await.unwrap());
    assert!(!store.set_left_out(&rule(), Lane::Live, &tenant(), 40).await.unwrap(), "it is counted once");
    let later = now() + days(1);
    let adopted = store.adopt(&[Adoption { baseline: later, ..first }], later).await.unwrap();
    assert_eq!(adopted, Default::default());
    let state = store.rule_states().await.unwrap().remove(0);
    assert_eq!((state.baseline, state.left_out), (now() - days(30), Some(41)));
}

async fn a_new_definition_gets_a_new_baseline_and_stops_the_sweep_under_way(home: Home) {
    let store = home.with_rule().await;
    let lease = begin(&*store).await;
    let later = now() + days(1);
    let changed = Adoption { definition: "d2".into(), version: "v2".into(), baseline: later, ..adoption("win-back") };
    let adopted = store.adopt(&[changed], later).await.unwrap();
    assert_eq!(adopted.baselined.len(), 1);
    let late = store.commit_sweep(&lease, &commit_of(vec![])).await;
    assert!(late.is_err(), "a sweep by the old definition would move the new watermark");
    let state = store.rule_states().await.unwrap().remove(0);
    assert_eq!((state.baseline, state.progress), (later, progress(later)));
    assert_eq!((state.version.as_str(), state.definition.as_str()), ("v2", "d2"));
}

async fn a_renamed_rule_keeps_its_past(home: Home) {
    let store = home.with_rule().await;
    let old = a_match(&*store, "1", "x");
    enter(&*store, vec![old.clone()]).await;
    let renamed = Adoption { rule: "come-back".into(), was: vec![rule()], baseline: now() + days(9), ..adoption("") };
    let adopted = store.adopt(&[renamed], now()).await.unwrap();
    assert_eq!(adopted, Default::default());
    let states = store.rule_states().await.unwrap();
    assert_eq!((states.len(), states[0].rule.as_str(), states[0].matches), (1, "come-back", 1));
    assert_eq!(states[0].baseline, now());
    assert_eq!(claim_one(&*store).await.rule.as_str(), "come-back", "its enrollments go on under the new name");
    assert_eq!(store.pinned_versions(&Default::default()).await.unwrap().len(), 1, "and keep their text");

    let lease =
        || async { store.begin_sweep(&"come-back".into(), Lane::Live, &tenant(), &owner("a")).await.unwrap().unwrap() };
    let again = |hours: i64, restart| NewMatch {
        former_tracks: vec![old.track],
        tolerance: Some(days(1)),
        occasion_at: old.occasion_at.map(|at| at + SignedDuration::from_hours(hours)),
        restart,
        ..match_of(store.secret(), "come-back", "1", &hours.to_string())
    };
    let touched = again(1, Rematch::Parallel);
    let standings = store.standings(&lease().await, &[sweeps::candidate(&touched)]).await.unwrap();
    let to = old.occasion_at.unwrap();
    assert_eq!(standings, [Standing::TooClose { to }], "the tolerance reaches over the rename");
    let enter = async |m| store.commit_sweep(&lease().await, &commit_of(vec![m])).await.unwrap();
    assert_eq!(enter(touched).await, SweepCount { entered: 0, known: 1 });
    assert_eq!(enter(again(48, Rematch::Ignore)).await.entered, 1);
    assert!(claim(&*store, 10).await.is_empty(), "the first is still under way, so the second starts nothing");
    assert_eq!(enter(again(96, Rematch::Restart)).await.entered, 1);
    let ended = store.enrollments(&EnrollmentFilter { limit: 10, ..Default::default() }).await.unwrap();
    let ended = ended.iter().filter(|enrollment| enrollment.ended == Some(EndReason::Cancelled)).count();
    assert_eq!(ended, 2, "it replaces the one under way");
    assert_eq!(claim(&*store, 10).await.len(), 1);
}

async fn a_rule_that_is_gone_is_marked_and_gets_a_new_baseline_when_it_returns(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let adopted = store.adopt(&[adoption("other")], now()).await.unwrap();
    assert_eq!(adopted.removed, [rule()]);
    assert_eq!(store.begin_sweep(&rule(), Lane::Live, &tenant(), &owner("a")).await.unwrap(), None);
    claim_one(&*store).await;
    assert!(store.adopt(&[adoption("other")], now()).await.unwrap().removed.is_empty(), "told once");

    let later = now() + days(5);
    let back = Adoption { baseline: later, ..adoption("win-back") };
    let adopted = store.adopt(&[back, adoption("other")], later).await.unwrap();
    assert_eq!(adopted.baselined, [(rule(), Lane::Live, tenant())]);
    assert_eq!(begin(&*store).await.baseline, later);
    assert_eq!(enter(&*store, vec![a_match(&*store, "1", "x")]).await.known, 1, "the ledger was kept");
}

async fn a_pause_survives_a_reload_and_a_rename(home: Home) {
    let store = home.with_rule().await;
    store.set_paused(&rule(), true).await.unwrap();
    let renamed =
        Adoption { rule: "come-back".into(), was: vec![rule()], definition: "d2".into(), ..adoption("win-back") };
    store.adopt(&[renamed], now()).await.unwrap();
    drop(store);
    assert_eq!(home.open().await.rule_states().await.unwrap()[0].status, RuleStatus::Paused);
}

async fn a_pause_holds_in_every_lane_and_for_every_tenant_that_a_file_brings(home: Home) {
    let store = home.open().await;
    let in_lane = |lane, tenant: &str| Adoption { lane, tenant: tenant.into(), ..adoption("win-back") };
    store.adopt(&[in_lane(Lane::Shadow, "")], now()).await.unwrap();
    store.set_paused(&rule(), true).await.unwrap();
    store.adopt(&[in_lane(Lane::Live, ""), in_lane(Lane::Live, "acme")], now()).await.unwrap();
    let running = async || {
        let states = store.rule_states().await.unwrap();
        states.iter().filter(|state| state.status == RuleStatus::Running).count()
    };
    assert_eq!(running().await, 0);
    // Under another name and in another lane at once.
    let renamed = Adoption { rule: "come-back".into(), was: vec![rule()], ..in_lane(Lane::Shadow, "") };
    store.adopt(std::slice::from_ref(&renamed), now()).await.unwrap();
    assert_eq!(running().await, 0);
    store.set_paused(&"come-back".into(), false).await.unwrap();
    assert_eq!(running().await, 1);
    store.adopt(&[renamed, adoption("other")], now()).await.unwrap();
    assert_eq!(running().await, 2, "and nothing pauses it again");
}

async fn lanes_and_tenants_have_states_of_their_own(home: Home) {
    let store = home.open().await;
    let rules = [
        adoption("win-back"),
        Adoption { lane: Lane::Shadow, ..adoption("win-back") },
        Adoption { tenant: "acme".into(), ..adoption("win-back") },
    ];
    assert_eq!(store.adopt(&rules, now()).await.unwrap().baselined.len(), 3);
    let live = store.begin_sweep(&rule(), Lane::Live, &tenant(), &owner("a")).await.unwrap().unwrap();
    let shadow = store.begin_sweep(&rule(), Lane::Shadow, &tenant(), &owner("b")).await.unwrap();
    assert!(shadow.is_some());
    store.commit_sweep(&live, &SweepCommit { progress: progress(now() + days(1)), ..commit_of(vec![]) }).await.unwrap();
    let moved = store.rule_states().await.unwrap().iter().filter(|s| s.progress.watermark > now()).count();
    assert_eq!(moved, 1);
    // From shadow to live: the rule itself is not gone.
    let adopted = store.adopt(&rules[..1], now()).await.unwrap();
    assert!(adopted.removed.is_empty());
}

async fn versions_that_nothing_needs_are_forgotten(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    for version in ["v2", "v3"] {
        store.adopt(&[Adoption { version: version.into(), ..adoption("win-back") }], now()).await.unwrap();
    }
    // v1 is pinned; v2 was never used, so going on with it must fail for want of its text.
    let lease = begin(&*store).await;
    let of = |version: &str, key: &str| NewMatch { version: version.into(), ..a_match(&*store, key, "y") };
    assert!(store.commit_sweep(&lease, &commit_of(vec![of("v2", "2")])).await.is_err());
    assert_eq!(store.commit_sweep(&lease, &commit_of(vec![of("v3", "3")])).await.unwrap().entered, 1);
    let pinned = store.pinned_versions(&Default::default()).await.unwrap();
    assert_eq!(pinned.iter().map(|p| p.1.as_str()).collect::<Vec<_>>(), ["v1", "v3"]);

    // What came of those who were in its steps stays in sight.
    let all: Vec<i64> = store.enrollments(&Default::default()).await.unwrap().iter().map(|view| view.id).collect();
    assert_eq!(store.cancel_enrollments(&all, "moved away", now()).await.unwrap(), 2);
    store.adopt(&[Adoption { version: "v4".into(), ..adoption("win-back") }], now()).await.unwrap();
    let left = store.enrollments(&Default::default()).await.unwrap();
    assert_eq!(left.iter().map(|view| view.version.as_deref()).collect::<Vec<_>>(), [None, None]);
    assert_eq!(store.count_enrollments(&Default::default()).await.unwrap(), 2);
}

async fn the_last_generation_is_kept(home: Home) {
    let store = home.open().await;
    assert_eq!(store.last_generation().await.unwrap(), None);
    let files = vec![("a.yaml".to_owned(), "id: \"ä\"\n".to_owned()), ("b.md".to_owned(), String::new())];
    let generation = StoredGeneration { hash: "h1".to_owned(), files, loaded_at: now() };
    store.save_generation(&generation).await.unwrap();
    assert_eq!(store.last_generation().await.unwrap(), Some(generation.clone()));
    let newer = StoredGeneration { hash: "h2".to_owned(), files: Vec::new(), ..generation };
    store.save_generation(&newer).await.unwrap();
    drop(store);
    assert_eq!(home.open().await.last_generation().await.unwrap(), Some(newer));
}

async fn a_thousand_rules_are_adopted_at_once(home: Home) {
    let store = home.open().await;
    let rules: Vec<_> = (0..1_000).map(|n| adoption(&format!("rule-{n}"))).collect();
    assert_eq!(store.adopt(&rules, now()).await.unwrap().baselined.len(), 1_000);
    assert_eq!(store.adopt(&rules[1..], now()).await.unwrap().removed, [RuleId::from("rule-0")]);
}
