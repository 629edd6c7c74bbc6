//! Triggers whose occasions are episodes. Over random histories and random sweep instants the engine enters
//! exactly what a naive oracle in memory enters, which walks through time step by step.

mod changed;
mod course;
mod kept;
mod preview;
mod segment;
mod stream;

use crate::support::seeded;
use crate::world::World;
use jiff::Timestamp;
use nudged::engine::port::EnrollmentView;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};
use std::collections::BTreeMap;
use std::future::Future;

/// Clocks change in the middle of what follows.
const START: &str = "2026-10-20T07:00:00Z";

type Entry = (String, String);

/// What is in the ledger, and when it came there.
async fn entered(world: &World) -> BTreeMap<Entry, Timestamp> {
    let entry = |view: EnrollmentView| {
        let key = view.record.unwrap().key.as_str().to_owned();
        ((key, view.occasion.unwrap().as_str().to_owned()), view.entered_at)
    };
    let mut seen = BTreeMap::new();
    for (entry, at) in world.enrollments().await.into_iter().map(entry) {
        assert!(seen.insert(entry.clone(), at).is_none(), "{entry:?} matched twice");
    }
    seen
}

/// A rule that keeps its matches where the test sees them.
fn rule(trigger: &str, more: &str) -> String {
    format!(
        "version: 1
id: watched
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  {trigger}
{more}check_every: 1 hour
on_rematch: parallel
late: within 5 years
guard: {{per_day: 100000, floor: 100000}}
steps:
  - wait: {{for: 5 years}}
  - webhook: {{to: sink}}
"
    )
}

/// Runs a property on histories that are the same in every run of the tests, unless `NUDGED_SEED` asks for others.
fn property<S, F>(cases: u32, histories: &S, run: impl Fn(S::Value) -> F)
where
    S: Strategy,
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let (mut runner, seed) = seeded(config);
    let result = runner.run(histories, |history| {
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(run(history)));
        std::panic::catch_unwind(run).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            TestCaseError::fail(text)
        })
    });
    result.unwrap_or_else(|failure| panic!("with {seed}: {failure}"));
}
