//! Erasing a record, and forgetting what has grown old.

use super::*;
use nudged::engine::port::{Aged, Candidate, EnrollmentFilter, Inbound, Miss, MissKind, Standing, SweepId, TaskDraft};
use nudged::model::{Channel, DeliveryId, EnrollmentState, Suppression, SuppressionReason};
use serde_json::json;

super::on_both_stores![
    a_dossier_holds_what_is_known_of_one_record,
    a_forgotten_record_leaves_hashes_and_counts,
    an_occasion_that_was_refused_never_matches_after_it_was_forgotten,
    what_is_being_sent_leaves_an_empty_line,
    parked_deliveries_of_a_forgotten_record_go,
    a_held_match_of_a_forgotten_record_is_not_entered,
    the_queue_of_a_forgotten_record_does_not_begin,
    events_and_addresses_are_emptied_and_known_by_their_hashes,
    old_attempts_go_and_those_under_way_stay,
    old_enrollments_go_and_the_newest_of_a_record_keeps_its_occasion,
];

fn miss(key: &str, occasion: &str) -> Miss {
    Miss {
        entity: "customer".into(),
        key: key.into(),
        occasion: occasion.into(),
        crossed_at: now(),
        kind: MissKind::Refused,
        reason: "country is not AT".into(),
    }
}

fn candidate(of: &NewMatch) -> Candidate {
    Candidate {
        id: of.id,
        former: Vec::new(),
        track: of.track,
        former_tracks: Vec::new(),
        tolerance: of.tolerance,
        occasion_at: of.occasion_at,
        entity: of.record.entity.clone(),
        key: of.record.key.clone(),
        occasion: of.occasion.clone(),
    }
}

fn task(delivery: DeliveryId, key: &str) -> TaskDraft {
    TaskDraft {
        delivery,
        fields: Default::default(),
        tenant: tenant(),
        record: customer(key),
        title: format!("Call Cafe {key}"),
        body: Some("ask for Anna".into()),
        due: None,
        assignee_key: None,
        assignee_email: None,
    }
}

/// Customers 1 and 2 matched; 1 has a reply, a task, and an occasion it was refused at.
async fn two_customers(home: &Home) -> Arc<dyn Store> {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x"), a_match(&*store, "2", "x")]).await;
    let lease = begin(&*store).await;
    let found = Found { misses: vec![miss("1", "y"), miss("2", "y")], ..Found::default() };
    store.commit_sweep(&lease, &SweepCommit { found, ..commit_of(Vec::new()) }).await.unwrap();
    for claimed in claim(&*store, 10).await {
        mark(&*store, &claimed, false).await;
        let reply = format!("250 queued for anna{}@cafe.example", claimed.record.key);
        let attempt = attempt_of(&*store, &claimed, Outcome::Sent { reply });
        let saved = Some(("answer".to_owned(), json!({"name": "Anna"})));
        let wait = Then::Advance { node: 1, due_at: now() + days(7), planned_at: now() + days(7) };
        complete(&*store, Completion { saved, ..completion(&claimed, Some(attempt), wait) }).await;
        let key = claimed.record.key.as_str();
        let reference = store.secret().delivery_id(claimed.match_id, &"task".into(), 0);
        store.add_task(reference, &task(reference, key), now()).await.unwrap();
    }
    store
}

async fn a_dossier_holds_what_is_known_of_one_record(home: Home) {
    let store = two_customers(&home).await;
    let dossier = store.dossier(&customer("1")).await.unwrap();
    assert_eq!(dossier.enrollments.len(), 1);
    let enrolled = &dossier.enrollments[0];
    assert_eq!((enrolled.occasion.as_deref(), enrolled.state), (Some("x"), Some(EnrollmentState::Active)));
    assert_eq!(enrolled.saved, json!({"answer": {"name": "Anna"}}));
    assert_eq!(enrolled.occasion_data, json!({"value": "it's \"90\" days"}));
    assert_eq!(dossier.happenings[0].detail, "250 queued for anna1@cafe.example");
    assert_eq!(dossier.misses.iter().map(|miss| miss.occasion.as_str()).collect::<Vec<_>>(), ["y"]);
    assert_eq!(dossier.tasks.iter().map(|task| task.title.as_str()).collect::<Vec<_>>(), ["Call Cafe 1"]);
    assert!(store.dossier(&customer("3")).await.unwrap().is_empty());
}

async fn a_forgotten_record_leaves_hashes_and_counts(home: Home) {
    let store = two_customers(&home).await;
    let other = store.dossier(&customer("2")).await.unwrap();
    let before = store.rule_states().await.unwrap()[0].matches;
    let id = store.dossier(&customer("1")).await.unwrap().enrollments[0].id;

    let forgotten = store.forget(&customer("1"), now()).await.unwrap();
    assert_eq!((forgotten.enrollments, forgotten.cancelled, forgotten.attempts), (1, 1, 1));
    assert_eq!((forgotten.misses, forgotten.tasks, forgotten.in_flight), (1, 1, 0));
    assert!(!store.forget(&customer("1"), now()).await.unwrap().found(), "a second time finds nothing");

    assert!(store.dossier(&customer("1")).await.unwrap().is_empty());
    assert_eq!(store.dossier(&customer("2")).await.unwrap(), other, "nobody else is touched");
    let view = store.enrollments(&EnrollmentFilter { id: Some(id), ..Default::default() }).await.unwrap().remove(0);
    assert_eq!((view.record, view.occasion, view.ended), (None, None, Some(EndReason::Cancelled)));
    let told: Vec<_> = store.timelines(&[id]).await.unwrap().into_iter().map(|line| (line.what, line.detail)).collect();
    let pair = |what: &str, detail: &str| (what.to_owned(), detail.to_owned());
    assert_eq!(told, [pair("sent", ""), pair("cancelled", "the person was erased")]);

    assert_eq!(store.rule_states().await.unwrap()[0].matches, before);
    assert_eq!(store.overview(now()).await.unwrap().attempts_today, [("sent".to_owned(), 2)]);
    let again = enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    assert_eq!((again.entered, again.known), (0, 1), "its occasion is in the ledger by its hash");
    let open = store.open_tasks(&tenant(), &"customer".into(), &["1".into(), "".into()]).await.unwrap();
    assert!(open.is_empty(), "{open:?}");
}

async fn an_occasion_that_was_refused_never_matches_after_it_was_forgotten(home: Home) {
    let store = two_customers(&home).await;
    store.forget(&customer("1"), now()).await.unwrap();
    let of = [candidate(&a_match(&*store, "1", "y")), candidate(&a_match(&*store, "1", "z"))];
    let lease = begin(&*store).await;
    assert_eq!(store.standings(&lease, &of).await.unwrap(), [Standing::Known, Standing::New]);
}

async fn what_is_being_sent_leaves_an_empty_line(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let claimed = claim_one(&*store).await;
    mark(&*store, &claimed, false).await;
    let forgotten = store.forget(&customer("1"), now()).await.unwrap();
    assert_eq!((forgotten.enrollments, forgotten.in_flight), (1, 1));
    let ids = [claimed.token.id];
    assert_eq!(store.in_flight(&ids).await.unwrap(), 1);

    let attempt = attempt_of(&*store, &claimed, Outcome::Sent { reply: "250 for anna@cafe.example".into() });
    let saved = Some(("answer".to_owned(), json!("Anna")));
    let done = Completion { saved, ..completion(&claimed, Some(attempt), end()) };
    assert!(complete(&*store, done).await.lost.is_empty());
    assert_eq!(store.in_flight(&ids).await.unwrap(), 0);
    let line = store.attempts(0, 10).await.unwrap().remove(0);
    assert_eq!((line.record, line.outcome.as_str(), line.detail.as_str()), (None, "sent", ""));
    assert!(claim(&*store, 10).await.is_empty());
}

async fn parked_deliveries_of_a_forgotten_record_go(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let claimed = claim_one(&*store).await;
    mark(&*store, &claimed, false).await;
    let delivery = mark_of(&*store, &claimed, false).delivery;
    let unknown = attempt_of(&*store, &claimed, Outcome::Unknown { reason: "anna@cafe.example?".into() });
    let park = Then::Park { state: nudged::model::DeliveryState::Unknown };
    complete(&*store, completion(&claimed, Some(unknown), park)).await;
    store.forget(&customer("1"), now()).await.unwrap();
    assert_eq!(store.retry(&[delivery], now()).await.unwrap(), 0, "nobody is left to send it to");
    assert!(claim(&*store, 10).await.is_empty());
}

async fn a_held_match_of_a_forgotten_record_is_not_entered(home: Home) {
    let store = home.with_rule().await;
    let lease = begin(&*store).await;
    let held = Some((SweepId("big".into()), "too many".into()));
    let commit = commit_of(vec![a_match(&*store, "1", "x"), a_match(&*store, "2", "x")]);
    store.commit_sweep(&lease, &SweepCommit { held, ..commit }).await.unwrap();
    assert_eq!(store.forget(&customer("1"), now()).await.unwrap().enrollments, 1);
    store.decide_held(&SweepId("big".into()), true, now()).await.unwrap();
    while store.expand(100).await.unwrap() > 0 {}
    assert_eq!(claim_one(&*store).await.record, customer("2"));
    assert_eq!(enter(&*store, vec![a_match(&*store, "1", "x")]).await.known, 1);
}

async fn the_queue_of_a_forgotten_record_does_not_begin(home: Home) {
    let store = home.with_rule().await;
    let queued = NewMatch { restart: Rematch::Queue, ..a_match(&*store, "1", "y") };
    enter(&*store, vec![a_match(&*store, "1", "x"), queued]).await;
    let forgotten = store.forget(&customer("1"), now()).await.unwrap();
    assert_eq!((forgotten.enrollments, forgotten.cancelled), (2, 2));
    assert!(claim(&*store, 10).await.is_empty());
}

async fn events_and_addresses_are_emptied_and_known_by_their_hashes(home: Home) {
    let store = home.with_rule().await;
    let event = Inbound { name: "signed-up".into(), id: "a".into(), received_at: now(), body: json!({"customer": 1}) };
    store.accept(&event).await.unwrap();
    let read = async || store.received("signed-up", Timestamp::MIN, Timestamp::MAX, 0, 9).await.unwrap().remove(0);
    let number = read().await.0;
    assert_eq!(store.empty_events(&[number]).await.unwrap(), 1);
    assert_eq!(read().await.1.body, json!(null));
    assert!(!store.accept(&event).await.unwrap(), "sent again, it is known");

    let hash = store.secret().address_hash(Channel::Email, "anna@cafe.example");
    let (channel, address, reason) = (Channel::Email, Some("anna@cafe.example".into()), SuppressionReason::Bounced);
    store.suppress(&[Suppression { channel, hash, address, reason, since: now() }]).await.unwrap();
    assert_eq!(store.unname(&[hash]).await.unwrap(), 1);
    let held = store.suppressed(&[hash]).await.unwrap();
    assert_eq!((held.len(), &held[0].address), (1, &None), "and still nobody writes there");
}

async fn old_attempts_go_and_those_under_way_stay(home: Home) {
    let store = two_customers(&home).await;
    let id = store.dossier(&customer("1")).await.unwrap().enrollments[0].id;
    store.cancel_enrollments(&[id], "moved away", now()).await.unwrap();
    let later = now() + days(1);
    assert_eq!(store.prune(Aged::Attempts, now(), 100).await.unwrap(), 0, "none is older");
    assert_eq!(store.prune(Aged::Attempts, later, 100).await.unwrap(), 1);
    assert_eq!(store.prune(Aged::Timeline, later, 100).await.unwrap(), 1);
    assert!(store.timelines(&[id]).await.unwrap().is_empty());
    assert_eq!(store.attempts(0, 10).await.unwrap().len(), 1, "the other is still under way");
    assert_eq!(store.prune(Aged::Misses, later, 100).await.unwrap(), 2);
}

async fn old_enrollments_go_and_the_newest_of_a_record_keeps_its_occasion(home: Home) {
    let store = home.with_rule().await;
    let second = NewMatch { occasion_at: Some(now() - days(80)), ..a_match(&*store, "1", "y") };
    for of in [a_match(&*store, "1", "x"), second] {
        enter(&*store, vec![of]).await;
        let claimed = claim_one(&*store).await;
        complete(&*store, completion(&claimed, Some(attempt_of(&*store, &claimed, sent())), end())).await;
    }
    enter(&*store, vec![a_match(&*store, "2", "x")]).await;
    let later = now() + days(1);
    assert_eq!(store.prune(Aged::Enrollments, later, 1).await.unwrap(), 1, "batch by batch");
    assert_eq!(store.prune(Aged::Enrollments, later, 100).await.unwrap(), 1);
    assert_eq!(store.prune(Aged::Enrollments, later, 100).await.unwrap(), 0);
    let left = store.enrollments(&EnrollmentFilter::default()).await.unwrap();
    let left: Vec<_> = left.iter().map(|view| (view.record.clone(), view.state)).collect();
    let expected = [(Some(customer("2")), EnrollmentState::Active), (None, EnrollmentState::Ended)];
    assert_eq!(left, expected, "what is under way stays; the newest of the other is empty");
    assert!(store.attempts(0, 10).await.unwrap().is_empty());

    // A touched date is no second occasion, as before; nor is an old one.
    let touched = NewMatch {
        occasion_at: Some(now() - days(80) + SignedDuration::from_hours(1)),
        tolerance: Some(days(1)),
        ..a_match(&*store, "1", "z")
    };
    assert_eq!(enter(&*store, vec![touched, a_match(&*store, "1", "x")]).await.known, 2);
}
