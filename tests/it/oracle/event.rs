//! Events of other systems: each names a record and is asked about once.

use super::history::on_three_dialects;
use super::trigger::{ACCOUNTS, Promise, Standing, Trigger, austrians};
use crate::world::{World, minutes};
use jiff::{SignedDuration, Timestamp};
use nudged::engine::port::Inbound;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    country: &'static str,
    /// Edits of it leave the definition as it is.
    spread: bool,
}

#[derive(Debug, Clone)]
pub enum Change {
    /// The event of this number comes in, perhaps once more.
    Tell {
        number: usize,
        customer: usize,
    },
    /// Of another name, so none of the rule's business.
    Gossip {
        customer: usize,
    },
    Move {
        customer: usize,
        country: &'static str,
    },
    Remove {
        customer: usize,
    },
    Return {
        customer: usize,
    },
}

#[derive(Debug)]
pub struct Told {
    countries: BTreeMap<usize, &'static str>,
    /// Whom each is about, and when it came in first.
    events: BTreeMap<usize, (usize, Timestamp)>,
}

fn country() -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(vec!["AT", "AT", "DE"])
}

async fn accept(world: &World, name: &str, id: String, customer: usize, received_at: Timestamp) -> bool {
    let body = serde_json::json!({"data": {"who": customer}});
    world.store.accept(&Inbound { name: name.to_owned(), id, received_at, body }).await.unwrap()
}

impl Trigger for Told {
    type Change = Change;
    type Rule = Rule;

    const FINDS_LATE: bool = false;

    fn changes() -> BoxedStrategy<Change> {
        // The last of them never is a customer.
        let customer = 1..5_usize;
        prop_oneof![
            8 => (0..25_usize, customer.clone()).prop_map(|(number, customer)| Change::Tell { number, customer }),
            1 => customer.clone().prop_map(|customer| Change::Gossip { customer }),
            2 => (1..4_usize, country()).prop_map(|(customer, country)| Change::Move { customer, country }),
            1 => (1..4_usize).prop_map(|customer| Change::Remove { customer }),
            1 => (1..4_usize).prop_map(|customer| Change::Return { customer }),
        ]
        .boxed()
    }

    fn rules() -> BoxedStrategy<Rule> {
        (country(), any::<bool>()).prop_map(|(country, spread)| Rule { country, spread }).boxed()
    }

    fn text(rule: &Rule) -> String {
        let spread = if rule.spread { "spread: 1 hour\n" } else { "" };
        format!(
            "version: 1
id: watch
description: Told.
mode: live
purpose: service
for_each: customer
trigger:
  event: {{name: signup, key: data.who}}
where:
  - country: {}
{spread}on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
steps:
  - wait: {{for: 5 years}}
  - webhook: {{to: sink}}
",
            rule.country
        )
    }

    fn same_definition(one: &Rule, other: &Rule) -> bool {
        one.country == other.country
    }

    /// An event comes in when it crosses, so any overlap finds it; what it says never changes.
    fn promise(_: &Rule) -> Promise {
        Promise {
            overlap: minutes(1),
            keep_trying: SignedDuration::ZERO,
            nightly: false,
            once: false,
            tracked: SignedDuration::ZERO,
        }
    }

    async fn begin(world: &World) -> Self {
        // Customer 0 is never removed: an empty table makes every rule wait.
        let countries = austrians(world, 4).await;
        Self { countries, events: BTreeMap::new() }
    }

    async fn apply(&mut self, change: &Change, world: &World, now: Timestamp) {
        match *change {
            Change::Tell { number, customer } => {
                let news = accept(world, "signup", format!("msg-{number}"), customer, now).await;
                assert_eq!(news, !self.events.contains_key(&number), "kept once");
                self.events.entry(number).or_insert((customer, now));
            }
            Change::Gossip { customer } => {
                accept(world, "gossip", format!("{customer} at {now}"), customer, now).await;
            }
            Change::Move { customer, country } => {
                if let Some(known) = self.countries.get_mut(&customer) {
                    *known = country;
                    world
                        .crm
                        .run(&format!("UPDATE accounts SET country_code = '{country}' WHERE id = {customer}"))
                        .await;
                }
            }
            Change::Remove { customer } => {
                self.countries.remove(&customer);
                world.crm.run(&format!("DELETE FROM accounts WHERE id = {customer}")).await;
            }
            Change::Return { customer } => {
                if self.countries.insert(customer, "AT").is_none() {
                    world.crm.run(&format!("INSERT INTO {ACCOUNTS} VALUES ({customer}, 'C', 'AT', NULL)")).await;
                } else {
                    world.crm.run(&format!("UPDATE accounts SET country_code = 'AT' WHERE id = {customer}")).await;
                }
            }
        }
    }

    fn occasions(&self, rule: &Rule, _: Timestamp) -> Vec<Standing> {
        let standing = self.events.iter().map(|(number, (customer, came))| Standing {
            record: customer.to_string(),
            occasion: format!("msg-{number}"),
            crosses: *came,
            holds: self.countries.get(customer) == Some(&rule.country),
            overtaken: false,
            exceeds: None,
        });
        standing.collect()
    }
}

on_three_dialects!(Told);
