//! Our own writes are no changes: rules on `changed` against an oracle that saw every hand.

use super::*;
use crate::world::{days, hours, minutes};
use nudged::engine::Swept;
use nudged::model::Outcome;
use nudged::rule::write::{NewCell, Updating};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;

const VALUES: [Option<&str>; 4] = [None, Some("lead"), Some("won"), Some("lost")];

type Value = Option<&'static str>;

/// The trigger, and whether it watches for this change.
type Watched = (&'static str, fn(Value, Value) -> bool);

const WATCHED: [Watched; 3] = [
    ("changed: {field: stage}", |_, _| true),
    ("changed: {field: stage, to: won}", |_, to| to == Some("won")),
    ("changed: {field: stage, from: lead, to: [won, lost]}", |from, to| {
        from == Some("lead") && matches!(to, Some("won" | "lost"))
    }),
];

fn watching(trigger: &str) -> String {
    format!(
        "version: 1\nid: watch\nmode: live\npurpose: service\nfor_each: customer\ntrigger: {{{trigger}}}\n\
         check_every: 1 hour\non_rematch: parallel\nlate: within 5 years\nguard: {{per_day: 100000, floor: 100000}}\n\
         steps: [{{wait: {{for: 5 years}}}}, {{webhook: {{to: sink}}}}]\n"
    )
}

#[derive(Debug, Clone)]
enum Step {
    Theirs {
        customer: usize,
        value: usize,
    },
    Ours {
        customer: usize,
        value: usize,
    },
    /// The same delivery once more, as after a crash.
    Repeat,
    Sweep {
        after: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let value = || 0..VALUES.len();
    prop_oneof![
        6 => (1..3_usize, value()).prop_map(|(customer, value)| Step::Theirs { customer, value }),
        6 => (1..3_usize, value()).prop_map(|(customer, value)| Step::Ours { customer, value }),
        1 => Just(Step::Repeat),
        5 => (0..200_i64).prop_map(|after| Step::Sweep { after }),
    ]
}

#[derive(Default)]
struct Record {
    value: Value,
    /// As somebody of us last looked: a sweep, or a write of ours.
    seen: Value,
    /// What others did since the last sweep.
    pending: Vec<(Value, Value)>,
    episodes: u64,
}

async fn history(kind: Kind, watched: usize, steps: Vec<Step>) {
    let world = world(kind).await;
    world.load(&[("watch.yaml", &watching(WATCHED[watched].0))]).await;
    let writer = Writer::new(&world);
    let mut records: BTreeMap<usize, Record> = BTreeMap::new();
    for customer in 1..3 {
        world.crm.run(&format!("INSERT INTO accounts (id, name) VALUES ({customer}, 'C')")).await;
        records.insert(customer, Record::default());
    }
    world.clock.advance(minutes(1));
    world.engine.sweep_rule(&"watch".into()).await.unwrap();
    let mut expected: Vec<(String, String)> = Vec::new();
    let (mut number, mut last) = (0, None);
    for step in steps {
        world.clock.advance(minutes(1));
        match step {
            Step::Theirs { customer, value } => {
                let code = VALUES[value].map_or("NULL".to_owned(), |value| format!("'{value}'"));
                world.crm.run(&format!("UPDATE accounts SET stage = {code} WHERE id = {customer}")).await;
                records.get_mut(&customer).unwrap().value = VALUES[value];
            }
            Step::Ours { customer, value } => {
                number += 1;
                last = Some((number, customer, value));
                ours(&world, &writer, &mut records, (number, customer, value)).await;
            }
            Step::Repeat => {
                if let Some(again) = last {
                    // It was written, and what others did since stays.
                    let sent = wrote(&world, &writer, again).await;
                    assert!(matches!(&sent, Outcome::Sent { reply } if reply.contains("earlier try")), "{sent:?}");
                }
            }
            Step::Sweep { after } => {
                world.clock.advance(minutes(after));
                let swept = world.engine.sweep_rule(&"watch".into()).await.unwrap();
                assert!(matches!(&swept[..], [Swept::Done(report)] if report.held.is_none()), "{swept:?}");
                for (customer, record) in &mut records {
                    if record.value != record.seen {
                        record.pending.push((record.seen, record.value));
                    }
                    record.seen = record.value;
                    let matching = |(from, to): &(Value, Value)| (WATCHED[watched].1)(*from, *to);
                    if std::mem::take(&mut record.pending).iter().any(matching) {
                        record.episodes += 1;
                        expected.push((customer.to_string(), format!("episode {}", record.episodes)));
                    }
                }
                let mut entered: Vec<(String, String)> = world
                    .enrollments()
                    .await
                    .into_iter()
                    .map(|view| (view.record.unwrap().key.to_string(), view.occasion.unwrap().as_str().to_owned()))
                    .collect();
                entered.sort();
                expected.sort();
                assert_eq!(entered, expected);
            }
        }
    }
}

async fn ours(
    world: &World,
    writer: &Writer,
    records: &mut BTreeMap<usize, Record>,
    (number, customer, value): (u32, usize, usize),
) {
    let sent = wrote(world, writer, (number, customer, value)).await;
    assert!(matches!(sent, Outcome::Sent { .. }), "{sent:?}");
    let record = records.get_mut(&customer).unwrap();
    if record.value == VALUES[value] {
        // Nothing was written, so nobody looked.
        return;
    }
    if record.value != record.seen {
        record.pending.push((record.seen, record.value));
    }
    record.value = VALUES[value];
    record.seen = VALUES[value];
}

async fn wrote(world: &World, writer: &Writer, (number, customer, value): (u32, usize, usize)) -> Outcome {
    let cell = VALUES[value].map_or(NewCell::Null, |value| NewCell::Text(value.to_owned()));
    let update = Updating { set: vec![("stage".into(), cell)], ..Updating::default() };
    writer.write(number, &customer.to_string(), world.now(), Write::Update(update)).await.outcome
}

fn equals_the_oracle(kind: Kind, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let histories = (0..WATCHED.len(), prop::collection::vec(step(), 8..40));
    let result = runner.run(&histories, |(watched, steps)| {
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(history(kind, watched, steps)));
        std::panic::catch_unwind(run)
            .map_err(|panic| TestCaseError::fail(panic.downcast_ref::<String>().cloned().unwrap_or_default()))
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn changes_by_others_are_told_from_our_own_on_sqlite() {
    equals_the_oracle(Kind::Sqlite, 40);
}

#[test]
fn changes_by_others_are_told_from_our_own_on_postgres() {
    equals_the_oracle(Kind::Postgres, 8);
}

#[test]
fn changes_by_others_are_told_from_our_own_on_mariadb() {
    equals_the_oracle(Kind::MariaDb, 8);
}

/// The whole way: a rule in one file updates, a rule in another watches.
#[tokio::test]
async fn a_rule_that_updates_starts_none_that_watches() {
    for kind in KINDS {
        let world = world(kind).await;
        world.crm.run("INSERT INTO accounts (id, name, stage) VALUES (1, 'Ada', 'lead'), (2, 'Bob', 'lead')").await;
        let update = hourly("move", "only_at_entry: [stage: lead]\nsteps: [{update: {set: {stage: won}}}]\n");
        world.load(&[("move.yaml", &update), ("watch.yaml", &watching(WATCHED[0].0))]).await;
        let watched = async || {
            let views = world.enrollments().await.into_iter().filter(|view| view.rule.as_str() == "watch");
            let mut keys: Vec<String> = views.map(|view| view.record.unwrap().key.to_string()).collect();
            keys.sort();
            keys
        };
        // Seen, then moved by us, then looked at again.
        world.pass(hours(1)).await;
        world.pass(hours(1)).await;
        assert_eq!(watched().await, [""; 0], "{kind:?}");
        // Somebody sets one back, and we move it once more before anybody has looked.
        world.clock.advance(minutes(10));
        world.crm.run("UPDATE accounts SET stage = 'lead' WHERE id = 1").await;
        let writer = Writer::new(&world);
        let won = Updating { set: vec![("stage".into(), NewCell::Text("won".into()))], ..Updating::default() };
        writer.write(900, "1", world.now(), Write::Update(won)).await;
        world.pass(hours(1)).await;
        assert_eq!(watched().await, ["1"], "{kind:?}: what stands there is ours, but somebody had changed it");
        world.clock.advance(days(1));
        world.crm.run("UPDATE accounts SET stage = 'lost' WHERE id = 2").await;
        world.pass(hours(1)).await;
        assert_eq!(watched().await, ["1", "2"], "{kind:?}");
    }
}
