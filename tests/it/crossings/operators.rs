//! Every operator on every type of field, wherever its value comes from: the record's own column, JSON, an attribute,
//! another row, an expression, an aggregate, or related rows. What must come out is told by a small oracle in three-valued
//! logic.

use super::world::{World, subject};
use jiff::Timestamp;
use nudged::rule::compiled::Subject;
use nudged::rule::statement::Dialect;
use rstest::rstest;
use std::fmt::Write;

const CATALOG: &str = r#"
version: 1
time_zone: UTC
entities:
  customer:
    table: customers
    key: id
    fields:
      own: {column: COLUMN MEANS}
      json: {column: props, path: facts.COLUMN, type: TYPE MEANS}
      attribute: {attribute: custom.COLUMN, type: TEXT MEANS}
      looked_up: {look_up: origin.fact}
      expression: {sql: "$row.COLUMN", type: TYPE MEANS}
      computed: COMPUTED
    attributes: {custom: {table: attributes, record: customer_id, name: name, value: value}}
    relations:
      origin: {entity: origin, to: origin_id}
      facets: {entity: facet, by: customer}
      contacts: {entity: contact, by: customer}
    recipients: {main: {first_of: contacts}}
  origin: {table: origins, key: id, fields: {fact: {column: COLUMN MEANS}}}
  facet: {table: facets, key: id, fields: {customer: customer_id, fact: {column: COLUMN MEANS}}}
  contact: {table: contacts, key: id, fields: {customer: customer_id}, person: {email: email}}
"#;

const COLUMNS: &str =
    "word varchar(40), number integer, price decimal(10,2), flag boolean, day {date}, moment {instant}";

/// How a condition may come to a record's value.
const WAYS: [&str; 9] = [
    "own: {}",
    "json: {}",
    "attribute: {}",
    "looked_up: {}",
    "expression: {}",
    "computed: {}",
    "facets: {some: {fact: {}}}",
    "facets: {none: {fact: {}}}",
    "facets: {count: {at_least: 1}, only: {fact: {}}}",
];

/// A value, as it stands in SQL and in rules, and by what it is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    text: &'static str,
    size: i64,
}

/// What an operator says of a value that is there.
type Holds = Box<dyn Fn(Cell) -> bool>;

enum Test {
    Of(Holds),
    Missing,
    Present,
}

impl Test {
    /// Nothing can be said of what isn't there, but that it isn't.
    fn of(&self, value: Option<Cell>) -> Option<bool> {
        match self {
            Self::Of(holds) => value.map(holds),
            Self::Missing => Some(value.is_none()),
            Self::Present => Some(value.is_some()),
        }
    }

    /// Whether it holds of one of the rows.
    fn of_any(&self, rows: &[Option<Cell>]) -> Option<bool> {
        let each: Vec<Option<bool>> = rows.iter().map(|value| self.of(*value)).collect();
        if each.contains(&Some(true)) {
            return Some(true);
        }
        if each.contains(&None) { None } else { Some(false) }
    }
}

/// One type of field: its column, its types where the database can't say, and its values in their order.
struct Kind {
    column: &'static str,
    types: [&'static str; 2],
    means: &'static str,
    computed: bool,
    values: [&'static str; 5],
    operators: fn(&[Cell; 5]) -> Vec<(String, Test)>,
}

const WORDS: [&str; 5] = ["Anna", "anna", "Zo\u{eb}", "100%_x", "Anna B"];

impl Kind {
    fn named(name: &str) -> Self {
        let (column, types, values) = match name {
            "word" | "choice" => ("word", ["text", "text"], WORDS),
            "number" => ("number", ["int", "number_text"], ["-3", "0", "5", "7", "100"]),
            "price" => ("price", ["decimal", "number_text"], ["-0.10", "0.10", "12.50", "99.99", "100.00"]),
            "flag" => ("flag", ["bool", "bool_text"], ["false", "true", "false", "true", "false"]),
            "day" => {
                ("day", ["date", "date_text"], ["1980-02-03", "2000-12-31", "2026-11-01", "2026-11-30", "2030-01-01"])
            }
            _ => (
                "moment",
                ["instant", "instant_text"],
                [
                    "1980-02-03 00:00:00Z",
                    "2026-10-25 00:30:00Z",
                    "2026-11-21 09:00:00Z",
                    "2026-11-21 11:00:00Z",
                    "2030-01-01 00:00:00Z",
                ],
            ),
        };
        let operators: fn(&[Cell; 5]) -> Vec<(String, Test)> = match name {
            "word" => of_words,
            "choice" => of_choices,
            "flag" => of_flags,
            "day" => |values| [of_sizes(values, 2), of_times(values, 2, DAY)].concat_all(),
            // SQL that reads instants in text is long.
            "moment" => |values| [of_sizes(values, 4), of_times(values, 4, 1)].concat_all(),
            _ => |values| of_sizes(values, 2),
        };
        let means = if name == "choice" { ", means: {vip: [Anna, anna], other: [Zo\u{eb}]}" } else { "" };
        let computed = !matches!(name, "word" | "choice" | "flag");
        Self { column, types, means, computed, values, operators }
    }

    fn cells(&self) -> [Cell; 5] {
        let mut place = 0;
        self.values.map(|text| {
            place += 1;
            let size = match self.column {
                "day" => format!("{text}T00:00:00Z").parse::<Timestamp>().unwrap().as_second(),
                "moment" => text.parse::<Timestamp>().unwrap().as_second(),
                "flag" => i64::from(text == "true"),
                _ => place,
            };
            Cell { text, size }
        })
    }

    fn catalog(&self) -> String {
        let computed = if self.computed { "{max: facets.fact}" } else { "{count: facets}" };
        CATALOG
            .replace("COLUMN", self.column)
            .replace("TYPE", self.types[0])
            .replace("TEXT", self.types[1])
            .replace("MEANS", self.means)
            .replace("COMPUTED", computed)
    }
}

trait ConcatAll {
    fn concat_all(self) -> Vec<(String, Test)>;
}

impl ConcatAll for [Vec<(String, Test)>; 2] {
    fn concat_all(self) -> Vec<(String, Test)> {
        self.into_iter().flatten().collect()
    }
}

const DAY: i64 = 86_400;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn case(text: String, holds: impl Fn(Cell) -> bool + 'static) -> (String, Test) {
    (text, Test::Of(Box::new(holds)))
}

fn presence() -> [(String, Test); 2] {
    [("missing".to_owned(), Test::Missing), ("present".to_owned(), Test::Present)]
}

/// Numbers, days and instants: against values that there are, and between two of them.
fn of_sizes(values: &[Cell; 5], step: usize) -> Vec<(String, Test)> {
    let mut cases = Vec::from(presence());
    for (place, &low) in values.iter().enumerate().skip(1).step_by(step) {
        let a = quoted(low.text);
        cases.extend([
            case(a.clone(), move |value| value.size == low.size),
            case(format!("{{equals: {a}}}"), move |value| value.size == low.size),
            case(format!("{{not: {a}}}"), move |value| value.size != low.size),
            case(format!("{{at_least: {a}}}"), move |value| value.size >= low.size),
            case(format!("{{at_most: {a}}}"), move |value| value.size <= low.size),
            case(format!("{{above: {a}}}"), move |value| value.size > low.size),
            case(format!("{{below: {a}}}"), move |value| value.size < low.size),
        ]);
        let high = values[(place + 2) % 5];
        let b = quoted(high.text);
        let among = move |value: Cell| value.size == low.size || value.size == high.size;
        cases.extend([
            case(format!("[{a}, {b}]"), among),
            case(format!("{{in: [{a}, {b}]}}"), among),
            case(format!("{{not: [{a}, {b}]}}"), move |value| !among(value)),
            case(format!("{{not_in: [{a}, {b}]}}"), move |value| !among(value)),
            case(format!("{{at_least: {a}, not: {b}}}"), move |value| {
                value.size >= low.size && value.size != high.size
            }),
        ]);
        if low.size < high.size {
            let within = move |value: Cell| (low.size..=high.size).contains(&value.size);
            cases.push(case(format!("{{between: [{a}, {b}]}}"), within));
        }
    }
    cases
}

/// Days and instants, also as seen from now. No value stands at an edge.
fn of_times(values: &[Cell; 5], step: usize, grain: i64) -> Vec<(String, Test)> {
    let now = now().as_second() / grain * grain;
    let mut cases = Vec::new();
    for &cell in values.iter().skip(1).step_by(step) {
        let a = quoted(cell.text);
        cases.push(case(format!("{{before: {a}}}"), move |value| value.size < cell.size));
        cases.push(case(format!("{{after: {a}}}"), move |value| value.size > cell.size));
    }
    for days in [12, 5_000] {
        let (from, to) = (now - days * DAY, now + days * DAY);
        cases.extend([
            case(format!("{{older_than: {days} days}}"), move |value| value.size < from),
            case(format!("{{within_last: {days} days}}"), move |value| (from..=now).contains(&value.size)),
            case(format!("{{within_next: {days} days}}"), move |value| (now..=to).contains(&value.size)),
            case(format!("{{before: {days} days ago}}"), move |value| value.size < from),
            case(format!("{{after: in {days} days}}"), move |value| value.size > to),
        ]);
    }
    cases
}

fn of_words(values: &[Cell; 5]) -> Vec<(String, Test)> {
    let mut cases = Vec::from(presence());
    for (place, &Cell { text: a, .. }) in values.iter().enumerate() {
        let b = values[(place + 2) % 5].text;
        let (one, other) = (quoted(a), quoted(b));
        let (head, tail) = (a.chars().take(2).collect::<String>(), a.chars().skip(1).collect::<String>());
        let (starts, ends) = (quoted(&head), quoted(&tail));
        let among = move |value: Cell| [a, b].contains(&value.text);
        cases.extend([
            case(one.clone(), move |value| value.text == a),
            case(format!("{{equals: {one}}}"), move |value| value.text == a),
            case(format!("{{not: {one}}}"), move |value| value.text != a),
            case(format!("[{one}, {other}]"), among),
            case(format!("{{in: [{one}, {other}]}}"), among),
            case(format!("{{not_in: [{one}, {other}]}}"), move |value| !among(value)),
            case(format!("{{contains: {ends}}}"), {
                let tail = tail.clone();
                move |value| value.text.contains(&tail)
            }),
            case(format!("{{ends_with: {ends}}}"), move |value| value.text.ends_with(&tail)),
            case(format!("{{starts_with: {starts}, not: {other}}}"), {
                let head = head.clone();
                move |value| value.text.starts_with(&head) && value.text != b
            }),
            case(format!("{{starts_with: {starts}}}"), move |value| value.text.starts_with(&head)),
        ]);
    }
    cases
}

/// The words that `means` gives to stored values; others are present, and none of them.
fn of_choices(_: &[Cell; 5]) -> Vec<(String, Test)> {
    let vip = |value: Cell| value.text.eq_ignore_ascii_case("anna");
    let other = |value: Cell| value.text == WORDS[2];
    let mut cases = Vec::from(presence());
    cases.extend([
        case("vip".to_owned(), vip),
        case("{equals: other}".to_owned(), other),
        case("{not: vip}".to_owned(), move |value| !vip(value)),
        case("{in: [vip, other]}".to_owned(), move |value| vip(value) || other(value)),
        case("{not_in: [vip, other]}".to_owned(), move |value| !vip(value) && !other(value)),
    ]);
    cases
}

fn of_flags(_: &[Cell; 5]) -> Vec<(String, Test)> {
    let mut cases = Vec::from(presence());
    for (word, size) in [("true", 1), ("false", 0)] {
        cases.push(case(word.to_owned(), move |value| value.size == size));
        cases.push(case(format!("{{equals: {word}}}"), move |value| value.size == size));
        cases.push(case(format!("{{not: {word}}}"), move |value| value.size != size));
    }
    cases
}

/// As a rule writes it: text and instants in quotes.
fn quoted(text: &str) -> String {
    let bare = text.parse::<f64>().is_ok() || text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10;
    if bare { text.to_owned() } else { format!("'{}'", text.replace(" 0", "T0").replace(" 1", "T1")) }
}

/// A record's own value, whether it has rows beside it that could hold one, and those of its related rows.
struct Record {
    value: Option<Cell>,
    beside: bool,
    rows: Vec<Option<Cell>>,
}

fn records(cells: &[Cell; 5]) -> Vec<Record> {
    let with = |value, rows| Record { value, beside: true, rows };
    let mut records: Vec<_> = cells.iter().map(|cell| with(Some(*cell), vec![Some(*cell)])).collect();
    records.push(with(None, vec![None]));
    records.push(Record { value: None, beside: false, rows: Vec::new() });
    records.push(with(Some(cells[0]), vec![Some(cells[0]), None]));
    records.push(with(Some(cells[4]), vec![Some(cells[0]), Some(cells[4])]));
    records
}

async fn fill(world: &World, kind: &Kind, records: &[Record]) {
    let Kind { column, .. } = kind;
    let mut sql = format!(
        "CREATE TABLE customers (id integer PRIMARY KEY, origin_id integer, props {{json}}, {COLUMNS});
CREATE TABLE origins (id integer PRIMARY KEY, {COLUMNS});
CREATE TABLE facets (id integer PRIMARY KEY, customer_id integer, {COLUMNS});
CREATE TABLE attributes (customer_id integer, name varchar(20), value varchar(60));
CREATE TABLE contacts (id integer PRIMARY KEY, customer_id integer, email varchar(60));\n"
    );
    let stored = |value: Option<Cell>| match (value, *column) {
        (None, _) => "NULL".to_owned(),
        (Some(cell), "number" | "price" | "flag") => cell.text.to_owned(),
        // A session in UTC says no zone.
        (Some(cell), "moment") if world.dialect() == Dialect::MySql => format!("'{}'", cell.text.trim_end_matches('Z')),
        (Some(cell), _) => format!("'{}'", cell.text),
    };
    let mut row = 0;
    for (id, record) in (1..).zip(records) {
        let json = record.value.map_or("null".to_owned(), |cell| match *column {
            "number" | "price" | "flag" => cell.text.to_owned(),
            _ => format!("\"{}\"", cell.text),
        });
        let (value, origin) = (stored(record.value), if record.beside { id.to_string() } else { "NULL".to_owned() });
        let props =
            if record.beside { format!("'{{\"facts\": {{\"{column}\": {json}}}}}'") } else { "NULL".to_owned() };
        writeln!(
            sql,
            "INSERT INTO customers (id, origin_id, props, {column}) VALUES ({id}, {origin}, {props}, {value});"
        )
        .unwrap();
        if record.beside {
            let text = record.value.map_or("NULL".to_owned(), |cell| format!("'{}'", cell.text));
            writeln!(sql, "INSERT INTO origins (id, {column}) VALUES ({id}, {value});").unwrap();
            writeln!(sql, "INSERT INTO attributes VALUES ({id}, '{column}', {text});").unwrap();
        }
        for value in &record.rows {
            row += 1;
            writeln!(sql, "INSERT INTO facets (id, customer_id, {column}) VALUES ({row}, {id}, {});", stored(*value))
                .unwrap();
        }
    }
    world.execute(&sql).await;
}

/// What a condition says of a record, by the way it takes.
fn told(way: &str, test: &Test, record: &Record) -> Option<bool> {
    match way {
        "facets: {none: {fact: {}}}" => test.of_any(&record.rows).map(|found| !found),
        _ if way.starts_with("facets") => test.of_any(&record.rows),
        // The largest; all of them are there or none.
        "computed: {}" => {
            let largest = record.rows.iter().flatten().copied().max_by_key(|cell| cell.size);
            test.of(largest)
        }
        _ => test.of(record.value),
    }
}

#[rstest]
#[tokio::test]
async fn hold_alike_wherever_the_value_comes_from(
    #[values("word", "choice", "number", "price", "flag", "day", "moment")] name: &str,
) {
    let kind = Kind::named(name);
    let cells = kind.cells();
    let (tests, records) = ((kind.operators)(&cells), records(&cells));
    let ways: Vec<&str> = WAYS.into_iter().filter(|way| kind.computed || *way != "computed: {}").collect();
    let asked: Vec<(&str, &(String, Test))> =
        ways.iter().flat_map(|way| tests.iter().map(|test| (*way, test))).collect();
    let subjects: Vec<Subject> = (1..=records.len()).map(|id| subject(&id.to_string())).collect();
    for world in World::all() {
        fill(&world, &kind, &records).await;
        let mut wrong = Vec::new();
        // Instants in text are long to read in SQL, and no rule has hundreds of conditions.
        for asked in asked.chunks(12) {
            let mut terms = String::new();
            for (way, (operator, _)) in asked {
                let condition = way.replace("{}", operator);
                writeln!(terms, "  - {condition}\n  - not: {{{condition}}}").unwrap();
            }
            let rule = format!(
                "version: 1\nid: r\nmode: live\npurpose: service\nfor_each: customer\nto: main\ntrigger:\n  \
                 schedule: {{cron: \"0 8 * * *\"}}\nwhere:\n{terms}steps:\n  - task: {{title: Call}}\n"
            );
            let (rule, _) = world.rule(&kind.catalog(), &rule).await;
            let facts = world.facts(&rule, &subjects, now()).await;
            assert_eq!(facts.len(), records.len());
            for (number, (way, (operator, test))) in asked.iter().enumerate() {
                for (id, record) in (1..).zip(&records) {
                    let expected = told(way, test, record);
                    let found = &facts[&i32::to_string(&id)].conditions[2 * number..2 * number + 2];
                    let found = (found[0] == Some(true), found[1] == Some(true));
                    if found != (expected == Some(true), expected == Some(false)) {
                        wrong.push(format!("{} of {id}: {found:?}, not {expected:?}", way.replace("{}", operator)));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{:?}: {} wrong\n{}", world.dialect(), wrong.len(), wrong.join("\n"));
    }
}
