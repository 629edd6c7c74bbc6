//! The sequence of sends, places, objections, and the leases of the dead.

use super::{Home, a_match, days, enter, now, on_both_stores, owner};
use jiff::SignedDuration;
use nudged::engine::port::{NewMatch, Objection, Store, Whereabouts};
use std::time::Duration;

on_both_stores!(
    sends_are_numbered_and_halted_by_a_restore,
    a_place_is_admitted_once_and_known_elsewhere,
    the_dead_lose_their_leases_and_nobody_else,
    what_was_planned_before_a_restore_is_given_up_where_that_was_said,
    the_ledger_tells_its_size,
    only_matches_that_no_rule_can_meet_again_are_dropped,
);

/// The last of them is planned for a day after a restore.
async fn three_due(store: &dyn Store) {
    let later = now() + days(2);
    let matches = vec![
        a_match(store, "1", "x"),
        a_match(store, "2", "x"),
        NewMatch { planned_at: later, ..a_match(store, "3", "x") },
    ];
    assert_eq!(enter(store, matches).await.entered, 3);
}

fn place(name: &str) -> Whereabouts {
    Whereabouts(name.to_owned())
}

async fn sends_are_numbered_and_halted_by_a_restore(home: Home) {
    let store = home.open().await;
    assert_eq!(store.reserve_sends(10).await.unwrap(), Some(10));
    assert_eq!(store.reserve_sends(1).await.unwrap(), Some(11));
    let until = now() - SignedDuration::from_hours(1);
    let restored = Objection::Restored { known: 500, lost: 489, until };
    store.object(&place("a"), &restored, now()).await.unwrap();
    assert_eq!(store.reserve_sends(1).await.unwrap(), None, "nobody sends");
    assert!(store.bearing(&place("b")).await.unwrap().halted, "not from anywhere");
    assert_eq!(store.objections().await.unwrap(), [(place("a"), restored)]);

    store.confirm_objections(None).await.unwrap();
    assert_eq!(store.objections().await.unwrap(), []);
    let bearing = store.bearing(&place("a")).await.unwrap();
    assert!(bearing.confirmed && bearing.admitted && !bearing.halted, "{bearing:?}");
    assert_eq!(store.reserve_sends(1).await.unwrap(), Some(501), "it goes on after what the witness knew");
}

async fn a_place_is_admitted_once_and_known_elsewhere(home: Home) {
    let store = home.open().await;
    let fresh = store.bearing(&place("a")).await.unwrap();
    assert!(!fresh.admitted && !fresh.elsewhere && fresh.reserved == 0);
    store.admit(&place("a")).await.unwrap();
    assert!(store.bearing(&place("a")).await.unwrap().admitted);
    let clone = store.bearing(&place("b")).await.unwrap();
    assert!(!clone.admitted && clone.elsewhere);
    assert_eq!(clone.others_seen.is_some(), home.is_shared(), "only a shared state has nodes to join");
    assert_eq!(store.beat(&place("a")).await.unwrap(), 1);
    let later = store.bearing(&place("b")).await.unwrap().others_seen;
    assert_eq!(later > clone.others_seen, home.is_shared());

    store.object(&place("b"), &Objection::Moved, now()).await.unwrap();
    assert_eq!(store.reserve_sends(1).await.unwrap(), Some(1), "the others go on");
    store.confirm_objections(None).await.unwrap();
    store.admit(&place("b")).await.unwrap();
    let back = store.bearing(&place("a")).await.unwrap();
    assert_eq!(back.admitted, home.is_shared(), "a state with one node has left where it was");
    assert_eq!(store.beat(&place("b")).await.unwrap(), if home.is_shared() { 2 } else { 1 });
    assert!(!store.bearing(&place("b")).await.unwrap().confirmed, "a word of an operator counts once");
}

async fn the_dead_lose_their_leases_and_nobody_else(home: Home) {
    let store = home.open_with_lease(Duration::from_hours(1)).await;
    store.adopt(&[super::adoption("win-back")], now()).await.unwrap();
    three_due(&*store).await;
    let (dead, living) = (owner("dead"), owner("living"));
    assert_eq!(store.claim(&dead, now(), 2).await.unwrap().len(), 2);
    assert_eq!(store.claim(&living, now(), 1).await.unwrap().len(), 1);
    store.bury(&[dead]).await.unwrap();
    assert_eq!(store.rescue(&living, now()).await.unwrap().requeued, 2);
    assert_eq!(store.claim(&living, now(), 10).await.unwrap().len(), 2);
}

async fn what_was_planned_before_a_restore_is_given_up_where_that_was_said(home: Home) {
    let store = home.with_rule().await;
    three_due(&*store).await;
    let until = now() + days(1);
    store.object(&place("a"), &Objection::Restored { known: 5, lost: 5, until }, now()).await.unwrap();
    store.confirm_objections(Some(until)).await.unwrap();
    let claimed = store.claim(&owner("a"), now() + days(2), 10).await.unwrap();
    assert!(claimed.len() == 3 && claimed.iter().all(|row| row.discarded == (row.planned_at <= until)), "{claimed:?}");
    assert!(claimed.iter().any(|row| row.discarded));
}

async fn the_ledger_tells_its_size(home: Home) {
    let store = home.with_rule().await;
    three_due(&*store).await;
    let size = store.ledger_size().await.unwrap();
    assert_eq!(size.rows, 3);
    assert!(size.bytes >= 3 * 26, "{size:?}");
}

async fn only_matches_that_no_rule_can_meet_again_are_dropped(home: Home) {
    let store = home.with_rule().await;
    let at = |key: &str, ago: i64| NewMatch { matched_at: now() - days(ago), ..a_match(&*store, key, "x") };
    let matches = vec![at("1", 500), at("2", 410), at("3", 300), at("4", 1)];
    enter(&*store, matches.clone()).await;
    let reach = days(20);
    let rule = vec![("win-back".into(), reach)];
    // Two at a time, so that there are pages.
    let prune = async |rules: &[(nudged::model::RuleId, SignedDuration)], before| {
        let (mut total, mut after) = (0, None);
        loop {
            let (dropped, next) = store.prune_ledger(rules, before, after, 2).await.unwrap();
            total += dropped;
            after = next;
            if after.is_none() {
                return total;
            }
        }
    };
    assert_eq!(prune(&[("another".into(), reach)], now()).await, 0);
    assert_eq!(prune(&rule, now() - days(400)).await, 2);
    assert_eq!(prune(&rule, now() - days(400)).await, 0);
    // Its watermark is now, so it still reads what is younger than its reach.
    assert_eq!(prune(&rule, now()).await, 1, "the one of 300 days; that of yesterday is within reach");
    assert_eq!(store.ledger_size().await.unwrap().rows, 1);
    let again = enter(&*store, vec![matches[3].clone(), matches[0].clone()]).await;
    assert_eq!(
        (again.known, again.entered),
        (1, 1),
        "what was dropped would match again, if anything looked so far back"
    );
}
