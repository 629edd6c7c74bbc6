//! Silence: now ≥ last activity + N.

use super::history::on_three_dialects;
use super::trigger::{ACCOUNTS, Promise, Standing, Trigger};
use crate::world::{Crm, World, days, hours, minutes};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub struct Rule {
    days: i64,
    country: &'static str,
    /// Who never ordered is silent since they were created.
    fallback: bool,
    /// Of chances after a refusal; the default where true.
    keep_trying: bool,
    backfill: bool,
}

#[derive(Debug, Clone)]
pub enum Change {
    /// Placed this many minutes ago (ahead, where negative), or without a time.
    Order {
        customer: usize,
        ago: Option<i64>,
        paid: bool,
    },
    /// At the very time of another customer's order.
    Equal {
        customer: usize,
        order: usize,
    },
    Backdate {
        order: usize,
        ago: Option<i64>,
    },
    Cancel {
        order: usize,
    },
    Delete {
        order: usize,
    },
    Move {
        customer: usize,
        country: Option<&'static str>,
    },
    Remove {
        customer: usize,
    },
}

#[derive(Debug, Clone)]
struct Order {
    customer: usize,
    at: Option<Timestamp>,
    paid: bool,
}

#[derive(Debug)]
pub struct Silence {
    /// Country and creation.
    customers: BTreeMap<usize, (Option<&'static str>, Timestamp)>,
    orders: Vec<Option<Order>>,
}

/// Minutes around the edges that matter: now, the overlap, a day, the silence itself.
fn ago() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![
        3 => 0..30_i64,
        2 => -300..3_000_i64,
        4 => (10 * 1_440 - 700)..(10 * 1_440 + 700_i64),
        // Crossed a few minutes before or after the rule was loaded, which the overlap reaches.
        2 => (10 * 1_440 - 12)..(10 * 1_440 + 12_i64),
        1 => Just(10 * 1_440_i64),
        1 => 0..(30 * 1_440_i64),
    ]
}

fn country() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![Some("AT"), Some("AT"), Some("DE"), None])
}

impl Trigger for Silence {
    type Change = Change;
    type Rule = Rule;

    fn changes() -> BoxedStrategy<Change> {
        let (customer, order) = (1..5_usize, 0..40_usize);
        let when = || proptest::option::weighted(0.95, ago());
        prop_oneof![
            8 => (customer.clone(), when(), prop::bool::weighted(0.85))
                .prop_map(|(customer, ago, paid)| Change::Order { customer, ago, paid }),
            1 => (customer.clone(), order.clone()).prop_map(|(customer, order)| Change::Equal { customer, order }),
            2 => (order.clone(), when()).prop_map(|(order, ago)| Change::Backdate { order, ago }),
            1 => order.clone().prop_map(|order| Change::Cancel { order }),
            2 => order.prop_map(|order| Change::Delete { order }),
            2 => (customer.clone(), country()).prop_map(|(customer, country)| Change::Move { customer, country }),
            1 => customer.prop_map(|customer| Change::Remove { customer }),
        ]
        .boxed()
    }

    fn rules() -> BoxedStrategy<Rule> {
        let country = prop::sample::select(vec!["AT", "AT", "DE"]);
        let rarely = || prop::bool::weighted(0.3);
        let rule = (8..12_i64, country, rarely(), prop::bool::weighted(0.7), rarely());
        rule.prop_map(|(days, country, fallback, keep_trying, backfill)| Rule {
            days,
            country,
            fallback,
            keep_trying,
            backfill,
        })
        .boxed()
    }

    fn text(rule: &Rule) -> String {
        let Rule { days, country, fallback, keep_trying, backfill } = rule;
        let backfill = if *backfill { "backfill: all\n" } else { "" };
        let fallback = if *fallback { ", fallback: created_at" } else { "" };
        let keep_trying = if *keep_trying { "" } else { "keep_trying: none\n" };
        format!(
            "version: 1
id: watch
description: Silent.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {{of: orders, for: {days} days{fallback}}}
where:
  - country: {country}
check_every: 1 hour
{keep_trying}{backfill}on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
steps:
  - wait: {{for: 5 years}}
  - webhook: {{to: sink}}
"
        )
    }

    fn same_definition(one: &Rule, other: &Rule) -> bool {
        (one.days, one.country, one.fallback) == (other.days, other.country, other.fallback)
    }

    fn backfills(rule: &Rule) -> bool {
        rule.backfill
    }

    fn promise(rule: &Rule) -> Promise {
        let keep_trying = if rule.keep_trying { days(14) } else { SignedDuration::ZERO };
        Promise { overlap: minutes(10), keep_trying, nightly: true, once: false, tracked: keep_trying.max(days(7)) }
    }

    async fn begin(world: &World) -> Self {
        let mut customers = BTreeMap::new();
        // Customer 0 is never removed: an empty table makes every rule wait.
        for customer in 0..5_usize {
            let created = world.now() - days(9) - hours(6 * customer as i64);
            let kept = world.crm.time(created);
            world.crm.run(&format!("INSERT INTO {ACCOUNTS} VALUES ({customer}, 'C', 'AT', {kept})")).await;
            customers.insert(customer, (Some("AT"), world.crm.kept(created)));
        }
        Self { customers, orders: Vec::new() }
    }

    async fn apply(&mut self, change: &Change, world: &World, now: Timestamp) {
        let crm = &world.crm;
        match *change {
            Change::Order { customer, ago, paid } => {
                self.order(crm, customer, ago.map(|ago| now - minutes(ago)), paid).await;
            }
            Change::Equal { customer, order } => {
                let same = self.orders.get(order).cloned().flatten();
                if let Some(at) = same.and_then(|order| order.at) {
                    self.order(crm, customer, Some(at), true).await;
                }
            }
            Change::Backdate { order, ago } => {
                let at = ago.map(|ago| now - minutes(ago));
                if let Some(Some(row)) = self.orders.get_mut(order) {
                    row.at = at.map(|at| crm.kept(at));
                    let placed = at.map_or("NULL".to_owned(), |at| crm.time(at));
                    crm.run(&format!("UPDATE orders SET placed_at = {placed} WHERE id = {order}")).await;
                }
            }
            Change::Cancel { order } => {
                if let Some(Some(row)) = self.orders.get_mut(order) {
                    row.paid = false;
                    crm.run(&format!("UPDATE orders SET status = 'cancelled' WHERE id = {order}")).await;
                }
            }
            Change::Delete { order } => {
                if let Some(place) = self.orders.get_mut(order) {
                    *place = None;
                    crm.run(&format!("DELETE FROM orders WHERE id = {order}")).await;
                }
            }
            Change::Move { customer, country } => {
                if let Some(known) = self.customers.get_mut(&customer) {
                    known.0 = country;
                    let code = country.map_or("NULL".to_owned(), |code| format!("'{code}'"));
                    crm.run(&format!("UPDATE accounts SET country_code = {code} WHERE id = {customer}")).await;
                }
            }
            Change::Remove { customer } => {
                self.customers.remove(&customer);
                crm.run(&format!("DELETE FROM accounts WHERE id = {customer}")).await;
            }
        }
    }

    fn occasions(&self, rule: &Rule, now: Timestamp) -> Vec<Standing> {
        let silent = days(rule.days);
        let tolerance = days(1).min(SignedDuration::from_secs(silent.as_secs() / 4));
        let customers = self.customers.iter().filter_map(|(customer, (country, created))| {
            let own = |order: &&Order| order.customer == *customer && order.paid;
            let placed = self.orders.iter().flatten().filter(own).filter_map(|order| order.at);
            let activity = placed.chain(rule.fallback.then_some(*created));
            let last = activity.filter(|at| *at <= now).max()?;
            Some(Standing {
                record: customer.to_string(),
                occasion: format!("{last:.6}"),
                crosses: last + silent,
                holds: *country == Some(rule.country),
                overtaken: false,
                exceeds: Some((last, Some(tolerance))),
            })
        });
        customers.collect()
    }
}

impl Silence {
    async fn order(&mut self, crm: &Crm, customer: usize, at: Option<Timestamp>, paid: bool) {
        let (id, status) = (self.orders.len(), if paid { "paid" } else { "cancelled" });
        let placed = at.map_or("NULL".to_owned(), |at| crm.time(at));
        crm.run(&format!("INSERT INTO orders VALUES ({id}, {customer}, {placed}, '{status}')")).await;
        self.orders.push(Some(Order { customer, at: at.map(|at| crm.kept(at)), paid }));
    }
}

on_three_dialects!(Silence);
