//! `count` and `decline` against an oracle that walks through time in steps of ten minutes.

use super::{Entry, START, entered, night_after, rule};
use crate::support::{Seen, instant, property};
use crate::world::{Crm, Kind, World, days, hours, minutes, vienna, wall, wall_again};
use jiff::{SignedDuration, Timestamp, ToSpan};
use nudged::engine::{Settings, Swept};
use proptest::prelude::*;
use rstest::rstest;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry::Vacant;

/// Everything happens at whole steps.
const STEP: i64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// Three orders within two days.
    Count,
    /// Half as many orders in two days as in the two before, from four.
    Decline,
    /// The same, of the same two days a year earlier.
    LastYear,
}

/// Steps in a year: none here has a February 29.
pub(super) const YEAR: i64 = 365 * 24 * 60 / STEP;

impl Watched {
    /// From that many orders on: 3 of a count and 4 of a decline, before an edit.
    pub(super) fn trigger(self, from: usize) -> String {
        match self {
            Self::Count => format!("count: {{of: orders, at_least: {from}, within: 2 days}}"),
            Self::Decline => format!("decline: {{of: orders, by: 50, from_at_least: {from}, window: 2 days}}"),
            Self::LastYear => format!(
                "decline: {{of: orders, by: 50, from_at_least: {from}, window: 2 days, compared_with: last_year}}"
            ),
        }
    }

    pub(super) fn inside(self, from: usize, placed: &[Timestamp], at: Timestamp) -> bool {
        let between = |since: SignedDuration, to: SignedDuration| {
            placed.iter().filter(|order| **order > at - since && **order <= at - to).count()
        };
        let now = between(days(2), minutes(0));
        let fallen = |before: usize| before >= from && now * 2 <= before;
        match self {
            Self::Count => now >= from,
            Self::Decline => fallen(between(days(4), days(2))),
            Self::LastYear => {
                let again: Vec<Timestamp> = placed.iter().map(|order| a_year_after(*order)).collect();
                fallen(again.iter().filter(|again| **again > at - days(2) && **again <= at).count())
            }
        }
    }

    /// How long an episode lasts at least.
    pub(super) fn least(self) -> SignedDuration {
        if self == Self::Count { days(2) } else { minutes(0) }
    }

    /// When somebody may come inside by an order, or leave.
    fn edges(self, order: Timestamp) -> Vec<Timestamp> {
        match self {
            Self::Count => vec![order],
            Self::Decline => vec![order, order + days(2)],
            Self::LastYear => vec![order, order + days(2), a_year_after(order)],
        }
    }
}

/// The same time of day on the same day of the next year, in Vienna.
fn a_year_after(at: Timestamp) -> Timestamp {
    let day = at.to_zoned(vienna()).datetime();
    wall(day.checked_add(1.year()).unwrap(), &vienna())
}

#[derive(Debug, Clone)]
enum Change {
    /// Several orders, this many steps ago (ahead, where negative).
    Orders {
        customer: usize,
        ago: Vec<i64>,
        paid: bool,
    },
    Backdate {
        order: usize,
        ago: i64,
    },
    Delete {
        order: usize,
    },
    Move {
        customer: usize,
        country: bool,
    },
    /// Time passes, then the rule is swept.
    Sweep {
        after: i64,
    },
    /// The file is edited: from another number of orders on.
    Edit {
        from: usize,
    },
}

fn change(watched: Watched) -> impl Strategy<Value = Change> {
    let now = prop_oneof![6 => 0..20_i64, 3 => 0..300_i64, 1 => -200..0_i64];
    // Of a year earlier, so that their anniversary is near and mostly ahead.
    let then = (-600..100_i64).prop_map(|ago| YEAR + ago);
    let ago = if watched == Watched::LastYear { prop_oneof![1 => now, 2 => then].boxed() } else { now.boxed() };
    let customer = 1..4_usize;
    prop_oneof![
        10 => (customer.clone(), prop::collection::vec(ago.clone(), 1..5), prop::bool::weighted(0.9))
            .prop_map(|(customer, ago, paid)| Change::Orders { customer, ago, paid }),
        1 => (0..40_usize, ago).prop_map(|(order, ago)| Change::Backdate { order, ago }),
        1 => (0..40_usize).prop_map(|order| Change::Delete { order }),
        2 => (customer, any::<bool>()).prop_map(|(customer, country)| Change::Move { customer, country }),
        10 => prop_oneof![1..20_i64, 10..300_i64, 200..900_i64].prop_map(|after| Change::Sweep { after }),
        1 => (2..5_usize).prop_map(|from| Change::Edit { from }),
    ]
}

#[derive(Debug, Clone)]
struct Episode {
    ordinal: u64,
    opened: Timestamp,
    closed: Option<Timestamp>,
    due: Timestamp,
}

struct Oracle {
    watched: Watched,
    from: usize,
    /// Those who were inside at the baseline have been noted.
    seeded: bool,
    /// Customer, the reading of when it was placed, the later one where there are two, paid.
    orders: Vec<Option<(usize, Timestamp, Timestamp, bool)>>,
    countries: BTreeMap<usize, bool>,
    episodes: BTreeMap<usize, Episode>,
    baseline: Timestamp,
    watermark: Timestamp,
    rechecked: Timestamp,
    reconciled: Timestamp,
    entered: BTreeMap<Entry, Timestamp>,
    seen: Seen,
}

impl Oracle {
    fn sweep(&mut self, now: Timestamp) {
        let floor = (self.watermark - minutes(10)).max(self.baseline);
        let recheck = now.duration_since(self.rechecked) >= days(1);
        let asked = if recheck { floor.min(now - days(14)).max(self.baseline) } else { floor };
        let known = self.episodes.clone();
        for customer in self.countries.keys().copied().collect::<Vec<_>>() {
            let open = known.get(&customer).filter(|episode| episode.closed.is_none());
            let due = open.is_some_and(|episode| episode.due <= now || (recheck && episode.opened > asked));
            let seed = !self.seeded && self.watched.inside(self.from, &self.placed(customer, now), self.baseline);
            if due || seed || self.has_edge(customer, floor, now) {
                self.look(customer, floor, asked, (self.watched != Watched::Count).then_some(floor), now);
            }
        }
        self.seeded = true;
        self.watermark = now;
        if recheck {
            self.rechecked = now;
        }
        if night_after(self.reconciled) <= now {
            self.reconciled = now;
            let floor = (now - days(7)).max(self.baseline);
            let known = self.episodes.clone();
            for customer in self.countries.keys().copied().collect::<Vec<_>>() {
                let open = known.get(&customer).is_some_and(|episode| episode.closed.is_none());
                if open || self.has_edge(customer, floor, now) {
                    self.look(customer, floor, floor, Some(now), now);
                }
            }
        }
    }

    fn placed(&self, customer: usize, now: Timestamp) -> Vec<Timestamp> {
        let of = |order: &&(usize, Timestamp, Timestamp, bool)| order.0 == customer && order.3 && order.1 <= now;
        self.orders.iter().flatten().filter(of).map(|order| order.1).collect()
    }

    /// What an older definition opened has ended long ago; its count goes on.
    fn edit(&mut self, from: usize, now: Timestamp) {
        self.from = from;
        self.seeded = false;
        (self.baseline, self.watermark, self.rechecked, self.reconciled) = (now, now, now, now);
        for episode in self.episodes.values_mut() {
            episode.closed = Some(Timestamp::UNIX_EPOCH);
        }
    }

    fn has_edge(&self, customer: usize, after: Timestamp, until: Timestamp) -> bool {
        let of = |order: &&(usize, Timestamp, Timestamp, bool)| order.0 == customer && order.3;
        self.orders.iter().flatten().filter(of).any(|(_, first, second, _)| {
            let edges = self.watched.edges(*first).into_iter().zip(self.watched.edges(*second));
            edges.into_iter().any(|(first, second)| second > after && first <= until)
        })
    }

    fn look(&mut self, customer: usize, since: Timestamp, asked: Timestamp, anew: Option<Timestamp>, now: Timestamp) {
        let (watched, from) = (self.watched, self.from);
        let placed = self.placed(customer, now);
        let mut episode = self.episodes.get(&customer).cloned();
        let is_open = episode.as_ref().is_some_and(|episode| episode.closed.is_none());
        if !self.seeded && !is_open && watched.inside(from, &placed, self.baseline) {
            let ordinal = episode.as_ref().map_or(1, |episode| episode.ordinal + 1);
            let due = self.baseline;
            episode = Some(Episode { ordinal, opened: self.baseline, closed: None, due });
        }
        let mut at = match &episode {
            Some(open) if open.closed.is_none() => {
                anew.map_or(open.due, |anew| anew.min(open.due)).max(open.opened + watched.least())
            }
            Some(Episode { closed: Some(closed), .. }) => since.max(*closed + minutes(STEP)),
            _ => since,
        };
        let mut crossed = Vec::new();
        loop {
            let inside = watched.inside(from, &placed, at);
            let open = episode.as_ref().filter(|episode| episode.closed.is_none());
            let over = open.is_some_and(|open| !inside && at >= open.opened + watched.least());
            if over || open.is_none() && at > now {
                if let Some(open) = episode.as_mut().filter(|_| over) {
                    open.due = at;
                    open.closed = (at <= now).then_some(at);
                }
                if at > now {
                    break;
                }
            } else if open.is_none() && inside {
                let ordinal = episode.as_ref().map_or(1, |episode| episode.ordinal + 1);
                crossed.push((ordinal, at));
                episode = Some(Episode { ordinal, opened: at, closed: None, due: at });
            }
            at += minutes(STEP);
        }
        let open = episode.as_ref().filter(|episode| episode.closed.is_none()).map(|open| (open.ordinal, open.opened));
        let asked_again = crossed.is_empty().then_some(open).flatten().filter(|(_, opened)| *opened > asked);
        for (ordinal, opened) in crossed.into_iter().chain(asked_again) {
            if !self.countries[&customer] {
                self.seen.refused += 1;
            } else if let Vacant(place) = self.entered.entry((customer.to_string(), format!("episode {ordinal}"))) {
                place.insert(now);
                self.seen.entered += 1;
                self.seen.late += usize::from(opened <= self.watermark);
            }
        }
        self.episodes.extend(episode.map(|episode| (customer, episode)));
    }
}

/// Both readings of what this database keeps.
fn readings(crm: &Crm, at: Timestamp) -> (Timestamp, Timestamp) {
    match crm {
        Crm::Postgres(..) => (at, at),
        Crm::Sqlite(_) | Crm::MariaDb(..) => {
            let kept = at.to_zoned(vienna()).datetime();
            (wall(kept, &vienna()), wall_again(kept, &vienna()))
        }
    }
}

async fn history(watched: Watched, kind: Kind, batch: usize, changes: Vec<Change>) -> Seen {
    // Near a change of clocks a year leads back to more than one instant, and whose order is among them is looked at too.
    let start = instant(START) + if watched == Watched::LastYear { days(10) } else { days(0) };
    let world = World::new(kind, start, Settings { batch, ..Settings::default() }).await;
    let kept = world.crm.time(start);
    for customer in 1..4 {
        world.crm.run(&format!("INSERT INTO accounts VALUES ({customer}, 'C{customer}', 'AT', {kept})")).await;
    }
    let from = if watched == Watched::Count { 3 } else { 4 };
    world.load(&[("watched.yaml", &rule(&watched.trigger(from), "where: [{country: AT}]\n"))]).await;
    let mut oracle = Oracle {
        watched,
        from,
        seeded: false,
        orders: Vec::new(),
        countries: (1..4).map(|customer| (customer, true)).collect(),
        episodes: BTreeMap::new(),
        baseline: start,
        watermark: start,
        rechecked: start,
        reconciled: start,
        entered: BTreeMap::new(),
        seen: Seen::default(),
    };
    for change in &changes {
        apply(&world, &mut oracle, change).await;
    }
    apply(&world, &mut oracle, &Change::Sweep { after: 300 }).await;
    // Whatever happened before: whoever comes inside after a long quiet, stays there and is wanted has matched.
    apply(&world, &mut oracle, &Change::Move { customer: 1, country: true }).await;
    for _ in 0..3 {
        apply(&world, &mut oracle, &Change::Sweep { after: 450 }).await;
    }
    let quiet = world.now();
    let ago = (0..=oracle.from as i64).map(|step| if watched == Watched::LastYear { YEAR - 10 - step } else { step });
    let enough = Change::Orders { customer: 1, ago: ago.collect(), paid: true };
    apply(&world, &mut oracle, &enough).await;
    for after in [100, 150, 290] {
        apply(&world, &mut oracle, &Change::Sweep { after }).await;
    }
    let new = |(entry, at): (&Entry, &Timestamp)| entry.0 == "1" && *at > quiet;
    assert!(entered(&world).await.iter().any(new), "1 is lost: inside since {quiet}");
    oracle.seen
}

async fn apply(world: &World, oracle: &mut Oracle, change: &Change) {
    let now = world.now();
    let crm = &world.crm;
    match change {
        Change::Orders { customer, ago, paid } => {
            for ago in ago {
                let at = now - minutes(ago * STEP);
                let (id, status) = (oracle.orders.len(), if *paid { "paid" } else { "cancelled" });
                let placed = crm.time(at);
                crm.run(&format!("INSERT INTO orders VALUES ({id}, {customer}, {placed}, '{status}')")).await;
                let (first, second) = readings(crm, at);
                oracle.orders.push(Some((*customer, first, second, *paid)));
            }
        }
        Change::Backdate { order, ago } => {
            let at = now - minutes(ago * STEP);
            if let Some(Some(kept)) = oracle.orders.get_mut(*order) {
                (kept.1, kept.2) = readings(crm, at);
                crm.run(&format!("UPDATE orders SET placed_at = {} WHERE id = {order}", crm.time(at))).await;
            }
        }
        Change::Delete { order } => {
            if let Some(place) = oracle.orders.get_mut(*order) {
                *place = None;
                crm.run(&format!("DELETE FROM orders WHERE id = {order}")).await;
            }
        }
        Change::Move { customer, country } => {
            oracle.countries.insert(*customer, *country);
            let code = if *country { "'AT'" } else { "NULL" };
            crm.run(&format!("UPDATE accounts SET country_code = {code} WHERE id = {customer}")).await;
        }
        Change::Edit { from } if *from != oracle.from => {
            let edited = rule(&oracle.watched.trigger(*from), "where: [{country: AT}]\n");
            world.load(&[("watched.yaml", &edited)]).await;
            oracle.edit(*from, now);
        }
        Change::Edit { .. } => {}
        Change::Sweep { after } => {
            world.clock.advance(minutes(after * STEP));
            let swept = world.engine.sweep_rule(&"watched".into()).await.unwrap();
            assert!(matches!(&swept[..], [Swept::Done(report)] if report.held.is_none()), "{swept:?}");
            oracle.sweep(world.now());
            assert_eq!(entered(world).await, oracle.entered, "after the sweep at {}", world.now());
        }
    }
}

fn equals_the_oracle(watched: Watched, kind: Kind, cases: u32) {
    let histories = (prop::sample::select(vec![1_usize, 2, 2_000]), prop::collection::vec(change(watched), 10..50));
    // What may fall is seen long before it does, so that hardly a decline is found late.
    let least = match watched {
        Watched::Count => Seen::ALL,
        Watched::Decline => Seen::BOTH,
        // Four orders within two days of another year are few, and those of somebody unwanted fewer.
        Watched::LastYear => Seen { entered: 1, ..Seen::default() },
    };
    property(cases, least, &histories, |(batch, changes)| history(watched, kind, batch, changes));
}

#[test]
fn counts_equal_the_oracle_on_sqlite() {
    equals_the_oracle(Watched::Count, Kind::Sqlite, 32);
}

#[test]
fn counts_equal_the_oracle_on_postgres() {
    equals_the_oracle(Watched::Count, Kind::Postgres, 12);
}

#[test]
fn counts_equal_the_oracle_on_mariadb() {
    equals_the_oracle(Watched::Count, Kind::MariaDb, 12);
}

#[test]
fn declines_equal_the_oracle_on_sqlite() {
    equals_the_oracle(Watched::Decline, Kind::Sqlite, 32);
}

#[test]
fn declines_equal_the_oracle_on_postgres() {
    equals_the_oracle(Watched::Decline, Kind::Postgres, 12);
}

#[test]
fn declines_equal_the_oracle_on_mariadb() {
    equals_the_oracle(Watched::Decline, Kind::MariaDb, 12);
}

#[test]
fn declines_since_last_year_equal_the_oracle_on_sqlite() {
    equals_the_oracle(Watched::LastYear, Kind::Sqlite, 32);
}

#[test]
fn declines_since_last_year_equal_the_oracle_on_postgres() {
    equals_the_oracle(Watched::LastYear, Kind::Postgres, 12);
}

#[test]
fn declines_since_last_year_equal_the_oracle_on_mariadb() {
    equals_the_oracle(Watched::LastYear, Kind::MariaDb, 12);
}

/// A customer with orders this many hours ago.
async fn with_orders_in(kind: Kind, trigger: &str, more: &str, ago: &[i64]) -> World {
    let world = World::new(kind, instant(START), Settings::default()).await;
    world.crm.run("INSERT INTO accounts VALUES (1, 'One', 'AT', NULL)").await;
    for (id, ago) in ago.iter().enumerate() {
        let at = world.crm.time(world.ago(hours(*ago)));
        world.crm.run(&format!("INSERT INTO orders VALUES ({id}, 1, {at}, 'paid')")).await;
    }
    world.load(&[("watched.yaml", &rule(trigger, more))]).await;
    world
}

async fn with_orders(trigger: &str, more: &str, ago: &[i64]) -> World {
    with_orders_in(Kind::Sqlite, trigger, more, ago).await
}

async fn order(world: &World, id: usize) {
    let at = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES ({id}, 1, {at}, 'paid')")).await;
}

async fn occasions(world: &World) -> Vec<String> {
    entered(world).await.into_keys().map(|(_, occasion)| occasion).collect()
}

/// Orders that come back end an episode when they come, not the night after.
#[tokio::test]
async fn activity_that_is_back_for_some_hours_makes_the_next_fall_another_match() {
    // Four two days ago, and two four hours after them.
    let ago = [47, 47, 47, 47, 43, 43];
    let world = with_orders("decline: {of: orders, by: 50, from_at_least: 4, window: 2 days}", "", &ago).await;
    world.pass(hours(2)).await;
    assert_eq!(occasions(&world).await, ["episode 1"], "two after four");
    order(&world, 10).await;
    world.pass(hours(1)).await;
    assert_eq!(occasions(&world).await, ["episode 1"], "three after four");
    world.pass(hours(3)).await;
    assert_eq!(occasions(&world).await, ["episode 1", "episode 2"], "one after six");
}

const COUNT: &str = "count: {of: orders, at_least: 3, within: 2 days}";

#[tokio::test]
async fn who_has_the_count_when_the_rule_is_loaded_is_left_out_until_it_has_ended() {
    let world = with_orders(COUNT, "", &[1, 2, 3]).await;
    assert_eq!(world.left_out().await, Some(1));
    world.pass(hours(1)).await;
    order(&world, 10).await;
    world.pass(hours(1)).await;
    assert_eq!(occasions(&world).await, Vec::<String>::new());
    world.pass(days(3)).await;
    for id in 11..14 {
        order(&world, id).await;
    }
    world.pass(hours(1)).await;
    assert_eq!(occasions(&world).await, ["episode 2"]);
}

#[rstest]
#[tokio::test]
async fn a_backfill_matches_what_is_still_open_and_no_history(
    #[values(Kind::Sqlite, Kind::Postgres, Kind::MariaDb)] kind: Kind,
) {
    let world = with_orders_in(kind, COUNT, "backfill: 30 days\n", &[1, 2, 3, 240, 241, 242]).await;
    world.pass(hours(1)).await;
    assert_eq!(occasions(&world).await, ["episode 2"]);
}

#[tokio::test]
async fn a_burst_that_came_and_went_during_an_outage_still_matches() {
    let world = with_orders(COUNT, "", &[]).await;
    world.pass(hours(1)).await;
    for id in 1..4 {
        order(&world, id).await;
    }
    world.pass(days(5)).await;
    assert_eq!(occasions(&world).await, ["episode 1"]);
}

#[tokio::test]
async fn a_new_definition_counts_on_from_the_episodes_before_it() {
    let world = with_orders(COUNT, "", &[]).await;
    world.pass(hours(1)).await;
    for id in 1..4 {
        order(&world, id).await;
    }
    world.pass(hours(1)).await;
    // Two of them are no longer enough: whoever has three under the new rule is left out at first.
    let edited = rule("count: {of: orders, at_least: 2, within: 2 days}", "");
    world.load(&[("watched.yaml", &edited)]).await;
    world.pass(hours(1)).await;
    assert_eq!(occasions(&world).await, ["episode 1"]);
    world.pass(days(3)).await;
    for id in 4..6 {
        order(&world, id).await;
    }
    world.pass(hours(1)).await;
    assert_eq!(occasions(&world).await, ["episode 1", "episode 3"]);
}

#[tokio::test]
async fn a_renamed_rule_keeps_its_episodes() {
    let world = with_orders(COUNT, "", &[]).await;
    world.pass(hours(1)).await;
    for id in 1..4 {
        order(&world, id).await;
    }
    world.pass(hours(1)).await;
    let renamed = rule(COUNT, "").replace("id: watched", "id: bursts\nwas: [watched]");
    world.load(&[("watched.yaml", &renamed)]).await;
    order(&world, 4).await;
    world.pass(hours(1)).await;
    assert_eq!(occasions(&world).await, ["episode 1"]);
}

#[tokio::test]
async fn a_quiet_sweep_asks_nothing_about_episodes_that_are_not_due() {
    let world = with_orders(COUNT, "", &[]).await;
    world.pass(hours(1)).await;
    for id in 1..4 {
        order(&world, id).await;
    }
    world.pass(hours(1)).await;
    world.pass(hours(2)).await;
    world.wire.questions();
    world.pass(hours(1)).await;
    // The clock, the candidates, and whether there are any records at all.
    assert_eq!(world.wire.questions(), 3);
}
