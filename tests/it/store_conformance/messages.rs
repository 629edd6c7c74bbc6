//! Messages that are kept as they left, and one delivery with all that is known of it.

use super::*;
use nudged::engine::port::{Aged, Content, Keeping};
use nudged::model::{DeliveryId, DeliveryState};
use serde_json::{Value as Json, json};

super::on_both_stores![
    a_message_is_kept_with_its_delivery_and_handed_out,
    a_message_that_is_not_to_be_kept_is_not,
    old_messages_go_batch_by_batch,
    whoever_is_erased_takes_along_what_tells_of_them,
    what_tells_of_somebody_who_was_erased_meanwhile_is_not_kept,
    messages_go_with_their_enrollments,
    a_delivery_is_found_by_what_its_id_begins_with,
    a_delivery_in_doubt_stands_where_it_waits,
];

fn content(text: &str) -> Content {
    Content { to: "anna@cafe.example".into(), body: json!({"subject": "It's \"90\" days \u{0}", "text": text}) }
}

/// What the sessions of a channel hand in of rows whose message was sent: the first carries it.
fn sent_together(store: &dyn Store, rows: &[Claimed], text: &str, then: &Then) -> Vec<Completion> {
    let carrier = attempt_of(store, &rows[0], sent()).delivery;
    let done = |(index, row): (usize, &Claimed)| {
        let content = (index == 0).then(|| content(text));
        let keeping = Some(Arc::new(Keeping { delivery: carrier, content }));
        Completion { keeping, ..completion(row, Some(attempt_of(store, row, sent())), then.clone()) }
    };
    rows.iter().enumerate().map(done).collect()
}

/// Customers of these keys, one after the other, each with a message of its own.
async fn mailed(home: &Home, keys: &[&str]) -> (Arc<dyn Store>, Vec<Claimed>) {
    let store = home.with_rule().await;
    enter(&*store, keys.iter().map(|key| a_match(&*store, key, "x")).collect()).await;
    let mut rows = claim(&*store, 10).await;
    rows.sort_by(|a, b| a.record.key.cmp(&b.record.key));
    for row in &rows {
        mark(&*store, row, false).await;
        let text = format!("Hello {}", row.record.key);
        let completions = sent_together(&*store, std::slice::from_ref(row), &text, &end());
        store.settle(&Settlement { marks: Vec::new(), completions }).await.unwrap();
    }
    (store, rows)
}

async fn texts(store: &dyn Store, key: &str) -> Vec<Json> {
    let dossier = store.dossier(&customer(key)).await.unwrap();
    dossier.messages.into_iter().map(|kept| kept.content.body["text"].clone()).collect()
}

async fn a_message_is_kept_with_its_delivery_and_handed_out(home: Home) {
    let (store, rows) = mailed(&home, &["1", "2"]).await;
    let id = attempt_of(&*store, &rows[0], sent()).delivery;
    let story = store.delivery(rows[0].token.id, id).await.unwrap().unwrap();
    assert_eq!((story.view.state.as_str(), story.view.step.as_str(), story.tries.len()), ("sent", "email-1", 1));
    assert_eq!(story.tries[0].detail, "250 queued");
    let [kept] = &story.kept[..] else { panic!("{story:?}") };
    assert_eq!((kept.delivery, kept.kind.as_str(), kept.sent_at), (id, "email", now()));
    assert_eq!(kept.content, content("Hello 1"));
    let row = story.row.unwrap();
    assert_eq!((row.match_id, &row.record, &row.occasion), (rows[0].match_id, &rows[0].record, &rows[0].occasion));
    assert_eq!((row.occasion_data, row.occasion_at), (rows[0].occasion_data.clone(), rows[0].occasion_at));
    assert_eq!(texts(&*store, "1").await, ["Hello 1"]);
    assert_eq!(store.delivery(rows[1].token.id, id).await.unwrap(), None, "it is another enrollment's");
}

async fn a_message_that_is_not_to_be_kept_is_not(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let row = claim_one(&*store).await;
    complete(&*store, completion(&row, Some(attempt_of(&*store, &row, sent())), end())).await;
    assert!(texts(&*store, "1").await.is_empty());
    assert_eq!(store.prune(Aged::Messages, Timestamp::MAX, 10).await.unwrap(), 0);
}

async fn old_messages_go_batch_by_batch(home: Home) {
    let (store, _) = mailed(&home, &["1", "2", "3"]).await;
    assert_eq!(store.prune(Aged::Messages, now(), 10).await.unwrap(), 0, "young enough");
    let later = now() + days(1);
    assert_eq!(store.prune(Aged::Messages, later, 2).await.unwrap(), 2);
    assert_eq!(store.prune(Aged::Messages, later, 2).await.unwrap(), 1);
    assert_eq!(store.prune(Aged::Messages, later, 2).await.unwrap(), 0);
    assert!(texts(&*store, "1").await.is_empty() && texts(&*store, "3").await.is_empty());
}

/// Customers 1 and 2 have one message together, and 3 one of its own.
async fn combined(home: &Home) -> Arc<dyn Store> {
    let store = home.with_rule().await;
    enter(&*store, ["1", "2", "3"].iter().map(|key| a_match(&*store, key, "x")).collect()).await;
    let mut rows = claim(&*store, 10).await;
    rows.sort_by(|a, b| a.record.key.cmp(&b.record.key));
    let mut completions = sent_together(&*store, &rows[..2], "both", &end());
    completions.extend(sent_together(&*store, &rows[2..], "alone", &end()));
    store.settle(&Settlement { marks: Vec::new(), completions }).await.unwrap();
    store
}

async fn whoever_is_erased_takes_along_what_tells_of_them(home: Home) {
    let store = combined(&home).await;
    assert_eq!(texts(&*store, "1").await, ["both"]);
    assert_eq!(texts(&*store, "2").await, ["both"], "it tells of this one as well");
    let forgotten = store.forget(&customer("2"), now()).await.unwrap();
    assert_eq!(forgotten.messages, 1);
    assert!(texts(&*store, "1").await.is_empty(), "the message names both");
    assert_eq!(texts(&*store, "3").await, ["alone"]);
    assert_eq!(store.prune(Aged::Messages, Timestamp::MAX, 10).await.unwrap(), 1, "no row is left of the other");
}

async fn what_tells_of_somebody_who_was_erased_meanwhile_is_not_kept(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x"), a_match(&*store, "2", "x")]).await;
    let mut rows = claim(&*store, 10).await;
    rows.sort_by(|a, b| a.record.key.cmp(&b.record.key));
    for row in &rows {
        mark(&*store, row, false).await;
    }
    assert_eq!(store.forget(&customer("2"), now()).await.unwrap().in_flight, 1);
    let completions = sent_together(&*store, &rows, "both", &end());
    store.settle(&Settlement { marks: Vec::new(), completions }).await.unwrap();
    assert!(texts(&*store, "1").await.is_empty());
    assert_eq!(store.prune(Aged::Messages, Timestamp::MAX, 10).await.unwrap(), 0);
}

async fn messages_go_with_their_enrollments(home: Home) {
    let store = combined(&home).await;
    assert_eq!(store.prune(Aged::Enrollments, now() + days(1), 100).await.unwrap(), 3);
    assert_eq!(store.prune(Aged::Messages, Timestamp::MAX, 10).await.unwrap(), 0);
}

async fn a_delivery_is_found_by_what_its_id_begins_with(home: Home) {
    let (store, rows) = mailed(&home, &["1", "2"]).await;
    let id = attempt_of(&*store, &rows[1], sent()).delivery;
    let (mut first, mut last) = (DeliveryId([0; 16]), DeliveryId([255; 16]));
    assert_eq!(store.deliveries_between(first, last, 10).await.unwrap().len(), 2);
    assert_eq!(store.deliveries_between(first, last, 1).await.unwrap().len(), 1);
    first.0[..6].copy_from_slice(&id.0[..6]);
    last.0[..6].copy_from_slice(&id.0[..6]);
    assert_eq!(store.deliveries_between(first, last, 10).await.unwrap(), [(rows[1].token.id, id)]);
    // Once its attempts have grown old, by what was kept.
    store.prune(Aged::Attempts, now() + days(1), 10).await.unwrap();
    assert_eq!(store.deliveries_between(first, last, 10).await.unwrap(), [(rows[1].token.id, id)]);
    let story = store.delivery(rows[1].token.id, id).await.unwrap().unwrap();
    assert_eq!((story.view.state.as_str(), story.tries.len(), story.kept.len()), ("sent", 0, 1));
    store.prune(Aged::Messages, now() + days(1), 10).await.unwrap();
    assert_eq!(store.delivery(rows[1].token.id, id).await.unwrap(), None);
    assert!(store.deliveries_between(first, last, 10).await.unwrap().is_empty());
}

async fn a_delivery_in_doubt_stands_where_it_waits(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let row = claim_one(&*store).await;
    mark(&*store, &row, false).await;
    let id = mark_of(&*store, &row, false).delivery;
    let sending = store.delivery(row.token.id, id).await.unwrap().unwrap();
    assert_eq!((sending.view.state.as_str(), sending.view.kind.as_str(), sending.tries.len()), ("sending", "email", 0));
    let unknown = attempt_of(&*store, &row, Outcome::Unknown { reason: "no answer".into() });
    let keeping = Some(Arc::new(Keeping { delivery: id, content: Some(content("Hello")) }));
    let park = Then::Park { state: DeliveryState::Unknown };
    complete(&*store, Completion { keeping, ..completion(&row, Some(unknown), park) }).await;
    let story = store.delivery(row.token.id, id).await.unwrap().unwrap();
    assert_eq!((story.view.state.as_str(), story.view.detail.as_str(), story.kept.len()), ("unknown", "no answer", 1));
    store.forget(&customer("1"), now()).await.unwrap();
    let erased = store.delivery(row.token.id, id).await.unwrap().unwrap();
    assert_eq!((erased.view.record, erased.row, erased.kept), (None, None, Vec::new()));
}
