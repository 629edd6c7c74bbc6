use super::*;
use nudged::engine::port::{Candidate, Counted, Miss, MissKind, Standing, StoreError, SweepId, Verdict};
use nudged::model::{EnrollmentState, SkipReason};

on_both_stores!(
    a_sweep_enters_matches_and_moves_the_watermark,
    a_match_happens_once,
    misses_end_with_the_definition_that_made_them,
    a_match_under_a_former_name_is_known,
    an_occasion_within_the_tolerance_is_known,
    nothing_is_entered_without_the_lease,
    what_was_counted_over_all_tenants_must_still_be_so,
    a_paused_rule_is_not_swept_and_sends_nothing,
    staged_matches_are_unseen_until_they_are_released_and_expanded,
    a_large_batch_is_staged_and_expanded_in_parts,
    a_sweep_that_crashed_before_closing_is_staged_again,
    a_held_sweep_waits_for_an_operator,
    a_dropped_sweep_never_acts_and_never_matches_again,
    a_small_sweep_may_be_held_too,
    whom_a_held_sweep_matched_is_paged_through,
    the_guard_counts_what_acts,
    a_skipped_match_is_entered_and_does_nothing,
    a_rule_without_steps_ends_at_once,
    a_second_match_is_ignored,
    matches_of_one_instant_say_which_of_them_counts,
    a_second_match_restarts,
    a_restart_waits_for_what_is_being_sent,
    a_second_match_queues,
    second_matches_run_in_parallel,
    staged_matches_obey_on_rematch_when_they_are_expanded,
    a_miss_is_kept_until_its_record_matches,
    a_node_with_a_later_epoch_takes_the_sweep,
    an_unknown_version_is_refused,
);

async fn a_sweep_enters_matches_and_moves_the_watermark(home: Home) {
    let store = home.with_rule().await;
    let later = now() + days(1);
    let lease = begin(&*store).await;
    assert_eq!((lease.baseline, lease.progress.watermark), (now(), now()));
    let commit = SweepCommit { progress: progress(later), ..commit_of(vec![a_match(&*store, "1", "x")]) };
    let count = store.commit_sweep(&lease, &commit).await.unwrap();
    assert_eq!(count, SweepCount { entered: 1, known: 0 });

    assert_eq!(begin(&*store).await.progress, progress(later));
    let claimed = claim_one(&*store).await;
    let entered = &commit.found.matches[0];
    assert_eq!(
        (claimed.match_id, &claimed.record, &claimed.occasion),
        (entered.id, &entered.record, &entered.occasion)
    );
    assert_eq!((claimed.rule.as_str(), claimed.version.as_str(), claimed.lane), ("win-back", "v1", Lane::Live));
    assert_eq!((claimed.occasion_at, &claimed.occasion_data), (entered.occasion_at, &entered.occasion_data));
    assert_eq!((claimed.node, claimed.iteration, claimed.attempts), (0, 0, 0));
    assert_eq!((claimed.due_at, claimed.planned_at, claimed.entered_at), (now(), now(), now()));
    assert_eq!(store.rule_states().await.unwrap()[0].matches, 1);
}

async fn a_match_happens_once(home: Home) {
    let store = home.with_rule().await;
    let (one, two) = (a_match(&*store, "1", "x"), a_match(&*store, "2", "x"));
    // Twice in one batch, and again in a later one, and again after everything has been done.
    assert_eq!(enter(&*store, vec![one.clone(), one.clone()]).await, SweepCount { entered: 1, known: 1 });
    assert_eq!(enter(&*store, vec![two, one.clone()]).await, SweepCount { entered: 1, known: 1 });
    for claimed in claim(&*store, 10).await {
        complete(&*store, completion(&claimed, None, end())).await;
    }
    drop(store);
    let store = home.open().await;
    assert_eq!(enter(&*store, vec![one]).await, SweepCount { entered: 0, known: 1 });
    assert!(claim(&*store, 10).await.is_empty());
}

async fn a_match_under_a_former_name_is_known(home: Home) {
    let store = home.with_rule().await;
    let old = a_match(&*store, "1", "x");
    enter(&*store, vec![old.clone()]).await;
    let mut renamed = match_of(store.secret(), "come-back", "1", "x");
    renamed.former = vec![old.id];
    assert_ne!(renamed.id, old.id);
    assert_eq!(enter(&*store, vec![renamed]).await, SweepCount { entered: 0, known: 1 });
}

async fn an_occasion_within_the_tolerance_is_known(home: Home) {
    let store = home.with_rule().await;
    let silent_since = |hours: i64| {
        let mut m = a_match(&*store, "1", &hours.to_string());
        m.occasion_at = Some(now() + SignedDuration::from_hours(hours));
        m.tolerance = Some(days(1));
        m.restart = Rematch::Parallel;
        m
    };
    assert_eq!(enter(&*store, vec![silent_since(0)]).await.entered, 1);
    assert_eq!(enter(&*store, vec![silent_since(-50), silent_since(24)]).await.entered, 0);
    assert_eq!(enter(&*store, vec![silent_since(25), silent_since(30)]).await.entered, 1);
}

async fn nothing_is_entered_without_the_lease(home: Home) {
    let store = home.with_rule().await;
    let stale = begin(&*store).await;
    let lease = begin(&*store).await;
    assert!(lease.epoch > stale.epoch);
    let sweep = SweepId("s".to_owned());
    let matches = vec![a_match(&*store, "1", "x")];
    let lost =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::LeaseLost { .. })), "{result:?}");
    lost(store.commit_sweep(&stale, &commit_of(matches.clone())).await.map(drop));
    lost(store.stage(&stale, &sweep, &found(&matches)).await.map(drop));
    lost(store.close_sweep(&stale, &sweep, &Verdict::Released, &progress(now()), None).await);
    assert!(claim(&*store, 10).await.is_empty());
    assert_eq!(store.commit_sweep(&lease, &commit_of(matches)).await.unwrap().entered, 1);
}

/// Another tenant's sweep was faster: what was counted for this one no longer holds.
async fn what_was_counted_over_all_tenants_must_still_be_so(home: Home) {
    let store = home.with_rule().await;
    let other = Tenant::from("other");
    let both = [adoption("win-back"), Adoption { tenant: other.clone(), ..adoption("win-back") }];
    store.adopt(&both, now()).await.unwrap();
    let counted = |matches| Some(Counted { since: now() - days(1), matches });
    let overtaken =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Overtaken { .. })), "{result:?}");
    let theirs = store.begin_sweep(&rule(), Lane::Live, &other, &owner("b")).await.unwrap().unwrap();
    let lease = begin(&*store).await;
    let commit = |matches, counted| SweepCommit { counted, ..commit_of(matches) };
    let ours = vec![a_match(&*store, "1", "x"), a_match(&*store, "2", "x")];
    store.commit_sweep(&lease, &commit(ours, counted(0))).await.unwrap();
    assert_eq!(store.matched_everywhere(&rule(), Lane::Live, now() - days(1)).await.unwrap(), 2);
    let mut late = a_match(&*store, "3", "x");
    late.record.tenant = other.clone();
    overtaken(store.commit_sweep(&theirs, &commit(vec![late.clone()], counted(0))).await.map(drop));
    let sweep = SweepId("s".to_owned());
    store.stage(&theirs, &sweep, &found(&[late])).await.unwrap();
    overtaken(store.close_sweep(&theirs, &sweep, &Verdict::Released, &progress(now()), counted(0)).await);
    assert_eq!(store.matched_everywhere(&rule(), Lane::Live, now() - days(1)).await.unwrap(), 2, "nothing was kept");
    store.close_sweep(&theirs, &sweep, &Verdict::Released, &progress(now()), counted(2)).await.unwrap();
    assert_eq!(store.matched_everywhere(&rule(), Lane::Live, now() - days(1)).await.unwrap(), 3);
}

async fn a_paused_rule_is_not_swept_and_sends_nothing(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    assert!(store.set_paused(&rule(), true).await.unwrap());
    assert!(!store.set_paused(&"nobody".into(), true).await.unwrap());
    assert_eq!(store.begin_sweep(&rule(), Lane::Live, &tenant(), &owner("a")).await.unwrap(), None);
    assert!(claim(&*store, 10).await.is_empty());
    assert_eq!(store.next_due().await.unwrap(), None, "a paused row must not wake the dispatcher");
    store.set_paused(&rule(), false).await.unwrap();
    claim_one(&*store).await;
}

async fn stage_all(store: &dyn Store, lease: &Lease, name: &str, matches: &[NewMatch]) -> SweepCount {
    store.stage(lease, &SweepId(name.to_owned()), &found(matches)).await.unwrap()
}

async fn close(store: &dyn Store, lease: &Lease, name: &str, verdict: Verdict) {
    store.close_sweep(lease, &SweepId(name.to_owned()), &verdict, &progress(now()), None).await.unwrap();
}

async fn expand_all(store: &dyn Store) -> usize {
    let mut total = 0;
    loop {
        match store.expand(2).await.unwrap() {
            0 => return total,
            some => total += some,
        }
    }
}

async fn staged_matches_are_unseen_until_they_are_released_and_expanded(home: Home) {
    let store = home.with_rule().await;
    let matches = ["1", "2", "3"].map(|key| a_match(&*store, key, "x"));
    let lease = begin(&*store).await;
    assert_eq!(stage_all(&*store, &lease, "s", &matches[..2]).await.entered, 2);
    assert_eq!(stage_all(&*store, &lease, "s", &matches[1..]).await, SweepCount { entered: 1, known: 1 });
    assert_eq!(expand_all(&*store).await, 0);
    assert!(claim(&*store, 10).await.is_empty());
    assert!(store.enrollments(&Default::default()).await.unwrap().is_empty());

    close(&*store, &lease, "s", Verdict::Released).await;
    assert_eq!(expand_all(&*store).await, 3);
    assert_eq!(expand_all(&*store).await, 0, "expanding again changes nothing");
    assert_eq!(claim(&*store, 10).await.len(), 3);
    assert_eq!(store.rule_states().await.unwrap()[0].matches, 3);
    assert_eq!(enter(&*store, matches.to_vec()).await, SweepCount { entered: 0, known: 3 });
}

async fn a_large_batch_is_staged_and_expanded_in_parts(home: Home) {
    let store = home.with_rule().await;
    let matches: Vec<_> = (0..2_500).map(|key| a_match(&*store, &key.to_string(), "x")).collect();
    let lease = begin(&*store).await;
    assert_eq!(stage_all(&*store, &lease, "s", &matches).await, SweepCount { entered: 2_500, known: 0 });
    close(&*store, &lease, "s", Verdict::Released).await;
    let mut parts = Vec::new();
    while parts.last() != Some(&0) {
        parts.push(store.expand(10_000).await.unwrap());
    }
    assert!(parts.iter().all(|part| *part <= 1_000), "{parts:?}");
    assert_eq!(parts.iter().sum::<usize>(), 2_500);
}

async fn a_sweep_that_crashed_before_closing_is_staged_again(home: Home) {
    let store = home.with_rule().await;
    let matches = ["1", "2"].map(|key| a_match(&*store, key, "x"));
    let lease = begin(&*store).await;
    stage_all(&*store, &lease, "before", &matches).await;
    drop(store);

    let store = home.open().await;
    let lease = begin(&*store).await;
    let standings = store.standings(&lease, &[candidate(&matches[0])]).await.unwrap();
    assert_eq!(standings, [Standing::New]);
    assert_eq!(stage_all(&*store, &lease, "after", &matches).await, SweepCount { entered: 2, known: 0 });
    close(&*store, &lease, "after", Verdict::Released).await;
    assert_eq!(expand_all(&*store).await, 2);
    assert_eq!(claim(&*store, 10).await.len(), 2);
}

pub(super) fn candidate(m: &NewMatch) -> Candidate {
    Candidate {
        id: m.id,
        former: m.former.clone(),
        track: m.track,
        former_tracks: m.former_tracks.clone(),
        tolerance: m.tolerance,
        occasion_at: m.occasion_at,
        entity: m.record.entity.clone(),
        key: m.record.key.clone(),
        occasion: m.occasion.clone(),
    }
}

async fn a_held_sweep_waits_for_an_operator(home: Home) {
    let store = home.with_rule().await;
    let lease = begin(&*store).await;
    stage_all(&*store, &lease, "s", &[a_match(&*store, "1", "x"), a_match(&*store, "2", "x")]).await;
    close(&*store, &lease, "s", Verdict::Held("12 % of customers".to_owned())).await;
    assert_eq!(expand_all(&*store).await, 0);
    assert_eq!(store.begin_sweep(&rule(), Lane::Live, &tenant(), &owner("a")).await.unwrap(), None);
    let held = store.held_sweeps().await.unwrap();
    assert_eq!((held.len(), held[0].matches, held[0].reason.as_str()), (1, 2, "12 % of customers"));
    assert_eq!(store.rule_states().await.unwrap()[0].matches, 0);

    let name = SweepId("s".to_owned());
    assert_eq!(store.decide_held(&name, true, now()).await.unwrap(), 2);
    assert_eq!(store.decide_held(&name, true, now()).await.unwrap(), 0);
    assert_eq!(expand_all(&*store).await, 2);
    assert_eq!(claim(&*store, 10).await.len(), 2);
    assert_eq!(store.rule_states().await.unwrap()[0].matches, 2);
    begin(&*store).await;
}

async fn a_dropped_sweep_never_acts_and_never_matches_again(home: Home) {
    let store = home.with_rule().await;
    let m = a_match(&*store, "1", "x");
    let lease = begin(&*store).await;
    stage_all(&*store, &lease, "s", std::slice::from_ref(&m)).await;
    close(&*store, &lease, "s", Verdict::Held("too many".to_owned())).await;
    store.decide_held(&SweepId("s".to_owned()), false, now()).await.unwrap();
    assert_eq!(expand_all(&*store).await, 1);
    assert!(claim(&*store, 10).await.is_empty());
    let enrollments = store.enrollments(&Default::default()).await.unwrap();
    assert_eq!((enrollments[0].state, enrollments[0].ended), (EnrollmentState::Ended, Some(EndReason::Cancelled)));
    let told = store.timelines(&[enrollments[0].id]).await.unwrap();
    let expected = "an operator dropped the sweep that was held: too many";
    assert_eq!(
        told.iter().map(|line| (line.what.as_str(), line.detail.as_str())).collect::<Vec<_>>(),
        [("cancelled", expected)]
    );
    assert_eq!(enter(&*store, vec![m]).await, SweepCount { entered: 0, known: 1 });
}

async fn a_small_sweep_may_be_held_too(home: Home) {
    let store = home.with_rule().await;
    let held = Some((SweepId("s".to_owned()), "empty source".to_owned()));
    let commit = SweepCommit { held, ..commit_of(vec![a_match(&*store, "1", "x")]) };
    let lease = begin(&*store).await;
    assert_eq!(store.commit_sweep(&lease, &commit).await.unwrap().entered, 1);
    assert!(claim(&*store, 10).await.is_empty());
    assert_eq!(store.held_sweeps().await.unwrap()[0].matches, 1);
    store.decide_held(&SweepId("s".to_owned()), true, now()).await.unwrap();
    expand_all(&*store).await;
    claim_one(&*store).await;
}

async fn whom_a_held_sweep_matched_is_paged_through(home: Home) {
    let store = home.with_rule().await;
    let late = NewMatch { skip: Some(SkipReason::Late), ..a_match(&*store, "3", "y") };
    let lease = begin(&*store).await;
    stage_all(&*store, &lease, "s", &[a_match(&*store, "1", "x"), a_match(&*store, "2", "x"), late]).await;
    let name = SweepId("s".to_owned());
    assert_eq!(store.held_matches(&name, 0, 10).await.unwrap(), [], "it isn't held yet");
    close(&*store, &lease, "s", Verdict::Held("too many".to_owned())).await;

    let first = store.held_matches(&name, 0, 2).await.unwrap();
    let rest = store.held_matches(&name, first[1].place, 2).await.unwrap();
    let seen: Vec<_> = first.iter().chain(&rest).map(|m| (m.record.clone().unwrap(), m.left_out)).collect();
    let wanted = [("1", None), ("2", None), ("3", Some(EndReason::Late))];
    assert_eq!(seen, wanted.map(|(key, left_out)| (customer(key), left_out)));
    assert_eq!((first[0].occasion.as_ref().unwrap().as_str(), first[0].matched_at), ("x", now()));
    let begins = first[0].begins.as_ref().unwrap();
    assert_eq!((&begins.record, begins.node, begins.planned_at), (&customer("1"), 0, now()));
    assert_eq!((begins.since, begins.discarded, begins.attempts), (None, false, 0));
    assert_eq!(store.held_matches(&name, rest[0].place, 2).await.unwrap(), []);
    assert_eq!(store.held_matches(&SweepId("other".to_owned()), 0, 2).await.unwrap(), []);

    store.decide_held(&name, true, now()).await.unwrap();
    assert_eq!(store.held_matches(&name, 0, 10).await.unwrap(), [], "it is decided");
}

async fn the_guard_counts_what_acts(home: Home) {
    let store = home.with_rule().await;
    let mut skipped = a_match(&*store, "2", "x");
    skipped.skip = Some(SkipReason::Late);
    enter(&*store, vec![a_match(&*store, "1", "x"), skipped]).await;
    let lease = begin(&*store).await;
    stage_all(&*store, &lease, "s", &[a_match(&*store, "3", "x")]).await;
    let since = async |at| store.matched_since(&rule(), Lane::Live, &tenant(), at).await.unwrap();
    assert_eq!(since(now()).await, 1, "what is not released does not count");
    close(&*store, &lease, "s", Verdict::Released).await;
    assert_eq!(since(now()).await, 2);
    assert_eq!(since(now() + days(1)).await, 0);
    assert_eq!(store.matched_since(&rule(), Lane::Shadow, &tenant(), now()).await.unwrap(), 0);
}

async fn a_skipped_match_is_entered_and_does_nothing(home: Home) {
    let store = home.with_rule().await;
    let mut m = a_match(&*store, "1", "x");
    m.skip = Some(SkipReason::Late);
    assert_eq!(enter(&*store, vec![m.clone()]).await.entered, 1);
    assert!(claim(&*store, 10).await.is_empty());
    assert_eq!(store.enrollments(&Default::default()).await.unwrap()[0].ended, Some(EndReason::Late));
    assert_eq!(enter(&*store, vec![m]).await.known, 1);
}

async fn a_rule_without_steps_ends_at_once(home: Home) {
    let store = home.with_rule().await;
    let mut m = a_match(&*store, "1", "x");
    m.first = None;
    enter(&*store, vec![m]).await;
    assert!(claim(&*store, 10).await.is_empty());
    assert_eq!(store.enrollments(&Default::default()).await.unwrap()[0].ended, Some(EndReason::Completed));
}

fn again(store: &dyn Store, rematch: Rematch) -> [NewMatch; 2] {
    ["x", "y"].map(|occasion| NewMatch { restart: rematch, ..a_match(store, "1", occasion) })
}

async fn a_second_match_is_ignored(home: Home) {
    let store = home.with_rule().await;
    let [first, second] = again(&*store, Rematch::Ignore);
    enter(&*store, vec![first.clone()]).await;
    assert_eq!(enter(&*store, vec![second.clone()]).await.entered, 1);
    let claimed = claim_one(&*store).await;
    assert_eq!(claimed.match_id, first.id);
    complete(&*store, completion(&claimed, None, end())).await;
    assert_eq!(enter(&*store, vec![second]).await.known, 1, "the ledger has it all the same");
    assert!(store.misses(&customer("1")).await.unwrap()[0].reason.contains("on_rematch"));
    let why = why_unstarted(&*store).await;
    assert_eq!(why, ["another of the same record was under way (`on_rematch: ignore`)"], "nobody cancelled it");
}

/// What the timeline says of those that started nothing.
async fn why_unstarted(store: &dyn Store) -> Vec<String> {
    let ids: Vec<i64> = store.enrollments(&Default::default()).await.unwrap().iter().map(|found| found.id).collect();
    let happened = store.timelines(&ids).await.unwrap().into_iter();
    happened.filter(|found| found.what == "cancelled").map(|found| found.detail).collect()
}

async fn matches_of_one_instant_say_which_of_them_counts(home: Home) {
    let store = home.with_rule().await;
    let of = |key, restart| ["x", "y"].map(|occasion| NewMatch { restart, ..a_match(&*store, key, occasion) });
    enter(&*store, [of("1", Rematch::Ignore), of("2", Rematch::Restart)].concat()).await;
    assert_eq!(claim(&*store, 10).await.len(), 2);
    let mut why = why_unstarted(&*store).await;
    why.sort();
    let told = ["a newer match took its place", "another of the same record was under way (`on_rematch: ignore`)"];
    assert_eq!(why, told);
}

async fn a_second_match_restarts(home: Home) {
    let store = home.with_rule().await;
    let [first, second] = again(&*store, Rematch::Restart);
    enter(&*store, vec![first]).await;
    let stale = claim_one(&*store).await;
    enter(&*store, vec![second.clone()]).await;
    assert_eq!(mark(&*store, &stale, false).await.lost, [stale.token], "the cancelled one must not be sent");
    assert_eq!(claim_one(&*store).await.match_id, second.id);
    let ended = store.enrollments(&Default::default()).await.unwrap();
    assert_eq!(ended.iter().map(|e| e.ended).collect::<Vec<_>>(), [None, Some(EndReason::Cancelled)]);
}

async fn a_restart_waits_for_what_is_being_sent(home: Home) {
    let store = home.with_rule().await;
    let [first, second] = again(&*store, Rematch::Restart);
    enter(&*store, vec![first]).await;
    let sending = claim_one(&*store).await;
    mark(&*store, &sending, false).await;
    enter(&*store, vec![second.clone()]).await;
    // Its outcome is still written down, and nothing follows it.
    let attempt = attempt_of(&*store, &sending, sent());
    let then = Then::Advance { node: 1, due_at: now(), planned_at: now() };
    assert!(complete(&*store, completion(&sending, Some(attempt), then)).await.lost.is_empty());
    assert_eq!(store.attempts(0, 10).await.unwrap().len(), 1);
    assert_eq!(claim_one(&*store).await.match_id, second.id);
}

async fn a_second_match_queues(home: Home) {
    let store = home.with_rule().await;
    let [first, second] = again(&*store, Rematch::Queue);
    enter(&*store, vec![first.clone()]).await;
    enter(&*store, vec![second.clone()]).await;
    let under_way = store.under_way(&[first.track, [9; 16]]).await.unwrap();
    assert!(under_way.len() == 2 && under_way.iter().all(|one| one.track == first.track && !one.is_parked));
    let claimed = claim_one(&*store).await;
    assert_eq!(claimed.match_id, first.id);
    let later = now() + days(3);
    let then = Then::End { reason: EndReason::Goal, at: later };
    complete(&*store, completion(&claimed, None, then)).await;
    let next = store.claim(&owner("a"), later, 10).await.unwrap();
    assert_eq!(next.iter().map(|c| (c.match_id, c.planned_at)).collect::<Vec<_>>(), [(second.id, later)]);
}

async fn second_matches_run_in_parallel(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, again(&*store, Rematch::Parallel).to_vec()).await;
    assert_eq!(claim(&*store, 10).await.len(), 2);
}

async fn staged_matches_obey_on_rematch_when_they_are_expanded(home: Home) {
    let store = home.with_rule().await;
    let [first, second] = again(&*store, Rematch::Restart);
    enter(&*store, vec![first]).await;
    let ignored = NewMatch { restart: Rematch::Ignore, ..a_match(&*store, "1", "z") };
    let lease = begin(&*store).await;
    stage_all(&*store, &lease, "s", &[second.clone(), ignored]).await;
    close(&*store, &lease, "s", Verdict::Released).await;
    assert_eq!(expand_all(&*store).await, 2);
    assert_eq!(claim_one(&*store).await.match_id, second.id);
}

async fn a_miss_is_kept_until_its_record_matches(home: Home) {
    let store = home.with_rule().await;
    let m = a_match(&*store, "1", "x");
    let miss = |reason: &str| Miss {
        entity: m.record.entity.clone(),
        key: m.record.key.clone(),
        occasion: m.occasion.clone(),
        crossed_at: now(),
        kind: MissKind::Refused,
        reason: reason.to_owned(),
    };
    let lease = begin(&*store).await;
    let misses = vec![miss("early"), miss("tickets was 1")];
    let commit = SweepCommit { found: Found { misses, ..Found::default() }, ..commit_of(Vec::new()) };
    store.commit_sweep(&lease, &commit).await.unwrap();
    let lease = begin(&*store).await;
    let candidates = [candidate(&m), candidate(&a_match(&*store, "2", "x"))];
    let standings = store.standings(&lease, &candidates).await.unwrap();
    assert_eq!(
        standings,
        [Standing::Missed { kind: MissKind::Refused, reason: "tickets was 1".to_owned() }, Standing::New]
    );
    let misses = store.misses(&m.record).await.unwrap();
    assert_eq!((misses.len(), misses[0].reason.as_str()), (1, "tickets was 1"));
    assert!(store.misses(&customer("2")).await.unwrap().is_empty());

    store.commit_sweep(&lease, &commit_of(vec![m.clone()])).await.unwrap();
    let lease = begin(&*store).await;
    assert_eq!(store.standings(&lease, &candidates).await.unwrap(), [Standing::Known, Standing::New]);
    assert!(store.misses(&m.record).await.unwrap().is_empty());
}

async fn misses_end_with_the_definition_that_made_them(home: Home) {
    let store = home.with_rule().await;
    store.adopt(&[adoption("win-back"), adoption("other")], now()).await.unwrap();
    let m = a_match(&*store, "1", "x");
    let unjudged = || Standing::Missed { kind: MissKind::Unjudged, reason: "script failed".to_owned() };
    for of in [rule(), "other".into()] {
        let lease = store.begin_sweep(&of, Lane::Live, &tenant(), &owner("a")).await.unwrap().unwrap();
        let miss = Miss {
            entity: m.record.entity.clone(),
            key: m.record.key.clone(),
            occasion: m.occasion.clone(),
            crossed_at: now(),
            kind: MissKind::Unjudged,
            reason: "script failed".to_owned(),
        };
        store
            .commit_sweep(
                &lease,
                &SweepCommit { found: Found { misses: vec![miss], ..Found::default() }, ..commit_of(Vec::new()) },
            )
            .await
            .unwrap();
        assert_eq!(store.standings(&lease, &[candidate(&m)]).await.unwrap(), [unjudged()]);
    }
    let new_steps = Adoption { version: "v2".into(), ..adoption("win-back") };
    store.adopt(&[new_steps.clone(), adoption("other")], now()).await.unwrap();
    assert_eq!(store.standings(&begin(&*store).await, &[candidate(&m)]).await.unwrap(), [unjudged()]);

    let wider = Adoption { definition: "d2".into(), ..new_steps };
    store.adopt(&[wider, adoption("other")], now()).await.unwrap();
    assert_eq!(store.standings(&begin(&*store).await, &[candidate(&m)]).await.unwrap(), [Standing::New]);
    let other = store.begin_sweep(&"other".into(), Lane::Live, &tenant(), &owner("a")).await.unwrap().unwrap();
    assert_eq!(store.standings(&other, &[candidate(&m)]).await.unwrap(), [unjudged()], "it did not change");
}

async fn a_node_with_a_later_epoch_takes_the_sweep(home: Home) {
    let store = home.open_with_lease(Duration::from_millis(50)).await;
    store.adopt(&[adoption("win-back")], now()).await.unwrap();
    let other = home.open_with_lease(Duration::from_millis(50)).await;
    let first = begin(&*store).await;
    let mut second = None;
    // A shared store hands the rule over when the lease has run out, one with a single owner at once.
    crate::support::wait_until(crate::support::PATIENCE, async || {
        second = other.begin_sweep(&rule(), Lane::Live, &tenant(), &owner("b")).await.unwrap();
        second.is_some()
    })
    .await;
    let late = store.commit_sweep(&first, &commit_of(vec![a_match(&*store, "1", "x")])).await;
    assert!(matches!(late, Err(StoreError::LeaseLost { .. })), "{late:?}");
    other.commit_sweep(&second.unwrap(), &commit_of(vec![a_match(&*store, "1", "x")])).await.unwrap();
    claim_one(&*store).await;
}

async fn an_unknown_version_is_refused(home: Home) {
    let store = home.with_rule().await;
    let lease = begin(&*store).await;
    let stray = NewMatch { version: "v9".into(), ..a_match(&*store, "1", "x") };
    let refused = store.commit_sweep(&lease, &commit_of(vec![stray])).await.unwrap_err();
    assert!(refused.to_string().contains("version v9 of rule win-back"), "{refused}");
    assert_eq!(enter(&*store, vec![a_match(&*store, "1", "x")]).await.entered, 1, "nothing of it was kept");
}
