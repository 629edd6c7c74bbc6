//! Abandoned carts: open, left alone for a while, and no answer came since. Orders stand for the carts here, and
//! answers for the orders.

use super::history::on_three_dialects;
use super::trigger::{Promise, Standing, Trigger, austrians};
use crate::world::{World, days, minutes};
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// In minutes.
    idle: i64,
    unless: bool,
    country: &'static str,
}

#[derive(Debug, Clone)]
pub enum Change {
    /// Put together so many minutes ago (ahead, where negative).
    Cart {
        customer: usize,
        ago: i64,
    },
    Touch {
        cart: usize,
        ago: i64,
    },
    Close {
        cart: usize,
    },
    Answer {
        customer: usize,
        ago: i64,
    },
    /// The answer was none.
    Revoke {
        answer: usize,
    },
    Move {
        customer: usize,
        country: &'static str,
    },
}

#[derive(Debug, Clone)]
struct Row {
    customer: usize,
    at: Timestamp,
}

#[derive(Debug)]
pub struct Carts {
    countries: BTreeMap<usize, &'static str>,
    /// `None`: closed, or revoked.
    rows: Vec<Option<Row>>,
    answers: Vec<Option<Row>>,
}

/// Minutes around now, the overlap, the idle times, a day and two weeks.
fn ago() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![
        3 => 0..30_i64,
        3 => 170..200_i64,
        2 => -300..1_500_i64,
        2 => 0..(16 * 1_440_i64),
        1 => Just(180_i64),
    ]
}

impl Trigger for Carts {
    type Change = Change;
    type Rule = Rule;

    fn changes() -> BoxedStrategy<Change> {
        let (customer, row) = (0..4_usize, 0..30_usize);
        let country = prop::sample::select(vec!["AT", "AT", "DE"]);
        prop_oneof![
            6 => (customer.clone(), ago()).prop_map(|(customer, ago)| Change::Cart { customer, ago }),
            3 => (row.clone(), ago()).prop_map(|(cart, ago)| Change::Touch { cart, ago }),
            1 => row.clone().prop_map(|cart| Change::Close { cart }),
            2 => (customer.clone(), ago()).prop_map(|(customer, ago)| Change::Answer { customer, ago }),
            2 => row.prop_map(|answer| Change::Revoke { answer }),
            2 => (customer, country).prop_map(|(customer, country)| Change::Move { customer, country }),
        ]
        .boxed()
    }

    fn rules() -> BoxedStrategy<Rule> {
        let idle = prop::sample::select(vec![180_i64, 180, 1_440]);
        let country = prop::sample::select(vec!["AT", "AT", "DE"]);
        let rule = (idle, proptest::bool::weighted(0.8), country);
        rule.prop_map(|(idle, unless, country)| Rule { idle, unless, country }).boxed()
    }

    fn text(rule: &Rule) -> String {
        let unless = if rule.unless { ", unless: responses" } else { "" };
        format!(
            "version: 1
id: watch
description: Left alone.
mode: live
purpose: service
for_each: customer
trigger:
  abandoned: {{of: orders, open: {{status: paid}}, idle: {} minutes{unless}}}
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
            rule.idle, rule.country
        )
    }

    fn same_definition(one: &Rule, other: &Rule) -> bool {
        one == other
    }

    fn promise(_: &Rule) -> Promise {
        Promise { overlap: minutes(10), keep_trying: days(14), nightly: true, once: false, tracked: days(14) }
    }

    async fn begin(world: &World) -> Self {
        let countries = austrians(world, 4).await;
        Self { countries, rows: Vec::new(), answers: Vec::new() }
    }

    async fn apply(&mut self, change: &Change, world: &World, now: Timestamp) {
        let crm = &world.crm;
        let row = |customer: usize, ago: i64| Row { customer, at: crm.kept(now - minutes(ago)) };
        let text = |ago: i64| crm.time(now - minutes(ago));
        match *change {
            Change::Cart { customer, ago } => {
                let id = self.rows.len();
                crm.run(&format!("INSERT INTO orders VALUES ({id}, {customer}, {}, 'paid')", text(ago))).await;
                self.rows.push(Some(row(customer, ago)));
            }
            Change::Touch { cart, ago } => {
                if let Some(Some(known)) = self.rows.get_mut(cart) {
                    *known = row(known.customer, ago);
                    crm.run(&format!("UPDATE orders SET placed_at = {} WHERE id = {cart}", text(ago))).await;
                }
            }
            Change::Close { cart } => {
                if let Some(place) = self.rows.get_mut(cart) {
                    *place = None;
                    crm.run(&format!("UPDATE orders SET status = 'bought' WHERE id = {cart}")).await;
                }
            }
            Change::Answer { customer, ago } => {
                let id = self.answers.len();
                crm.run(&format!("INSERT INTO surveys VALUES ({id}, {customer}, 'nps', 9, {})", text(ago))).await;
                self.answers.push(Some(row(customer, ago)));
            }
            Change::Revoke { answer } => {
                if let Some(place) = self.answers.get_mut(answer) {
                    *place = None;
                    crm.run(&format!("DELETE FROM surveys WHERE id = {answer}")).await;
                }
            }
            Change::Move { customer, country } => {
                self.countries.insert(customer, country);
                crm.run(&format!("UPDATE accounts SET country_code = '{country}' WHERE id = {customer}")).await;
            }
        }
    }

    fn occasions(&self, rule: &Rule, now: Timestamp) -> Vec<Standing> {
        let carts = self.rows.iter().enumerate().filter_map(|(id, cart)| Some((id, cart.as_ref()?)));
        let came_of_it = |cart: &Row| {
            let mut answers = self.answers.iter().flatten().filter(|answer| answer.customer == cart.customer);
            rule.unless && answers.any(|answer| answer.at >= cart.at && answer.at <= now)
        };
        let left = carts.filter(|(_, cart)| !came_of_it(cart));
        let standing = left.map(|(id, cart)| Standing {
            record: cart.customer.to_string(),
            occasion: format!("{id}/{:.6}", cart.at),
            crosses: cart.at + minutes(rule.idle),
            holds: self.countries[&cart.customer] == rule.country,
            overtaken: false,
            exceeds: None,
        });
        standing.collect()
    }
}

on_three_dialects!(Carts);
