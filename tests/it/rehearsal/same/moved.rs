//! A field that changes: nothing but its change tells, so the source has to be changed while everybody looks.

use super::super::previewer;
use super::{everybody_explained, told};
use crate::support::instant;
use crate::world::{Kind, World, hours};
use nudged::diagnostic::SourceFile;
use nudged::engine::rehearse::{Backtester, Simulator};
use nudged::engine::{PreviewScope, Settings, preview};
use nudged::model::RuleId;
use nudged::rule::generation::Tree;
use nudged::store::sqlite::SqliteStore;
use nudged::testbench::{Bench, RuleReport};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

const START: &str = "2026-10-20T06:00:00Z";
const RULE: &str = "version: 1
id: moved
description: Has moved to Germany.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  changed: {field: country, to: DE}
where:
  - name: {starts_with: A}
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
/// Where each customer lives, look by look; whose names begin with A for odd numbers.
const LOOKS: [[&str; 4]; 6] = [
    ["AT", "AT", "DE", "AT"],
    ["DE", "DE", "DE", "AT"],
    ["DE", "AT", "AT", "AT"],
    ["AT", "AT", "DE", "CH"],
    ["DE", "AT", "DE", "DE"],
    ["DE", "AT", "DE", "DE"],
];

fn name(customer: usize) -> &'static str {
    if customer.is_multiple_of(2) { "Ada" } else { "Bob" }
}

async fn the_same_everywhere(kind: Kind) {
    let world = World::new(kind, instant(START), Settings::default()).await;
    for (customer, country) in LOOKS[0].iter().enumerate() {
        let (id, name) = (customer + 1, name(customer));
        world.crm.run(&format!("INSERT INTO accounts VALUES ({id}, '{name}', '{country}', NULL)")).await;
    }
    world.load(&[("moved.yaml", RULE)]).await;
    let (generation, sender) = (world.generation(), Settings::default().sender);
    let rule = RuleId::from("moved");
    let mut previewed = BTreeSet::new();
    let mut then = String::new();
    for (look_number, countries) in LOOKS.iter().enumerate() {
        let mut updates = Vec::new();
        for (customer, country) in countries.iter().enumerate() {
            let id = customer + 1;
            world.crm.run(&format!("UPDATE accounts SET country_code = '{country}' WHERE id = {id}")).await;
            updates.push(format!("{{key: {id}, country: {country}}}"));
        }
        world.clock.advance(hours(6));
        let look = previewer(&world, &generation, &sender);
        let shown = preview(&look, &rule, &PreviewScope::LastInterval).await.unwrap();
        let fresh: BTreeSet<String> = shown
            .matches
            .iter()
            .filter(|matched| !matched.known)
            .map(|matched| told(&matched.record, &matched.occasion))
            .collect();
        everybody_explained(&look, &rule, fresh.clone()).await;
        let before = world.enrollments().await.len();
        world.turn().await;
        assert_eq!(world.enrollments().await.len() - before, fresh.len(), "look {look_number}: preview and live");
        let key = |line: &String| line.split(' ').next().unwrap().rsplit(':').next().unwrap().to_owned();
        let records: Vec<String> = fresh.iter().map(|line| format!("{{record: '{}'}}", key(line))).collect();
        let expected =
            if records.is_empty() { "nothing".to_owned() } else { format!("{{webhook: [{}]}}", records.join(", ")) };
        let (at, updates) = (6 * look_number, updates.join(", "));
        writeln!(then, "      - {{after: {at} hours, update: {{customer: [{updates}]}}, expect: {expected}}}").unwrap();
        previewed.extend(fresh);
    }
    let enrollments = world.enrollments().await.into_iter();
    let live: BTreeSet<String> =
        enrollments.map(|found| told(&found.record.unwrap(), &found.occasion.unwrap())).collect();
    assert_eq!(previewed, live);
    assert_eq!(live.len(), 3, "1 twice, and 3 once: {live:?}");
    played(&world, &then).await;
    nothing_moves_by_itself(&world).await;
}

/// The same moves in the rule's own test.
async fn played(world: &World, then: &str) {
    let given: Vec<String> = (0..4)
        .map(|customer| format!("{{key: {}, name: {}, country: {}}}", customer + 1, name(customer), LOOKS[0][customer]))
        .collect();
    let text = format!(
        "{RULE}tests:\n  - name: as in live\n    at: 2026-10-20 12:00 UTC\n    given: {{customer: [{}]}}\n    then:\n{then}",
        given.join(", ")
    );
    let files = [("catalog.yaml", world.catalog().to_owned()), ("moved.yaml", text)];
    let files = files.map(|(path, text)| Arc::new(SourceFile { path: path.to_owned(), text }));
    let tree = Arc::new(Tree { files: files.to_vec() });
    let bench = Bench { tree, surroundings: (*world.generation().surroundings).clone(), settings: Settings::default() };
    let reports = bench.play(&bench.rule_files(), 1, |_| {}).await.unwrap();
    let failures: Vec<_> = reports.iter().flat_map(RuleReport::failures).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Over a source that stands still nothing changes, and of the past nothing is known: that is said.
async fn nothing_moves_by_itself(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("state.db"), world.now()).await.unwrap());
    let simulator = Simulator {
        source: world.source.clone(),
        store,
        generation: world.generation(),
        settings: Settings::default(),
        from: world.now(),
        until: world.now() + hours(48),
        only: Vec::new(),
    };
    assert!(simulator.run(|_| {}).await.unwrap().values().all(|days| days.matched == 0));
    let (generation, source) = (world.generation(), &*world.source);
    let (from, until) = (instant(START), world.now());
    let backtester = Backtester { generation: &generation, source, store: None, from, until, every: None, batch: 7 };
    let refused = backtester.run(&RuleId::from("moved"), |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("the value of now, and not those before it"), "{refused}");
}

#[tokio::test]
async fn changes_are_the_same_on_sqlite() {
    the_same_everywhere(Kind::Sqlite).await;
}

#[tokio::test]
async fn changes_are_the_same_on_postgres() {
    the_same_everywhere(Kind::Postgres).await;
}

#[tokio::test]
async fn changes_are_the_same_on_mariadb() {
    the_same_everywhere(Kind::MariaDb).await;
}
