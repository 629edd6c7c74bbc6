//! Triggers whose occasions are episodes. Over random histories and random sweep instants the engine enters
//! exactly what an oracle in memory enters. It walks through time step by step and knows no SQL and no windows of rows, but it
//! knows when the engine looks, and whom it has reason to look at; `kept` is the judge that doesn't.

mod changed;
mod course;
mod kept;
mod preview;
mod segment;
mod stream;

use crate::world::{World, vienna, wall};
use jiff::{Timestamp, civil};
use nudged::engine::port::EnrollmentView;
use std::collections::BTreeMap;

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

/// The first three o'clock in Vienna after an instant.
fn night_after(last: Timestamp) -> Timestamp {
    let mut day = last.to_zoned(vienna()).date();
    loop {
        let night = wall(day.to_datetime(civil::time(3, 0, 0, 0)), &vienna());
        if night > last {
            return night;
        }
        day = day.tomorrow().unwrap();
    }
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
