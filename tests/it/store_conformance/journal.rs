//! The suppression journal beside a state, and several processes that use it at once.

use super::*;
use nudged::engine::port::StoreError;
use nudged::model::{Channel, Suppression, SuppressionReason};
use nudged::store::{Database as StateDatabase, State};
use std::fs;
use std::path::Path;

on_both_stores!(
    one_that_a_command_has_begun_gets_all_that_the_state_knows,
    nodes_that_start_at_once_lose_nothing_of_what_a_third_adds,
    that_of_another_state_is_refused_where_that_may_be_at_work,
    what_it_could_not_take_is_written_when_it_is_told_again,
);

/// A node, or a command, that keeps the journal at this place.
enum Kept {
    Sqlite(State<nudged::store::sqlite::Sqlite>),
    Postgres(State<nudged::store::postgres::Postgres>),
}

impl Kept {
    async fn open(home: &Home, path: &Path, own: bool) -> Self {
        let place = JournalPlace { path: path.to_owned(), own };
        match home {
            Home::Sqlite(dir) => {
                let store = SqliteStore::open(dir.path().join("state.db"), now()).await.unwrap();
                Self::Sqlite(store.journaled(&place))
            }
            Home::Postgres(database) => {
                Self::Postgres(PostgresStore::open(&database.url, now()).await.unwrap().journaled(&place))
            }
        }
    }

    fn store(&self) -> &dyn Store {
        match self {
            Self::Sqlite(state) => state,
            Self::Postgres(state) => state,
        }
    }

    async fn replay(&self) -> Result<Replayed, StoreError> {
        async fn of<D: StateDatabase>(state: &State<D>) -> Result<Replayed, StoreError> {
            state.replay().await
        }
        match self {
            Self::Sqlite(state) => of(state).await,
            Self::Postgres(state) => of(state).await,
        }
    }
}

fn complained(store: &dyn Store, address: &str) -> Suppression {
    Suppression {
        hash: store.secret().address_hash(Channel::Email, address),
        channel: Channel::Email,
        address: None,
        reason: SuppressionReason::Complained,
        since: now(),
    }
}

/// How many lines name the address.
fn lines_of(path: &Path, store: &dyn Store, address: &str) -> usize {
    let hash = complained(store, address).hash;
    let hash: String = hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::read_to_string(path).unwrap().lines().filter(|line| line.contains(&hash)).count()
}

async fn one_that_a_command_has_begun_gets_all_that_the_state_knows(home: Home) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("suppressions");
    let earlier = home.open().await;
    earlier.suppress(&[complained(&*earlier, "early@x.example")]).await.unwrap();
    drop(earlier);
    let command = Kept::open(&home, &path, true).await;
    command.store().suppress(&[complained(command.store(), "late@x.example")]).await.unwrap();
    assert_eq!(lines_of(&path, command.store(), "late@x.example"), 1);
    drop(command);
    let daemon = Kept::open(&home, &path, true).await;
    daemon.replay().await.unwrap();
    for address in ["early@x.example", "late@x.example"] {
        assert_eq!(lines_of(&path, daemon.store(), address), 1, "{address}");
    }
    let text = fs::read_to_string(&path).unwrap();
    daemon.replay().await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "and is left as it is");
}

async fn nodes_that_start_at_once_lose_nothing_of_what_a_third_adds(home: Home) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("suppressions");
    let third = Kept::open(&home, &path, true).await;
    third.replay().await.unwrap();
    third.store().suppress(&[complained(third.store(), "first@x.example")]).await.unwrap();
    // So long that whoever starts writes it anew.
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().last().unwrap();
    fs::write(&path, format!("{text}{}", format!("{line}\n").repeat(3_000))).unwrap();
    let (one, two) = (Kept::open(&home, &path, true).await, Kept::open(&home, &path, true).await);
    let adding = async {
        for number in 0..40 {
            third.store().suppress(&[complained(third.store(), &format!("{number}@x.example"))]).await.unwrap();
        }
    };
    let (one, two, ()) = tokio::join!(one.replay(), two.replay(), adding);
    one.unwrap();
    two.unwrap();
    for number in 0..40 {
        assert!(lines_of(&path, third.store(), &format!("{number}@x.example")) > 0, "{number}");
    }
    assert!(fs::read_to_string(&path).unwrap().lines().count() < 100, "it was written anew");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

async fn what_it_could_not_take_is_written_when_it_is_told_again(home: Home) {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("suppressions"), dir.path().join("aside"));
    let kept = Kept::open(&home, &path, true).await;
    kept.replay().await.unwrap();
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    let entry = complained(kept.store(), "lost@x.example");
    assert!(kept.store().suppress(std::slice::from_ref(&entry)).await.is_err());
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    assert_eq!(kept.store().suppress(std::slice::from_ref(&entry)).await.unwrap(), 0, "the state knows it");
    assert_eq!(lines_of(&path, kept.store(), "lost@x.example"), 1);
}

async fn that_of_another_state_is_refused_where_that_may_be_at_work(home: Home) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("suppressions");
    let other = Home::sqlite();
    let theirs = Kept::open(&other, &path, false).await;
    theirs.store().suppress(&[complained(theirs.store(), "a@x.example")]).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();

    let ours = Kept::open(&home, &path, false).await;
    let refused = ours.replay().await.unwrap_err().to_string();
    assert!(refused.contains(&path.display().to_string()) && refused.contains("state.journal"), "{refused}");
    let entry = complained(ours.store(), "b@x.example");
    let refused = ours.store().suppress(std::slice::from_ref(&entry)).await.unwrap_err().to_string();
    assert!(refused.contains("another state"), "{refused}");
    assert_eq!(ours.store().suppressed(&[entry.hash]).await.unwrap().len(), 1, "it holds all the same");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    // Where the name is the state's own, the other one is gone.
    let own = Kept::open(&home, &path, true).await;
    let replayed = own.replay().await.unwrap();
    assert!(replayed.foreign && fs::read_to_string(replayed.kept.unwrap()).unwrap() == text);
    assert_eq!(lines_of(&path, own.store(), "b@x.example"), 1);
}
