//! Dates: a local date, moved by an offset, at a local time of the recipient.

use super::history::on_three_dialects;
use super::trigger::{Promise, Standing, Trigger, wall};
use crate::world::{World, hours, vienna};
use jiff::{SignedDuration, Span, Timestamp, civil, tz::TimeZone};
use proptest::prelude::*;

/// The last one is nobody's zone, so the catalog's stands in.
const ZONES: [&str; 4] = ["Pacific/Kiritimati", "Europe/Vienna", "America/Los_Angeles", "Mars/Olympus"];
/// Days from the date, as the file has them and as the occasion names them.
const OFFSETS: [(i64, &str, &str); 4] = [
    (-5, "5 days before", "-5 days"),
    (-1, "1 day before", "-1 day"),
    (1, "1 day after", "+1 day"),
    (3, "3 days after", "+3 days"),
];

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The first three or all four offsets.
    offsets: usize,
    hour: i8,
    status: &'static str,
    /// Edits of it leave the definition as it is.
    spread: bool,
}

#[derive(Debug, Clone)]
pub enum Change {
    /// So many days from today.
    Renew {
        subscription: usize,
        days: i64,
    },
    /// To the date it had before.
    GoBack {
        subscription: usize,
    },
    Forget {
        subscription: usize,
    },
    Status {
        subscription: usize,
        status: &'static str,
    },
}

#[derive(Debug, Clone, Default)]
struct Subscription {
    date: Option<civil::Date>,
    before: Option<civil::Date>,
    status: &'static str,
}

#[derive(Debug)]
pub struct Renewals(Vec<Subscription>);

impl Trigger for Renewals {
    type Change = Change;
    type Rule = Rule;

    fn changes() -> BoxedStrategy<Change> {
        let subscription = 0..ZONES.len();
        let status = prop::sample::select(vec!["active", "active", "trial"]);
        prop_oneof![
            6 => (subscription.clone(), -6..10_i64).prop_map(|(subscription, days)| Change::Renew { subscription, days }),
            2 => subscription.clone().prop_map(|subscription| Change::GoBack { subscription }),
            1 => subscription.clone().prop_map(|subscription| Change::Forget { subscription }),
            2 => (subscription, status).prop_map(|(subscription, status)| Change::Status { subscription, status }),
        ]
        .boxed()
    }

    fn rules() -> BoxedStrategy<Rule> {
        let status = prop::sample::select(vec!["active", "active", "trial"]);
        let rule = (3..5_usize, prop::sample::select(vec![2_i8, 9, 9, 18]), status, any::<bool>());
        rule.prop_map(|(offsets, hour, status, spread)| Rule { offsets, hour, status, spread }).boxed()
    }

    fn text(rule: &Rule) -> String {
        let Rule { offsets, hour, status, spread } = rule;
        let steps = "    - wait: {for: 5 years}\n    - webhook: {to: sink}\n";
        let offsets: String = OFFSETS[..*offsets].iter().map(|(_, name, _)| format!("  {name}:\n{steps}")).collect();
        let spread = if *spread { "spread: 1 hour\n" } else { "" };
        format!(
            "version: 1
id: watch
description: Before and after the date.
mode: live
purpose: service
for_each: subscription
to: signatory
trigger:
  date: {{field: renews_on, at: \"{hour:02}:30\"}}
where:
  - status: {status}
check_every: 1 hour
{spread}on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
offsets:
{offsets}"
        )
    }

    fn same_definition(one: &Rule, other: &Rule) -> bool {
        Rule { spread: false, ..one.clone() } == Rule { spread: false, ..other.clone() }
    }

    fn promise(_: &Rule) -> Promise {
        Promise { overlap: hours(48), keep_trying: SignedDuration::ZERO, nightly: true, once: false }
    }

    async fn begin(world: &World) -> Self {
        for (n, zone) in ZONES.iter().enumerate() {
            let contact = format!("INSERT INTO contacts VALUES ({n}, {n}, 'c{n}@example.org', 'C', '{zone}', true)");
            let subscription = format!("INSERT INTO subscriptions VALUES ({n}, {n}, {n}, 'active', NULL)");
            world.crm.run(&format!("{contact}; {subscription}")).await;
        }
        Self(vec![Subscription { status: "active", ..Subscription::default() }; ZONES.len()])
    }

    async fn apply(&mut self, change: &Change, world: &World, now: Timestamp) {
        let crm = &world.crm;
        let today = now.to_zoned(vienna()).date();
        let (n, date) = match *change {
            Change::Renew { subscription, days } => (subscription, Some(today.saturating_add(Span::new().days(days)))),
            Change::GoBack { subscription } => (subscription, self.0[subscription].before),
            Change::Forget { subscription } => (subscription, None),
            Change::Status { subscription, status } => {
                self.0[subscription].status = status;
                crm.run(&format!("UPDATE subscriptions SET status = '{status}' WHERE id = {subscription}")).await;
                return;
            }
        };
        let known = &mut self.0[n];
        (known.before, known.date) = (known.date.or(known.before), date);
        let text = date.map_or("NULL".to_owned(), |date| format!("'{date}'"));
        crm.run(&format!("UPDATE subscriptions SET renews_on = {text} WHERE id = {n}")).await;
    }

    fn occasions(&self, rule: &Rule, now: Timestamp) -> Vec<Standing> {
        let mut standing = Vec::new();
        for (n, subscription) in self.0.iter().enumerate() {
            let Some(date) = subscription.date else { continue };
            let zone = TimeZone::get(ZONES[n]).unwrap_or_else(|_| vienna());
            let reached = |offset: i64| {
                let day = date.saturating_add(Span::new().days(offset));
                wall(day.to_datetime(civil::time(rule.hour, 30, 0, 0)), &zone)
            };
            let offsets = &OFFSETS[..rule.offsets];
            for (offset, _, name) in offsets {
                standing.push(Standing {
                    record: n.to_string(),
                    occasion: format!("{date}/{name}"),
                    crosses: reached(*offset),
                    holds: subscription.status == rule.status,
                    overtaken: offsets.iter().any(|(later, ..)| later > offset && reached(*later) <= now),
                    exceeds: None,
                });
            }
        }
        standing
    }
}

on_three_dialects!(Renewals);
