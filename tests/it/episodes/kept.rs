//! A judge of `count` and `decline` that knows no windows, watermarks or episodes: whoever came inside after the rule was
//! loaded, and has kept matching until a sweep, is in the ledger after it. Facts come in time here; late, edited and
//! deleted ones are the oracle's in `course`.

use super::course::{Watched, YEAR};
use super::{START, entered, rule};
use crate::support::{Seen, instant, property};
use crate::world::{Kind, World, days, hours, minutes};
use jiff::Timestamp;
use nudged::engine::{Settings, Swept};
use proptest::prelude::*;

const STEP: i64 = 10;

#[derive(Debug, Clone)]
enum Change {
    /// As many, so many steps ago.
    Orders {
        customer: usize,
        count: usize,
        ago: i64,
    },
    Move {
        customer: usize,
        country: bool,
    },
    Sweep {
        after: i64,
    },
}

fn change(watched: Watched) -> impl Strategy<Value = Change> {
    let customer = 1..4_usize;
    // A year ago, with the anniversary still ahead, also across a change of clocks.
    let then = (10..60_i64).prop_map(|ahead| YEAR - ahead);
    let ago = if watched == Watched::LastYear { prop_oneof![1 => Just(0), 2 => then].boxed() } else { Just(0).boxed() };
    prop_oneof![
        8 => (customer.clone(), 1..5_usize, ago)
            .prop_map(|(customer, count, ago)| Change::Orders { customer, count, ago }),
        1 => (customer, prop::bool::weighted(0.8)).prop_map(|(customer, country)| Change::Move { customer, country }),
        10 => prop_oneof![1..20_i64, 10..100_i64, 100..400_i64].prop_map(|after| Change::Sweep { after }),
    ]
}

struct Customer {
    placed: Vec<Timestamp>,
    /// Of the rule's country since then.
    ours: Option<Timestamp>,
}

impl Customer {
    /// Since when they are inside without a break, after `start`; `None` where they aren't, or were then.
    fn inside_since(&self, watched: Watched, from: usize, start: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let inside = |at: Timestamp| {
            let placed: Vec<Timestamp> = self.placed.iter().copied().filter(|placed| *placed <= at).collect();
            watched.inside(from, &placed, at)
        };
        let mut since = Some(now).filter(|now| inside(*now))?;
        while since > start && inside(since - minutes(STEP)) {
            since -= minutes(STEP);
        }
        (since > start).then_some(since)
    }
}

/// Entered are those who were judged to have to be there.
async fn history(watched: Watched, kind: Kind, batch: usize, changes: Vec<Change>) -> Seen {
    // After the hour that comes twice.
    let start = instant(START) + days(10);
    let world = World::new(kind, start, Settings { batch, ..Settings::default() }).await;
    let long_ago = world.crm.time(start - days(300));
    let mut customers = Vec::new();
    for customer in 1..4 {
        world.crm.run(&format!("INSERT INTO accounts VALUES ({customer}, 'C', 'AT', {long_ago})")).await;
        customers.push(Customer { placed: Vec::new(), ours: Some(start) });
    }
    let from = if watched == Watched::Count { 3 } else { 4 };
    world.load(&[("watched.yaml", &rule(&watched.trigger(from), "where: [{country: AT}]\n"))]).await;
    let (mut orders, mut seen) = (0, Seen::default());
    for change in changes {
        let now = world.now();
        match change {
            Change::Orders { customer, count, ago } => {
                let at = now - minutes(ago * STEP);
                let placed = world.crm.time(at);
                for _ in 0..count {
                    world.crm.run(&format!("INSERT INTO orders VALUES ({orders}, {customer}, {placed}, 'paid')")).await;
                    orders += 1;
                    customers[customer - 1].placed.push(at);
                }
            }
            Change::Move { customer, country } => {
                let code = if country { "'AT'" } else { "NULL" };
                world.crm.run(&format!("UPDATE accounts SET country_code = {code} WHERE id = {customer}")).await;
                let ours = &mut customers[customer - 1].ours;
                *ours = if country { ours.or(Some(now)) } else { None };
            }
            Change::Sweep { after } => {
                world.clock.advance(minutes(after * STEP));
                let swept = world.engine.sweep_rule(&"watched".into()).await.unwrap();
                assert!(matches!(&swept[..], [Swept::Done(report)] if report.held.is_none()), "{swept:?}");
                let (now, entered) = (world.now(), entered(&world).await);
                for (number, customer) in (1..).zip(&customers) {
                    let number: usize = number;
                    let Some(since) = customer.inside_since(watched, from, start, now) else { continue };
                    // An episode lasts a while after its rows have gone, so it may be older than this stay; who was not
                    // ours when it began is asked about once a day.
                    if customer.ours.is_none_or(|ours| ours > since - watched.least()) {
                        seen.refused += 1;
                        continue;
                    }
                    seen.entered += 1;
                    let theirs = entered.iter().filter(|((key, _), _)| *key == number.to_string());
                    let found = theirs.filter(|(_, at)| **at >= since - watched.least()).count();
                    assert!(
                        found > 0,
                        "customer {number}, inside since {since}, is lost after the sweep at {now}: {entered:?}"
                    );
                }
            }
        }
    }
    seen
}

fn nobody_is_lost(watched: Watched, kind: Kind, cases: u32) {
    let histories = (prop::sample::select(vec![1_usize, 2, 2_000]), prop::collection::vec(change(watched), 10..50));
    property(cases, Seen { entered: 1, ..Seen::default() }, &histories, |(batch, changes)| {
        history(watched, kind, batch, changes)
    });
}

#[test]
fn nobody_whose_count_lasts_is_lost() {
    nobody_is_lost(Watched::Count, Kind::Sqlite, 24);
    nobody_is_lost(Watched::Count, Kind::Postgres, 10);
    nobody_is_lost(Watched::Count, Kind::MariaDb, 10);
}

#[test]
fn nobody_whose_decline_lasts_is_lost() {
    nobody_is_lost(Watched::Decline, Kind::Sqlite, 24);
    nobody_is_lost(Watched::Decline, Kind::Postgres, 10);
    nobody_is_lost(Watched::Decline, Kind::MariaDb, 10);
}

#[test]
fn nobody_whose_decline_since_last_year_lasts_is_lost() {
    nobody_is_lost(Watched::LastYear, Kind::Sqlite, 24);
    nobody_is_lost(Watched::LastYear, Kind::Postgres, 10);
    nobody_is_lost(Watched::LastYear, Kind::MariaDb, 10);
}

/// The judge itself: who has three orders within two days is inside from the third on.
#[test]
fn the_judge_sees_when_somebody_came_inside() {
    let start = instant(START);
    let placed = vec![start + hours(1), start + hours(2), start + hours(3)];
    let customer = Customer { placed, ours: Some(start) };
    let since = |at| customer.inside_since(Watched::Count, 3, start, at);
    assert_eq!(since(start + hours(2)), None);
    assert_eq!(since(start + hours(5)), Some(start + hours(3)));
    assert_eq!(since(start + hours(49)), None);
}
