//! Running random histories.

use super::judge::{Entry, Judge};
use super::trigger::Trigger;
use crate::support::{self, Seen, instant};
use crate::world::{CATALOG, Kind, Setup, World, minutes};
use jiff::{SignedDuration, Timestamp};
use nudged::engine::port::EnrollmentView;
use nudged::engine::{Settings, Swept};
use nudged::model::EndReason;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Clocks change in the middle of what follows: back, or forward.
const STARTS: [&str; 2] = ["2026-10-10T07:00:00Z", "2027-03-10T07:00:00Z"];
const RULE: &str = "watch";
const COLUMNS: &str = "ALTER TABLE accounts ADD COLUMN changed_at {instant};
                       ALTER TABLE subscriptions ADD COLUMN changed_at {instant};
                       ALTER TABLE subscriptions ADD COLUMN renews_at {instant};";

#[derive(Debug, Clone)]
pub enum Step<C, R> {
    Change(C),
    /// Time passes, then the rule is swept.
    Sweep {
        after: i64,
    },
    /// The rule's file is edited.
    Edit(R),
}

pub fn steps<T: Trigger>() -> impl Strategy<Value = Vec<Step<T::Change, T::Rule>>> {
    let after = prop_oneof![1..120_i64, 60..2_000_i64, 1_000..9_000_i64];
    let step = prop_oneof![
        16 => T::changes().prop_map(Step::Change),
        10 => after.prop_map(|after| Step::Sweep { after }),
        1 => T::rules().prop_map(Step::Edit),
    ];
    prop::collection::vec(step, 10..60)
}

async fn run<T: Trigger>(
    kind: Kind,
    (start, batch, tracks): (&str, usize, bool),
    first: T::Rule,
    steps: Vec<Step<T::Change, T::Rule>>,
) -> Seen {
    let settings = Settings { batch, ..Settings::default() };
    let catalog = if tracks { tracking() } else { CATALOG.to_owned() };
    let world = World::set_up(Setup { settings, catalog, tables: COLUMNS, ..Setup::of(kind, instant(start)) }).await;
    let mut trigger = T::begin(&world).await;
    let (mut rule, mut judge) = (first, Judge::default());
    load::<T>(&world, &rule).await;
    judge.activate(baseline::<T>(&rule, world.now()));
    judge.observe(&trigger.occasions(&rule, world.now()), world.now());
    // Nobody who kept matching is lost: one more sweep sees whatever the last changes brought.
    let last = Step::Sweep { after: 2 * 1_440 };
    for step in steps.iter().chain([&last]) {
        match step {
            Step::Change(change) => {
                trigger.apply(change, &world, world.now()).await;
                if tracks {
                    touch(&world).await;
                }
            }
            Step::Edit(edited) => {
                load::<T>(&world, edited).await;
                if !T::same_definition(&rule, edited) {
                    judge.activate(baseline::<T>(edited, world.now()));
                }
                rule = edited.clone();
            }
            Step::Sweep { after } => {
                world.clock.advance(minutes(*after));
                let swept = world.engine.sweep_rule(&RULE.into()).await.unwrap();
                assert!(matches!(&swept[..], [Swept::Done(report)] if report.held.is_none()), "{swept:?}");
                let (now, entered) = (world.now(), entered(&world).await);
                let mut promise = T::promise(&rule);
                if !tracks {
                    promise.tracked = SignedDuration::ZERO;
                }
                let verdict = judge.sweep(&trigger.occasions(&rule, now), promise, now, &entered);
                verdict.unwrap_or_else(|wrong| panic!("after the sweep at {now}: {wrong}"));
            }
        }
        judge.observe(&trigger.occasions(&rule, world.now()), world.now());
    }
    judge.seen()
}

fn baseline<T: Trigger>(rule: &T::Rule, now: Timestamp) -> Timestamp {
    if T::backfills(rule) { Timestamp::MIN } else { now }
}

/// The catalog with an `updated_at` of all that rules are for.
fn tracking() -> String {
    ["table: accounts\n    key: id", "table: subscriptions\n    key: id"].iter().fold(
        CATALOG.to_owned(),
        |catalog, place| {
            assert!(catalog.contains(place));
            catalog.replace(place, &format!("{place}\n    updated_at: changed_at"))
        },
    )
}

/// Says of every record that something about it has changed just now.
async fn touch(world: &World) {
    let now = world.crm.time(world.now());
    let sql = format!("UPDATE accounts SET changed_at = {now}; UPDATE subscriptions SET changed_at = {now}");
    world.crm.run(&sql).await;
}

async fn load<T: Trigger>(world: &World, rule: &T::Rule) {
    world.load(&[("watch.yaml", &T::text(rule))]).await;
}

/// What is in the ledger and acts, and when it came there.
async fn entered(world: &World) -> BTreeMap<Entry, Timestamp> {
    // What was overtaken is in the ledger as well, ended before it began.
    let acting = |view: &EnrollmentView| view.ended != Some(EndReason::Late);
    let mut seen = BTreeMap::new();
    for view in world.enrollments().await.into_iter().filter(acting) {
        let entry = (view.record.unwrap().key.as_str().to_owned(), view.occasion.unwrap().as_str().to_owned());
        assert!(seen.insert(entry.clone(), view.entered_at).is_none(), "{entry:?} matched twice");
    }
    seen
}

/// Tries so many histories. SQLite is quick enough for those that only a rare history tells apart, such as a sweep that
/// never looks at refused records again.
pub fn property<T: Trigger + Debug>(kind: Kind, cases: u32) {
    let batch = prop::sample::select(vec![1_usize, 2, 2_000]);
    let setting = (prop::sample::select(STARTS.to_vec()), batch, prop::bool::weighted(0.4));
    let histories = (setting, T::rules(), steps::<T>());
    let least = if T::FINDS_LATE { Seen::ALL } else { Seen::BOTH };
    support::property(cases, least, &histories, |(setting, first, steps)| run::<T>(kind, setting, first, steps));
}

/// The three dialects of one trigger.
macro_rules! on_three_dialects {
    ($trigger:ty) => {
        #[test]
        fn equals_the_oracle_on_sqlite() {
            crate::oracle::history::property::<$trigger>(crate::world::Kind::Sqlite, 30);
        }

        #[test]
        fn equals_the_oracle_on_postgres() {
            crate::oracle::history::property::<$trigger>(crate::world::Kind::Postgres, 12);
        }

        #[test]
        fn equals_the_oracle_on_mariadb() {
            crate::oracle::history::property::<$trigger>(crate::world::Kind::MariaDb, 12);
        }
    };
}
pub(super) use on_three_dialects;
