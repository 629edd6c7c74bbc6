//! The whole work: from the instant at which a rule's sweep is due, over the selection of those who newly fell
//! silent, to the last webhook's arrival, with every match and every attempt synced to disk; then the same
//! with kill -9 in the midst.

use super::nudged::{Nudged, SESSIONS, State};
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

pub fn measure(bench: &Bench) {
    let day = SignedDuration::from_hours(24);
    let until = Timestamp::now() - day * 90;
    let (selection, expected) = bare::psql(&bench.source, until - day, until);
    let sink = Sink::start();
    let posts = bare::posts(sink.port(), 50_000, SESSIONS);
    drop(sink);
    let bare = selection + Duration::from_secs_f64(expected as f64 / posts);
    report::figure("newly silent", expected);
    report::time("the selection by psql", selection, None);
    report::rate("raw POSTs, 32 connections", posts, None);
    for state in State::BOTH {
        for _ in 0..RUNS {
            once(bench, state, expected, bare);
        }
        killed(bench, state, expected);
    }
}

fn once(bench: &Bench, state: State, expected: usize, bare: Duration) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, &sink, &[rule()]);
    let life = nudged.start();
    let tally = finish(&nudged, &sink, expected);
    let what = format!("{}: {} webhooks, from due to the last arrival", state.name(), tally.requests);
    report::time(&what, tally.last.saturating_sub(due(&nudged)), Some(("psql + raw POSTs", bare)));
    let sending = tally.last.saturating_sub(tally.first).as_secs_f64();
    report::rate("  webhooks between the first and the last arrival", tally.requests as f64 / sending, None);
    report::figure("  peak memory", format!("{:.0} MiB; repeated {}", life.memory().1, tally.repeats()));
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
fn killed(bench: &Bench, state: State, expected: usize) {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, &sink, &[rule()]);
    let life = nudged.start();
    poll_until(PATIENCE, || sink.tally().requests > expected / 2);
    life.kill();
    let before = sink.tally().requests;
    let life = nudged.start();
    poll_until(PATIENCE, || sink.tally().requests > before);
    let back = super::sink::since_1970().saturating_sub(life.began);
    let tally = finish(&nudged, &sink, expected);
    let lost = expected.saturating_sub(tally.keys);
    let what = format!("{}, killed after {before}", state.name());
    let (repeated, marked) = (tally.repeats(), SESSIONS * 2);
    let counts = format!("lost {lost}, repeated {repeated} with the same key, up to {marked} marked as under way");
    report::figure(&what, counts);
    report::time("  first webhook after the restart", back, None);
    report::time("  all done after the restart", tally.last.saturating_sub(life.began), None);
    life.kill();
}

/// Waits until everything has arrived and its success is committed.
pub fn finish(nudged: &Nudged, sink: &Sink, expected: usize) -> Tally {
    // A customer more or less crosses while the clocks of psql and the daemon differ.
    poll_until(PATIENCE, || sink.tally().keys + 10 >= expected);
    poll_until(PATIENCE, || nudged.is_settled());
    sink.tally()
}
