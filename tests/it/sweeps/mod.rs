//! Single behaviours of sweeps over real sources. That they find whom they should is shown in `oracle`.

mod held;
mod judged;
mod late;
mod moody;
mod preview;
mod turns;
mod window;

use crate::support::{PATIENCE, instant, wait_until};
use crate::world::{Kind, World, days, minutes};
use jiff::Timestamp;
use nudged::engine::port::EnrollmentView;
use nudged::engine::{Engine, Settings, Swept};
use nudged::model::EndReason;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

const START: &str = "2026-10-10T07:00:00Z";

type Entry = (String, String);
/// What is in the ledger, and when it came there.
async fn entered(world: &World) -> BTreeMap<Entry, Timestamp> {
    // Matches that came too late are in the ledger as well, ended before they began.
    let acting = |view: &EnrollmentView| view.ended != Some(EndReason::Late);
    let enrollments = world.enrollments().await.into_iter().filter(acting);
    let entry = |view: EnrollmentView| {
        let key = view.record.unwrap().key.as_str().to_owned();
        ((key, view.occasion.unwrap().as_str().to_owned()), view.entered_at)
    };
    let mut seen = BTreeMap::new();
    for (entry, at) in enrollments.map(entry) {
        assert!(seen.insert(entry.clone(), at).is_none(), "{entry:?} matched twice");
    }
    seen
}

fn silence(days: i64, country: &str) -> String {
    format!(
        "version: 1
id: silence
description: Silent.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {{of: orders, for: {days} days}}
where:
  - country: {country}
check_every: 1 hour
on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
steps:
  - wait: {{for: 5 years}}
  - webhook: {{to: sink}}
"
    )
}

fn occasion(at: Timestamp) -> String {
    format!("{at:.6}")
}

async fn with_silent(count: usize, settings: Settings, rule: &str) -> World {
    let world = World::new(Kind::Sqlite, instant(START), settings).await;
    // Rules rest on a table that is not empty, so one customer is never silent.
    let fresh = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO accounts VALUES (0, 'Zoe', 'AT', {fresh})")).await;
    let ordered = world.crm.time(world.ago(days(10)) + minutes(30));
    for n in 1..=count {
        world
            .crm
            .run(&format!(
                "INSERT INTO accounts VALUES ({n}, 'C{n}', 'AT', {fresh});
                 INSERT INTO orders VALUES ({n}, {n}, {ordered}, 'paid')"
            ))
            .await;
    }
    world.load(&[("silence.yaml", rule)]).await;
    world
}

async fn sweep(world: &World) -> nudged::engine::SweepReport {
    match world.engine.sweep_rule(&"silence".into()).await.unwrap().remove(0) {
        Swept::Done(report) => *report,
        other => panic!("{other:?}"),
    }
}

/// Runs the engine as the service does, until `done` holds.
async fn run_until(engine: &Engine, done: impl AsyncFnMut() -> bool) {
    let (stop, stopped) = watch::channel(false);
    let waiting = async {
        wait_until(PATIENCE, done).await;
        stop.send_replace(true);
    };
    // The whole engine is one large future.
    tokio::join!(Box::pin(engine.run(stopped)), waiting);
}

/// Who is silent gets a webhook at once.
fn prompt() -> String {
    silence(10, "AT").replace("  - wait: {for: 5 years}\n", "")
}

fn quick(batch: usize) -> Settings {
    Settings { batch, rescue_every: Duration::from_millis(20), ..Settings::default() }
}

const MONDAYS: &str = "version: 1
id: mondays
description: Every Monday morning.
mode: live
purpose: staff
for_each: customer
to: main_contact
trigger:
  schedule: {cron: \"0 9 * * MON\"}
where:
  - country: AT
on_rematch: parallel
steps:
  - webhook: {to: sink}
";
