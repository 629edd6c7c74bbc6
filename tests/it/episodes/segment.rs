//! `segment` against an oracle that compares two sets.

use super::{Entry, START, entered, rule};
use crate::support::{Seen, instant, property};
use crate::world::{Kind, World, days, hours, minutes};
use jiff::Timestamp;
use nudged::engine::{Settings, Swept};
use proptest::prelude::*;
use rstest::rstest;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry::Vacant;

type Country = Option<&'static str>;

/// A condition, and who is inside by it. A missing country is inside of nothing that doesn't name it.
type Inside = (&'static str, fn(Country) -> bool);

const CONDITIONS: [Inside; 4] = [
    ("{country: AT}", |country| country == Some("AT")),
    ("{country: {in: [AT, DE]}}", |country| country.is_some()),
    ("{not: {country: AT}}", |country| country == Some("DE")),
    ("{any: [{country: DE}, {country: missing}]}", |country| country != Some("AT")),
];

/// How long somebody has to be outside, in hours.
const OUT: [(&str, i64); 3] = [("", 24), (", min_out: none", 0), (", min_out: 6 hours", 6)];

/// What the rule says: indexes into both, whether it watches for those who leave, and whether it wants only some of
/// those who come.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Segment {
    condition: usize,
    out: usize,
    leaves: bool,
    choosy: bool,
}

impl Segment {
    fn text(self) -> String {
        let Self { condition, out, leaves, choosy } = self;
        let wanted = if choosy { "where: [{name: Wanted}]\n" } else { "" };
        rule(&format!("segment: {{when: {}, leaves: {leaves}{}}}", CONDITIONS[condition].0, OUT[out].0), wanted)
    }

    fn holds(self, country: Country) -> bool {
        CONDITIONS[self.condition].1(country)
    }
}

fn segment() -> impl Strategy<Value = Segment> {
    (0..CONDITIONS.len(), 0..OUT.len(), any::<bool>(), any::<bool>())
        .prop_map(|(condition, out, leaves, choosy)| Segment { condition, out, leaves, choosy: choosy && !leaves })
}

#[derive(Debug, Clone)]
enum Change {
    Move { customer: usize, country: Country, wanted: bool },
    Remove { customer: usize },
    Sweep { after: i64 },
    Edit(Segment),
}

fn change() -> impl Strategy<Value = Change> {
    let country = prop::sample::select(vec![Some("AT"), Some("AT"), Some("DE"), None]);
    prop_oneof![
        12 => (1..6_usize, country, prop::bool::weighted(0.7))
            .prop_map(|(customer, country, wanted)| Change::Move { customer, country, wanted }),
        1 => (1..6_usize).prop_map(|customer| Change::Remove { customer }),
        9 => prop_oneof![1..120_i64, 60..2_000_i64, 1_000..4_000_i64].prop_map(|after| Change::Sweep { after }),
        1 => segment().prop_map(Change::Edit),
    ]
}

#[derive(Debug, Clone)]
struct Stay {
    ordinal: u64,
    opened: Timestamp,
    open: bool,
    /// Where it ends, if its record stays outside.
    ends: Option<Timestamp>,
}

struct Oracle {
    segment: Segment,
    /// With whether the rule wants them.
    countries: BTreeMap<usize, (Country, bool)>,
    stays: BTreeMap<usize, Stay>,
    seeded: bool,
    baseline: Timestamp,
    watermark: Timestamp,
    entered: BTreeMap<Entry, Timestamp>,
    seen: Seen,
}

impl Oracle {
    fn sweep(&mut self, now: Timestamp) {
        for customer in 1..6 {
            let inside = self.is_inside(customer);
            let Segment { leaves, out, .. } = self.segment;
            let asked = (self.watermark - minutes(10)).max(self.baseline);
            let mut fires = None;
            match self.stays.get_mut(&customer) {
                Some(stay) if stay.open && inside => {
                    // Whom the rule did not want when they came is asked about once more if they left and came back at once.
                    let again = stay.ends.take().is_some() && stay.opened > asked;
                    fires = (!leaves && again).then_some(stay.ordinal);
                }
                Some(stay) if stay.open => {
                    let ends = *stay.ends.get_or_insert(now + hours(OUT[out].1));
                    if ends <= now {
                        stay.open = false;
                        fires = leaves.then_some(stay.ordinal);
                        self.seen.refused += usize::from(!leaves);
                    }
                }
                _ if !inside => {}
                known => {
                    let ordinal = known.map_or(1, |stay| stay.ordinal + 1);
                    fires = (!leaves && self.seeded).then_some(ordinal);
                    self.seen.refused += usize::from(fires.is_none());
                    let opened = if self.seeded { now } else { self.baseline };
                    self.stays.insert(customer, Stay { ordinal, opened, open: true, ends: None });
                }
            }
            self.enter(customer, fires, now);
        }
        self.seeded = true;
        self.watermark = now;
    }

    fn is_inside(&self, customer: usize) -> bool {
        self.countries.get(&customer).is_some_and(|(country, _)| self.segment.holds(*country))
    }

    /// Who is gone can't match any more, and whom the rule doesn't want does not.
    fn enter(&mut self, customer: usize, ordinal: Option<u64>, now: Timestamp) {
        let (Some(ordinal), Some((_, wanted))) = (ordinal, self.countries.get(&customer)) else { return };
        if self.segment.choosy && !wanted {
            self.seen.refused += 1;
        } else if let Vacant(place) = self.entered.entry((customer.to_string(), format!("episode {ordinal}"))) {
            place.insert(now);
            self.seen.entered += 1;
        }
    }

    /// What an older definition opened is over and no leave; who is inside of the new one was there before it.
    fn edit(&mut self, segment: Segment, now: Timestamp) {
        (self.segment, self.seeded) = (segment, false);
        (self.baseline, self.watermark) = (now, now);
        for stay in self.stays.values_mut() {
            stay.open = false;
        }
    }
}

async fn history(segment: Segment, kind: Kind, batch: usize, changes: Vec<Change>) -> Seen {
    let start = instant(START);
    let world = World::new(kind, start, Settings { batch, ..Settings::default() }).await;
    let mut countries = BTreeMap::new();
    for customer in 1..6 {
        let country = [None, Some("AT"), Some("DE")][customer % 3];
        world.crm.run(&account(customer, country, true)).await;
        countries.insert(customer, (country, true));
    }
    world.load(&[("watched.yaml", &segment.text())]).await;
    let inside = countries.values().filter(|(country, _)| segment.holds(*country)).count();
    assert_eq!(world.left_out().await, Some(inside as u64));
    let (stays, matches) = (BTreeMap::new(), BTreeMap::new());
    let mut oracle = Oracle {
        segment,
        countries,
        stays,
        seeded: false,
        baseline: start,
        watermark: start,
        entered: matches,
        seen: Seen::default(),
    };
    for change in &changes {
        apply(&world, &mut oracle, change).await;
    }
    apply(&world, &mut oracle, &Change::Sweep { after: 30 }).await;
    apply(&world, &mut oracle, &Change::Sweep { after: 1_440 }).await;
    oracle.seen
}

fn account(customer: usize, country: Country, wanted: bool) -> String {
    let code = country.map_or("NULL".to_owned(), |country| format!("'{country}'"));
    let name = if wanted { "Wanted" } else { "Other" };
    format!("INSERT INTO accounts VALUES ({customer}, '{name}', {code}, NULL)")
}

async fn apply(world: &World, oracle: &mut Oracle, change: &Change) {
    match *change {
        Change::Move { customer, country, wanted } => {
            world.crm.run(&format!("DELETE FROM accounts WHERE id = {customer}")).await;
            world.crm.run(&account(customer, country, wanted)).await;
            oracle.countries.insert(customer, (country, wanted));
        }
        Change::Remove { customer } => {
            world.crm.run(&format!("DELETE FROM accounts WHERE id = {customer}")).await;
            oracle.countries.remove(&customer);
        }
        Change::Edit(segment) => {
            world.load(&[("watched.yaml", &segment.text())]).await;
            if segment != oracle.segment {
                oracle.edit(segment, world.now());
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
    let histories = (segment(), batches, prop::collection::vec(change(), 10..60));
    property(cases, Seen::BOTH, &histories, |(segment, batch, changes)| history(segment, kind, batch, changes));
}

#[test]
fn segments_equal_the_oracle_on_sqlite() {
    equals_the_oracle(Kind::Sqlite, 40);
}

#[test]
fn segments_equal_the_oracle_on_postgres() {
    equals_the_oracle(Kind::Postgres, 12);
}

#[test]
fn segments_equal_the_oracle_on_mariadb() {
    equals_the_oracle(Kind::MariaDb, 12);
}

async fn one_inside(kind: Kind, trigger: &str, more: &str) -> World {
    let world = World::new(kind, instant(START), Settings::default()).await;
    world.crm.run("INSERT INTO accounts VALUES (1, 'One', 'AT', NULL), (2, 'Two', NULL, NULL)").await;
    world.load(&[("watched.yaml", &rule(trigger, more))]).await;
    world
}

#[rstest]
#[tokio::test]
async fn a_backfill_of_all_matches_those_who_are_inside_already(
    #[values(Kind::Sqlite, Kind::Postgres, Kind::MariaDb)] kind: Kind,
) {
    let world = one_inside(kind, "segment: {when: {country: AT}}", "backfill: all\n").await;
    world.pass(hours(1)).await;
    let keys: Vec<_> = entered(&world).await.into_keys().collect();
    assert_eq!(keys, [("1".to_owned(), "episode 1".to_owned())]);
}

#[rstest]
#[tokio::test]
async fn a_leave_whose_terms_fail_is_asked_about_again_while_the_rule_keeps_trying(
    #[values(Kind::Sqlite, Kind::Postgres, Kind::MariaDb)] kind: Kind,
) {
    let trigger = "segment: {when: {country: AT}, leaves: true, min_out: none}";
    let world = one_inside(kind, trigger, "where: [{name: Uno}]\nkeep_trying: 3 days\n").await;
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

/// Who comes before a rule looks is taken for one who was there, so it looks as soon as it is loaded, whatever its
/// `check_every`.
#[rstest]
#[case("check_every: 1 day\n")]
#[case("check_every: 7 days\n")]
#[tokio::test]
async fn whoever_comes_after_the_rule_is_loaded_comes_inside(#[case] every: &str) {
    let world = World::new(Kind::Sqlite, instant(START), Settings::default()).await;
    world.crm.run("INSERT INTO accounts VALUES (1, 'One', 'AT', NULL), (2, 'Two', NULL, NULL)").await;
    let watched = |when: &str| rule(&format!("segment: {{when: {when}}}"), "").replace("check_every: 1 hour\n", every);
    world.load(&[("watched.yaml", &watched("{country: AT}"))]).await;
    world.turn().await;
    world.crm.run("UPDATE accounts SET country_code = 'AT' WHERE id = 2").await;
    world.pass(days(7)).await;
    let keys = async || entered(&world).await.into_keys().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys().await, ["2"]);

    world.load(&[("watched.yaml", &watched("{country: DE}"))]).await;
    world.turn().await;
    world.crm.run("UPDATE accounts SET country_code = 'DE' WHERE id = 1").await;
    world.pass(days(7)).await;
    assert_eq!(keys().await, ["1", "2"], "after an edit, too");
}
