//! Resident memory: idle with a thousand rules, and at the peak of a sweep that matches everybody.

use super::nudged::{Nudged, Outlets, State};
use super::sink::Sink;
use super::source::customers;
use super::support::poll_until;
use super::{Bench, bare, report};
use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(15);

/// The same rows through psql, a thousand at a time.
const STREAMING: &str = "psql streaming the selection";

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

/// Everybody has an open episode, and has had it for long.
fn all_open(trigger: &str) -> (String, String) {
    let text = format!(
        "version: 1
id: episodes
mode: live
purpose: staff
for_each: customer
trigger:
  {trigger}
backfill: all
check_every: 5 seconds
guard: {{percent_per_day: 100, floor: 2000000}}
steps:
  - wait: {{for: 30 days}}
  - webhook: {{to: sink}}
"
    );
    ("episodes.yaml".to_owned(), text)
}

pub fn measure(bench: &Bench) {
    for state in State::chosen() {
        idle(bench, state);
        sweep(bench, state);
    }
}

/// Sets of open episodes. Run it with another `NUDGED_BENCH_CUSTOMERS` as well: what it needs doesn't follow their number.
pub fn episodes(bench: &Bench) {
    for state in State::chosen() {
        open(bench, state, "a segment", "segment: {when: {orders: {some: {}}}}");
        open(bench, state, "a count", "count: {of: orders, at_least: 2, within: 5 years}");
    }
}

fn idle(bench: &Bench, state: State) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, Outlets::to(&sink), &thousand_rules());
    let life = nudged.start();
    poll_until(PATIENCE, || nudged.is_ready());
    poll_until(PATIENCE, || adopted(&nudged) == 1_000);
    let (now, peak) = life.memory();
    let psql = bare::Psql::start(&bench.source.crm, "", true);
    let what = format!("{}: idle with 1,000 rules, peak {peak:.0} MiB (target below 64 MB)", state.name());
    report::memory(&what, now, ("an idle session of psql", psql.memory().0));
    life.kill();
}

/// How many rules the state knows; they are swept at the next quarter of an hour.
fn adopted(nudged: &Nudged) -> usize {
    nudged.ask(&["rules", "--format", "json"]).0.as_array().map_or(0, Vec::len)
}

fn sweep(bench: &Bench, state: State) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, Outlets::to(&sink), &[everybody()]);
    let life = nudged.start();
    poll_until(PATIENCE, || nudged.is_ready());
    // All but those who ordered within the last day, and some for the time that has passed since.
    let expected = u64::from(customers() - 20_000);
    poll_until(PATIENCE, || active(&nudged) >= expected);
    let took = super::sink::since_1970().saturating_sub(life.began);
    let what = format!(
        "{}: sweep of {expected} matches, {} from exec, peak memory (target below 128 MB)",
        state.name(),
        report::shown(took)
    );
    let psql = bare::streaming(&bench.source, Timestamp::now() - SignedDuration::from_hours(24));
    report::memory(&what, life.memory().1, (STREAMING, psql));
    life.kill();
}

fn active(nudged: &Nudged) -> u64 {
    let (status, _) = nudged.ask(&["status", "--format", "json"]);
    status["state"]["counts"]["enrollments"]["active"].as_u64().unwrap_or(0)
}

/// The first sweep opens an episode for everybody, the next ones compare everybody with those.
fn open(bench: &Bench, state: State, name: &str, trigger: &str) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, Outlets::to(&sink), &[all_open(trigger)]);
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
    let what = format!("{}: {name} of {} records, peak memory", state.name(), customers());
    let took = report::shown(gaps[1..].iter().copied().min().unwrap_or_default());
    let psql = bare::streaming(&bench.source, Timestamp::now());
    report::memory(&format!("{what} when it is opened"), first, (STREAMING, psql));
    report::memory(&format!("  after it, compared every {took}"), life.memory().1, (STREAMING, psql));
    life.kill();
}
