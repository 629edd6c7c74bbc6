//! What holds for every store, run on each of them.

mod concurrency;
mod consents;
mod episodes;
mod faces;
mod gathering;
mod inbox;
mod journal;
mod messages;
mod outbox;
mod personal;
mod places;
mod reactions;
mod register;
mod safety;
mod sweeps;
mod timeline;
mod writes;

use crate::support::{Database, instant, postgres};
use jiff::{SignedDuration, Timestamp};
use nudged::engine::port::{
    Adoption, Attempt, Claimed, Completion, Found, Lease, Mark, NewMatch, Owner, Progress, Rematch, Settled,
    Settlement, Store, SweepCommit, SweepCount, Then,
};
use nudged::model::{
    EndReason, InstanceSecret, Key, Lane, MatchIdentity, Occasion, Outcome, RecordId, RuleId, StepId, Tenant,
};
use nudged::store::postgres::PostgresStore;
use nudged::store::sqlite::SqliteStore;
use nudged::store::{JournalPlace, Replayed};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Writes each test once and runs it on both stores.
macro_rules! on_both_stores {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::store_conformance::Home::sqlite()).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::store_conformance::Home::postgres()).await;
            })*
        }
    };
}
use on_both_stores;

/// Where a store lives, so that it can be opened again, or twice.
enum Home {
    Sqlite(tempfile::TempDir),
    Postgres(Database),
}

impl Home {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    fn postgres() -> Self {
        Self::Postgres(postgres())
    }

    async fn open(&self) -> Arc<dyn Store> {
        self.open_with_lease(Duration::from_mins(1)).await
    }

    async fn open_with_lease(&self, lease: Duration) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(dir) => {
                let store = SqliteStore::open(dir.path().join("state.db"), now()).await.unwrap();
                Arc::new(store.with_lease(lease))
            }
            Self::Postgres(database) => {
                Arc::new(PostgresStore::open(&database.url, now()).await.unwrap().with_lease(lease))
            }
        }
    }

    /// With a journal beside it, and what was read from that.
    async fn open_journaled(&self, journal: &Path) -> (Arc<dyn Store>, Replayed) {
        let journal = &JournalPlace { path: journal.to_owned(), own: true };
        match self {
            Self::Sqlite(dir) => {
                let store = SqliteStore::open(dir.path().join("state.db"), now()).await.unwrap().journaled(journal);
                let read = store.replay().await.unwrap();
                (Arc::new(store), read)
            }
            Self::Postgres(database) => {
                let store = PostgresStore::open(&database.url, now()).await.unwrap().journaled(journal);
                let read = store.replay().await.unwrap();
                (Arc::new(store), read)
            }
        }
    }

    const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Opened, with the rule `win-back` adopted.
    async fn with_rule(&self) -> Arc<dyn Store> {
        let store = self.open().await;
        store.adopt(&[adoption("win-back")], now()).await.unwrap();
        store
    }
}

fn now() -> Timestamp {
    instant("2026-11-21T10:00:00Z")
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

fn owner(name: &str) -> Owner {
    Owner(name.to_owned())
}

fn rule() -> RuleId {
    "win-back".into()
}

fn tenant() -> Tenant {
    "".into()
}

fn adoption(rule: &str) -> Adoption {
    Adoption {
        rule: rule.into(),
        was: Vec::new(),
        lane: Lane::Live,
        tenant: tenant(),
        version: "v1".into(),
        definition: "d1".into(),
        text: format!("id: {rule}"),
        baseline: now(),
    }
}

fn customer(key: &str) -> RecordId {
    RecordId { tenant: tenant(), entity: "customer".into(), key: Key::new(key) }
}

/// A match of `win-back` that is due at once.
fn a_match(store: &dyn Store, key: &str, occasion: &str) -> NewMatch {
    match_of(store.secret(), "win-back", key, occasion)
}

fn match_of(secret: &InstanceSecret, rule: &str, key: &str, occasion: &str) -> NewMatch {
    let (rule, lane, record, occasion) = (RuleId::from(rule), Lane::Live, customer(key), Occasion::new(occasion));
    let identity = MatchIdentity { rule: rule.clone(), lane, record: record.clone(), occasion: occasion.clone() };
    NewMatch {
        id: secret.match_id(&identity),
        former: Vec::new(),
        track: secret.track(&rule, lane, &record),
        former_tracks: Vec::new(),
        tolerance: None,
        rule,
        lane,
        record,
        version: "v1".into(),
        occasion,
        occasion_at: Some(now() - days(90)),
        occasion_data: serde_json::json!({"value": "it's \"90\" days"}),
        crossed_at: now(),
        matched_at: now(),
        planned_at: now(),
        entry: 0,
        first: Some((0, now())),
        skip: None,
        restart: Rematch::Ignore,
    }
}

fn progress(at: Timestamp) -> Progress {
    Progress { watermark: at, swept_at: at, rechecked_at: at, reconciled_at: at, seeded: false }
}

fn commit_of(matches: Vec<NewMatch>) -> SweepCommit {
    let crossed = matches.len() as u64;
    let found = Found { matches, ..Found::default() };
    SweepCommit { found, progress: progress(now()), crossed, held: None, counted: None }
}

fn found(matches: &[NewMatch]) -> Found {
    Found { matches: matches.to_vec(), ..Found::default() }
}

async fn begin(store: &dyn Store) -> Lease {
    let lease = store.begin_sweep(&rule(), Lane::Live, &tenant(), &owner("a")).await.unwrap();
    lease.expect("nobody else sweeps the rule")
}

/// One whole sweep.
async fn enter(store: &dyn Store, matches: Vec<NewMatch>) -> SweepCount {
    let lease = begin(store).await;
    store.commit_sweep(&lease, &commit_of(matches)).await.unwrap()
}

async fn claim(store: &dyn Store, limit: usize) -> Vec<Claimed> {
    store.claim(&owner("a"), now(), limit).await.unwrap()
}

/// The only row that is due.
async fn claim_one(store: &dyn Store) -> Claimed {
    let mut claimed = claim(store, 10).await;
    assert_eq!(claimed.len(), 1, "{claimed:?}");
    claimed.remove(0)
}

fn step() -> StepId {
    "email-1".into()
}

fn mark_of(store: &dyn Store, claimed: &Claimed, repeatable: bool) -> Mark {
    let delivery = store.secret().delivery_id(claimed.match_id, &step(), claimed.iteration);
    Mark { token: claimed.token, delivery, step: step(), kind: "email", repeatable, reader: None, place: None }
}

async fn mark(store: &dyn Store, claimed: &Claimed, repeatable: bool) -> Settled {
    let marks = vec![mark_of(store, claimed, repeatable)];
    store.settle(&Settlement { marks, completions: Vec::new() }).await.unwrap()
}

fn attempt_of(store: &dyn Store, claimed: &Claimed, outcome: Outcome) -> Attempt {
    Attempt {
        delivery: store.secret().delivery_id(claimed.match_id, &step(), claimed.iteration),
        match_id: claimed.match_id,
        rule: claimed.rule.clone(),
        lane: claimed.lane,
        record: claimed.record.clone(),
        step: step(),
        kind: "email",
        number: claimed.attempts + 1,
        started_at: now(),
        finished_at: now(),
        outcome,
    }
}

fn sent() -> Outcome {
    Outcome::Sent { reply: "250 queued".to_owned() }
}

fn completion(claimed: &Claimed, attempt: Option<Attempt>, then: Then) -> Completion {
    Completion { attempt, ..Completion::of(claimed.token, then) }
}

async fn complete(store: &dyn Store, completion: Completion) -> Settled {
    store.settle(&Settlement { marks: Vec::new(), completions: vec![completion] }).await.unwrap()
}

fn end() -> Then {
    Then::End { reason: EndReason::Completed, at: now() }
}
