//! The whole work: from the instant at which a rule's sweep is due, over the selection of those who newly fell
//! silent, to the last webhook's arrival, with every match and every attempt synced to disk; then the same
//! with kill -9 in the midst.

use super::nudged::{Nudged, Outlets, SESSIONS, State};
use super::sink::{Sink, Tally};
use super::support::poll_until;
use super::{Bench, bare, report};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(5);
const RUNS: usize = 3;

/// One webhook to each customer whose 90 days were over in the last day.
pub fn rule() -> (String, String) {
    let text = "version: 1
id: silent
mode: live
purpose: staff
for_each: customer
trigger:
  inactivity: {of: orders, for: 90 days}
backfill: 1 day
check_every: 5 seconds
guard: {percent_per_day: 100, floor: 2000000}
steps:
  - webhook: {to: sink}
";
    ("silent.yaml".to_owned(), text.to_owned())
}

/// By psql: how long it takes, and how many they are.
pub fn newly_silent(bench: &Bench) -> (Duration, usize) {
    let (after, until) = last_day();
    bare::psql(&bench.source, after, until)
}

/// When those were last active.
fn last_day() -> (Timestamp, Timestamp) {
    let day = SignedDuration::from_hours(24);
    let until = Timestamp::now() - day * 90;
    (until - day, until)
}

pub fn measure(bench: &Bench) {
    let (selection, expected) = newly_silent(bench);
    let sink = Sink::start();
    let posts = bare::posts(sink.port(), 50_000, SESSIONS);
    let (after, until) = last_day();
    let first = bare::first_post(&bench.source, sink.port(), after, until);
    drop(sink);
    report::figure("newly silent", expected);
    report::time("the selection by psql", selection, None);
    report::rate("raw POSTs, 32 connections", posts, None);
    for state in State::chosen() {
        for _ in 0..RUNS {
            once(bench, state, expected, (selection, posts));
        }
        killed(bench, state, expected, (first, posts));
    }
}

fn once(bench: &Bench, state: State, expected: usize, (selection, posts): (Duration, f64)) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, Outlets::to(&sink), &[rule()]);
    let life = nudged.start();
    let tally = finish(&nudged, || sink.tally(), expected);
    let what = format!("{}: {} webhooks, from due to the last arrival (target 1.4 s)", state.name(), tally.requests);
    let bare = selection + Duration::from_secs_f64(expected as f64 / posts);
    report::time(&what, tally.last.saturating_sub(due(&nudged)), Some(("psql + raw POSTs", bare)));
    let what = "  webhooks between the first and the last arrival, durable end to end (target 10,000/s)";
    report::rate(what, tally.rate(), Some(("raw POSTs", posts)));
    let peak = life.memory().1;
    report::figure("  peak memory (target below 64 MB)", format!("{peak:.0} MiB; repeated {}", tally.repeats()));
    life.kill();
}

/// When the first sweep was due: at the activation, which lies one `backfill` after the baseline.
pub fn due(nudged: &Nudged) -> Duration {
    let (rules, _) = nudged.ask(&["rules", "--format", "json"]);
    let baseline: Timestamp = rules[0]["baseline"].as_str().expect("a baseline").parse().expect("an instant");
    let due = baseline + SignedDuration::from_hours(24);
    due.duration_since(Timestamp::UNIX_EPOCH).unsigned_abs()
}

/// Killed when half has arrived; another start finishes.
fn killed(bench: &Bench, state: State, expected: usize, (first, posts): (Duration, f64)) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, Outlets::to(&sink), &[rule()]);
    let life = nudged.start();
    poll_until(PATIENCE, || sink.tally().requests > expected / 2);
    life.kill();
    let before = sink.tally().requests;
    let life = nudged.start();
    poll_until(PATIENCE, || sink.tally().requests > before);
    let back = super::sink::since_1970().saturating_sub(life.began);
    let tally = finish(&nudged, || sink.tally(), expected);
    let lost = expected.saturating_sub(tally.keys);
    let what = format!("{}, killed after {before}", state.name());
    let (repeated, marked) = (tally.repeats(), SESSIONS * 2);
    let counts = format!("lost {lost}, repeated {repeated} with the same key, up to {marked} marked as under way");
    report::figure(&what, counts);
    report::time("  first webhook after the restart", back, Some(("psql + one raw POST", first)));
    let rest = first + Duration::from_secs_f64(expected.saturating_sub(before) as f64 / posts);
    let done = tally.last.saturating_sub(life.began);
    report::time("  all done after the restart (target 2 s)", done, Some(("psql + raw POSTs of the rest", rest)));
    life.kill();
}

/// Waits until everything has arrived and its success is committed.
pub fn finish(nudged: &Nudged, tally: impl Fn() -> Tally, expected: usize) -> Tally {
    // A customer more or less crosses while the clocks of psql and the daemon differ.
    poll_until(PATIENCE, || tally().keys + 10 >= expected);
    poll_until(PATIENCE, || nudged.is_settled());
    tally()
}
