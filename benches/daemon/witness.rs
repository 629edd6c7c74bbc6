//! What the witness costs: the main job with it and without it, in turns, so that both meet the same machine.

use super::main_job::{due, finish, newly_silent, rule};
use super::nudged::{Nudged, Outlets, State};
use super::sink::Sink;
use super::{Bench, report};
use std::time::Duration;

/// Of each; the middle one is told.
const RUNS: usize = 3;

pub fn measure(bench: &Bench) {
    let (_, expected) = newly_silent(bench);
    for state in State::chosen() {
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
    let nudged = Nudged::configure(bench, state, Outlets::to(&sink), &[rule()]);
    let life = nudged.start_with(&[("NUDGED_STATE__WITNESS", witness)]);
    let tally = finish(&nudged, || sink.tally(), expected);
    let took = tally.last.saturating_sub(due(&nudged));
    life.kill();
    took
}
