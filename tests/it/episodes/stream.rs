//! A source that dies half-way, or tells its rows in another order, ends nobody's episode.

use super::{START, entered, rule};
use crate::support::{instant, random};
use crate::world::{Crm, Kind, World, days, hours};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use nudged::catalog::{ColumnSchema, Schema, Table};
use nudged::engine::Settings;
use nudged::engine::port::{Deed, Done, EpisodePage, Lease, OpenEpisode, Owner, Source, SourceError};
use nudged::model::{Lane, Tenant};
use nudged::rule::statement::{Dialect, Row, Statement};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rstest::rstest;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Streams rows in any order, and breaks off after so many.
struct Frayed {
    inner: Arc<dyn Source>,
    left: AtomicUsize,
    order: u64,
}

#[async_trait]
impl Source for Frayed {
    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        self.inner.now().await
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        let rows = self.inner.rows(tenant, statement);
        let disordered = stream::once(async move {
            let mut rows: Vec<_> = rows.collect().await;
            rows.shuffle(&mut StdRng::seed_from_u64(self.order));
            stream::iter(rows)
        });
        let cut = |row| {
            let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if left.is_ok() { row } else { Err(SourceError::Unavailable("it died".to_owned())) }
        };
        disordered.flatten().map(cut).boxed()
    }

    async fn transact(&self, tenant: &Tenant, steps: Vec<Deed>) -> Result<Vec<Done>, SourceError> {
        self.inner.transact(tenant, steps).await
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        self.inner.schema(tables).await
    }

    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError> {
        self.inner.describe(sql).await
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        self.inner.prepare(statement).await
    }
}

async fn open(world: &World) -> Vec<OpenEpisode> {
    let owner = Owner("test".into());
    let lease: Lease =
        world.store.begin_sweep(&"watched".into(), Lane::Live, &"".into(), &owner).await.unwrap().unwrap();
    let never = instant("9999-01-01T00:00:00Z");
    let page = EpisodePage { after: None, due_until: Timestamp::MAX, opened_after: never, limit: 1_000 };
    world.store.open_episodes(&lease, &page).await.unwrap()
}

/// Sweeps with a source that dies, until it lives: nothing is known of those sweeps that broke off. SQLite is quick
/// enough for every number of rows; elsewhere some are left out. After how many rows it lived.
async fn frayed(world: &World, settings: impl Fn() -> Settings, random: &mut StdRng) -> usize {
    let (episodes, matched) = (open(world).await, entered(world).await);
    let longest = if matches!(world.crm, Crm::Sqlite(_)) { 1 } else { 5 };
    let mut broke = 0;
    loop {
        let order = random.random();
        let source = Arc::new(Frayed { inner: world.source.clone(), left: AtomicUsize::new(broke), order });
        let engine = world.engine_over(source, world.store.clone(), settings());
        if engine.sweep_rule(&"watched".into()).await.is_ok() {
            return broke;
        }
        assert_eq!(open(world).await, episodes, "after {broke} rows in order {order}");
        assert_eq!(entered(world).await, matched, "after {broke} rows in order {order}");
        broke += random.random_range(1..=longest);
    }
}

async fn order(world: &World, id: &mut usize, customer: usize, count: usize) {
    let now = world.crm.time(world.now());
    for _ in 0..count {
        world.crm.run(&format!("INSERT INTO orders VALUES ({id}, {customer}, {now}, 'paid')")).await;
        *id += 1;
    }
}

async fn people(kind: Kind, trigger: &str, count: usize, settings: impl Fn() -> Settings) -> World {
    let world = World::new(kind, instant(START), settings()).await;
    for customer in 0..=count {
        world.crm.run(&format!("INSERT INTO accounts VALUES ({customer}, 'C', 'AT', NULL)")).await;
    }
    world.load(&[("watched.yaml", &rule(trigger, ""))]).await;
    world.pass(hours(1)).await;
    world
}

const PEOPLE: usize = 8;

fn in_threes() -> Settings {
    Settings { batch: 3, ..Settings::default() }
}

/// Whose episode is open, in order.
async fn inside(world: &World) -> Vec<String> {
    let mut keys: Vec<String> = open(world).await.into_iter().map(|episode| episode.key.to_string()).collect();
    keys.sort();
    keys
}

/// All but the first, whose episode has ended, and the last, who has come anew.
fn all_but_the_first() -> Vec<String> {
    (1..=PEOPLE).map(|customer| customer.to_string()).collect()
}

/// Somebody leaves and somebody comes.
#[rstest]
#[tokio::test]
async fn a_stream_that_breaks_off_or_comes_in_disorder_ends_no_episode_and_opens_none_twice(
    #[values(Kind::Sqlite, Kind::Postgres, Kind::MariaDb)] kind: Kind,
) {
    const PEOPLE: usize = 12;
    let mut random = random();
    let world = people(kind, "segment: {when: {country: AT}, min_out: none}", PEOPLE - 1, in_threes).await;
    assert_eq!(open(&world).await.len(), PEOPLE);
    assert!(entered(&world).await.is_empty());
    world.crm.run("UPDATE accounts SET country_code = NULL WHERE id = 0").await;
    world.crm.run(&format!("INSERT INTO accounts VALUES ({PEOPLE}, 'New', 'AT', NULL)")).await;
    world.clock.advance(hours(1));
    let broke = frayed(&world, in_threes, &mut random).await;
    assert!(broke >= 2 * PEOPLE, "it broke {broke} times");
    let after = inside(&world).await;
    assert_eq!(after.len(), PEOPLE);
    assert!(!after.contains(&"0".to_owned()) && after.contains(&PEOPLE.to_string()), "{after:?}");
    let matched: Vec<_> = entered(&world).await.into_keys().collect();
    assert_eq!(matched, [(PEOPLE.to_string(), "episode 1".to_owned())]);
    world.pass(days(1)).await;
    assert_eq!(entered(&world).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_stream_of_counted_rows_that_breaks_off_ends_no_count_and_opens_none_twice(
    #[values(Kind::Sqlite, Kind::Postgres, Kind::MariaDb)] kind: Kind,
) {
    let mut random = random();
    let world = people(kind, "count: {of: orders, at_least: 2, within: 2 days}", PEOPLE, in_threes).await;
    let mut id = 0;
    for customer in 0..PEOPLE {
        order(&world, &mut id, customer, 2).await;
    }
    world.pass(hours(1)).await;
    assert_eq!(entered(&world).await.len(), PEOPLE);
    world.clock.advance(days(1));
    for customer in 1..PEOPLE {
        order(&world, &mut id, customer, 2).await;
    }
    // The night's look for late facts is a sweep of its own, and has been.
    world.pass(days(1) - hours(2)).await;
    order(&world, &mut id, PEOPLE, 2).await;
    world.clock.advance(hours(2));
    let broke = frayed(&world, in_threes, &mut random).await;
    assert!(broke >= 4, "it broke {broke} times");
    assert_eq!(inside(&world).await, all_but_the_first());
    assert_eq!(entered(&world).await.len(), PEOPLE + 1);
    assert!(entered(&world).await.contains_key(&(PEOPLE.to_string(), "episode 1".to_owned())));
}

#[rstest]
#[tokio::test]
async fn a_stream_of_counted_rows_that_breaks_off_ends_no_decline_and_opens_none_twice(
    #[values(Kind::Sqlite, Kind::Postgres, Kind::MariaDb)] kind: Kind,
) {
    let mut random = random();
    let world =
        people(kind, "decline: {of: orders, by: 50, from_at_least: 4, window: 2 days}", PEOPLE, in_threes).await;
    let mut id = 0;
    order(&world, &mut id, 0, 4).await;
    world.clock.advance(hours(12));
    for customer in 1..PEOPLE {
        order(&world, &mut id, customer, 4).await;
    }
    world.clock.advance(hours(36));
    order(&world, &mut id, PEOPLE, 4).await;
    world.pass(hours(46)).await;
    assert_eq!(entered(&world).await.len(), PEOPLE, "the last hasn't fallen yet");
    // It falls, and for the first there is nothing to compare with any more.
    world.clock.advance(hours(3));
    let broke = frayed(&world, in_threes, &mut random).await;
    assert!(broke >= 4, "it broke {broke} times");
    assert_eq!(inside(&world).await, all_but_the_first());
    assert_eq!(entered(&world).await.len(), PEOPLE + 1);
}

#[rstest]
#[tokio::test]
async fn a_stream_of_values_that_breaks_off_forgets_no_change_and_tells_none_twice(
    #[values(Kind::Sqlite, Kind::Postgres, Kind::MariaDb)] kind: Kind,
) {
    let mut random = random();
    let world = people(kind, "changed: {field: country}", PEOPLE, in_threes).await;
    world.crm.run("UPDATE accounts SET country_code = 'DE' WHERE id IN (0, 4)").await;
    world.crm.run("DELETE FROM accounts WHERE id = 2").await;
    world.clock.advance(hours(1));
    let broke = frayed(&world, in_threes, &mut random).await;
    assert!(broke >= PEOPLE, "it broke {broke} times");
    let matched: Vec<_> = entered(&world).await.into_keys().collect();
    assert_eq!(matched, ["0", "4"].map(|key| (key.to_owned(), "episode 1".to_owned())));
    world.pass(hours(1)).await;
    assert_eq!(entered(&world).await.len(), 2);
}
