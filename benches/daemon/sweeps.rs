//! Sweeps of one rule in the engine, to the committed outbox: quiet quarters of an hour, and whole days to
//! catch up with, each beside the bare selection.

use super::engine::{Running, build};
use super::nudged::State;
use super::source::customers;
use super::{Bench, bare, memory, report};
use jiff::{SignedDuration, Timestamp};
use nudged::engine::{Event, Settings, SweepReport, Swept};
use nudged::model::ManualClock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

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

/// The same without the daily look at refused records, which the quiet sweeps measure.
fn once() -> String {
    RULE.replace("check_every", "keep_trying: none\ncheck_every")
}

/// `NUDGED_BENCH_SWEEPS`, or four hundred: with fewer the last percentiles say little.
fn quiet_count() -> usize {
    std::env::var("NUDGED_BENCH_SWEEPS").map_or(400, |text| text.parse().expect("a number of sweeps"))
}

pub fn quiet_sweeps(bench: &Bench) {
    for state in State::chosen() {
        runtime().block_on(quiet(bench, state));
    }
}

pub fn whole_days(bench: &Bench) {
    for state in State::chosen() {
        runtime().block_on(catch_up(bench, state));
    }
}

pub fn thousand_rules(bench: &Bench) {
    for state in State::chosen() {
        runtime().block_on(thousand(bench, state));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// A thousand rules that are due at once, each with what is new in a quarter of an hour; the bare selection a
/// thousand times in one session.
async fn thousand(bench: &Bench, state: State) {
    let quarter = SignedDuration::from_mins(15);
    let mut now = bench.source.made_at;
    let clock = Arc::new(ManualClock::new(now));
    let rules = (0..1_000).map(|number| memory::rule(number, "Swept")).collect();
    let running = build(bench, state, clock.clone(), Settings::default(), rules).await;
    running.engine.adopt().await.expect("the state answers");
    let mut samples = Vec::new();
    // The first round prepares statements and connections.
    for round in 0..4 {
        now += quarter;
        clock.set(now);
        let began = Instant::now();
        let swept = running.engine.sweep_due().await.expect("source and state answer");
        assert_eq!(swept.len(), 1_000);
        if round > 0 {
            samples.push(began.elapsed());
        }
    }
    let window = (now - quarter - SILENCE, now - SILENCE);
    let bare: Duration = bare::psql_session(&bench.source, &vec![window; 1_000]).iter().sum();
    let what = format!("{}: one sweep of each of 1,000 rules", state.name());
    report::spread_beside(&what, samples, ("the bare selection 1,000 times in a session of psql", vec![bare]));
}

async fn quiet(bench: &Bench, state: State) {
    let quarter = SignedDuration::from_mins(15);
    let mut world = World::at(bench, state, bench.source.made_at, RULE.to_owned()).await;
    let (mut ordinary, mut daily, mut nightly, mut matched) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let sweeps = quiet_count();
    for _ in 0..sweeps {
        let (took, sweep, kind) = world.sweep_after(quarter).await;
        matched += sweep.entered;
        match kind {
            Kind::Ordinary => ordinary.push(took),
            Kind::Recheck => daily.push(took),
            Kind::Nightly => nightly.push(took),
        }
    }
    let windows: Vec<_> = (0..sweeps as i32)
        .map(|n| {
            let until = bench.source.made_at + quarter * (n + 1) - SILENCE;
            (until - quarter, until)
        })
        .collect();
    let average = matched as usize / sweeps;
    let what = format!(
        "{}: quiet sweep of 15 minutes, {average} matches, {} customers (target p99 20 ms; 50 ms with 10,000,000)",
        state.name(),
        customers()
    );
    let bare = bare::psql_session(&bench.source, &windows);
    report::spread_beside(&what, ordinary, ("the bare selection in a session of psql", bare));
    if !daily.is_empty() {
        report::spread("  daily look at those who crossed and may still match", daily);
    }
    if !nightly.is_empty() {
        report::spread("  nightly look at 7 days for late facts", nightly);
    }
}

/// To the committed outbox; the nightly look comes after that and has a line of its own.
async fn catch_up(bench: &Bench, state: State) {
    let day = SignedDuration::from_hours(24);
    let mut world = World::at(bench, state, bench.source.made_at, once()).await;
    let mut nightly = Vec::new();
    for _ in 0..DAYS {
        let until = world.now + day - SILENCE;
        let (bare, found) = bare::psql(&bench.source, until - day, until);
        let mut events = world.running.engine.events();
        let began = Instant::now();
        let committed = tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(Event::SweepFinished(report)) if !report.reconcile => return began.elapsed(),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => panic!("the engine is gone"),
                }
            }
        });
        let (took, sweep, kind) = world.sweep_after(day).await;
        let committed = committed.await.expect("the sweep was told");
        if kind == Kind::Nightly {
            nightly.push(took.saturating_sub(committed));
        }
        let what =
            format!("{}: one day, {} of {found} entered (target 1.3 × psql + 250 ms)", state.name(), sweep.entered);
        report::time(&what, committed, Some(("psql", bare)));
    }
    report::spread("  nightly look at 7 days after it", nightly);
}

/// What a sweep looked at beside what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ordinary,
    Recheck,
    Nightly,
}

struct World {
    running: Running,
    clock: Arc<ManualClock>,
    now: Timestamp,
}

impl World {
    /// With the rule's baseline set at `now`.
    async fn at(bench: &Bench, state: State, now: Timestamp, rule: String) -> Self {
        let clock = Arc::new(ManualClock::new(now));
        let running = build(bench, state, clock.clone(), Settings::default(), vec![rule]).await;
        running.engine.adopt().await.expect("the state answers");
        let mut world = Self { running, clock, now };
        // The first sweep prepares statements and connections.
        world.sweep_after(SignedDuration::from_secs(1)).await;
        world
    }

    async fn sweep_after(&mut self, step: SignedDuration) -> (Duration, SweepReport, Kind) {
        self.now += step;
        self.clock.set(self.now);
        let mut events = self.running.engine.events();
        let began = Instant::now();
        let swept = self.running.engine.sweep_rule(&"silent".into()).await.expect("source and state answer");
        let took = began.elapsed();
        let Some(Swept::Done(report)) = swept.into_iter().next() else { panic!("the sweep did not run") };
        let mut nightly = false;
        // The end of a sweep is the last that is told of it, so it is never among what a slow listener misses.
        loop {
            match events.try_recv() {
                Ok(event) => nightly |= matches!(event, Event::SweepFinished(report) if report.reconcile),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        // An ordinary sweep reads ten minutes twice.
        let reach = report.until.duration_since(report.after);
        let kind = match (nightly, reach > step + SignedDuration::from_mins(10)) {
            (true, _) => Kind::Nightly,
            (false, true) => Kind::Recheck,
            (false, false) => Kind::Ordinary,
        };
        (took, *report, kind)
    }
}
