//! `changed` against an oracle that remembers every value.

use super::{Entry, START, entered, rule};
use crate::support::{Seen, instant, property};
use crate::world::{CATALOG, Kind, Setup, World, days, hours, minutes};
use nudged::engine::{Settings, Swept};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const VALUES: [Option<&str>; 4] = [None, Some("AT"), Some("DE"), Some("")];

/// The trigger, and whether it watches for this change. An empty text is missing, too.
type Watched = (&'static str, fn(Option<&str>, Option<&str>) -> bool);

const WATCHED: [Watched; 4] = [
    ("changed: {field: country}", |_, _| true),
    ("changed: {field: country, to: AT}", |_, to| to == Some("AT")),
    ("changed: {field: country, from: [AT, DE]}", |from, _| from.is_some()),
    ("changed: {field: country, from: missing, to: [DE]}", |from, to| from.is_none() && to == Some("DE")),
];

#[derive(Debug, Clone)]
enum Change {
    Set {
        customer: usize,
        value: usize,
    },
    Remove {
        customer: usize,
    },
    Sweep {
        after: i64,
    },
    /// Other changes of the field are watched.
    Edit {
        watched: usize,
    },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        10 => (1..5_usize, 0..VALUES.len()).prop_map(|(customer, value)| Change::Set { customer, value }),
        1 => (1..5_usize).prop_map(|customer| Change::Remove { customer }),
        6 => prop_oneof![1..30_i64, 60..2_000_i64, 1_000..4_000_i64].prop_map(|after| Change::Sweep { after }),
        1 => (0..WATCHED.len()).prop_map(|watched| Change::Edit { watched }),
    ]
}

struct Oracle {
    watched: usize,
    values: BTreeMap<usize, Option<&'static str>>,
    /// The value, and how many changes were counted.
    kept: BTreeMap<usize, (Option<&'static str>, u64)>,
    /// Whose value an older definition kept: it is read anew, and that is no change.
    outdated: BTreeSet<usize>,
    entered: BTreeMap<Entry, jiff::Timestamp>,
    seen: Seen,
}

impl Oracle {
    fn sweep(&mut self, now: jiff::Timestamp) {
        for (customer, value) in &self.values {
            let value = value.filter(|value| !value.is_empty());
            let Some((old, count)) = self.kept.get_mut(customer) else {
                self.kept.insert(*customer, (value, 0));
                continue;
            };
            if self.outdated.remove(customer) {
                *old = value;
            } else if *old != value && WATCHED[self.watched].1(*old, value) {
                *count += 1;
                self.entered.insert((customer.to_string(), format!("episode {count}")), now);
                self.seen.entered += 1;
            } else if *old != value {
                self.seen.refused += 1;
            }
            *old = value;
        }
    }
}

/// With `tracked`, only changed records are read.
async fn history(tracked: bool, watched: usize, kind: Kind, batch: usize, changes: Vec<Change>) -> Seen {
    // After the hour that comes twice, which a column without a zone can't tell apart.
    let start = instant(START) + days(10);
    let catalog = if tracked {
        CATALOG
            .replace("fields: {country: country_code}", "updated_at: created_at\n    fields: {country: country_code}")
    } else {
        CATALOG.to_owned()
    };
    let settings = Settings { batch, ..Settings::default() };
    let world = World::set_up(Setup { settings, catalog, ..Setup::of(kind, start) }).await;
    world.load(&[("watched.yaml", &rule(WATCHED[watched].0, ""))]).await;
    let (values, kept, matches) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let (outdated, seen) = (BTreeSet::new(), Seen::default());
    let mut oracle = Oracle { watched, values, kept, outdated, entered: matches, seen };
    for customer in 1..4 {
        apply(&world, &mut oracle, &Change::Set { customer, value: customer - 1 }).await;
    }
    for change in &changes {
        apply(&world, &mut oracle, change).await;
    }
    apply(&world, &mut oracle, &Change::Sweep { after: 30 }).await;
    oracle.seen
}

async fn apply(world: &World, oracle: &mut Oracle, change: &Change) {
    let crm = &world.crm;
    match *change {
        Change::Set { customer, value } => {
            let code = VALUES[value].map_or("NULL".to_owned(), |value| format!("'{value}'"));
            let at = crm.time(world.now());
            crm.run(&format!("DELETE FROM accounts WHERE id = {customer}")).await;
            crm.run(&format!("INSERT INTO accounts VALUES ({customer}, 'C', {code}, {at})")).await;
            oracle.values.insert(customer, VALUES[value]);
        }
        Change::Remove { customer } => {
            crm.run(&format!("DELETE FROM accounts WHERE id = {customer}")).await;
            oracle.values.remove(&customer);
        }
        Change::Edit { watched } => {
            world.load(&[("watched.yaml", &rule(WATCHED[watched].0, ""))]).await;
            if watched != oracle.watched {
                oracle.watched = watched;
                oracle.outdated = oracle.kept.keys().copied().collect();
            }
        }
        Change::Sweep { after } => {
            world.clock.advance(minutes(after));
            let swept = world.engine.sweep_rule(&"watched".into()).await.unwrap();
            // With every record gone the sweep waits instead of moving on.
            if oracle.values.is_empty() {
                return;
            }
            assert!(matches!(&swept[..], [Swept::Done(report)] if report.held.is_none()), "{swept:?}");
            oracle.sweep(world.now());
            assert_eq!(entered(world).await, oracle.entered, "after the sweep at {}", world.now());
        }
    }
}

fn equals_the_oracle(kind: Kind, cases: u32) {
    let batches = prop::sample::select(vec![1_usize, 2, 2_000]);
    let histories = (any::<bool>(), 0..WATCHED.len(), batches, prop::collection::vec(change(), 10..50));
    property(cases, Seen::BOTH, &histories, |(tracked, watched, batch, changes)| {
        history(tracked, watched, kind, batch, changes)
    });
}

#[test]
fn changes_equal_the_oracle_on_sqlite() {
    equals_the_oracle(Kind::Sqlite, 40);
}

#[test]
fn changes_equal_the_oracle_on_postgres() {
    equals_the_oracle(Kind::Postgres, 12);
}

#[test]
fn changes_equal_the_oracle_on_mariadb() {
    equals_the_oracle(Kind::MariaDb, 12);
}

/// Those of a sweep of many batches wait for the next one, which is not the last of the old definition.
#[tokio::test]
async fn the_values_of_a_large_sweep_belong_to_the_definition_that_it_went_by() {
    for batch in [1, 2, 2_000] {
        let world = World::new(Kind::Sqlite, instant(START), Settings { batch, ..Settings::default() }).await;
        world.crm.run("INSERT INTO accounts VALUES (1, 'One', 'AT', NULL), (2, 'Two', 'DE', NULL)").await;
        world.load(&[("watched.yaml", &rule("changed: {field: country}", ""))]).await;
        world.pass(hours(1)).await;
        world.load(&[("watched.yaml", &rule("changed: {field: name}", ""))]).await;
        world.pass(hours(1)).await;
        assert!(entered(&world).await.is_empty(), "batch {batch}: nothing has changed");
        world.crm.run("UPDATE accounts SET name = 'Uno' WHERE id = 1").await;
        world.pass(hours(1)).await;
        assert_eq!(entered(&world).await.len(), 1, "batch {batch}");
    }
}

#[tokio::test]
async fn another_field_under_the_same_rule_is_no_change() {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.crm.run("INSERT INTO accounts VALUES (1, 'One', 'AT', NULL)").await;
    world.load(&[("watched.yaml", &rule("changed: {field: country}", ""))]).await;
    world.pass(hours(1)).await;
    world.crm.run("UPDATE accounts SET country_code = 'DE'").await;
    world.pass(hours(1)).await;
    world.load(&[("watched.yaml", &rule("changed: {field: name}", ""))]).await;
    world.pass(hours(1)).await;
    world.crm.run("UPDATE accounts SET name = 'Uno'").await;
    world.pass(hours(1)).await;
    let occasions: Vec<_> = entered(&world).await.into_keys().map(|(_, occasion)| occasion).collect();
    assert_eq!(occasions, ["episode 1", "episode 2"]);
}
