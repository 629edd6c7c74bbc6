//! Answers: a new response's score is in range, after a settle time.

use super::history::on_three_dialects;
use super::trigger::{ACCOUNTS, Promise, Standing, Trigger};
use crate::world::{World, days, minutes};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    kind: &'static str,
    at_most: i64,
    /// In minutes.
    settle: i64,
    /// In days.
    cooldown: Option<i64>,
    country: &'static str,
    /// Edits of these leave the definition as it is.
    description: &'static str,
    backfill: bool,
}

#[derive(Debug, Clone)]
pub enum Change {
    /// Answered so many minutes ago (ahead, where negative), or not yet.
    Answer {
        customer: usize,
        kind: &'static str,
        score: i64,
        ago: Option<i64>,
    },
    Rescore {
        answer: usize,
        score: i64,
    },
    Redate {
        answer: usize,
        ago: Option<i64>,
    },
    Delete {
        answer: usize,
    },
    Move {
        customer: usize,
        country: &'static str,
    },
}

#[derive(Debug, Clone)]
struct Answer {
    customer: usize,
    kind: &'static str,
    score: i64,
    at: Option<Timestamp>,
}

#[derive(Debug)]
pub struct Answers {
    countries: BTreeMap<usize, &'static str>,
    answers: Vec<Option<Answer>>,
}

const SETTLE: [i64; 3] = [5, 60, 60];

/// Minutes around now, the overlap, the settle times, a day and a week.
fn ago() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![
        4 => 0..30_i64,
        2 => 45..80_i64,
        2 => -300..1_500_i64,
        2 => 0..(9 * 1_440_i64),
        1 => Just(60_i64),
    ]
}

impl Trigger for Answers {
    type Change = Change;
    type Rule = Rule;

    fn changes() -> BoxedStrategy<Change> {
        let (customer, answer, score) = (0..4_usize, 0..40_usize, 0..11_i64);
        let when = || proptest::option::weighted(0.9, ago());
        let kind = prop::sample::select(vec!["nps", "nps", "nps", "csat"]);
        let country = prop::sample::select(vec!["AT", "AT", "DE"]);
        prop_oneof![
            8 => (customer.clone(), kind, score.clone(), when())
                .prop_map(|(customer, kind, score, ago)| Change::Answer { customer, kind, score, ago }),
            2 => (answer.clone(), score).prop_map(|(answer, score)| Change::Rescore { answer, score }),
            2 => (answer.clone(), when()).prop_map(|(answer, ago)| Change::Redate { answer, ago }),
            1 => answer.prop_map(|answer| Change::Delete { answer }),
            2 => (customer, country).prop_map(|(customer, country)| Change::Move { customer, country }),
        ]
        .boxed()
    }

    fn rules() -> BoxedStrategy<Rule> {
        let kind = prop::sample::select(vec!["nps", "nps", "nps", "csat"]);
        let country = prop::sample::select(vec!["AT", "AT", "DE"]);
        let description = prop::sample::select(vec!["Low scores.", "Low scores, again."]);
        let cooldown = proptest::option::weighted(0.3, 1..4_i64);
        let rule = (
            kind,
            4..8_i64,
            prop::sample::select(SETTLE.to_vec()),
            cooldown,
            country,
            description,
            prop::bool::weighted(0.2),
        );
        rule.prop_map(|(kind, at_most, settle, cooldown, country, description, backfill)| Rule {
            kind,
            at_most,
            settle,
            cooldown,
            country,
            description,
            backfill,
        })
        .boxed()
    }

    fn text(rule: &Rule) -> String {
        let Rule { kind, at_most, settle, cooldown, country, description, backfill } = rule;
        let backfill = if *backfill { "backfill: all\n" } else { "" };
        let cooldown = cooldown.map_or_else(String::new, |days| format!(", cooldown: {days} days"));
        format!(
            "version: 1
id: watch
description: {description}
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  survey: {{of: responses, kind: {kind}, score: {{at_most: {at_most}}}, settle: {settle} minutes{cooldown}}}
where:
  - country: {country}
check_every: 1 hour
{backfill}on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
steps:
  - wait: {{for: 5 years}}
  - webhook: {{to: sink}}
"
        )
    }

    fn same_definition(one: &Rule, other: &Rule) -> bool {
        let defines = |rule: &Rule| Rule { description: "", backfill: false, ..rule.clone() };
        defines(one) == defines(other)
    }

    fn backfills(rule: &Rule) -> bool {
        rule.backfill
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

    async fn begin(world: &World) -> Self {
        let created = world.crm.time(world.now());
        let mut countries = BTreeMap::new();
        for customer in 0..4_usize {
            world.crm.run(&format!("INSERT INTO {ACCOUNTS} VALUES ({customer}, 'C', 'AT', {created})")).await;
            countries.insert(customer, "AT");
        }
        Self { countries, answers: Vec::new() }
    }

    async fn apply(&mut self, change: &Change, world: &World, now: Timestamp) {
        let crm = &world.crm;
        let at = |ago: Option<i64>| ago.map(|ago| now - minutes(ago));
        let text = |at: Option<Timestamp>| at.map_or("NULL".to_owned(), |at| crm.time(at));
        match *change {
            Change::Answer { customer, kind, score, ago } => {
                let (id, at) = (self.answers.len(), at(ago));
                let values = format!("{id}, {customer}, '{kind}', {score}, {}", text(at));
                crm.run(&format!("INSERT INTO surveys VALUES ({values})")).await;
                self.answers.push(Some(Answer { customer, kind, score, at: at.map(|at| crm.kept(at)) }));
            }
            Change::Rescore { answer, score } => {
                if let Some(Some(row)) = self.answers.get_mut(answer) {
                    row.score = score;
                    crm.run(&format!("UPDATE surveys SET rating = {score} WHERE id = {answer}")).await;
                }
            }
            Change::Redate { answer, ago } => {
                if let Some(Some(row)) = self.answers.get_mut(answer) {
                    row.at = at(ago).map(|at| crm.kept(at));
                    crm.run(&format!("UPDATE surveys SET answered_at = {} WHERE id = {answer}", text(at(ago)))).await;
                }
            }
            Change::Delete { answer } => {
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

    fn occasions(&self, rule: &Rule, _: Timestamp) -> Vec<Standing> {
        let answers = self.answers.iter().enumerate().filter_map(|(id, answer)| Some((id, answer.as_ref()?)));
        let in_range = answers.filter(|(_, answer)| answer.kind == rule.kind && answer.score <= rule.at_most);
        let standing = in_range.filter_map(|(id, answer)| {
            let at = answer.at?;
            Some(Standing {
                record: answer.customer.to_string(),
                occasion: id.to_string(),
                crosses: at + minutes(rule.settle),
                holds: self.countries[&answer.customer] == rule.country,
                overtaken: false,
                exceeds: Some((at, rule.cooldown.map(days))),
            })
        });
        standing.collect()
    }
}

on_three_dialects!(Answers);
