//! Planned instants: each matches every record that `where` holds for, and missed ones are made up for once.

use super::history::on_three_dialects;
use super::trigger::{ACCOUNTS, Promise, Standing, Trigger};
use crate::world::{World, vienna, wall};
use jiff::{SignedDuration, Timestamp, civil};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A planned time of day, on one weekday or on all.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Plan {
    cron: &'static str,
    at: civil::Time,
    only: Option<civil::Weekday>,
}

/// The middle one comes twice in the night when clocks go back.
const PLANS: [Plan; 3] = [
    Plan { cron: "0 9 * * *", at: civil::time(9, 0, 0, 0), only: None },
    Plan { cron: "30 2 * * *", at: civil::time(2, 30, 0, 0), only: None },
    Plan { cron: "15 18 * * MON", at: civil::time(18, 15, 0, 0), only: Some(civil::Weekday::Monday) },
];

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    plan: Plan,
    country: &'static str,
    /// Edits of it leave the definition as it is.
    spread: bool,
}

#[derive(Debug, Clone)]
pub enum Change {
    Appear { country: &'static str },
    Move { customer: usize, country: Option<&'static str> },
    Remove { customer: usize },
}

#[derive(Debug)]
pub struct Planned {
    customers: BTreeMap<usize, Option<&'static str>>,
    next: usize,
}

impl Trigger for Planned {
    type Change = Change;
    type Rule = Rule;

    const FINDS_LATE: bool = false;

    fn changes() -> BoxedStrategy<Change> {
        let country = || prop::sample::select(vec!["AT", "AT", "DE"]);
        let moved = proptest::option::weighted(0.9, country());
        prop_oneof![
            3 => country().prop_map(|country| Change::Appear { country }),
            5 => (0..8_usize, moved).prop_map(|(customer, country)| Change::Move { customer, country }),
            1 => (1..8_usize).prop_map(|customer| Change::Remove { customer }),
        ]
        .boxed()
    }

    fn rules() -> BoxedStrategy<Rule> {
        let country = prop::sample::select(vec!["AT", "AT", "DE"]);
        let rule = (prop::sample::select(PLANS.to_vec()), country, any::<bool>());
        rule.prop_map(|(plan, country, spread)| Rule { plan, country, spread }).boxed()
    }

    fn text(rule: &Rule) -> String {
        let (cron, country) = (rule.plan.cron, rule.country);
        let spread = if rule.spread { "spread: 1 hour\n" } else { "" };
        format!(
            "version: 1
id: watch
description: Planned.
mode: live
purpose: staff
for_each: customer
to: main_contact
trigger:
  schedule: {{cron: \"{cron}\"}}
where:
  - country: {country}
{spread}on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
steps:
  - wait: {{for: 5 years}}
  - webhook: {{to: sink}}
"
        )
    }

    fn same_definition(one: &Rule, other: &Rule) -> bool {
        (one.plan, one.country) == (other.plan, other.country)
    }

    fn promise(_: &Rule) -> Promise {
        Promise {
            overlap: SignedDuration::ZERO,
            keep_trying: SignedDuration::ZERO,
            nightly: false,
            once: true,
            tracked: SignedDuration::ZERO,
        }
    }

    async fn begin(world: &World) -> Self {
        let mut planned = Self { customers: BTreeMap::new(), next: 0 };
        for country in ["AT", "DE", "AT"] {
            planned.apply(&Change::Appear { country }, world, world.now()).await;
        }
        planned
    }

    async fn apply(&mut self, change: &Change, world: &World, now: Timestamp) {
        let crm = &world.crm;
        match *change {
            Change::Appear { country } => {
                let (id, created) = (self.next, crm.time(now));
                crm.run(&format!("INSERT INTO {ACCOUNTS} VALUES ({id}, 'C', '{country}', {created})")).await;
                self.customers.insert(id, Some(country));
                self.next += 1;
            }
            Change::Move { customer, country } => {
                if let Some(known) = self.customers.get_mut(&customer) {
                    *known = country;
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
        let planned = rule.plan.latest(now);
        let customers = self.customers.iter().map(|(customer, country)| Standing {
            record: customer.to_string(),
            occasion: format!("{planned:.6}"),
            crosses: planned,
            holds: *country == Some(rule.country),
            overtaken: false,
            exceeds: None,
        });
        customers.collect()
    }
}

impl Plan {
    fn latest(self, now: Timestamp) -> Timestamp {
        let mut day = now.to_zoned(vienna()).date();
        loop {
            let planned = wall(day.to_datetime(self.at), &vienna());
            if planned <= now && self.only.is_none_or(|only| only == day.weekday()) {
                return planned;
            }
            day = day.yesterday().unwrap();
        }
    }
}

on_three_dialects!(Planned);
