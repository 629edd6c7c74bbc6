use super::*;
use nudged::engine::port::{Aged, Inbound};
use serde_json::json;

on_both_stores!(
    an_event_is_kept_once,
    events_are_read_by_name_and_time_page_by_page,
    events_outlive_a_restart_and_go_when_they_are_old
);

fn event(name: &str, id: &str, minute: i64) -> Inbound {
    let received_at = now() + SignedDuration::from_mins(minute);
    Inbound { name: name.into(), id: id.into(), received_at, body: json!({"data": {"text": "ä 'quoted' \u{1F600}"}}) }
}

async fn read(store: &dyn Store, from: i64, to: i64, beyond: i64, limit: usize) -> Vec<(i64, Inbound)> {
    let at = |minute| now() + SignedDuration::from_mins(minute);
    store.received("signed-up", at(from), at(to), beyond, limit).await.unwrap()
}

async fn an_event_is_kept_once(home: Home) {
    let store = home.open().await;
    assert!(store.accept(&event("signed-up", "a", 1)).await.unwrap());
    assert!(!store.accept(&event("signed-up", "a", 2)).await.unwrap());
    assert!(store.accept(&event("signed-off", "a", 2)).await.unwrap(), "another sender's ids are its own");
    let found = read(&*store, 0, 9, 0, 10).await;
    assert_eq!(found.into_iter().map(|(_, event)| event).collect::<Vec<_>>(), [event("signed-up", "a", 1)]);
}

async fn events_are_read_by_name_and_time_page_by_page(home: Home) {
    let store = home.open().await;
    for minute in 1..=5 {
        store.accept(&event("signed-up", &minute.to_string(), minute)).await.unwrap();
    }
    let first = read(&*store, 1, 4, 0, 2).await;
    let ids = |page: &[(i64, Inbound)]| page.iter().map(|(_, event)| event.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first), ["2", "3"], "after the first instant, up to the second");
    let second = read(&*store, 1, 4, first[1].0, 2).await;
    assert_eq!(ids(&second), ["4"]);
}

async fn events_outlive_a_restart_and_go_when_they_are_old(home: Home) {
    let store = home.open().await;
    store.accept(&event("signed-up", "old", 0)).await.unwrap();
    store.accept(&event("signed-up", "new", 24 * 60 * 29)).await.unwrap();
    drop(store);
    let store = home.with_rule().await;
    assert_eq!(read(&*store, -1, 24 * 60 * 40, 0, 9).await.len(), 2);
    assert_eq!(store.prune(Aged::Events, now() + days(1), 100).await.unwrap(), 1);
    let left = read(&*store, -1, 24 * 60 * 40, 0, 9).await;
    assert_eq!(left.iter().map(|(_, event)| event.id.as_str()).collect::<Vec<_>>(), ["new"]);
}
