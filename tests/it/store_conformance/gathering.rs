use super::*;
use nudged::engine::port::{Answered, Gathered, Gathering, NewAnswer};
use nudged::model::DeliveryId;
use serde_json::json;

on_both_stores!(
    a_gathering_leases_what_is_due_at_its_step_and_nothing_else,
    who_is_on_the_way_comes_along,
    what_another_node_holds_is_told,
    an_answer_is_kept_until_it_is_told,
    a_changed_answer_stays_due,
    an_answer_of_an_erased_person_is_dropped,
);

fn meeting(claimed: &Claimed, node: usize, before: &[usize]) -> Gathering {
    Gathering {
        rule: claimed.rule.clone(),
        lane: claimed.lane,
        tenant: tenant(),
        version: claimed.version.clone(),
        node,
        before: before.to_vec(),
        held: vec![claimed.token],
        owner: owner("a"),
    }
}

/// Five matches at node 0, one of them later, and one at node 2.
async fn standing(home: &Home) -> (Arc<dyn Store>, Claimed) {
    let store = home.with_rule().await;
    let at = |key: &str, node, at| NewMatch { first: Some((node, at)), ..a_match(&*store, key, "x") };
    let later = now() + SignedDuration::from_hours(1);
    let mut matches: Vec<NewMatch> = ["1", "2", "3", "4"].map(|key| at(key, 0, now())).into();
    matches.extend([at("5", 0, later), at("6", 2, now())]);
    enter(&*store, matches).await;
    let first = claim(&*store, 1).await.remove(0);
    (store, first)
}

fn keys(claimed: &[Claimed]) -> Vec<String> {
    let mut keys: Vec<String> = claimed.iter().map(|claimed| claimed.record.key.to_string()).collect();
    keys.sort();
    keys
}

async fn a_gathering_leases_what_is_due_at_its_step_and_nothing_else(home: Home) {
    let (store, first) = standing(&home).await;
    let first_key = first.record.key.to_string();
    let Gathered { there, coming, elsewhere } = store.gather(&meeting(&first, 0, &[]), now(), 99).await.unwrap();
    let mut expected: Vec<String> = ["1", "2", "3", "4"].map(str::to_owned).into();
    expected.retain(|key| *key != first_key);
    assert_eq!(keys(&there), expected);
    assert!(coming.is_empty() && !elsewhere);
    // Their leases are as good as those of a claim.
    assert!(mark(&*store, &there[0], false).await.lost.is_empty());
    assert_eq!(keys(&claim(&*store, 99).await), ["6"]);
    let again = store.gather(&meeting(&first, 0, &[]), now(), 99).await.unwrap();
    assert_eq!(again, Gathered::default(), "what the asker holds at the step is on its way already");
}

async fn who_is_on_the_way_comes_along(home: Home) {
    let (store, first) = standing(&home).await;
    let found = store.gather(&meeting(&first, 0, &[2]), now(), 2).await.unwrap();
    assert_eq!((found.there.len(), keys(&found.coming), found.elsewhere), (2, vec!["6".to_owned()], false));
}

async fn what_another_node_holds_is_told(home: Home) {
    let (store, first) = standing(&home).await;
    let others = store.claim(&owner("b"), now(), 1).await.unwrap();
    assert_eq!(others.len(), 1);
    let found = store.gather(&meeting(&first, 0, &[2]), now(), 99).await.unwrap();
    assert!(found.elsewhere);
    store.release(&[others[0].token]).await.unwrap();
    let found = store.gather(&meeting(&first, 0, &[2]), now(), 99).await.unwrap();
    assert_eq!((found.there.len() + found.coming.len(), found.elsewhere), (1, true), "those of before are not in hand");
}

fn answer(enrollment: i64, score: i64, at: Timestamp) -> NewAnswer {
    let change_within = SignedDuration::from_hours(24);
    NewAnswer { enrollment, delivery: DeliveryId([7; 16]), score, comment: Some("'\";é".into()), at, change_within }
}

/// An enrollment that was asked and has ended.
async fn asked(home: &Home) -> (Arc<dyn Store>, i64) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let claimed = claim_one(&*store).await;
    let kept = json!({"survey": "nps", "fields": {"country": "AT"}});
    let saved = Some((format!("@{}", DeliveryId([7; 16])), kept));
    let end = Then::End { reason: EndReason::Completed, at: now() };
    complete(&*store, Completion { saved, ..completion(&claimed, None, end) }).await;
    (store, claimed.token.id)
}

async fn an_answer_is_kept_until_it_is_told(home: Home) {
    let (store, enrollment) = asked(&home).await;
    let delivery = DeliveryId([7; 16]);
    let question = store.asked(enrollment, delivery).await.unwrap().unwrap();
    assert_eq!((question.survey.as_str(), question.given.is_some()), ("nps", false));
    assert!(store.asked(enrollment, DeliveryId([8; 16])).await.unwrap().is_none());
    assert_eq!(store.answer(&answer(enrollment + 1, 3, now())).await.unwrap(), Answered::Gone);

    assert_eq!(store.answer(&answer(enrollment, 3, now())).await.unwrap(), Answered::New);
    assert_eq!(store.answer(&answer(enrollment, 3, now() + days(9))).await.unwrap(), Answered::Same);
    let due = store.take_answers(now(), 9).await.unwrap();
    let (record, kept) = due[0].of.clone().unwrap();
    assert_eq!((record.key.as_str(), kept.fields["country"].as_str()), ("1", Some("AT")));
    let given = kept.given.unwrap();
    assert_eq!((given.score, given.comment.as_deref(), given.at), (3, Some("'\";é"), now()));
    assert!(store.take_answers(now(), 9).await.unwrap().is_empty(), "it was taken");
    store.put_off_answers(&[due[0].id], now(), now() + days(1)).await.unwrap();
    assert!(store.take_answers(now(), 9).await.unwrap().is_empty());
    let due = store.take_answers(now() + days(1), 9).await.unwrap();
    store.answers_told(&[due[0].id], now() + days(1)).await.unwrap();
    assert!(store.take_answers(now() + days(2), 9).await.unwrap().is_empty());
}

async fn a_changed_answer_stays_due(home: Home) {
    let (store, enrollment) = asked(&home).await;
    store.answer(&answer(enrollment, 3, now())).await.unwrap();
    let before = store.take_answers(now(), 9).await.unwrap();
    let hour = SignedDuration::from_hours(1);
    assert_eq!(store.answer(&answer(enrollment, 8, now() + hour)).await.unwrap(), Answered::Changed);
    // The one that was on its way is told; the new one is not.
    store.answers_told(&[before[0].id], now() + hour).await.unwrap();
    let due = store.take_answers(now() + hour, 9).await.unwrap();
    assert_eq!(due[0].of.clone().unwrap().1.given.unwrap().score, 8);
    store.answers_told(&[due[0].id], now() + hour).await.unwrap();
    // Whoever brought the first one was only slow: it lies over the second now, so that is told once more.
    store.answers_told(&[before[0].id], now() + hour).await.unwrap();
    let again = store.take_answers(now() + hour, 9).await.unwrap();
    assert_eq!(again[0].of.clone().unwrap().1.given.unwrap().score, 8);
    store.answers_told(&[again[0].id], now() + hour).await.unwrap();
    assert!(store.take_answers(now() + days(1), 9).await.unwrap().is_empty());
    assert_eq!(store.answer(&answer(enrollment, 1, now() + days(2))).await.unwrap(), Answered::TooLate);
}

async fn an_answer_of_an_erased_person_is_dropped(home: Home) {
    let (store, enrollment) = asked(&home).await;
    store.answer(&answer(enrollment, 3, now())).await.unwrap();
    let record = RecordId { tenant: tenant(), entity: "customer".into(), key: "1".into() };
    store.forget(&record, now()).await.unwrap();
    assert!(store.take_answers(now(), 9).await.unwrap()[0].of.is_none());
    assert!(store.asked(enrollment, DeliveryId([7; 16])).await.unwrap().is_none());
    assert_eq!(store.answer(&answer(enrollment, 9, now())).await.unwrap(), Answered::Gone);
}
