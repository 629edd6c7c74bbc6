use super::*;
use nudged::engine::port::{DeliveryFilter, EnrollmentFilter};
use nudged::model::{DeliveryState, EnrollmentState};

on_both_stores!(
    enrollments_are_found_by_rule_record_and_state,
    deliveries_show_their_newest_attempt_or_their_place,
    the_attempt_log_is_followed_by_id,
    the_overview_counts,
);

async fn two_rules(home: &Home) -> Arc<dyn Store> {
    let store = home.open().await;
    store.adopt(&[adoption("win-back"), adoption("renewal")], now()).await.unwrap();
    enter(&*store, vec![a_match(&*store, "1", "x"), a_match(&*store, "2", "x")]).await;
    let lease = store.begin_sweep(&"renewal".into(), Lane::Live, &tenant(), &owner("a")).await.unwrap().unwrap();
    let renewal = NewMatch { first: Some((4, now() + days(1))), ..match_of(store.secret(), "renewal", "1", "x") };
    store.commit_sweep(&lease, &commit_of(vec![renewal])).await.unwrap();
    store
}

async fn enrollments_are_found_by_rule_record_and_state(home: Home) {
    let store = two_rules(&home).await;
    let find = async |filter: EnrollmentFilter| {
        let found = store.enrollments(&filter).await.unwrap();
        found.iter().map(|e| format!("{} {}", e.rule, e.record.as_ref().unwrap().key)).collect::<Vec<_>>()
    };
    assert_eq!(find(EnrollmentFilter::default()).await, ["renewal 1", "win-back 2", "win-back 1"]);
    assert_eq!(find(EnrollmentFilter { limit: 1, ..Default::default() }).await, ["renewal 1"]);
    assert_eq!(find(EnrollmentFilter { rule: Some(rule()), ..Default::default() }).await.len(), 2);
    let of_one = EnrollmentFilter { record: Some(customer("1")), ..Default::default() };
    assert_eq!(find(of_one).await, ["renewal 1", "win-back 1"]);
    let ended = EnrollmentFilter { state: Some(EnrollmentState::Ended), ..Default::default() };
    assert!(find(ended.clone()).await.is_empty());
    for claimed in claim(&*store, 10).await {
        complete(&*store, completion(&claimed, None, end())).await;
    }
    assert_eq!(find(ended).await, ["win-back 2", "win-back 1"]);
    let next = store.enrollments(&EnrollmentFilter { limit: 1, ..Default::default() }).await.unwrap()[0].next;
    assert_eq!(next, Some((4, now() + days(1))));
}

async fn deliveries_show_their_newest_attempt_or_their_place(home: Home) {
    let store = two_rules(&home).await;
    let [one, two] = <[Claimed; 2]>::try_from(claim(&*store, 10).await).unwrap();
    for claimed in [&one, &two] {
        mark(&*store, claimed, false).await;
    }
    let find = async |state: Option<&str>, record: Option<&str>| {
        let filter = DeliveryFilter {
            rule: None,
            lane: None,
            record: record.map(customer),
            state: state.map(str::to_owned),
            limit: 10,
        };
        let found = store.deliveries(&filter).await.unwrap();
        found.iter().map(|d| format!("{} {} {} {}", d.step, d.kind, d.state, d.detail)).collect::<Vec<_>>()
    };
    assert_eq!(find(Some("sending"), Some("1")).await, ["email-1 email sending "]);
    let transient = Outcome::Transient { reason: "451 busy".to_owned(), retry_after: None };
    let again = Then::Again { due_at: now(), counts: true };
    complete(&*store, completion(&one, Some(attempt_of(&*store, &one, transient)), again)).await;
    let park = Then::Park { state: DeliveryState::Dead };
    let refused = Outcome::Permanent { reason: "550 no".to_owned() };
    complete(&*store, completion(&two, Some(attempt_of(&*store, &two, refused)), park)).await;
    assert_eq!(find(Some("dead"), None).await, ["email-1 email dead 550 no"]);
    assert_eq!(find(None, Some("1")).await, ["email-1 email due 451 busy"]);

    let one = claim_one(&*store).await;
    complete(&*store, completion(&one, Some(attempt_of(&*store, &one, sent())), end())).await;
    assert_eq!(find(Some("sent"), None).await, ["email-1 email sent 250 queued"]);
    assert_eq!(find(Some("transient"), None).await, [""; 0], "only the newest attempt counts");
    assert_eq!(find(None, None).await.len(), 2);
    assert!(find(Some("nonsense"), None).await.is_empty());
}

async fn the_attempt_log_is_followed_by_id(home: Home) {
    let store = two_rules(&home).await;
    let claimed = claim(&*store, 10).await;
    for claimed in &claimed {
        complete(&*store, completion(claimed, Some(attempt_of(&*store, claimed, sent())), end())).await;
    }
    let first = store.attempts(0, 1).await.unwrap();
    let rest = store.attempts(first[0].id, 10).await.unwrap();
    assert_eq!((first.len(), rest.len()), (1, 1));
    assert_eq!(first[0].record, Some(customer("1")));
    assert_eq!(rest[0].record, Some(customer("2")));
    assert_eq!((rest[0].rule.as_str(), rest[0].number, rest[0].outcome.as_str()), ("win-back", 1, "sent"));
    assert!(store.attempts(rest[0].id, 10).await.unwrap().is_empty());
}

async fn the_overview_counts(home: Home) {
    let store = two_rules(&home).await;
    let [one, two] = <[Claimed; 2]>::try_from(claim(&*store, 10).await).unwrap();
    complete(&*store, completion(&one, Some(attempt_of(&*store, &one, sent())), end())).await;
    mark(&*store, &two, false).await;
    let overview = store.overview(now() + days(2)).await.unwrap();
    assert_eq!((overview.matches, overview.active_enrollments), (3, 2));
    assert_eq!((overview.outbox_due, overview.outbox_sending, overview.outbox_waiting), (1, 1, 0));
    assert_eq!(overview.oldest_due, Some(now() + days(1)));
    assert!(overview.attempts_today.is_empty(), "that was two days ago");
    let overview = store.overview(now()).await.unwrap();
    assert_eq!(overview.attempts_today, [("sent".to_owned(), 1)]);
}
