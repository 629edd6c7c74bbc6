//! New records: there for a settle time, each once.

use super::history::on_three_dialects;
use super::trigger::{ACCOUNTS, Promise, Standing, Trigger};
use crate::world::{World, days, minutes};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// In minutes; at once where 0.
    settle: i64,
    country: &'static str,
}

#[derive(Debug, Clone)]
pub enum Change {
    /// Created so many minutes ago (ahead, where negative), or nobody knows when.
    Create {
        country: &'static str,
        ago: Option<i64>,
    },
    Redate {
        account: usize,
        ago: Option<i64>,
    },
    Move {
        account: usize,
        country: &'static str,
    },
    Delete {
        account: usize,
    },
}

#[derive(Debug, Clone)]
struct Account {
    at: Option<Timestamp>,
    country: &'static str,
}

#[derive(Debug)]
pub struct Accounts(Vec<Option<Account>>);

/// Minutes around now, the overlap, the settle times, a day and a week.
fn ago() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![
        4 => 0..30_i64,
        2 => 45..80_i64,
        2 => -300..1_500_i64,
        2 => 0..(9 * 1_440_i64),
    ]
}

fn country() -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(vec!["AT", "AT", "DE"])
}

impl Trigger for Accounts {
    type Change = Change;
    type Rule = Rule;

    fn changes() -> BoxedStrategy<Change> {
        let account = 1..30_usize;
        let when = || proptest::option::weighted(0.9, ago());
        prop_oneof![
            8 => (country(), when()).prop_map(|(country, ago)| Change::Create { country, ago }),
            2 => (account.clone(), when()).prop_map(|(account, ago)| Change::Redate { account, ago }),
            2 => (account.clone(), country()).prop_map(|(account, country)| Change::Move { account, country }),
            1 => account.prop_map(|account| Change::Delete { account }),
        ]
        .boxed()
    }

    fn rules() -> BoxedStrategy<Rule> {
        let settle = prop::sample::select(vec![0_i64, 30, 60]);
        (settle, country()).prop_map(|(settle, country)| Rule { settle, country }).boxed()
    }

    fn text(rule: &Rule) -> String {
        let settle = if rule.settle == 0 { "none".to_owned() } else { format!("{} minutes", rule.settle) };
        format!(
            "version: 1
id: watch
description: New.
mode: live
purpose: service
for_each: customer
trigger:
  created: {{at: created_at, settle: {settle}}}
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
            rule.country
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
            tracked: days(7),
        }
    }

    /// One that never goes, so that the sweep doesn't rest on an empty table.
    async fn begin(world: &World) -> Self {
        world.crm.run(&format!("INSERT INTO {ACCOUNTS} VALUES (0, 'C', 'AT', NULL)")).await;
        Self(vec![Some(Account { at: None, country: "AT" })])
    }

    async fn apply(&mut self, change: &Change, world: &World, now: Timestamp) {
        let crm = &world.crm;
        let at = |ago: Option<i64>| ago.map(|ago| now - minutes(ago));
        let text = |at: Option<Timestamp>| at.map_or("NULL".to_owned(), |at| crm.time(at));
        match *change {
            Change::Create { country, ago } => {
                let (id, at) = (self.0.len(), at(ago));
                crm.run(&format!("INSERT INTO {ACCOUNTS} VALUES ({id}, 'C', '{country}', {})", text(at))).await;
                self.0.push(Some(Account { at: at.map(|at| crm.kept(at)), country }));
            }
            Change::Redate { account, ago } => {
                if let Some(Some(row)) = self.0.get_mut(account) {
                    row.at = at(ago).map(|at| crm.kept(at));
                    crm.run(&format!("UPDATE accounts SET created_at = {} WHERE id = {account}", text(at(ago)))).await;
                }
            }
            Change::Move { account, country } => {
                if let Some(Some(row)) = self.0.get_mut(account) {
                    row.country = country;
                    crm.run(&format!("UPDATE accounts SET country_code = '{country}' WHERE id = {account}")).await;
                }
            }
            Change::Delete { account } => {
                if let Some(place) = self.0.get_mut(account) {
                    *place = None;
                    crm.run(&format!("DELETE FROM accounts WHERE id = {account}")).await;
                }
            }
        }
    }

    fn occasions(&self, rule: &Rule, _: Timestamp) -> Vec<Standing> {
        let rows = self.0.iter().enumerate().filter_map(|(id, account)| Some((id, account.as_ref()?)));
        let standing = rows.filter_map(|(id, account)| {
            Some(Standing {
                record: id.to_string(),
                occasion: id.to_string(),
                crosses: account.at? + minutes(rule.settle),
                holds: account.country == rule.country,
                overtaken: false,
                exceeds: None,
            })
        });
        standing.collect()
    }
}

on_three_dialects!(Accounts);
