//! Anniversaries: the day of a date comes again, at a local time of the recipient, once for each year.

use super::history::on_three_dialects;
use super::trigger::{Promise, SUBSCRIPTIONS, Standing, Trigger};
use crate::world::{World, days, hours, vienna, wall};
use jiff::{SignedDuration, Span, Timestamp, civil, tz::TimeZone};
use proptest::prelude::*;

/// The last one is nobody's zone, so the catalog's stands in.
const ZONES: [&str; 4] = ["Pacific/Kiritimati", "Europe/Vienna", "America/Los_Angeles", "Mars/Olympus"];
/// Days from the anniversary, and as the file has them.
const OFFSETS: [(i64, &str); 3] = [(0, "on the day"), (-3, "3 days before"), (2, "2 days after")];

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    offset: usize,
    hour: i8,
    status: &'static str,
}

#[derive(Debug, Clone)]
pub enum Change {
    /// So many days from today, so many years ago: in the year itself, next year, or long ago.
    Date {
        subscription: usize,
        days: i64,
        years: i16,
    },
    Forget {
        subscription: usize,
    },
    Status {
        subscription: usize,
        status: &'static str,
    },
}

#[derive(Debug)]
pub struct Contracts(Vec<(Option<civil::Date>, &'static str)>);

impl Trigger for Contracts {
    type Change = Change;
    type Rule = Rule;

    fn changes() -> BoxedStrategy<Change> {
        let subscription = 0..ZONES.len();
        let status = prop::sample::select(vec!["active", "active", "trial"]);
        let years = prop::sample::select(vec![-1_i16, 0, 1, 1, 2, 26, 56, 119, 120, 121, 180]);
        prop_oneof![
            6 => (subscription.clone(), -9..14_i64, years)
                .prop_map(|(subscription, days, years)| Change::Date { subscription, days, years }),
            1 => subscription.clone().prop_map(|subscription| Change::Forget { subscription }),
            2 => (subscription, status).prop_map(|(subscription, status)| Change::Status { subscription, status }),
        ]
        .boxed()
    }

    fn rules() -> BoxedStrategy<Rule> {
        let status = prop::sample::select(vec!["active", "active", "trial"]);
        let rule = (0..OFFSETS.len(), prop::sample::select(vec![2_i8, 9, 9, 18]), status);
        rule.prop_map(|(offset, hour, status)| Rule { offset, hour, status }).boxed()
    }

    fn text(rule: &Rule) -> String {
        let (offset, hour, status) = (OFFSETS[rule.offset].1, rule.hour, rule.status);
        format!(
            "version: 1
id: watch
description: Each year.
mode: live
purpose: service
for_each: subscription
to: signatory
trigger:
  yearly: {{field: renews_on, at: \"{hour:02}:30\", offset: {offset}}}
where:
  - status: {status}
check_every: 1 hour
on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
steps:
  - wait: {{for: 5 years}}
  - webhook: {{to: sink}}
"
        )
    }

    fn same_definition(one: &Rule, other: &Rule) -> bool {
        one == other
    }

    fn promise(_: &Rule) -> Promise {
        Promise { overlap: hours(48), keep_trying: SignedDuration::ZERO, nightly: true, once: false, tracked: days(7) }
    }

    async fn begin(world: &World) -> Self {
        for (n, zone) in ZONES.iter().enumerate() {
            let contact = format!("INSERT INTO contacts VALUES ({n}, {n}, 'c{n}@example.org', 'C', '{zone}', true)");
            let subscription = format!("INSERT INTO {SUBSCRIPTIONS} VALUES ({n}, {n}, {n}, 'active', NULL)");
            world.crm.run(&format!("{contact}; {subscription}")).await;
        }
        Self(vec![(None, "active"); ZONES.len()])
    }

    async fn apply(&mut self, change: &Change, world: &World, now: Timestamp) {
        let crm = &world.crm;
        let today = now.to_zoned(vienna()).date();
        let (n, date) = match *change {
            Change::Date { subscription, days, years } => {
                let day = today.saturating_add(Span::new().days(days));
                (subscription, Some(day.saturating_sub(Span::new().years(years))))
            }
            Change::Forget { subscription } => (subscription, None),
            Change::Status { subscription, status } => {
                self.0[subscription].1 = status;
                crm.run(&format!("UPDATE subscriptions SET status = '{status}' WHERE id = {subscription}")).await;
                return;
            }
        };
        self.0[n].0 = date;
        let text = date.map_or("NULL".to_owned(), |date| format!("'{date}'"));
        crm.run(&format!("UPDATE subscriptions SET renews_on = {text} WHERE id = {n}")).await;
    }

    fn occasions(&self, rule: &Rule, now: Timestamp) -> Vec<Standing> {
        let mut standing = Vec::new();
        let present = now.to_zoned(vienna()).date().year();
        for (n, (date, status)) in self.0.iter().enumerate() {
            let Some(date) = date else { continue };
            let zone = TimeZone::get(ZONES[n]).unwrap_or_else(|_| vienna());
            for year in (date.year() + 1).max(present - 1)..=present + 1 {
                // No leap day is among these dates.
                let day = civil::date(year, date.month(), date.day());
                let day = day.saturating_add(Span::new().days(OFFSETS[rule.offset].0));
                let reached = wall(day.to_datetime(civil::time(rule.hour, 30, 0, 0)), &zone);
                standing.push(Standing {
                    record: n.to_string(),
                    occasion: year.to_string(),
                    crosses: reached,
                    holds: *status == rule.status,
                    overtaken: false,
                    exceeds: None,
                });
            }
        }
        standing
    }
}

on_three_dialects!(Contracts);
