//! The same rows in a rule's own test: what live sent in the days of a world is what the test expects, no more and no
//! less.

use super::{DAYS, START};
use crate::support::instant;
use crate::world::{World, days, hours};
use jiff::Timestamp;
use nudged::diagnostic::SourceFile;
use nudged::diagnostic::render::{Look, render};
use nudged::engine::Settings;
use nudged::engine::port::DeliveryFilter;
use nudged::rule::generation::Tree;
use nudged::testbench::{Bench, Failure, RuleReport};
use std::fmt::Write;
use std::sync::Arc;

/// Tables of the world's catalog, by the entities that they hold.
const ENTITIES: [(&str, &str); 5] = [
    ("accounts", "customer"),
    ("contacts", "contact"),
    ("orders", "order"),
    ("subscriptions", "subscription"),
    ("surveys", "response"),
];

/// A row for both: the tables of a world, and a test's `given`.
pub struct Row {
    table: &'static str,
    cells: Vec<(&'static str, Cell)>,
}

pub enum Cell {
    Null,
    Int(i64),
    Bool(bool),
    Text(String),
    At(Timestamp),
}

impl From<Option<&str>> for Cell {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.to_owned()))
    }
}

impl Row {
    pub fn new(table: &'static str, id: i64, cells: impl IntoIterator<Item = (&'static str, Cell)>) -> Self {
        Self { table, cells: [("id", Cell::Int(id))].into_iter().chain(cells).collect() }
    }

    pub fn insert(&self, world: &World) -> String {
        let value = |(_, cell): &(&str, Cell)| match cell {
            Cell::Null => "NULL".to_owned(),
            Cell::Int(number) => number.to_string(),
            Cell::Bool(flag) => flag.to_string(),
            Cell::Text(text) => format!("'{text}'"),
            Cell::At(at) => world.crm.time(*at),
        };
        let names: Vec<&str> = self.cells.iter().map(|(name, _)| *name).collect();
        let values: Vec<String> = self.cells.iter().map(value).collect();
        format!("INSERT INTO {} ({}) VALUES ({});", self.table, names.join(", "), values.join(", "))
    }

    fn given(&self, world: &World) -> String {
        let value = |(name, cell): &(&str, Cell)| {
            let name = if *name == "id" { "key" } else { name };
            let value = match cell {
                Cell::Null => "missing".to_owned(),
                Cell::Int(number) => number.to_string(),
                Cell::Bool(flag) => flag.to_string(),
                Cell::Text(text) => format!("'{text}'"),
                Cell::At(at) => format!("'{}'", world.crm.kept(*at)),
            };
            format!("{name}: {value}")
        };
        self.cells.iter().map(value).collect::<Vec<_>>().join(", ")
    }
}

/// The rows as YAML under `given:`.
pub fn given(rows: &[Row], world: &World) -> String {
    let mut text = String::new();
    for (table, entity) in ENTITIES {
        writeln!(text, "      {entity}:").unwrap();
        for row in rows.iter().filter(|row| row.table == table) {
            writeln!(text, "        - {{{}}}", row.given(world)).unwrap();
        }
    }
    text
}

/// Plays the rule with a test that expects what live has sent; rows are given, and events come in meanwhile.
pub async fn play(world: &World, rule: &str, text: &str, (given, events): (&str, &str), files: &[(&str, &str)]) {
    let filter = DeliveryFilter { limit: 10_000, ..DeliveryFilter::default() };
    let deliveries = world.store.deliveries(&filter).await.unwrap().into_iter();
    let sent: Vec<_> =
        deliveries.filter(|delivery| delivery.rule.as_str() == rule && delivery.state == "sent").collect();
    assert!(!sent.is_empty(), "{rule} has sent something");
    let kind = &sent[0].kind;
    let records: Vec<String> =
        sent.iter().map(|delivery| format!("{{record: '{}'}}", delivery.record.as_ref().unwrap().key)).collect();
    let first = (instant(START) + hours(6)).strftime("%F %H:%M UTC").to_string();
    let last = (instant(START) + days(DAYS)).strftime("%F %H:%M").to_string();
    let text = format!(
        "{text}tests:\n  - name: as in live\n    at: {first}\n    given:\n{given}    then:\n{events}      \
         - {{at: {last}, expect: {{{kind}: [{}]}}}}\n",
        records.join(", ")
    );
    let catalog = ("catalog.yaml".to_owned(), world.catalog().to_owned());
    let tested = (format!("{rule}.yaml"), text);
    let others = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    let files = [catalog, tested].into_iter().chain(others).map(|(path, text)| Arc::new(SourceFile { path, text }));
    let tree = Arc::new(Tree { files: files.collect() });
    let bench = Bench { tree, surroundings: (*world.generation().surroundings).clone(), settings: Settings::default() };
    let played = bench.play(&bench.rule_files(), 1, |_| {}).await;
    let reports = played.unwrap_or_else(|findings| panic!("{}", render(&findings, Look::Plain)));
    let failures: Vec<&Failure> = reports.iter().flat_map(RuleReport::failures).collect();
    assert!(failures.is_empty(), "{rule}: {failures:#?}");
}
