//! Our own writes, turns, pools, and what the CRM is still to learn.

use super::*;
use nudged::engine::port::{OwnWrite, Turn};
use nudged::model::{Channel, DeliveryId, Preference, PreferenceSource};

on_both_stores! {
    a_write_in_doubt_is_noted_once_and_completed_once,
    turns_of_two_stores_at_once_are_all_different,
    a_low_pool_is_news_once,
    a_decision_is_owed_until_the_last_one_is_paid,
    of_one_person_one_decision_is_carried_at_a_time_and_the_newest_last,
}

fn delivery(number: u8) -> DeliveryId {
    DeliveryId([number; 16])
}

fn write(number: u8, before: u8) -> OwnWrite {
    let (rule, record, before) = (rule(), [1; 16], [before; 16]);
    OwnWrite { id: 0, delivery: delivery(number), rule, record, before, after: None, at: now(), settled_at: None }
}

fn done(write: &OwnWrite, after: u8) -> OwnWrite {
    let settled_at = Some(now() + SignedDuration::from_secs(1));
    OwnWrite { after: Some([after; 16]), settled_at, ..write.clone() }
}

async fn a_write_in_doubt_is_noted_once_and_completed_once(home: Home) {
    let store = home.open().await;
    let found = async || {
        let found = store.own_writes(&rule(), &[[2; 16], [1; 16]], now() - days(1)).await.unwrap();
        assert_eq!(found[0], [], "another record's");
        found[1].iter().map(|write| (write.before[0], write.after.map(|after| after[0]))).collect::<Vec<_>>()
    };
    store.intend(&[write(1, 10)]).await.unwrap();
    // The first try died; the second finds its own value there.
    store.intend(&[write(1, 20)]).await.unwrap();
    assert_eq!(found().await, [(10, None)]);
    store.confirm_writes(delivery(1), &[done(&write(1, 20), 20)]).await.unwrap();
    assert_eq!(found().await, [(10, Some(20))], "what was before the first try stays");
    // A third try, after the outcome was lost: it changes nothing, and leaves nothing.
    store.intend(&[write(1, 20)]).await.unwrap();
    store.confirm_writes(delivery(1), &[done(&write(1, 20), 20)]).await.unwrap();
    assert_eq!(found().await, [(10, Some(20))]);
    // One that somebody wrote over, and that is written again.
    store.intend(&[write(1, 30)]).await.unwrap();
    store.confirm_writes(delivery(1), &[done(&write(1, 30), 20)]).await.unwrap();
    assert_eq!(found().await, [(10, Some(20)), (30, Some(20))]);
    store.intend(&[write(2, 20)]).await.unwrap();
    store.withdraw(delivery(2)).await.unwrap();
    assert_eq!(found().await.len(), 2);
    assert_eq!(store.own_writes(&"other".into(), &[[1; 16]], now()).await.unwrap(), [vec![]]);
    // In doubt for longer than anybody asks.
    store.intend(&[write(3, 20)]).await.unwrap();
    let late = store.own_writes(&rule(), &[[1; 16]], now() + days(1)).await.unwrap();
    assert_eq!(late[0].len(), 2);
}

async fn turns_of_two_stores_at_once_are_all_different(home: Home) {
    let first = home.open().await;
    // A file has one owner.
    let second = if home.is_shared() { home.open().await } else { Arc::clone(&first) };
    let stores = [first, second];
    let members: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
    let turn = |number: u8| Turn {
        delivery: delivery(number),
        enrollment: i64::from(number),
        rotation: "r".into(),
        members: members.clone(),
        least_loaded: false,
    };
    let give = async |number: u8| stores[usize::from(number) % 2].assign(&turn(number)).await.unwrap().unwrap();
    let given = futures::future::join_all((0..30).map(give)).await;
    for member in &members {
        assert_eq!(given.iter().filter(|given| *given == member).count(), 10, "{given:?}");
    }
    assert_eq!(futures::future::join_all((0..30).map(give)).await, given);
    let nobody = Turn { members: Vec::new(), ..turn(99) };
    assert_eq!(stores[0].assign(&nobody).await.unwrap(), None);
}

async fn a_low_pool_is_news_once(home: Home) {
    let store = home.open().await;
    let note = async |low| store.note_pool("vouchers", low, now()).await.unwrap();
    assert_eq!([note(false).await, note(true).await, note(true).await], [false, true, false]);
    assert_eq!([note(false).await, note(true).await], [false, true]);
}

async fn a_decision_is_owed_until_the_last_one_is_paid(home: Home) {
    let store = home.open().await;
    let said = |allowed, hours, by: Option<DeliveryId>| Preference {
        hash: store.secret().address_hash(Channel::Email, "a@b.example"),
        channel: Channel::Email,
        topic: Some("offers".into()),
        allowed,
        since: now() + SignedDuration::from_hours(hours),
        source: PreferenceSource::Page,
        delivery: by,
    };
    store.prefer(&[said(false, 0, None)]).await.unwrap();
    assert_eq!(store.take_owed(now() + days(9), 10).await.unwrap(), [], "no link, so nobody knows whose row it is");
    store.prefer(&[said(true, 1, Some(delivery(1)))]).await.unwrap();
    let first = store.take_owed(now() + days(9), 10).await.unwrap();
    assert_eq!((first.len(), first[0].allowed, first[0].delivery), (1, true, delivery(1)));
    store.prefer(&[said(false, 2, Some(delivery(2)))]).await.unwrap();
    store.paid(&first, now() + days(9)).await.unwrap();
    let last = store.take_owed(now() + days(9), 10).await.unwrap();
    assert_eq!((last.len(), last[0].allowed, last[0].delivery), (1, false, delivery(2)), "decided anew meanwhile");
    store.owe_later(&last, now() + days(9), now() + days(13)).await.unwrap();
    assert_eq!(store.take_owed(now() + days(12), 10).await.unwrap(), []);
    let later = store.take_owed(now() + days(13), 10).await.unwrap();
    assert_eq!(later[0].tries, 1);
    store.paid(&later, now() + days(13)).await.unwrap();
    assert_eq!(store.take_owed(now() + days(20), 10).await.unwrap(), []);
    assert_eq!(store.mails(&[delivery(1)]).await.unwrap(), [vec![]]);
}

async fn of_one_person_one_decision_is_carried_at_a_time_and_the_newest_last(home: Home) {
    let (one, two) = (home.open().await, home.open().await);
    let at = |seconds| now() + SignedDuration::from_secs(seconds);
    let said = |allowed, seconds| Preference {
        hash: one.secret().address_hash(Channel::Email, "a@b.example"),
        channel: Channel::Email,
        topic: Some("offers".into()),
        allowed,
        since: at(seconds),
        source: PreferenceSource::Page,
        delivery: Some(delivery(1)),
    };
    one.prefer(&[said(false, 0)]).await.unwrap();
    let first = one.take_owed(at(1), 10).await.unwrap();
    assert_eq!((first.len(), first[0].allowed, first[0].since), (1, false, at(0)));
    assert_eq!(two.take_owed(at(2), 10).await.unwrap(), [], "the other has it");
    two.prefer(&[said(true, 10)]).await.unwrap();
    assert_eq!(two.take_owed(at(20), 10).await.unwrap(), [], "it waits for the one under way");
    let second = two.take_owed(at(62), 10).await.unwrap();
    assert_eq!((second.len(), second[0].allowed, second[0].since), (1, true, at(10)), "who is slow may be dead");
    two.paid(&second, at(63)).await.unwrap();
    assert_eq!(two.take_owed(at(64), 10).await.unwrap(), []);
    // It was only slow, and its no lies over the yes now.
    one.paid(&first, at(65)).await.unwrap();
    let third = two.take_owed(at(66), 10).await.unwrap();
    assert_eq!((third.len(), third[0].allowed, third[0].since), (1, true, at(10)));
    two.paid(&third, at(67)).await.unwrap();
    assert_eq!(one.take_owed(at(200), 10).await.unwrap(), []);
}
