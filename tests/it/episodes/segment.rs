//! `segment` against an oracle that compares two sets.

use super::{Entry, START, entered, property, rule};
use crate::support::instant;
use crate::world::{Kind, World, days, hours, minutes};
use jiff::Timestamp;
use nudged::engine::{Settings, Swept};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Change {
    /// `None`: the record is gone.
    Move {
        customer: usize,
        country: Option<bool>,
    },
    Sweep {
        after: i64,
    },
}

fn change() -> impl Strategy<Value = Change> {
    let country = prop_oneof![6 => Just(Some(true)), 6 => Just(Some(false)), 1 => Just(None)];
    prop_oneof![
        8 => (1..6_usize, country).prop_map(|(customer, country)| Change::Move { customer, country }),
        6 => prop_oneof![1..120_i64, 60..2_000_i64, 1_000..4_000_i64].prop_map(|after| Change::Sweep { after }),
    ]
}

#[derive(Debug, Clone)]
struct Stay {
    ordinal: u64,
    open: bool,
    /// Where it ends, if its record stays outside.
    ends: Option<Timestamp>,
}

struct Oracle {
    leaves: bool,
    countries: BTreeMap<usize, bool>,
    stays: BTreeMap<usize, Stay>,
    seeded: bool,
    entered: BTreeMap<Entry, Timestamp>,
}

impl Oracle {
    fn sweep(&mut self, now: Timestamp) {
        for customer in 1..6 {
            let inside = self.countries.get(&customer) == Some(&true);
            let mut fires = None;
            match self.stays.get_mut(&customer) {
                Some(stay) if stay.open && inside => stay.ends = None,
                Some(stay) if stay.open => {
                    let ends = *stay.ends.get_or_insert(now + days(1));
                    if ends <= now {
                        stay.open = false;
                        fires = self.leaves.then_some(stay.ordinal);
                    }
                }
                _ if !inside => {}
                known => {
                    let ordinal = known.map_or(1, |stay| stay.ordinal + 1);
                    fires = (!self.leaves && self.seeded).then_some(ordinal);
                    self.stays.insert(customer, Stay { ordinal, open: true, ends: None });
                }
            }
            // Who is gone can't match any more.
            if let Some(ordinal) = fires.filter(|_| self.countries.contains_key(&customer)) {
                self.entered.insert((customer.to_string(), format!("episode {ordinal}")), now);
            }
        }
        self.seeded = true;
    }
}

async fn history(leaves: bool, kind: Kind, batch: usize, changes: Vec<Change>) {
    let start = instant(START);
    let world = World::new(kind, start, Settings { batch, ..Settings::default() }).await;
    let mut countries = BTreeMap::new();
    for customer in 1..6 {
        let inside = customer % 2 == 1;
        let code = if inside { "'AT'" } else { "NULL" };
        world.crm.run(&format!("INSERT INTO accounts VALUES ({customer}, 'C{customer}', {code}, NULL)")).await;
        countries.insert(customer, inside);
    }
    let trigger = format!("segment: {{when: {{country: AT}}, leaves: {leaves}}}");
    world.load(&[("watched.yaml", &rule(&trigger, ""))]).await;
    assert_eq!(world.store.rule_states().await.unwrap()[0].left_out, Some(3));
    let (stays, matches) = (BTreeMap::new(), BTreeMap::new());
    let mut oracle = Oracle { leaves, countries, stays, seeded: false, entered: matches };
    for change in &changes {
        apply(&world, &mut oracle, change).await;
    }
    apply(&world, &mut oracle, &Change::Sweep { after: 30 }).await;
    apply(&world, &mut oracle, &Change::Sweep { after: 1_440 }).await;
}

async fn apply(world: &World, oracle: &mut Oracle, change: &Change) {
    match *change {
        Change::Move { customer, country } => {
            let crm = &world.crm;
            crm.run(&format!("DELETE FROM accounts WHERE id = {customer}")).await;
            oracle.countries.remove(&customer);
            if let Some(inside) = country {
                let code = if inside { "'AT'" } else { "NULL" };
                crm.run(&format!("INSERT INTO accounts VALUES ({customer}, 'C{customer}', {code}, NULL)")).await;
                oracle.countries.insert(customer, inside);
            }
        }
        Change::Sweep { after } => {
            world.clock.advance(minutes(after));
            let swept = world.engine.sweep_rule(&"watched".into()).await.unwrap();
            // With every record gone the sweep waits instead of moving on.
            if oracle.countries.is_empty() {
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
    let histories = (any::<bool>(), batches, prop::collection::vec(change(), 10..60));
    property(cases, &histories, |(leaves, batch, changes)| history(leaves, kind, batch, changes));
}

#[test]
fn segments_equal_the_oracle_on_sqlite() {
    equals_the_oracle(Kind::Sqlite, 40);
}

#[test]
fn segments_equal_the_oracle_on_postgres() {
    equals_the_oracle(Kind::Postgres, 10);
}

#[test]
fn segments_equal_the_oracle_on_mariadb() {
    equals_the_oracle(Kind::MariaDb, 10);
}

async fn one_inside(trigger: &str, more: &str) -> World {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.crm.run("INSERT INTO accounts VALUES (1, 'One', 'AT', NULL), (2, 'Two', NULL, NULL)").await;
    world.load(&[("watched.yaml", &rule(trigger, more))]).await;
    world
}

#[tokio::test]
async fn a_backfill_of_all_matches_those_who_are_inside_already() {
    let world = one_inside("segment: {when: {country: AT}}", "backfill: all\n").await;
    world.pass(hours(1)).await;
    let keys: Vec<_> = entered(&world).await.into_keys().collect();
    assert_eq!(keys, [("1".to_owned(), "episode 1".to_owned())]);
}

#[tokio::test]
async fn a_leave_whose_terms_fail_is_asked_about_again_while_the_rule_keeps_trying() {
    let trigger = "segment: {when: {country: AT}, leaves: true, min_out: none}";
    let world = one_inside(trigger, "where: [{name: Uno}]\nkeep_trying: 3 days\n").await;
    world.pass(hours(1)).await;
    world.crm.run("UPDATE accounts SET country_code = NULL WHERE id = 1").await;
    world.pass(hours(1)).await;
    assert!(entered(&world).await.is_empty());
    world.crm.run("UPDATE accounts SET name = 'Uno' WHERE id = 1").await;
    world.pass(hours(1)).await;
    assert_eq!(entered(&world).await.len(), 1);
    world.pass(hours(1)).await;
    assert_eq!(entered(&world).await.len(), 1);
}
