//! What the witness costs: the main job with it and without it, in turns, so that both meet the same machine.

use super::main_job::{due, finish, rule};
use super::nudged::{Nudged, State};
use super::sink::Sink;
use super::{Bench, bare, report};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Of each; the middle one is told.
const RUNS: usize = 3;

pub fn measure(bench: &Bench) {
    let day = SignedDuration::from_hours(24);
    let until = Timestamp::now() - day * 90;
    let (_, expected) = bare::psql(&bench.source, until - day, until);
    for state in State::BOTH {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            with.push(once(bench, state, expected, ""));
            without.push(once(bench, state, expected, "none"));
        }
        let what = format!("{}: {expected} webhooks with the witness", state.name());
        report::time(&what, middle(with), Some(("without it", middle(without))));
    }
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn once(bench: &Bench, state: State, expected: usize, witness: &str) -> Duration {
    let sink = Sink::start();
    let nudged = Nudged::configure(bench, state, &sink, &[rule()]);
    let life = nudged.start_with(&[("NUDGED_STATE__WITNESS", witness)]);
    let tally = finish(&nudged, &sink, expected);
    let took = tally.last.saturating_sub(due(&nudged));
    life.kill();
    took
}
