//! Resident memory: idle with a thousand rules, and at the peak of a sweep that matches everybody.

use super::nudged::{Nudged, State};
use super::sink::Sink;
use super::source::customers;
use super::support::poll_until;
use super::{Bench, report};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(15);

/// A thousand rules as a large company might have them: each another age, country and tier.
pub fn thousand_rules() -> Vec<(String, String)> {
    (0..1_000).map(|number| (format!("rule-{number}.yaml"), rule(number, "Version one"))).collect()
}

pub fn rule(number: usize, description: &str) -> String {
    let country = ["AT", "DE", "CH", "\"NO\"", "FR"][number % 5];
    format!(
        "version: 1
id: rule-{number}
description: {description}
mode: shadow
purpose: staff
for_each: customer
trigger:
  inactivity: {{of: orders, for: {days} days}}
where:
  - country: {{in: [{country}]}}
  - tier: vip
check_every: 15 minutes
steps:
  - webhook: {{to: sink}}
  - wait: {{for: 7 days}}
  - webhook: {{to: sink, id: again}}
",
        days = 5 + number % 90
    )
}

fn everybody() -> (String, String) {
    let text = "version: 1
id: everybody
mode: live
purpose: staff
for_each: customer
trigger:
  inactivity: {of: orders, for: 1 day}
backfill: all
check_every: 5 seconds
guard: {percent_per_day: 100, floor: 2000000}
steps:
  - wait: {for: 30 days}
  - webhook: {to: sink}
";
    ("everybody.yaml".to_owned(), text.to_owned())
}

/// A segment that everybody is in.
fn members() -> (String, String) {
    let text = "version: 1
id: members
mode: live
purpose: staff
for_each: customer
trigger:
  segment: {when: {orders: {some: {}}}}
backfill: all
check_every: 5 seconds
guard: {percent_per_day: 100, floor: 2000000}
steps:
  - wait: {for: 30 days}
  - webhook: {to: sink}
";
    ("members.yaml".to_owned(), text.to_owned())
}

pub fn measure(bench: &Bench) {
    for state in State::BOTH {
        idle(bench, state);
        sweep(bench, state);
        segment(bench, state);
    }
}

fn idle(bench: &Bench, state: State) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, &sink, &thousand_rules());
    let life = nudged.start();
    poll_until(PATIENCE, || nudged.is_ready());
    poll_until(PATIENCE, || swept(&nudged) == 1_000);
    let (now, peak) = life.memory();
    report::figure(&format!("{}: idle with 1,000 rules", state.name()), format!("{now:.0} MiB (peak {peak:.0} MiB)"));
    life.kill();
}

/// How many rules have been swept at all.
fn swept(nudged: &Nudged) -> usize {
    let (rules, _) = nudged.ask(&["rules", "--format", "json"]);
    rules.as_array().map_or(0, |rules| rules.iter().filter(|rule| !rule["swept_at"].is_null()).count())
}

fn sweep(bench: &Bench, state: State) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, &sink, &[everybody()]);
    let life = nudged.start();
    poll_until(PATIENCE, || nudged.is_ready());
    // All but those who ordered within the last day, and some for the time that has passed since.
    let expected = u64::from(customers() - 20_000);
    poll_until(PATIENCE, || active(&nudged) >= expected);
    let took = super::sink::since_1970().saturating_sub(life.began);
    let what = format!("{}: sweep of {expected} matches, peak memory", state.name());
    report::figure(&what, format!("{:.0} MiB, {} from exec", life.memory().1, report::shown(took)));
    life.kill();
}

fn active(nudged: &Nudged) -> u64 {
    let (status, _) = nudged.ask(&["status", "--format", "json"]);
    status["state"]["counts"]["enrollments"]["active"].as_u64().unwrap_or(0)
}

/// The first sweep opens an episode for everybody, the next ones compare everybody with those.
fn segment(bench: &Bench, state: State) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, &sink, &[members()]);
    let life = nudged.start();
    poll_until(PATIENCE, || nudged.is_ready());
    poll_until(PATIENCE, || active(&nudged) >= u64::from(customers()));
    let first = life.memory().1;
    let swept_at = || nudged.ask(&["rules", "--format", "json"]).0[0]["swept_at"].clone();
    let mut last = swept_at();
    let mut gaps = Vec::new();
    for _ in 0..4 {
        let began = Instant::now();
        poll_until(PATIENCE, || swept_at() != last);
        gaps.push(began.elapsed());
        last = swept_at();
    }
    let what = format!("{}: a segment of {} members, peak memory", state.name(), customers());
    let took = report::shown(gaps[1..].iter().copied().min().unwrap_or_default());
    let figures = format!("{first:.0} MiB when it is opened, {:.0} MiB after; compared every {took}", life.memory().1);
    report::figure(&what, figures);
    life.kill();
}
