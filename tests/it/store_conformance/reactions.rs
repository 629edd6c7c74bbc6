//! How mails are read: noted once for each link, with the timeline that it belongs to.

use super::*;
use nudged::engine::port::{Aged, Reacted, Reaction};
use nudged::model::DeliveryId;

super::on_both_stores![
    a_reaction_is_noted_once_for_each_link_and_kind,
    mails_are_known_by_when_they_left,
    what_an_erased_person_does_is_not_noted_and_what_they_did_is_emptied,
    reactions_grow_old_with_their_timeline,
];

/// An enrollment whose first mail was sent, and the mail.
async fn mailed(home: &Home) -> (Arc<dyn Store>, i64, DeliveryId) {
    let store = home.with_rule().await;
    enter(&*store, vec![a_match(&*store, "1", "x")]).await;
    let claimed = claim_one(&*store).await;
    mark(&*store, &claimed, false).await;
    let attempt = attempt_of(&*store, &claimed, sent());
    let delivery = attempt.delivery;
    complete(&*store, completion(&claimed, Some(attempt), end())).await;
    (store, claimed.token.id, delivery)
}

fn reaction(enrollment: i64, delivery: DeliveryId, number: u16, what: Reacted) -> Reaction {
    Reaction { enrollment, delivery, number, at: now() + days(1), what, detail: format!("https://a.example/{number}") }
}

async fn a_reaction_is_noted_once_for_each_link_and_kind(home: Home) {
    let (store, id, delivery) = mailed(&home).await;
    let of = |number, what| reaction(id, delivery, number, what);
    let first =
        [of(0, Reacted::OpenedByMachine), of(1, Reacted::Clicked), of(1, Reacted::Clicked), of(2, Reacted::Clicked)];
    let new = store.note_reactions(&first).await.unwrap();
    assert_eq!(new.iter().filter(|what| **what == Reacted::Clicked).count(), 2);
    assert_eq!(new.len(), 3);
    // Much later, what a machine did first somebody does as well.
    let later = [of(0, Reacted::Opened), of(0, Reacted::OpenedByMachine), of(2, Reacted::Clicked)];
    assert_eq!(store.note_reactions(&later).await.unwrap(), [Reacted::Opened]);
    assert_eq!(store.note_reactions(&later).await.unwrap(), []);
    assert_eq!(store.note_reactions(&[reaction(id + 1, delivery, 3, Reacted::Clicked)]).await.unwrap(), []);
    assert_eq!(store.note_reactions(&[]).await.unwrap(), []);

    let timeline = store.timelines(&[id]).await.unwrap();
    let told: Vec<&str> = timeline.iter().map(|line| line.what.as_str()).collect();
    assert_eq!((told[0], told.len()), ("sent", 5));
    let clicks: Vec<_> = timeline.iter().filter(|line| line.what == "clicked").collect();
    assert_eq!(clicks.len(), 2);
    assert!(clicks.iter().all(|line| line.step.as_deref() == Some("email-1") && line.at == now() + days(1)));
    assert!(clicks.iter().any(|line| line.detail == "https://a.example/2"));
}

async fn mails_are_known_by_when_they_left(home: Home) {
    let (store, id, delivery) = mailed(&home).await;
    let other = DeliveryId([7; 16]);
    let asked = [(id, delivery), (id, delivery), (id, other), (id + 1, delivery)];
    let sent = store.sent_mails(&asked).await.unwrap();
    assert_eq!(sent.into_iter().collect::<Vec<_>>(), [(delivery, now())]);
}

async fn what_an_erased_person_does_is_not_noted_and_what_they_did_is_emptied(home: Home) {
    let (store, id, delivery) = mailed(&home).await;
    store.note_reactions(&[reaction(id, delivery, 1, Reacted::Clicked)]).await.unwrap();
    let dossier = store.dossier(&customer("1")).await.unwrap();
    assert!(dossier.happenings.iter().any(|line| line.what == "clicked" && line.detail.contains("a.example")));
    assert_eq!(store.forget(&customer("1"), now()).await.unwrap().timeline, 1);
    assert!(store.timelines(&[id]).await.unwrap().iter().all(|line| line.detail.is_empty()));
    assert_eq!(store.note_reactions(&[reaction(id, delivery, 2, Reacted::Clicked)]).await.unwrap(), []);
}

async fn reactions_grow_old_with_their_timeline(home: Home) {
    let (store, id, delivery) = mailed(&home).await;
    store.note_reactions(&[reaction(id, delivery, 1, Reacted::Clicked)]).await.unwrap();
    assert_eq!(store.prune(Aged::Timeline, now() + days(1), 10).await.unwrap(), 0, "young enough");
    assert_eq!(store.prune(Aged::Timeline, now() + days(2), 10).await.unwrap(), 1);
    assert!(store.timelines(&[id]).await.unwrap().iter().all(|line| line.what != "clicked"));
}
