use super::*;
use nudged::engine::port::Reader;
use nudged::model::{Channel, Preference, PreferenceSource, Suppression, SuppressionReason, preferences_for};

on_both_stores!(
    what_was_said_last_holds,
    a_no_said_again_is_no_news_and_as_young_as_it_was_last_said,
    of_two_of_the_same_instant_the_no_holds,
    a_confirmation_holds_once_and_never_over_something_newer,
    two_clicks_at_once_confirm_once,
    a_no_holds_against_a_yes_from_a_clock_that_ran_ahead,
    a_thousand_addresses_are_asked_about_at_once,
    a_message_whose_reader_refused_since_is_not_marked,
);

async fn a_message_whose_reader_refused_since_is_not_marked(home: Home) {
    let store = home.with_rule().await;
    let cases = [
        ("listed@b.example", Some("offers"), false, true),
        ("listed@b.example", None, false, true),
        ("listed@b.example", None, true, false),
        ("bounced@b.example", None, true, true),
        ("no@b.example", Some("offers"), false, true),
        ("no@b.example", Some("news"), false, false),
        ("no@b.example", None, false, false),
        ("all@b.example", Some("news"), false, true),
        ("yes@b.example", Some("offers"), false, false),
        ("nobody@b.example", Some("offers"), false, false),
    ];
    enter(&*store, (0..cases.len()).map(|key| a_match(&*store, &key.to_string(), "x")).collect()).await;
    let rows = claim(&*store, cases.len()).await;
    let hash = |address: &str| store.secret().address_hash(Channel::Email, address);
    let marks: Vec<Mark> = rows
        .iter()
        .zip(cases)
        .map(|(row, (address, topic, staff, _))| {
            let reader = Reader { hash: hash(address), topic: topic.map(Into::into), staff };
            Mark { reader: Some(reader), ..mark_of(&*store, row, false) }
        })
        .collect();
    let listed = [("listed@b.example", SuppressionReason::Manual), ("bounced@b.example", SuppressionReason::Bounced)]
        .map(|(address, reason)| Suppression {
            channel: Channel::Email,
            hash: hash(address),
            address: None,
            reason,
            since: now(),
        });
    store.suppress(&listed).await.unwrap();
    let said = [
        ("no@b.example", Some("offers"), false),
        ("all@b.example", None, false),
        ("yes@b.example", Some("offers"), true),
    ]
    .map(|(address, topic, allowed)| said(&*store, address, topic, allowed, now()));
    store.prefer(&said).await.unwrap();
    let settled = store.settle(&Settlement { marks, completions: Vec::new() }).await.unwrap();
    let back: Vec<bool> = rows.iter().map(|row| settled.lost.contains(&row.token)).collect();
    assert_eq!(back, cases.map(|(.., refused)| refused));
    let refused = back.iter().filter(|refused| **refused).count();
    assert_eq!(store.overview(now()).await.unwrap().outbox_sending, (cases.len() - refused) as u64);
    // Given back, it is decided about again.

    store.release(&settled.lost).await.unwrap();
    assert_eq!(claim(&*store, cases.len()).await.len(), refused);
}

fn said(store: &dyn Store, address: &str, topic: Option<&str>, allowed: bool, since: Timestamp) -> Preference {
    Preference {
        hash: store.secret().address_hash(Channel::Email, address),
        channel: Channel::Email,
        topic: topic.map(Into::into),
        allowed,
        since,
        source: PreferenceSource::Page,
        delivery: None,
    }
}

async fn what_was_said_last_holds(home: Home) {
    let store = home.open().await;
    let of = |topic, allowed, since| said(&*store, "a@b.example", topic, allowed, since);
    let no = [of(Some("offers"), false, now()), of(None, false, now())];
    assert_eq!(store.prefer(&no).await.unwrap(), 2);
    let yes = of(Some("offers"), true, now() + days(1));
    assert_eq!(store.prefer(std::slice::from_ref(&yes)).await.unwrap(), 1);
    let older = of(Some("offers"), true, now() + SignedDuration::from_hours(1));
    assert_eq!(store.prefer(&[older]).await.unwrap(), 0, "what is older changes nothing");
    let other = said(&*store, "c@b.example", Some("news"), false, now());
    store.prefer(&[other]).await.unwrap();
    drop(store);
    let store = home.open().await;
    let mut found = store.preferences(&[yes.hash, yes.hash]).await.unwrap();
    found.sort_by_key(|said| said.topic.clone());
    assert_eq!(found, [no[1].clone(), yes.clone()]);
    assert_eq!(store.preferences(&[]).await.unwrap(), []);
    let newest = store.newest_preferences(2).await.unwrap();
    assert_eq!((newest.len(), &newest[0]), (2, &yes));
}

async fn a_no_holds_against_a_yes_from_a_clock_that_ran_ahead(home: Home) {
    let store = home.open().await;
    for about in [Some("offers"), None] {
        let address = format!("{about:?}@b.example");
        let yes = said(&*store, &address, Some("offers"), true, now() + SignedDuration::from_mins(3));
        store.prefer(std::slice::from_ref(&yes)).await.unwrap();
        assert_eq!(store.prefer(&[said(&*store, &address, about, false, now())]).await.unwrap(), 1);
        let held = preferences_for(&"offers".into(), store.preferences(&[yes.hash]).await.unwrap());
        assert!(!held[&yes.hash].allowed, "{held:?}");
    }
}

async fn a_no_said_again_is_no_news_and_as_young_as_it_was_last_said(home: Home) {
    let store = home.open().await;
    let no = |since| said(&*store, "a@b.example", Some("offers"), false, since);
    assert_eq!(store.prefer(&[no(now()), no(now())]).await.unwrap(), 1);
    let again = no(now() + days(3));
    assert_eq!(store.prefer(std::slice::from_ref(&again)).await.unwrap(), 0);
    assert_eq!(store.preferences(&[again.hash]).await.unwrap(), std::slice::from_ref(&again));
    let older_yes = said(&*store, "a@b.example", Some("offers"), true, now() + days(1));
    assert_eq!(store.prefer(&[older_yes]).await.unwrap(), 0);
    assert_eq!(store.preferences(&[again.hash]).await.unwrap(), [again]);
}

async fn of_two_of_the_same_instant_the_no_holds(home: Home) {
    let store = home.open().await;
    let of = |allowed| said(&*store, "a@b.example", Some("offers"), allowed, now());
    store.prefer(&[of(true)]).await.unwrap();
    assert_eq!(store.prefer(&[of(false)]).await.unwrap(), 1);
    assert_eq!(store.prefer(&[of(true)]).await.unwrap(), 0);
    assert!(!store.preferences(&[of(true).hash]).await.unwrap()[0].allowed);
}

async fn a_confirmation_holds_once_and_never_over_something_newer(home: Home) {
    let store = home.open().await;
    let at = |hours| now() + SignedDuration::from_hours(hours);
    let of = |topic, allowed, since| said(&*store, "a@b.example", topic, allowed, since);
    let yes = |hours| Preference { source: PreferenceSource::Confirmed, ..of(Some("news"), true, at(hours)) };
    store.prefer(&[of(Some("news"), false, at(-1))]).await.unwrap();
    assert!(store.confirm(&yes(1), at(0)).await.unwrap(), "asked after the no, so it is a new wish");
    assert!(!store.confirm(&yes(2), at(0)).await.unwrap(), "used");
    assert_eq!(store.preferences(&[yes(1).hash]).await.unwrap(), [yes(1)]);
    store.prefer(&[of(Some("news"), false, at(3))]).await.unwrap();
    assert!(!store.confirm(&yes(4), at(0)).await.unwrap(), "an old link doesn't undo a later no");
    assert!(store.confirm(&yes(6), at(5)).await.unwrap(), "asked again");
    store.prefer(&[of(None, false, at(8))]).await.unwrap();
    assert!(!store.confirm(&yes(9), at(7)).await.unwrap(), "a no to all is one to this as well");
}

async fn two_clicks_at_once_confirm_once(home: Home) {
    let store = home.open().await;
    let yes = |address: usize| said(&*store, &format!("{address}@b.example"), Some("news"), true, now() + days(1));
    for round in 0..10 {
        let (yes, again) = (yes(round), yes(round));
        let (one, other) = tokio::join!(store.confirm(&yes, now()), store.confirm(&again, now()));
        assert!(one.unwrap() != other.unwrap(), "round {round}");
    }
}

async fn a_thousand_addresses_are_asked_about_at_once(home: Home) {
    let store = home.open().await;
    let entries: Vec<Preference> =
        (0..1_000).map(|n| said(&*store, &format!("{n}@b.example"), Some("news"), n % 2 == 0, now())).collect();
    assert_eq!(store.prefer(&entries).await.unwrap(), 1_000);
    let hashes: Vec<_> = entries.iter().map(|said| said.hash).collect();
    let found = store.preferences(&hashes).await.unwrap();
    assert_eq!((found.len(), found.iter().filter(|said| said.allowed).count()), (1_000, 500));
}
