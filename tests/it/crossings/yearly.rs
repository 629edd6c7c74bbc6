//! Over random dates, zones and windows, anniversaries are found as a naive oracle finds them.

use super::world::World;
use crate::support::runner;
use crate::world::wall;
use jiff::civil::{Date, date, time};
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use nudged::rule::compiled::{Reach, Window};
use nudged::rule::statement::Dialect;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::fmt::Write;

const ZONES: [Option<&str>; 5] =
    [None, Some("Pacific/Auckland"), Some("America/Los_Angeles"), Some("Pacific/Kiritimati"), Some("Mars/Olympus")];
type Moves = fn(Date) -> Date;
const OFFSETS: [(&str, Moves); 4] = [
    ("on the day", |day| day),
    ("3 days before", |day| day.saturating_sub(3.days())),
    ("2 weeks after", |day| day.saturating_add(14.days())),
    ("1 month before", |day| day.saturating_sub(1.month())),
];
const LEAPS: [&str; 3] = ["feb28", "mar1", "skip"];
const COLUMNS: [&str; 3] = ["born", "born_text", "born_at"];

const TABLES: &str = "
CREATE TABLE accounts (id integer PRIMARY KEY, born {date}, born_text varchar(20), born_at {naive});
CREATE TABLE contacts (id integer PRIMARY KEY, account_id integer, email varchar(60), tz varchar(40));
";
const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: id
    fields:
      born: {column: born, type: date, missing: [1900-01-01]}
      born_text: {column: born_text, type: date_text, missing: [1900-01-01]}
      born_at: {column: born_at, type: instant, missing: [1900-01-01]}
    relations:
      contacts: {entity: contact, by: customer}
    recipients:
      main: {first_of: contacts}
  contact: {table: contacts, key: id, fields: {customer: account_id}, person: {email: email, zone: tz}}
";

#[derive(Debug, Clone)]
struct Person {
    born: Option<Date>,
    zone: Option<&'static str>,
}

fn people() -> impl Strategy<Value = Vec<Person>> {
    let near = |base: Date| (-4..5_i64).prop_map(move |days| base.saturating_add(days.days()));
    let born = prop_oneof![
        2 => Just(date(2000, 2, 29)),
        1 => Just(date(1970, 1, 1)),
        1 => Just(date(1900, 1, 1)),
        1 => Just(date(1853, 3, 1)),
        2 => (1905..2027_i16).prop_flat_map(move |year| near(date(year, 3, 1))),
        2 => (1905..2027_i16).prop_flat_map(move |year| near(date(year, 12, 30))),
        1 => (1905..2027_i16).prop_flat_map(move |year| near(date(year, 10, 25))),
    ];
    let person = (proptest::option::weighted(0.95, born), prop::sample::select(&ZONES[..]))
        .prop_map(|(born, zone)| Person { born, zone });
    proptest::collection::vec(person, 60)
}

fn instants() -> impl Strategy<Value = Timestamp> {
    let days = prop_oneof![
        Just(date(2026, 2, 28)),
        Just(date(2028, 2, 29)),
        Just(date(2026, 12, 30)),
        Just(date(2026, 10, 25)),
        Just(date(2026, 11, 27)),
    ];
    (days, -4..5_i64, 0..48_i64).prop_map(|(day, days, half_hours)| {
        let start = day.saturating_add(days.days()).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
        start + SignedDuration::from_mins(30 * half_hours)
    })
}

fn rules() -> Vec<(usize, &'static str, &'static str, String)> {
    let mut rules = Vec::new();
    for (number, (offset, _)) in OFFSETS.iter().enumerate() {
        for leap in LEAPS {
            for column in COLUMNS {
                let id = format!("{}-{leap}-{}", offset.replace(' ', "-"), column.replace('_', "-"));
                let text = format!(
                    "version: 1\nid: {id}\nmode: live\npurpose: service\nfor_each: customer\nto: main\ntrigger:\n  \
                     yearly: {{field: {column}, at: \"09:00\", offset: {offset}, feb29: {leap}}}\nsteps:\n  - wait: {{for: 1 day}}\n"
                );
                rules.push((number, leap, column, text));
            }
        }
    }
    rules
}

/// The last anniversary reached by the window's end, where it was reached in the window.
fn oracle(people: &[Person], offset: usize, leap: &str, window: Window) -> Vec<String> {
    let mut found = Vec::new();
    for (number, person) in people.iter().enumerate() {
        let Some(born) = person.born.filter(|born| *born != date(1900, 1, 1)) else { continue };
        let zone = person.zone.and_then(|zone| TimeZone::get(zone).ok());
        let zone = zone.unwrap_or_else(|| TimeZone::get("Europe/Vienna").unwrap());
        let mut last = None;
        for year in born.year() + 1..2031 {
            let day = match (Date::new(year, born.month(), born.day()), leap) {
                (Ok(day), _) => day,
                (Err(_), "feb28") => date(year, 2, 28),
                (Err(_), "mar1") => date(year, 3, 1),
                (Err(_), _) => continue,
            };
            let reached = wall(OFFSETS[offset].1(day).to_datetime(time(9, 0, 0, 0)), &zone);
            if reached <= window.until {
                last = Some((year, reached, year - born.year()));
            }
        }
        if let Some((year, _, years)) = last.filter(|(_, reached, _)| window.after < *reached) {
            found.push(format!("{number} {year} {years}"));
        }
    }
    found.sort();
    found
}

async fn store(world: &World, people: &[Person]) {
    let mut sql = String::from("DELETE FROM contacts;\nDELETE FROM accounts;\n");
    for (number, person) in people.iter().enumerate() {
        let quoted = |text: Option<String>| text.map_or_else(|| "NULL".to_owned(), |text| format!("'{text}'"));
        let day = quoted(person.born.map(|born| born.to_string()));
        // MariaDB has no wall time that is only a day.
        let at = quoted(person.born.map(|born| format!("{born} 00:00:00")));
        writeln!(sql, "INSERT INTO accounts VALUES ({number}, {day}, {day}, {at});").unwrap();
        let zone = quoted(person.zone.map(str::to_owned));
        writeln!(sql, "INSERT INTO contacts VALUES ({number}, {number}, 'p{number}@x.example', {zone});").unwrap();
    }
    world.execute(&sql).await;
}

async fn compare(world: World, cases: usize) {
    world.execute(TABLES).await;
    let rules = rules();
    let texts: Vec<&str> = rules.iter().map(|(_, _, _, text)| text.as_str()).collect();
    let generation = world.generation(CATALOG, &texts).await;
    let mut runner = runner();
    let mut hits = 0;
    for _ in 0..cases {
        let people = people().new_tree(&mut runner).unwrap().current();
        store(&world, &people).await;
        let until = instants().new_tree(&mut runner).unwrap().current();
        let length =
            prop::sample::select(&[15_i64, 60 * 48, 60 * 24 * 400][..]).new_tree(&mut runner).unwrap().current();
        let window = Window { after: until - SignedDuration::from_mins(length), until, now: until };
        for (offset, leap, column, text) in &rules {
            let rule = generation.rules.values().find(|rule| &*rule.text == text.as_str()).unwrap();
            let found = world.crossings(rule, Reach::Crossed(window)).await;
            let told = |crossing: &nudged::rule::compiled::Crossing| {
                let nudged::model::Value::Int(years) = crossing.row["years"] else { panic!("{crossing:?}") };
                format!("{} {} {years}", crossing.key, crossing.occasion)
            };
            let mut found: Vec<String> = found.iter().map(told).collect();
            found.sort();
            let expected = oracle(&people, *offset, leap, window);
            let what = format!("{:?} {} {leap} {column} {window:?}", world.dialect(), OFFSETS[*offset].0);
            assert_eq!(found, expected, "{what}\n{people:#?}");
            hits += found.len();
        }
    }
    assert!(hits > 100, "{hits} anniversaries say little");
}

#[tokio::test]
async fn anniversaries_on_sqlite() {
    compare(World::sqlite(), 16).await;
}

#[tokio::test]
async fn anniversaries_on_postgres() {
    compare(World::postgres(), 8).await;
}

#[tokio::test]
async fn anniversaries_on_mariadb() {
    compare(World::mariadb(), 8).await;
}

/// A plain index over the date is enough, on every database.
#[tokio::test]
async fn a_day_of_every_year_is_read_by_a_plain_index() {
    for world in World::all() {
        world.execute(TABLES).await;
        let mut sql = String::from("INSERT INTO accounts (id, born) VALUES ");
        for number in 0..8_000_i64 {
            let born = date(1930, 1, 1).saturating_add((number * 4).days());
            let comma = if number == 0 { "" } else { ", " };
            write!(sql, "{comma}({number}, '{born}')").unwrap();
        }
        let analyze = if world.dialect() == Dialect::MySql { "ANALYZE TABLE accounts" } else { "ANALYZE" };
        world.execute(&format!("{sql};\nCREATE INDEX accounts_born ON accounts (born);\n")).await;
        world.execute(&format!("{analyze};\n")).await;
        let rule = &rules()[0].3;
        let (rule, _) = world.rule(CATALOG, rule).await;
        let window = super::world::window("2026-06-01T00:00:00Z", "2026-06-03T00:15:00Z");
        let plan = world.plan(rule.crossings(Reach::Crossed(window)).remove(0)).await;
        assert!(plan.contains("accounts_born"), "{:?}\n{plan}", world.dialect());
    }
}
