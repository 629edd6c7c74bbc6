use super::*;
use nudged::engine::port::{Rescued, RuleVersion, StillHeld, TaskDraft};
use nudged::model::{Channel, DeliveryId, DeliveryState, EnrollmentState, Suppression, SuppressionReason};
use std::collections::HashSet;

on_both_stores!(
    what_is_due_is_claimed_once_oldest_first,
    a_step_advances_and_starts_with_a_clean_slate,
    going_back_to_a_node_is_another_iteration,
    a_failed_try_comes_again_and_counts_when_it_should,
    answers_are_kept_for_later_steps,
    a_mark_is_refused_twice_and_after_a_release,
    an_ended_enrollment_leaves_the_outbox,
    a_late_outcome_is_accepted_from_unknown,
    a_parked_delivery_is_retried_or_discarded_by_an_operator,
    states_move_only_along_the_drawing,
    a_rescue_takes_back_what_a_dead_owner_held,
    a_rescue_leaves_its_own_alone,
    it_is_known_when_the_first_lease_ends,
    what_comes_for_a_track_is_known_until_it_is_sent_or_over,
    only_what_is_under_way_is_kept,
    a_migrated_enrollment_pins_the_version_it_counts_in,
    a_held_step_is_freed_unless_it_would_be_held_again,
    more_held_steps_than_are_looked_at_together_are_freed,
    suppressions_are_kept_once_with_their_first_reason,
    a_persons_own_no_outweighs_what_stood_there_before,
    suppressions_are_paged_and_taken_off_the_list,
    what_was_taken_off_the_list_stays_off_when_the_journal_is_read,
    a_task_is_added_once,
    pinned_versions_are_those_under_way,
    a_hundred_tokens_settle_at_once,
);

async fn what_is_due_is_claimed_once_oldest_first(home: Home) {
    let store = home.with_rule().await;
    let hour = SignedDuration::from_hours(1);
    let due = [("1", now() + hour), ("2", now() - hour), ("3", now() - hour * 2), ("4", now())];
    let matches = due.map(|(key, at)| NewMatch { first: Some((0, at)), ..a_match(&*store, key, "x") });
    enter(&*store, matches.to_vec()).await;
    assert_eq!(store.next_due().await.unwrap(), Some(now() - hour * 2));
    let keys = |claimed: Vec<Claimed>| claimed.iter().map(|c| c.record.key.to_string()).collect::<Vec<_>>();
    assert_eq!(keys(claim(&*store, 2).await), ["3", "2"]);
    assert_eq!(keys(claim(&*store, 9).await), ["4"]);
    assert!(claim(&*store, 9).await.is_empty());
    assert_eq!(store.next_due().await.unwrap(), Some(now() + hour));
    assert_eq!(keys(store.claim(&owner("a"), now() + hour, 9).await.unwrap()), ["1"]);
    assert_eq!(store.next_due().await.unwrap(), None);
}

async fn one_claimed(home: &Home) -> (Arc<dyn Store>, Claimed) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let claimed = claim_one(&*store).await;
    (store, claimed)
}

fn advance(node: usize) -> Then {
    Then::Advance { node, due_at: now(), planned_at: now() - days(1) }
}

async fn a_step_advances_and_starts_with_a_clean_slate(home: Home) {
    let (store, first) = one_claimed(&home).await;
    complete(&*store, completion(&first, None, Then::Again { due_at: now(), counts: true })).await;
    let first = claim_one(&*store).await;
    mark(&*store, &first, true).await;
    complete(&*store, completion(&first, Some(attempt_of(&*store, &first, sent())), advance(3))).await;
    let second = claim_one(&*store).await;
    assert_eq!((second.node, second.iteration, second.attempts), (3, 0, 0));
    assert_eq!(second.planned_at, now() - days(1));
    assert_eq!(second.match_id, first.match_id);
    assert_eq!(complete(&*store, completion(&first, None, end())).await.lost, [first.token]);
}

async fn going_back_to_a_node_is_another_iteration(home: Home) {
    let (store, first) = one_claimed(&home).await;
    complete(&*store, completion(&first, None, advance(2))).await;
    complete(&*store, completion(&claim_one(&*store).await, None, advance(0))).await;
    let again = claim_one(&*store).await;
    assert_eq!((again.node, again.iteration), (0, 1));
}

async fn a_failed_try_comes_again_and_counts_when_it_should(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    let later = now() + days(1);
    complete(&*store, completion(&claimed, None, Then::Again { due_at: later, counts: false })).await;
    assert!(claim(&*store, 9).await.is_empty());
    let postponed = store.claim(&owner("a"), later, 9).await.unwrap().remove(0);
    assert_eq!((postponed.attempts, postponed.planned_at), (0, now()), "lateness still counts from the plan");
    complete(&*store, completion(&postponed, None, Then::Again { due_at: now(), counts: true })).await;
    assert_eq!(claim_one(&*store).await.attempts, 1);
}

async fn answers_are_kept_for_later_steps(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    assert!(claimed.saved.is_null());
    let save = |claimed: &Claimed, name: &str, value| Completion {
        saved: Some((name.to_owned(), value)),
        ..completion(claimed, None, advance(claimed.node + 1))
    };
    complete(&*store, save(&claimed, "offer", serde_json::json!({"code": "A'1"}))).await;
    let claimed = claim_one(&*store).await;
    complete(&*store, save(&claimed, "other", serde_json::json!(null))).await;
    let saved = claim_one(&*store).await.saved;
    assert_eq!(saved, serde_json::json!({"offer": {"code": "A'1"}, "other": null}));
}

async fn a_mark_is_refused_twice_and_after_a_release(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    assert!(mark(&*store, &claimed, false).await.lost.is_empty());
    assert_eq!(mark(&*store, &claimed, false).await.lost, [claimed.token]);
    store.release(&[claimed.token]).await.unwrap();
    assert!(claim(&*store, 9).await.is_empty(), "what is being sent can't be given back");

    enter(&*store, vec![a_match(&*store, "2", "x")]).await;
    let other = claim_one(&*store).await;
    store.release(&[other.token]).await.unwrap();
    assert_eq!(mark(&*store, &other, false).await.lost, [other.token]);
    assert_eq!(claim_one(&*store).await.token.id, other.token.id);
}

async fn an_ended_enrollment_leaves_the_outbox(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    let then = Then::End { reason: EndReason::Goal, at: now() + days(1) };
    complete(&*store, completion(&claimed, None, then)).await;
    assert_eq!(store.next_due().await.unwrap(), None);
    let enrollment = store.enrollments(&Default::default()).await.unwrap().remove(0);
    assert_eq!((enrollment.state, enrollment.ended), (EnrollmentState::Ended, Some(EndReason::Goal)));
    assert_eq!((enrollment.ended_at, enrollment.next), (Some(now() + days(1)), None));
}

/// Claimed and marked by an owner that is then gone.
async fn abandoned(home: &Home, repeatable: bool) -> (Arc<dyn Store>, Claimed) {
    let store = home.open_with_lease(Duration::ZERO).await;
    store.adopt(&[adoption("win-back")], now()).await.unwrap();
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let claimed = claim_one(&*store).await;
    mark(&*store, &claimed, repeatable).await;
    (store, claimed)
}

async fn rescue(store: &dyn Store) -> Rescued {
    // The database's clock has passed the end of a lease of no length.
    let mut rescued = Rescued::default();
    crate::support::wait_until(crate::support::PATIENCE, async || {
        rescued = store.rescue(&owner("b"), now()).await.unwrap();
        rescued != Rescued::default()
    })
    .await;
    rescued
}

async fn it_is_known_when_the_first_lease_ends(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    let left = store.lease_ends().await.unwrap().expect("a row is leased");
    assert!(!left.is_zero() && left <= Duration::from_mins(1), "{left:?}");
    store.release(&[claimed.token]).await.unwrap();
    assert_eq!(store.lease_ends().await.unwrap(), None);

    let hasty = home.open_with_lease(Duration::ZERO).await;
    claim_one(&*hasty).await;
    crate::support::wait_until(crate::support::PATIENCE, async || {
        hasty.lease_ends().await.unwrap() == Some(Duration::ZERO)
    })
    .await;
    assert_eq!(rescue(&*hasty).await, Rescued { requeued: 1, ..Rescued::default() });
    assert_eq!(hasty.lease_ends().await.unwrap(), None);
}

async fn what_comes_for_a_track_is_known_until_it_is_sent_or_over(home: Home) {
    let store = home.with_rule().await;
    let soon = now() + SignedDuration::from_mins(40);
    let ours = NewMatch { first: Some((2, soon)), ..a_match(&*store, "1", "x") };
    let track = ours.track;
    enter(&*store, vec![ours, a_match(&*store, "2", "x")]).await;
    let coming = store.coming(&[track, [7; 16]], soon).await.unwrap();
    let told: Vec<_> = coming.iter().map(|one| (one.track, one.node, one.due_at)).collect();
    assert_eq!(told, [(track, 2, soon)]);
    assert_eq!(store.coming(&[track], soon - SignedDuration::from_secs(1)).await.unwrap(), []);
    assert_eq!(store.coming(&[], soon).await.unwrap(), []);
    // Somebody is looking at it, on this node or another: it may turn out to be a message.
    let claimed = store.claim(&owner("a"), soon, 9).await.unwrap();
    assert_eq!(store.coming(&[track], soon).await.unwrap(), coming);
    let claimed = claimed.into_iter().find(|claimed| claimed.token.id == coming[0].id).unwrap();
    assert!(mark(&*store, &claimed, false).await.lost.is_empty());
    assert_eq!(store.coming(&[track], soon).await.unwrap(), [], "it is being sent, and has its place");
}

async fn a_late_outcome_is_accepted_from_unknown(home: Home) {
    let (store, claimed) = abandoned(&home, false).await;
    assert_eq!(rescue(&*store).await, Rescued { unknown: 1, ..Rescued::default() });
    assert!(claim(&*store, 9).await.is_empty(), "an email whose outcome is unknown is not sent again");
    let attempt = attempt_of(&*store, &claimed, sent());
    assert!(complete(&*store, completion(&claimed, Some(attempt), advance(1))).await.lost.is_empty());
    assert_eq!(claim_one(&*store).await.node, 1);
}

async fn a_parked_delivery_is_retried_or_discarded_by_an_operator(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    let delivery = mark_of(&*store, &claimed, false).delivery;
    mark(&*store, &claimed, false).await;
    let failed = Outcome::Permanent { reason: "550 no such user".to_owned() };
    let park = Then::Park { state: DeliveryState::Dead };
    complete(&*store, completion(&claimed, Some(attempt_of(&*store, &claimed, failed)), park)).await;
    assert_eq!(store.next_due().await.unwrap(), None);

    let later = now() + days(30);
    assert_eq!(store.retry(&[DeliveryId([9; 16])], later).await.unwrap(), 0);
    assert_eq!(store.retry(&[delivery], later).await.unwrap(), 1);
    assert_eq!(store.retry(&[delivery], later).await.unwrap(), 0, "it is due already");
    let again = store.claim(&owner("a"), later, 9).await.unwrap().remove(0);
    assert_eq!((again.attempts, again.discarded, again.planned_at), (1, false, later));
    mark(&*store, &again, false).await;
    complete(&*store, completion(&again, None, Then::Park { state: DeliveryState::Unknown })).await;
    assert_eq!(store.discard(&[delivery], later).await.unwrap(), 1);
    let discarded = store.claim(&owner("a"), later, 9).await.unwrap().remove(0);
    assert!(discarded.discarded);
    complete(&*store, completion(&discarded, None, advance(1))).await;
    assert!(!claim_one(&*store).await.discarded);
}

/// Follows one delivery through its life, comparing each change with the drawing.
async fn states_move_only_along_the_drawing(home: Home) {
    use DeliveryState as S;
    let (store, claimed) = one_claimed(&home).await;
    let delivery = mark_of(&*store, &claimed, false).delivery;
    let state = async || {
        let overview = store.overview(now()).await.unwrap();
        let sending = overview.outbox_sending > 0;
        match (sending, overview.outbox_unknown > 0, overview.outbox_dead > 0, store.next_due().await.unwrap()) {
            (true, ..) => S::Sending,
            (_, true, ..) => S::Unknown,
            (_, _, true, _) => S::Dead,
            (.., Some(_)) => S::Due,
            _ => S::Claimed,
        }
    };
    let mut seen = vec![S::Due, state().await];
    mark(&*store, &claimed, false).await;
    seen.push(state().await);
    complete(&*store, completion(&claimed, None, Then::Park { state: S::Unknown })).await;
    seen.push(state().await);
    complete(&*store, completion(&claimed, None, Then::Park { state: S::Dead })).await;
    seen.push(state().await);
    assert_eq!(complete(&*store, completion(&claimed, None, end())).await.lost, [claimed.token], "dead is dead");
    store.retry(&[delivery], now()).await.unwrap();
    seen.push(state().await);
    let claimed = claim_one(&*store).await;
    seen.push(state().await);
    store.release(&[claimed.token]).await.unwrap();
    seen.push(state().await);
    assert_eq!(seen, [S::Due, S::Claimed, S::Sending, S::Unknown, S::Dead, S::Due, S::Claimed, S::Due]);
    assert!(seen.windows(2).all(|pair| pair[0].can_become(pair[1])));
}

async fn a_rescue_takes_back_what_a_dead_owner_held(home: Home) {
    let (store, repeatable) = abandoned(&home, true).await;
    enter(&*store, vec![a_match(&*store, "2", "x")]).await;
    let begun = claim_one(&*store).await;
    let mut rescued = Rescued::default();
    while (rescued.requeued, rescued.repeated) != (1, 1) {
        let some = rescue(&*store).await;
        rescued.requeued += some.requeued;
        rescued.repeated += some.repeated;
        assert_eq!(some.unknown, 0);
    }
    assert_eq!(mark(&*store, &begun, false).await.lost, [begun.token]);
    assert_eq!(complete(&*store, completion(&repeatable, None, end())).await.lost, [repeatable.token]);
    let tries: Vec<_> = claim(&*store, 9).await.iter().map(|c| (c.record.key.to_string(), c.attempts)).collect();
    assert_eq!(tries, [("1".to_owned(), 1), ("2".to_owned(), 0)], "a try that was begun counts");
    let log = store.attempts(0, 10).await.unwrap();
    assert_eq!((log.len(), log[0].outcome.as_str(), log[0].step.as_str()), (1, "unknown", "email-1"));
}

async fn a_rescue_leaves_its_own_alone(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    assert_eq!(store.rescue(&owner("a"), now()).await.unwrap(), Rescued::default());
    store.heartbeat(&[claimed.token]).await.unwrap();
    // Another node's lease that is still good is left alone, where there can be another node.
    let others = store.rescue(&owner("b"), now()).await.unwrap();
    assert_eq!(others.requeued, u64::from(!home.is_shared()));
    assert_eq!(mark(&*store, &claimed, false).await.lost.is_empty(), home.is_shared());
}

/// A row whose settlement was refused stays leased while its node lives and works on others.
async fn only_what_is_under_way_is_kept(home: Home) {
    let (store, lost) = abandoned(&home, true).await;
    enter(&*store, vec![a_match(&*store, "2", "x"), a_match(&*store, "3", "x")]).await;
    let [kept, old]: [Claimed; 2] = claim(&*store, 9).await.try_into().unwrap();
    store.release(&[old.token]).await.unwrap();
    let again = claim_one(&*store).await;
    // The leases so far were of no length. A heartbeat keeps what it names, and no claim that came later.
    let long = home.open().await;
    long.heartbeat(&[kept.token, old.token]).await.unwrap();
    let mut rescued = Rescued::default();
    crate::support::wait_until(crate::support::PATIENCE, async || {
        let some = long.rescue(&owner("a"), now()).await.unwrap();
        rescued.requeued += some.requeued;
        rescued.repeated += some.repeated;
        (rescued.requeued, rescued.repeated) == (1, 1)
    })
    .await;
    assert_eq!(long.rescue(&owner("a"), now()).await.unwrap(), Rescued::default());
    assert!(mark(&*long, &kept, false).await.lost.is_empty());
    assert_eq!(mark(&*long, &again, false).await.lost, [again.token]);
    assert_eq!(complete(&*long, completion(&lost, None, end())).await.lost, [lost.token]);
}

async fn a_migrated_enrollment_pins_the_version_it_counts_in(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    let migrated = RuleVersion { rule: rule(), hash: "v2".into(), text: "newer".into() };
    let waits = Then::Again { due_at: now(), counts: false };
    complete(&*store, Completion { migrated: Some(migrated.clone()), ..completion(&claimed, None, waits) }).await;
    let claimed = claim_one(&*store).await;
    assert_eq!(claimed.version, "v1".into(), "its node is still one of the old version");
    // The state does not know the newer version; it comes along.
    complete(&*store, Completion { migrated: Some(migrated), ..completion(&claimed, None, advance(7)) }).await;
    let claimed = claim_one(&*store).await;
    assert_eq!((claimed.version.as_str(), claimed.node), ("v2", 7));
    let pinned = store.pinned_versions(&HashSet::new()).await.unwrap();
    assert_eq!(pinned, [(rule(), "v2".into(), "newer".to_owned())]);
    assert_eq!(store.enrollments(&Default::default()).await.unwrap()[0].version.as_deref(), Some("v2"));
}

async fn a_held_step_is_freed_unless_it_would_be_held_again(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    let reason = "its file says `mode: shadow`";
    let hold = Then::Hold { reason: reason.to_owned() };
    complete(&*store, completion(&claimed, None, hold)).await;
    assert!(claim(&*store, 9).await.is_empty());
    assert_eq!(store.enrollments(&Default::default()).await.unwrap()[0].state, EnrollmentState::Held);
    assert_eq!(store.overview(now()).await.unwrap().held_enrollments, 1);
    let still = |rule: &str, lane, reason| [StillHeld { rule: rule.into(), lane, version: None, reason }];
    let of_version =
        |version: &str| [StillHeld { rule: rule(), lane: Lane::Live, version: Some(version.into()), reason }];
    for same in [still("win-back", Lane::Live, reason), of_version("v1")] {
        assert_eq!(store.free_held(&same).await.unwrap(), 0, "{same:?}");
        assert!(claim(&*store, 9).await.is_empty());
    }
    for differs in [
        of_version("v2"),
        still("other", Lane::Live, reason),
        still("win-back", Lane::Shadow, reason),
        still("win-back", Lane::Live, "its file says `mode: paused`"),
    ] {
        assert_eq!(store.free_held(&differs).await.unwrap(), 1, "{differs:?}");
        let freed = claim_one(&*store).await;
        assert_eq!(store.enrollments(&Default::default()).await.unwrap()[0].state, EnrollmentState::Active);
        complete(&*store, completion(&freed, None, Then::Hold { reason: reason.to_owned() })).await;
    }
    assert_eq!(store.free_held(&[]).await.unwrap(), 1);
}

async fn more_held_steps_than_are_looked_at_together_are_freed(home: Home) {
    let store = home.with_rule().await;
    let all = 10_003;
    enter(&*store, (0..all).map(|key| a_match(&*store, &key.to_string(), "x")).collect()).await;
    loop {
        let claimed = claim(&*store, 1_000).await;
        if claimed.is_empty() {
            break;
        }
        let hold = |claimed| completion(claimed, None, Then::Hold { reason: "no such template".to_owned() });
        let completions = claimed.iter().map(hold).collect();
        store.settle(&Settlement { marks: Vec::new(), completions }).await.unwrap();
    }
    assert_eq!(store.free_held(&[]).await.unwrap(), all);
    assert_eq!(store.overview(now()).await.unwrap().held_enrollments, 0);
}

async fn suppressions_are_kept_once_with_their_first_reason(home: Home) {
    let store = home.open().await;
    let entry = |address: &str, reason, since| Suppression {
        channel: Channel::Email,
        hash: store.secret().address_hash(Channel::Email, address),
        address: Some(address.to_owned()),
        reason,
        since,
    };
    let old = entry("a@b.example", SuppressionReason::Unsubscribed, now());
    let again = entry("A@B.example ", SuppressionReason::Manual, now() + days(1));
    let new = entry("c@b.example", SuppressionReason::Bounced, now() + days(2));
    assert_eq!(store.suppress(&[old.clone(), old.clone()]).await.unwrap(), 1);
    assert_eq!(store.suppress(&[again, new.clone()]).await.unwrap(), 1);
    assert_eq!(store.suppressions(10).await.unwrap(), [new.clone(), old.clone()]);
    assert_eq!(store.suppressions(1).await.unwrap(), [new]);
    let asked = [old.hash, store.secret().address_hash(Channel::Email, "d@b.example")];
    assert_eq!(store.suppressed(&asked).await.unwrap(), [old]);
}

fn suppressed(store: &dyn Store, address: &str, since: Timestamp) -> Suppression {
    let (channel, reason) = (Channel::Email, SuppressionReason::Bounced);
    let hash = store.secret().address_hash(channel, address);
    Suppression { channel, hash, address: Some(address.to_owned()), reason, since }
}

async fn paged(store: &dyn Store, limit: usize) -> Vec<Suppression> {
    let (mut all, mut after) = (Vec::<Suppression>::new(), None);
    loop {
        let page = store.suppressions_after(after, limit).await.unwrap();
        assert!(page.len() <= limit);
        let Some(last) = page.last() else { return all };
        after = Some(last.hash);
        all.extend(page);
    }
}

async fn a_persons_own_no_outweighs_what_stood_there_before(home: Home) {
    use SuppressionReason::{Bounced, Complained, Manual, Unsubscribed};
    let store = home.open().await;
    for (first, second, kept) in [
        (Manual, Complained, Complained),
        (Manual, Bounced, Bounced),
        (Bounced, Unsubscribed, Unsubscribed),
        (Unsubscribed, Bounced, Unsubscribed),
        (Complained, Manual, Complained),
        (Bounced, Bounced, Bounced),
    ] {
        let address = format!("{first:?}-{second:?}@b.example");
        let of = |reason, since| Suppression { reason, ..suppressed(&*store, &address, since) };
        store.suppress(&[of(first, now())]).await.unwrap();
        store.suppress(&[of(Manual, now() + days(1)), of(second, now() + days(2))]).await.unwrap();
        let since = if kept == first { now() } else { now() + days(2) };
        let entry = of(kept, since);
        assert_eq!(
            store.suppressed(&[entry.hash]).await.unwrap(),
            std::slice::from_ref(&entry),
            "{first:?}, {second:?}"
        );
    }
}

async fn suppressions_are_paged_and_taken_off_the_list(home: Home) {
    let store = home.open().await;
    let mut entries: Vec<_> = (0..7).map(|n| suppressed(&*store, &format!("{n}@b.example"), now() + days(n))).collect();
    assert_eq!(store.suppress(&entries).await.unwrap(), 7);
    entries.sort_by_key(|entry| entry.hash);
    for limit in [1, 3, 7, 100] {
        assert_eq!(paged(&*store, limit).await, entries, "by {limit}");
    }
    let gone = entries.remove(2);
    let stranger = store.secret().address_hash(Channel::Email, "nobody@b.example");
    let asked = [(Channel::Email, gone.hash), (Channel::Email, stranger)];
    assert_eq!(store.unsuppress(&asked, now()).await.unwrap(), 1);
    assert_eq!(store.unsuppress(&asked, now()).await.unwrap(), 0);
    assert_eq!(paged(&*store, 3).await, entries);
    assert_eq!(store.suppress(&[gone]).await.unwrap(), 1, "it can stand on the list anew");
}

async fn what_was_taken_off_the_list_stays_off_when_the_journal_is_read(home: Home) {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("suppressions");
    let (store, _) = home.open_journaled(&journal).await;
    let entries = ["off", "again", "on"].map(|name| suppressed(&*store, &format!("{name}@b.example"), now()));
    let [off, again, on] = entries.clone();
    store.suppress(&entries).await.unwrap();
    let both = [(Channel::Email, off.hash), (Channel::Email, again.hash)];
    assert_eq!(store.unsuppress(&both, now() + days(1)).await.unwrap(), 2);
    let later = Suppression { since: now() + days(2), reason: SuppressionReason::Complained, ..again.clone() };
    store.suppress(std::slice::from_ref(&later)).await.unwrap();

    // A state that has forgotten nothing keeps what it has, clear addresses included.
    let (store, read) = home.open_journaled(&journal).await;
    assert_eq!(read.changed, 0);
    assert_eq!(store.suppressions(10).await.unwrap(), [later.clone(), on.clone()]);

    // One from before they were taken off learns it, and one that was added again since has lost its clear address.
    let both = [(Channel::Email, later.hash), (Channel::Email, on.hash)];
    assert_eq!(store.unsuppress(&both, now() + days(3)).await.unwrap(), 2);
    let newest = Suppression { since: now() + days(4), reason: SuppressionReason::Manual, ..again };
    store.suppress(std::slice::from_ref(&newest)).await.unwrap();
    let backup = home.open().await;
    backup.unsuppress(&[(Channel::Email, newest.hash)], now()).await.unwrap();
    backup.suppress(&[later, on]).await.unwrap();
    let (store, read) = home.open_journaled(&journal).await;
    assert_eq!(read.changed, 3, "two are off, and one of them is on the list anew");
    assert_eq!(store.suppressions(10).await.unwrap(), [Suppression { address: None, ..newest }]);
}

async fn a_task_is_added_once(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    let reference = store.secret().delivery_id(claimed.match_id, &"task".into(), 0);
    let task = TaskDraft {
        delivery: reference,
        tenant: tenant(),
        record: claimed.record.clone(),
        fields: Default::default(),
        title: "Call".to_owned(),
        body: None,
        due: Some(jiff::civil::date(2026, 12, 1)),
        assignee_key: Some("7".into()),
        assignee_email: None,
    };
    assert!(store.add_task(reference, &task, now()).await.unwrap());
    assert!(!store.add_task(reference, &task, now()).await.unwrap());
    let keys = ["1".into(), "2".into()];
    let open = store.open_tasks(&tenant(), &"customer".into(), &keys).await.unwrap();
    assert_eq!(open, [("1".into(), reference)]);
    assert!(store.open_tasks(&tenant(), &"contact".into(), &keys).await.unwrap().is_empty());

    let attempt = Attempt { delivery: reference, kind: "task", ..attempt_of(&*store, &claimed, sent()) };
    complete(&*store, completion(&claimed, Some(attempt), end())).await;
    let ids = [reference, DeliveryId([1; 16])];
    assert_eq!(store.deliveries_of(&rule(), &ids).await.unwrap(), HashSet::from([reference]));
    assert!(store.deliveries_of(&"other".into(), &ids).await.unwrap().is_empty());
}

async fn pinned_versions_are_those_under_way(home: Home) {
    let (store, claimed) = one_claimed(&home).await;
    let newer = Adoption { version: "v2".into(), text: "newer".to_owned(), ..adoption("win-back") };
    store.adopt(&[newer], now()).await.unwrap();
    let pinned = store.pinned_versions(&HashSet::new()).await.unwrap();
    assert_eq!(pinned, [(rule(), "v1".into(), "id: win-back".to_owned())]);
    assert!(store.pinned_versions(&HashSet::from([(rule(), "v1".into())])).await.unwrap().is_empty());
    complete(&*store, completion(&claimed, None, end())).await;
    assert!(store.pinned_versions(&HashSet::new()).await.unwrap().is_empty());
}

async fn a_hundred_tokens_settle_at_once(home: Home) {
    let store = home.with_rule().await;
    let matches = (0..100).map(|key| a_match(&*store, &key.to_string(), "x")).collect();
    enter(&*store, matches).await;
    let claimed = claim(&*store, 200).await;
    let marks = claimed.iter().map(|c| mark_of(&*store, c, true)).collect();
    assert!(store.settle(&Settlement { marks, completions: Vec::new() }).await.unwrap().lost.is_empty());
    let then = |index: usize| match index % 4 {
        0 => end(),
        1 => advance(1),
        2 => Then::Again { due_at: now() + days(1), counts: true },
        _ => Then::Park { state: DeliveryState::Dead },
    };
    let completions = claimed
        .iter()
        .enumerate()
        .map(|(index, c)| completion(c, Some(attempt_of(&*store, c, sent())), then(index)))
        .collect();
    assert!(store.settle(&Settlement { marks: Vec::new(), completions }).await.unwrap().lost.is_empty());
    let overview = store.overview(now()).await.unwrap();
    assert_eq!((overview.outbox_due, overview.outbox_waiting, overview.outbox_dead), (25, 25, 25));
    assert_eq!(store.attempts(0, 1_000).await.unwrap().len(), 100);
}
