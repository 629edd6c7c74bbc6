//! Dates: a local date, moved by an offset, at a local time of the recipient.

use super::history::on_three_dialects;
use super::trigger::{Promise, SUBSCRIPTIONS, Standing, Trigger};
use crate::world::{Crm, World, days, hours, vienna, wall};
use jiff::{SignedDuration, Span, Timestamp, civil, tz::TimeZone};
use proptest::prelude::*;

/// The last one is nobody's zone, so the catalog's stands in.
const ZONES: [&str; 4] = ["Pacific/Kiritimati", "Europe/Vienna", "America/Los_Angeles", "Mars/Olympus"];
/// Months and days from the date, as the file has them and as the occasion names them.
const OFFSETS: [(i64, i64, &str, &str); 6] = [
    (0, -5, "5 days before", "-5 days"),
    (0, -1, "1 day before", "-1 day"),
    (-1, 0, "1 month before", "-1 month"),
    (0, 1, "1 day after", "+1 day"),
    (0, 3, "3 days after", "+3 days"),
    (1, 0, "1 month after", "+1 month"),
];

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The first so many offsets.
    offsets: usize,
    /// Over the column that keeps an instant.
    timed: bool,
    hour: i8,
    status: &'static str,
    /// Edits of these leave the definition as it is.
    spread: bool,
    backfill: bool,
}

#[derive(Debug, Clone)]
pub enum Change {
    /// So many days from today; the instant is of that day in Vienna, at that hour.
    Renew {
        subscription: usize,
        days: i64,
        hour: i8,
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
    renews: Option<civil::DateTime>,
    before: Option<civil::DateTime>,
    status: &'static str,
}

#[derive(Debug)]
pub struct Renewals {
    subscriptions: Vec<Subscription>,
    /// Its instants have no day of their own, and so that of the person's zone; a wall time has one.
    native: bool,
}

impl Trigger for Renewals {
    type Change = Change;
    type Rule = Rule;

    fn changes() -> BoxedStrategy<Change> {
        let subscription = 0..ZONES.len();
        let status = prop::sample::select(vec!["active", "active", "trial"]);
        let days = prop_oneof![4 => -6..10_i64, 1 => 24..40_i64, 1 => -36..-24_i64];
        let hour = prop::sample::select(vec![0_i8, 0, 1, 8, 12, 23]);
        prop_oneof![
            6 => (subscription.clone(), days, hour)
                .prop_map(|(subscription, days, hour)| Change::Renew { subscription, days, hour }),
            2 => subscription.clone().prop_map(|subscription| Change::GoBack { subscription }),
            1 => subscription.clone().prop_map(|subscription| Change::Forget { subscription }),
            2 => (subscription, status).prop_map(|(subscription, status)| Change::Status { subscription, status }),
        ]
        .boxed()
    }

    fn rules() -> BoxedStrategy<Rule> {
        let status = prop::sample::select(vec!["active", "active", "trial"]);
        let hour = prop::sample::select(vec![2_i8, 9, 9, 18]);
        let rule = (3..=OFFSETS.len(), any::<bool>(), hour, status, any::<bool>(), prop::bool::weighted(0.2));
        rule.prop_map(|(offsets, timed, hour, status, spread, backfill)| Rule {
            offsets,
            timed,
            hour,
            status,
            spread,
            backfill,
        })
        .boxed()
    }

    fn text(rule: &Rule) -> String {
        let Rule { offsets, timed, hour, status, spread, backfill } = rule;
        let backfill = if *backfill { "backfill: all\n" } else { "" };
        let field = if *timed { "renews_at" } else { "renews_on" };
        let steps = "    - wait: {for: 5 years}\n    - webhook: {to: sink}\n";
        let offsets: String = OFFSETS[..*offsets].iter().map(|(.., name, _)| format!("  {name}:\n{steps}")).collect();
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
  date: {{field: {field}, at: \"{hour:02}:30\"}}
where:
  - status: {status}
check_every: 1 hour
{spread}{backfill}on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
offsets:
{offsets}"
        )
    }

    fn same_definition(one: &Rule, other: &Rule) -> bool {
        let defines = |rule: &Rule| Rule { spread: false, backfill: false, ..rule.clone() };
        defines(one) == defines(other)
    }

    fn backfills(rule: &Rule) -> bool {
        rule.backfill
    }

    fn promise(_: &Rule) -> Promise {
        Promise {
            overlap: hours(48),
            keep_trying: SignedDuration::ZERO,
            nightly: true,
            once: false,
            tracked: days(10_000),
        }
    }

    async fn begin(world: &World) -> Self {
        for (n, zone) in ZONES.iter().enumerate() {
            let contact = format!("INSERT INTO contacts VALUES ({n}, {n}, 'c{n}@example.org', 'C', '{zone}', true)");
            let subscription = format!("INSERT INTO {SUBSCRIPTIONS} VALUES ({n}, {n}, {n}, 'active', NULL)");
            world.crm.run(&format!("{contact}; {subscription}")).await;
        }
        let subscription = Subscription { status: "active", ..Subscription::default() };
        Self { subscriptions: vec![subscription; ZONES.len()], native: matches!(world.crm, Crm::Postgres(..)) }
    }

    async fn apply(&mut self, change: &Change, world: &World, now: Timestamp) {
        let crm = &world.crm;
        let today = now.to_zoned(vienna()).date();
        let (n, renews) = match *change {
            Change::Renew { subscription, days, hour } => {
                let day = today.saturating_add(Span::new().days(days));
                (subscription, Some(day.at(hour, 30, 0, 0)))
            }
            Change::GoBack { subscription } => (subscription, self.subscriptions[subscription].before),
            Change::Forget { subscription } => (subscription, None),
            Change::Status { subscription, status } => {
                self.subscriptions[subscription].status = status;
                crm.run(&format!("UPDATE subscriptions SET status = '{status}' WHERE id = {subscription}")).await;
                return;
            }
        };
        let known = &mut self.subscriptions[n];
        (known.before, known.renews) = (known.renews.or(known.before), renews);
        let null = || "NULL".to_owned();
        let on = renews.map_or_else(null, |renews| format!("'{}'", renews.date()));
        let at = renews.map_or_else(null, |renews| crm.time(wall(renews, &vienna())));
        crm.run(&format!("UPDATE subscriptions SET renews_on = {on}, renews_at = {at} WHERE id = {n}")).await;
    }

    fn occasions(&self, rule: &Rule, now: Timestamp) -> Vec<Standing> {
        let mut standing = Vec::new();
        for (n, subscription) in self.subscriptions.iter().enumerate() {
            let Some(renews) = subscription.renews else { continue };
            let zone = TimeZone::get(ZONES[n]).unwrap_or_else(|_| vienna());
            let date = if rule.timed && self.native {
                wall(renews, &vienna()).to_zoned(zone.clone()).date()
            } else {
                renews.date()
            };
            let moved =
                |(months, days, ..): (i64, i64, &str, &str)| date.saturating_add(Span::new().months(months).days(days));
            let reached = |day: civil::Date| wall(day.to_datetime(civil::time(rule.hour, 30, 0, 0)), &zone);
            let offsets = &OFFSETS[..rule.offsets];
            for offset in offsets {
                let day = moved(*offset);
                let overtakes = |later: civil::Date| later > day && reached(later) <= now;
                standing.push(Standing {
                    record: n.to_string(),
                    occasion: format!("{date}/{}", offset.3),
                    crosses: reached(day),
                    holds: subscription.status == rule.status,
                    overtaken: offsets.iter().any(|other| overtakes(moved(*other))),
                    exceeds: None,
                });
            }
        }
        standing
    }
}

on_three_dialects!(Renewals);
