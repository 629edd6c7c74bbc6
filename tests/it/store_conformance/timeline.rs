//! What happens between attempts: waits that are looked at again, notes, operators' decisions, and enrolling.

use super::*;
use nudged::engine::port::{Enrolling, EnrollmentFilter, Note, Noted, RuleVersion};
use nudged::model::EnrollmentState;

super::on_both_stores![
    a_wait_remembers_when_it_began_and_looking_again_is_no_other_round,
    notes_and_attempts_make_one_timeline,
    a_lost_lease_leaves_no_note,
    an_operator_cancels_what_is_under_way_and_the_queue_moves_up,
    an_operator_moves_what_nobody_works_on,
    a_step_enrolls_into_another_rule_once,
    an_enrolled_match_obeys_on_rematch,
];

async fn claimed(home: &Home) -> (Arc<dyn Store>, Claimed) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let claimed = claim_one(&*store).await;
    (store, claimed)
}

fn advance(node: usize) -> Then {
    Then::Advance { node, due_at: now(), planned_at: now() }
}

fn note(what: Noted) -> Note {
    Note { at: now(), step: Some("wait".into()), what }
}

async fn whats(store: &dyn Store, id: i64) -> Vec<(String, String)> {
    let found = store.timelines(&[id]).await.unwrap();
    found.into_iter().map(|happening| (happening.what, happening.detail)).collect()
}

async fn a_wait_remembers_when_it_began_and_looking_again_is_no_other_round(home: Home) {
    let (store, first) = claimed(&home).await;
    assert_eq!(first.since, None);
    let wait = |node, since, planned| Then::Wait { node, due_at: now(), planned_at: now() + days(planned), since };
    complete(&*store, completion(&first, None, wait(2, now() - days(3), 5))).await;
    let waiting = claim_one(&*store).await;
    assert_eq!((waiting.node, waiting.since, waiting.iteration), (2, Some(now() - days(3)), 0));
    assert_eq!(waiting.planned_at, now() + days(5));
    complete(&*store, completion(&waiting, None, wait(2, now() - days(3), 4))).await;
    let again = claim_one(&*store).await;
    assert_eq!((again.iteration, again.planned_at), (0, now() + days(4)));
    complete(&*store, completion(&again, None, advance(3))).await;
    assert_eq!(claim_one(&*store).await.since, None, "the next step is no wait");
}

async fn notes_and_attempts_make_one_timeline(home: Home) {
    let (store, first) = claimed(&home).await;
    let id = first.token.id;
    let notes = vec![note(Noted::Arm("b".into())), note(Noted::Waits(now() + days(7)))];
    let sent = completion(&first, Some(attempt_of(&*store, &first, sent())), advance(1));
    complete(&*store, Completion { notes, ..sent }).await;
    let second = claim_one(&*store).await;
    let held = Then::Hold { reason: "no rule".into() };
    let notes = vec![note(Noted::Held("no rule".into()))];
    complete(&*store, Completion { notes, ..completion(&second, None, held) }).await;

    let pair = |what: &str, detail: &str| (what.to_owned(), detail.to_owned());
    let expected = [pair("sent", "250 queued"), pair("arm", "b"), pair("waits", ""), pair("held", "no rule")];
    assert_eq!(whats(&*store, id).await, expected);
    let timeline = store.timelines(&[id, id + 1]).await.unwrap();
    assert_eq!(timeline[0].attempt.as_ref().map(|attempt| (attempt.0.as_str(), attempt.1)), Some(("email", 1)));
    assert_eq!((timeline[2].until, timeline[2].step.as_deref()), (Some(now() + days(7)), Some("wait")));
    let view = store.enrollments(&EnrollmentFilter { id: Some(id), ..Default::default() }).await.unwrap().remove(0);
    assert_eq!((view.id, view.standing.as_deref(), view.hold.as_deref()), (id, Some("held"), Some("no rule")));
    assert!(store.enrollments(&EnrollmentFilter { id: Some(id + 1), ..Default::default() }).await.unwrap().is_empty());
}

async fn a_lost_lease_leaves_no_note(home: Home) {
    let (store, first) = claimed(&home).await;
    complete(&*store, completion(&first, None, advance(1))).await;
    claim_one(&*store).await;
    let late = Completion { notes: vec![note(Noted::CameTrue)], ..completion(&first, None, advance(2)) };
    assert_eq!(complete(&*store, late).await.lost, [first.token]);
    assert!(whats(&*store, first.token.id).await.is_empty());
}

async fn an_operator_cancels_what_is_under_way_and_the_queue_moves_up(home: Home) {
    let store = home.with_rule().await;
    let queued = NewMatch { restart: Rematch::Queue, ..a_match(&*store, "1", "y") };
    enter(&*store, vec![a_match(&*store, "1", "x"), queued, a_match(&*store, "2", "x")]).await;
    let first = store.claim(&owner("a"), now(), 1).await.unwrap().remove(0);
    let id = first.token.id;
    assert_eq!(store.cancel_enrollments(&[id, 999], "moved away", now()).await.unwrap(), 1);
    assert_eq!(store.cancel_enrollments(&[id], "again", now()).await.unwrap(), 0, "it has ended");
    assert_eq!(whats(&*store, id).await, [("cancelled".to_owned(), "moved away".to_owned())]);
    // What was in hand when it was cancelled goes no further.
    assert_eq!(mark(&*store, &first, true).await.lost, [first.token]);
    let due: Vec<_> = claim(&*store, 9).await.into_iter().map(|claimed| claimed.occasion).collect();
    assert_eq!(due.len(), 2, "the queued one has begun");
    assert!(due.contains(&"y".into()));
}

async fn an_operator_moves_what_nobody_works_on(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x"), a_match(&*store, "2", "x")]).await;
    let all = claim(&*store, 9).await;
    let hold = Then::Hold { reason: "it does not compile".into() };
    complete(&*store, completion(&all[0], None, hold)).await;
    let to = RuleVersion { rule: rule(), hash: "v2".into(), text: "newer".into() };
    let moves = [(all[0].token.id, 4), (all[1].token.id, 4)];
    assert_eq!(store.move_enrollments(&to, &moves, now()).await.unwrap(), 1, "the other one is in hand");
    let moved = claim_one(&*store).await;
    assert_eq!((moved.token.id, moved.node, moved.version.as_str()), (all[0].token.id, 4, "v2"));
    let view = store.enrollments(&EnrollmentFilter { id: Some(moved.token.id), ..Default::default() }).await.unwrap();
    assert_eq!((view[0].state, &view[0].hold), (EnrollmentState::Active, &None));
    assert_eq!(whats(&*store, moved.token.id).await, [("migrated".to_owned(), "v2".to_owned())]);
}

fn enrolling(store: &dyn Store, occasion: &str) -> Box<Enrolling> {
    let of = NewMatch { version: "v9".into(), ..match_of(store.secret(), "follow-up", "1", occasion) };
    let version = RuleVersion { rule: "follow-up".into(), hash: "v9".into(), text: "id: follow-up".into() };
    Box::new(Enrolling { of, version })
}

async fn with_both_rules(home: &Home) -> (Arc<dyn Store>, Claimed) {
    let store = home.open().await;
    store.adopt(&[adoption("win-back"), adoption("follow-up")], now()).await.unwrap();
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let claimed = claim_one(&*store).await;
    (store, claimed)
}

async fn enrolled(store: &dyn Store) -> Vec<(String, Option<EndReason>)> {
    let filter = EnrollmentFilter { rule: Some("follow-up".into()), ..EnrollmentFilter::default() };
    let found = store.enrollments(&filter).await.unwrap();
    found.into_iter().map(|view| (view.version.unwrap(), view.ended)).collect()
}

async fn a_step_enrolls_into_another_rule_once(home: Home) {
    let (store, first) = with_both_rules(&home).await;
    let enrolls = Some(enrolling(&*store, "enroll:a"));
    let done = Completion { enrolls: enrolls.clone(), ..completion(&first, None, advance(1)) };
    complete(&*store, done.clone()).await;
    assert_eq!(enrolled(&*store).await, [("v9".to_owned(), None)], "the state did not know its version");
    // The same completion again: its lease is spent, and nothing of it counts.
    assert_eq!(complete(&*store, done).await.lost, [first.token]);
    let due = claim(&*store, 9).await;
    assert_eq!(due.len(), 2);
    let next = due.into_iter().find(|claimed| claimed.rule == rule()).unwrap();
    complete(&*store, Completion { enrolls, ..completion(&next, None, end()) }).await;
    assert_eq!(enrolled(&*store).await.len(), 1, "the occasion is in the ledger");
    let states = store.rule_states().await.unwrap();
    assert_eq!(states.iter().find(|state| state.rule == "follow-up".into()).unwrap().matches, 1);
    let since = store.matched_since(&"follow-up".into(), Lane::Live, &tenant(), now() - days(1)).await.unwrap();
    assert_eq!(since, 1, "the guard counts it");
}

async fn an_enrolled_match_obeys_on_rematch(home: Home) {
    let (store, first) = with_both_rules(&home).await;
    complete(&*store, Completion { enrolls: Some(enrolling(&*store, "a")), ..completion(&first, None, advance(1)) })
        .await;
    let next = claim(&*store, 9).await.into_iter().find(|claimed| claimed.rule == rule()).unwrap();
    let done = completion(&next, None, end());
    complete(&*store, Completion { enrolls: Some(enrolling(&*store, "b")), ..done }).await;
    let both = [("v9".to_owned(), Some(EndReason::Cancelled)), ("v9".to_owned(), None)];
    assert_eq!(enrolled(&*store).await, both, "the second starts nothing while the first runs");
}
