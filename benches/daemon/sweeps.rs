//! Sweeps of one rule in the engine, to the committed outbox: quiet quarters of an hour, and whole days to
//! catch up with, each beside the bare selection.

use super::engine::{Running, build};
use super::nudged::State;
use super::source::BenchSource;
use super::{Bench, bare, report};
use jiff::{SignedDuration, Timestamp};
use nudged::engine::{Settings, SweepReport, Swept};
use nudged::model::ManualClock;
use std::sync::Arc;
use std::time::{Duration, Instant};

const QUIET_SWEEPS: usize = 400;
const DAYS: usize = 5;
const SILENCE: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Silent for 90 days; the first step waits, so that nothing is sent while sweeps are measured.
const RULE: &str = "version: 1
id: silent
mode: live
purpose: staff
for_each: customer
trigger:
  inactivity: {of: orders, for: 90 days}
check_every: 15 minutes
guard: {percent_per_day: 100, floor: 2000000}
steps:
  - wait: {for: 300 days}
  - webhook: {to: sink}
";

pub fn measure(bench: &Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for state in State::BOTH {
        runtime.block_on(quiet(bench, state));
        runtime.block_on(catch_up(bench, state));
    }
}

async fn quiet(bench: &Bench, state: State) {
    let quarter = SignedDuration::from_mins(15);
    let mut world = World::at(bench, state, bench.source.made_at).await;
    let (mut samples, mut nightly, mut matched) = (Vec::new(), Vec::new(), 0);
    for _ in 0..QUIET_SWEEPS {
        let (took, sweep) = world.sweep_after(quarter).await;
        matched += sweep.entered;
        if sweep.reconcile { nightly.push(took) } else { samples.push(took) }
    }
    let windows: Vec<_> = (0..QUIET_SWEEPS as i32)
        .map(|n| {
            let until = bench.source.made_at + quarter * (n + 1) - SILENCE;
            (until - quarter, until)
        })
        .collect();
    let average = matched as usize / QUIET_SWEEPS;
    report::spread(&format!("{}: quiet sweep of 15 minutes, {average} matches", state.name()), samples);
    report::spread("  the bare selection in a session of psql", bare::psql_session(&bench.source, &windows));
    if !nightly.is_empty() {
        report::spread("  nightly look at 7 days for late facts", nightly);
    }
}

async fn catch_up(bench: &Bench, state: State) {
    let day = SignedDuration::from_hours(24);
    let mut world = World::at(bench, state, bench.source.made_at).await;
    for _ in 0..DAYS {
        let until = world.now + day - SILENCE;
        let (bare, found) = best(&bench.source, until - day, until);
        let (took, sweep) = world.sweep_after(day).await;
        let nightly = if sweep.reconcile { ", with the nightly look" } else { "" };
        let what = format!("{}: one day, {} of {found} entered{nightly}", state.name(), sweep.entered);
        report::time(&what, took, Some(("psql", bare)));
    }
}

fn best(source: &BenchSource, after: Timestamp, until: Timestamp) -> (Duration, usize) {
    bare::psql(source, after, until)
}

struct World {
    running: Running,
    clock: Arc<ManualClock>,
    now: Timestamp,
}

impl World {
    /// With the rule's baseline set at `now`.
    async fn at(bench: &Bench, state: State, now: Timestamp) -> Self {
        let clock = Arc::new(ManualClock::new(now));
        let running = build(bench, state, clock.clone(), Settings::default(), vec![RULE.to_owned()]).await;
        running.engine.adopt().await.expect("the state answers");
        let mut world = Self { running, clock, now };
        // The first sweep prepares statements and connections.
        world.sweep_after(SignedDuration::from_secs(1)).await;
        world
    }

    async fn sweep_after(&mut self, step: SignedDuration) -> (Duration, SweepReport) {
        self.now += step;
        self.clock.set(self.now);
        let began = Instant::now();
        let swept = self.running.engine.sweep_rule(&"silent".into()).await.expect("source and state answer");
        let took = began.elapsed();
        let Some(Swept::Done(report)) = swept.into_iter().next() else { panic!("the sweep did not run") };
        (took, *report)
    }
}
