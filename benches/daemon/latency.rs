//! How long after its due instant a step is sent by an idle engine on the machine's own clock. Fifty rules
//! find a handful of customers a second; each waits two seconds, so that every step falls due while the
//! engine stands still.

use super::engine::build;
use super::nudged::State;
use super::{Bench, queue, report};
use jiff::Timestamp;
use nudged::engine::{Event, Settings};
use nudged::model::SystemClock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const SAMPLES: usize = 150;

fn rule(number: usize) -> String {
    format!(
        "version: 1
id: silent-{number}
mode: live
purpose: staff
for_each: customer
trigger:
  inactivity: {{of: orders, for: {days} days}}
check_every: 5 seconds
guard: {{percent_per_day: 100, floor: 2000000}}
steps:
  - wait: {{for: 2 seconds}}
  - webhook: {{to: sink}}
",
        days = 40 + number
    )
}

pub fn measure(bench: &Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for state in State::chosen() {
        let samples = runtime.block_on(collect(bench, state));
        let bare = runtime.block_on(queue::latency(bench, state));
        let what = format!("{}: due → sent and committed, idle (target p50 150 ms)", state.name());
        let least = "claim, look at the record, mark and end over one connection, three commits";
        report::spread_beside(&what, samples, (least, bare));
    }
}

async fn collect(bench: &Bench, state: State) -> Vec<Duration> {
    let rules = (0..50).map(rule).collect();
    let running = build(bench, state, Arc::new(SystemClock), Settings::default(), rules).await;
    let mut events = running.engine.events();
    let (stop, stopped) = watch::channel(false);
    let engine = Arc::clone(&running.engine);
    let serving = tokio::spawn(async move { engine.run(stopped).await });
    let mut samples = Vec::new();
    while samples.len() < SAMPLES {
        let event = tokio::time::timeout(Duration::from_mins(5), events.recv()).await.expect("customers fall silent");
        if let Ok(Event::AttemptFinished { due_at, .. }) = event {
            samples.push(Timestamp::now().duration_since(due_at).unsigned_abs());
        }
    }
    stop.send_replace(true);
    serving.await.expect("the engine ends when told");
    samples
}
