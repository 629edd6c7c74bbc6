//! Own SQL that doesn't say when: what it returns at first is left out, and each new occasion has one chance, at the sweep
//! that sees it first.

use super::history::Step;
use super::history::steps;
use super::query::{Overdue, Rule};
use super::trigger::Trigger;
use crate::support::{Seen, instant, property};
use crate::world::{Kind, World, days, minutes};
use nudged::engine::{Settings, Swept};
use nudged::model::EndReason;
use proptest::prelude::*;
use rstest::rstest;
use std::collections::BTreeSet;

/// Record and occasion.
type Entry = (String, String);

fn text(rule: &Rule) -> String {
    Overdue::text(rule).replace(", placed_at FROM", " FROM").replace("    at: placed_at\n", "")
}

/// What acts, and what was left out.
async fn entered(world: &World) -> (BTreeSet<Entry>, BTreeSet<Entry>) {
    let (mut acting, mut left_out) = (BTreeSet::new(), BTreeSet::new());
    for view in world.enrollments().await {
        let entry = (view.record.unwrap().key.as_str().to_owned(), view.occasion.unwrap().as_str().to_owned());
        let place = if view.ended == Some(EndReason::LeftOut) { &mut left_out } else { &mut acting };
        assert!(place.insert(entry.clone()), "{entry:?} matched twice");
    }
    (acting, left_out)
}

#[derive(Default)]
struct Oracle {
    looked: bool,
    refused: BTreeSet<Entry>,
    acting: BTreeSet<Entry>,
    left_out: BTreeSet<Entry>,
}

impl Oracle {
    fn sweep(&mut self, returned: Vec<(Entry, bool)>, seen: &mut Seen) {
        for (entry, holds) in returned {
            if self.acting.contains(&entry) || self.left_out.contains(&entry) || self.refused.contains(&entry) {
                continue;
            }
            let place = match (self.looked, holds) {
                (false, _) => &mut self.left_out,
                (true, true) => &mut self.acting,
                (true, false) => &mut self.refused,
            };
            place.insert(entry);
            seen.entered += usize::from(self.looked && holds);
            seen.refused += usize::from(self.looked && !holds);
        }
        self.looked = true;
    }

    /// Another definition looks for the first time; the ledger is kept.
    fn begin(&mut self) {
        self.looked = false;
        self.refused.clear();
    }
}

async fn run(kind: Kind, batch: usize, first: Rule, steps: Vec<Step<<Overdue as Trigger>::Change, Rule>>) -> Seen {
    let world = World::new(kind, instant("2026-10-10T07:00:00Z"), Settings { batch, ..Settings::default() }).await;
    let mut orders = Overdue::begin(&world).await;
    let (mut rule, mut oracle, mut seen) = (first, Oracle::default(), Seen::default());
    world.load(&[("watch.yaml", &text(&rule))]).await;
    for step in steps.iter().chain([&Step::Sweep { after: 60 }]) {
        match step {
            Step::Change(change) => orders.apply(change, &world, world.now()).await,
            Step::Edit(edited) => {
                world.load(&[("watch.yaml", &text(edited))]).await;
                if !Overdue::same_definition(&rule, edited) {
                    oracle.begin();
                }
                rule = edited.clone();
            }
            Step::Sweep { after } => {
                // What is refused is known for 90 days.
                world.clock.advance(minutes(*after).min(days(1)));
                let swept = world.engine.sweep_rule(&"watch".into()).await.unwrap();
                assert!(matches!(&swept[..], [Swept::Done(report)] if report.held.is_none()), "{swept:?}");
                oracle.sweep(orders.returned(&rule), &mut seen);
                let (acting, left_out) = entered(&world).await;
                assert_eq!(acting, oracle.acting, "after the sweep at {}", world.now());
                assert_eq!(left_out, oracle.left_out, "after the sweep at {}", world.now());
            }
        }
    }
    seen
}

#[rstest]
#[case::on_sqlite(Kind::Sqlite, 30)]
#[case::on_postgres(Kind::Postgres, 12)]
#[case::on_mariadb(Kind::MariaDb, 12)]
fn a_query_without_times_equals_the_oracle(#[case] kind: Kind, #[case] cases: u32) {
    let batch = prop::sample::select(vec![1_usize, 2, 2_000]);
    let histories = (batch, Overdue::rules(), steps::<Overdue>());
    property(cases, Seen::BOTH, &histories, |(batch, first, steps)| run(kind, batch, first, steps));
}
