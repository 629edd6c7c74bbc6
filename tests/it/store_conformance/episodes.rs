use super::*;
use nudged::engine::port::{Episode, EpisodeChange, EpisodePage, OpenEpisode, SweepId, Verdict};

on_both_stores!(
    episodes_are_kept_with_the_watermark,
    open_episodes_are_paged_by_when_they_are_due,
    staged_episodes_count_once_their_sweep_is_closed,
    episodes_of_a_sweep_that_was_never_closed_are_forgotten,
    a_new_definition_ends_what_the_old_one_opened,
    a_rename_keeps_episodes,
    nothing_is_kept_without_the_lease,
);

fn hash(store: &dyn Store, key: &str) -> [u8; 16] {
    store.secret().record_hash(&customer(key))
}

fn open(ordinal: u64, due: i64) -> Episode {
    Episode {
        ordinal,
        opened_at: now(),
        closed_at: None,
        due_at: now() + days(due),
        value: Some([9; 16]),
        own: Timestamp::MIN,
    }
}

fn closed(ordinal: u64) -> Episode {
    Episode { closed_at: Some(now() + days(1)), ..open(ordinal, 1) }
}

fn changed(store: &dyn Store, key: &str, episode: Episode) -> EpisodeChange {
    EpisodeChange { record: hash(store, key), key: key.into(), episode }
}

fn with_episodes(episodes: Vec<EpisodeChange>) -> SweepCommit {
    SweepCommit { found: Found { episodes, ..Found::default() }, ..commit_of(Vec::new()) }
}

async fn keep(store: &dyn Store, episodes: Vec<EpisodeChange>) {
    let lease = begin(store).await;
    store.commit_sweep(&lease, &with_episodes(episodes)).await.unwrap();
}

async fn kept(store: &dyn Store, keys: &[&str]) -> Vec<Option<Episode>> {
    let hashes: Vec<_> = keys.iter().map(|key| hash(store, key)).collect();
    store.episodes(&begin(store).await, &hashes).await.unwrap()
}

/// The keys of all open episodes, paged by twos.
async fn all_open(store: &dyn Store, due_until: Timestamp, opened_after: Timestamp) -> Vec<String> {
    let lease = begin(store).await;
    let mut found: Vec<OpenEpisode> = Vec::new();
    loop {
        let after = found.last().map(|last| (last.episode.due_at, last.record));
        let page = EpisodePage { after, due_until, opened_after, limit: 2 };
        let open = store.open_episodes(&lease, &page).await.unwrap();
        if open.is_empty() {
            return found.into_iter().map(|episode| episode.key.as_str().to_owned()).collect();
        }
        found.extend(open);
    }
}

fn never() -> Timestamp {
    instant("9999-01-01T00:00:00Z")
}

async fn episodes_are_kept_with_the_watermark(home: Home) {
    let store = home.with_rule().await;
    let lease = begin(&*store).await;
    assert!(!lease.progress.seeded);
    let twice = vec![changed(&*store, "1", open(1, 2)), changed(&*store, "1", open(1, 3))];
    let progress = Progress { seeded: true, ..progress(now() + days(1)) };
    let commit = SweepCommit { progress, ..with_episodes(twice) };
    store.commit_sweep(&lease, &commit).await.unwrap();
    assert_eq!(kept(&*store, &["2", "1"]).await, [None, Some(open(1, 3))]);
    assert!(begin(&*store).await.progress.seeded);
    keep(&*store, vec![changed(&*store, "1", closed(1))]).await;
    assert_eq!(kept(&*store, &["1"]).await, [Some(closed(1))]);
    drop(store);
    assert_eq!(kept(&*home.open().await, &["1"]).await, [Some(closed(1))]);
}

async fn open_episodes_are_paged_by_when_they_are_due(home: Home) {
    let store = home.with_rule().await;
    let mut episodes: Vec<_> = ["5", "4", "3"].map(|key| changed(&*store, key, open(1, 3))).into();
    episodes.push(changed(&*store, "1", open(1, 1)));
    episodes.push(changed(&*store, "2", open(1, 9)));
    episodes.push(changed(&*store, "0", closed(1)));
    let recent = Episode { opened_at: now() + days(1), ..open(2, 9) };
    episodes.push(changed(&*store, "6", recent));
    keep(&*store, episodes).await;
    let due = all_open(&*store, now() + days(3), never()).await;
    assert_eq!((due[0].as_str(), due.len()), ("1", 4));
    assert!(["3", "4", "5"].iter().all(|key| due.iter().any(|found| found == key)), "{due:?}");
    assert_eq!(all_open(&*store, now(), never()).await, Vec::<String>::new());
    assert_eq!(all_open(&*store, now() + days(1), now()).await, ["1", "6"]);
    assert_eq!(all_open(&*store, never(), never()).await.len(), 6);
}

async fn stage(store: &dyn Store, lease: &Lease, episodes: Vec<EpisodeChange>) {
    let found = Found { episodes, ..Found::default() };
    store.stage(lease, &SweepId("s".to_owned()), &found).await.unwrap();
}

async fn staged_episodes_count_once_their_sweep_is_closed(home: Home) {
    let store = home.with_rule().await;
    let lease = begin(&*store).await;
    // More than one transaction moves over at a time, and the last word on a record counts.
    let many: Vec<_> = (0..1_500).map(|n| changed(&*store, &n.to_string(), open(1, 2))).collect();
    stage(&*store, &lease, many).await;
    stage(&*store, &lease, vec![changed(&*store, "7", open(1, 5))]).await;
    assert_eq!(store.episodes(&lease, &[hash(&*store, "7")]).await.unwrap(), [None]);
    // Also when the guard holds its matches.
    let verdict = Verdict::Held("too many".to_owned());
    store.close_sweep(&lease, &SweepId("s".to_owned()), &verdict, &progress(now()), None).await.unwrap();
    store.decide_held(&SweepId("s".to_owned()), false, now()).await.unwrap();
    assert_eq!(kept(&*store, &["7", "1499"]).await, [Some(open(1, 5)), Some(open(1, 2))]);
    assert_eq!(all_open(&*store, never(), never()).await.len(), 1_500);
}

async fn episodes_of_a_sweep_that_was_never_closed_are_forgotten(home: Home) {
    let store = home.with_rule().await;
    keep(&*store, vec![changed(&*store, "7", open(1, 2))]).await;
    let lease = begin(&*store).await;
    let many: Vec<_> = (0..1_500).map(|n| changed(&*store, &n.to_string(), closed(1))).collect();
    stage(&*store, &lease, many).await;
    drop(store);
    let store = home.open().await;
    assert_eq!(kept(&*store, &["7", "8"]).await, [Some(open(1, 2)), None]);
    stage(&*store, &begin(&*store).await, vec![changed(&*store, "8", open(1, 2))]).await;
    assert_eq!(kept(&*store, &["8"]).await, [None]);
}

async fn a_new_definition_ends_what_the_old_one_opened(home: Home) {
    let store = home.with_rule().await;
    keep(&*store, vec![changed(&*store, "1", open(3, 2)), changed(&*store, "2", closed(5))]).await;
    let edited = |definition: &str| Adoption { definition: definition.into(), ..adoption("win-back") };
    store.adopt(&[edited("d2")], now()).await.unwrap();
    assert!(!begin(&*store).await.progress.seeded);
    let known = kept(&*store, &["1", "2"]).await;
    // Their ordinals go on, and neither stands in the way of what the new definition finds.
    let ended = known.iter().flatten().map(|episode| (episode.ordinal, episode.closed_at < Some(now() - days(999))));
    assert_eq!(ended.collect::<Vec<_>>(), [(3, true), (5, true)]);
    assert!(all_open(&*store, never(), never()).await.is_empty());
    keep(&*store, vec![changed(&*store, "1", open(4, 2))]).await;
    assert_eq!(kept(&*store, &["1"]).await, [Some(open(4, 2))]);
    // A rule that is gone and returns begins anew as well.
    store.adopt(&[], now()).await.unwrap();
    store.adopt(&[edited("d2")], now()).await.unwrap();
    assert!(all_open(&*store, never(), never()).await.is_empty());
    assert_eq!(kept(&*store, &["1"]).await[0].as_ref().unwrap().ordinal, 4);
}

async fn a_rename_keeps_episodes(home: Home) {
    let store = home.with_rule().await;
    keep(&*store, vec![changed(&*store, "1", open(1, 2))]).await;
    let renamed = Adoption { was: vec!["win-back".into()], ..adoption("come-back") };
    store.adopt(&[renamed], now()).await.unwrap();
    let lease = store.begin_sweep(&"come-back".into(), Lane::Live, &tenant(), &owner("a")).await.unwrap().unwrap();
    assert_eq!(store.episodes(&lease, &[hash(&*store, "1")]).await.unwrap(), [Some(open(1, 2))]);
}

async fn nothing_is_kept_without_the_lease(home: Home) {
    let store = home.with_rule().await;
    let stale = begin(&*store).await;
    begin(&*store).await;
    let episodes = vec![changed(&*store, "1", open(1, 2))];
    assert!(store.commit_sweep(&stale, &with_episodes(episodes.clone())).await.is_err());
    let found = Found { episodes, ..Found::default() };
    assert!(store.stage(&stale, &SweepId("s".to_owned()), &found).await.is_err());
    assert_eq!(kept(&*store, &["1"]).await, [None]);
}
