//! Own SQL that says when: each of its rows once, from when it says on.

use super::history::on_three_dialects;
use super::trigger::{Promise, Standing, Trigger, austrians};
use crate::world::{World, minutes};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    status: &'static str,
    country: &'static str,
}

#[derive(Debug, Clone)]
pub enum Change {
    Order { customer: usize, status: &'static str, ago: Option<i64> },
    Redate { order: usize, ago: Option<i64> },
    Status { order: usize, status: &'static str },
    Delete { order: usize },
    Move { customer: usize, country: &'static str },
}

#[derive(Debug, Clone)]
struct Order {
    customer: usize,
    status: &'static str,
    at: Option<Timestamp>,
}

#[derive(Debug)]
pub struct Overdue {
    countries: BTreeMap<usize, &'static str>,
    orders: Vec<Option<Order>>,
}

fn ago() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![4 => 0..30_i64, 2 => -300..1_500_i64, 2 => 0..(9 * 1_440_i64)]
}

fn status() -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(vec!["overdue", "overdue", "paid"])
}

impl Trigger for Overdue {
    type Change = Change;
    type Rule = Rule;

    fn changes() -> BoxedStrategy<Change> {
        let (customer, order) = (0..4_usize, 0..40_usize);
        let when = || proptest::option::weighted(0.9, ago());
        let country = prop::sample::select(vec!["AT", "AT", "DE"]);
        prop_oneof![
            8 => (customer.clone(), status(), when())
                .prop_map(|(customer, status, ago)| Change::Order { customer, status, ago }),
            2 => (order.clone(), when()).prop_map(|(order, ago)| Change::Redate { order, ago }),
            2 => (order.clone(), status()).prop_map(|(order, status)| Change::Status { order, status }),
            1 => order.prop_map(|order| Change::Delete { order }),
            2 => (customer, country).prop_map(|(customer, country)| Change::Move { customer, country }),
        ]
        .boxed()
    }

    fn rules() -> BoxedStrategy<Rule> {
        let country = prop::sample::select(vec!["AT", "AT", "DE"]);
        (status(), country).prop_map(|(status, country)| Rule { status, country }).boxed()
    }

    fn text(rule: &Rule) -> String {
        format!(
            "version: 1
id: watch
description: Overdue.
mode: live
purpose: service
for_each: customer
trigger:
  query:
    sql: SELECT account_id, id, placed_at FROM orders WHERE status = '{}'
    key: account_id
    occasion: id
    at: placed_at
where:
  - country: {}
check_every: 1 hour
on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
steps:
  - wait: {{for: 5 years}}
  - webhook: {{to: sink}}
",
            rule.status, rule.country
        )
    }

    fn same_definition(one: &Rule, other: &Rule) -> bool {
        one == other
    }

    fn promise(_: &Rule) -> Promise {
        Promise {
            overlap: minutes(10),
            keep_trying: SignedDuration::ZERO,
            nightly: true,
            once: false,
            tracked: SignedDuration::ZERO,
        }
    }

    async fn begin(world: &World) -> Self {
        let countries = austrians(world, 4).await;
        Self { countries, orders: Vec::new() }
    }

    async fn apply(&mut self, change: &Change, world: &World, now: Timestamp) {
        let crm = &world.crm;
        let at = |ago: Option<i64>| ago.map(|ago| now - minutes(ago));
        let text = |at: Option<Timestamp>| at.map_or("NULL".to_owned(), |at| crm.time(at));
        match *change {
            Change::Order { customer, status, ago } => {
                let (id, at) = (self.orders.len(), at(ago));
                crm.run(&format!("INSERT INTO orders VALUES ({id}, {customer}, {}, '{status}')", text(at))).await;
                self.orders.push(Some(Order { customer, status, at: at.map(|at| crm.kept(at)) }));
            }
            Change::Redate { order, ago } => {
                if let Some(Some(row)) = self.orders.get_mut(order) {
                    row.at = at(ago).map(|at| crm.kept(at));
                    crm.run(&format!("UPDATE orders SET placed_at = {} WHERE id = {order}", text(at(ago)))).await;
                }
            }
            Change::Status { order, status } => {
                if let Some(Some(row)) = self.orders.get_mut(order) {
                    row.status = status;
                    crm.run(&format!("UPDATE orders SET status = '{status}' WHERE id = {order}")).await;
                }
            }
            Change::Delete { order } => {
                if let Some(place) = self.orders.get_mut(order) {
                    *place = None;
                    crm.run(&format!("DELETE FROM orders WHERE id = {order}")).await;
                }
            }
            Change::Move { customer, country } => {
                self.countries.insert(customer, country);
                crm.run(&format!("UPDATE accounts SET country_code = '{country}' WHERE id = {customer}")).await;
            }
        }
    }

    fn occasions(&self, rule: &Rule, _: Timestamp) -> Vec<Standing> {
        let standing = self.rows(rule).filter_map(|(id, order)| {
            Some(Standing {
                record: order.customer.to_string(),
                occasion: id.to_string(),
                crosses: order.at?,
                holds: self.countries[&order.customer] == rule.country,
                overtaken: false,
                exceeds: None,
            })
        });
        standing.collect()
    }
}

impl Overdue {
    fn rows(&self, rule: &Rule) -> impl Iterator<Item = (usize, &Order)> {
        let status = rule.status;
        let orders = self.orders.iter().enumerate().filter_map(|(id, order)| Some((id, order.as_ref()?)));
        orders.filter(move |(_, order)| order.status == status)
    }

    /// Record and occasion of whatever the query returns, and whether `where` holds.
    pub fn returned(&self, rule: &Rule) -> Vec<((String, String), bool)> {
        let holds = |order: &Order| self.countries[&order.customer] == rule.country;
        let entry = |id: usize, order: &Order| (order.customer.to_string(), id.to_string());
        self.rows(rule).map(|(id, order)| (entry(id, order), holds(order))).collect()
    }
}

on_three_dialects!(Overdue);
