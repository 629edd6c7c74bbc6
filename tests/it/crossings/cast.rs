//! What can't be read as its declared type is missing, wherever it stands, and the three databases agree on what can.

use super::world::{World, subject};
use jiff::Timestamp;
use nudged::model::Value;
use nudged::rule::statement::Dialect;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Values of one column, by the key of their record: the row's number from 1.
type Values = [Option<&'static str>];

const DAYS: &Values = &[
    Some("2026-12-01"),
    Some("soon"),
    Some("2026-02-31"),
    Some("2027-13-45"),
    Some("2026-02-29"),
    Some("2028-02-29"),
    Some(""),
    None,
    Some("2026-12-01T10:00"),
    Some("2026-12-011"),
    Some("0000-00-00"),
];

const DAY_CASES: &[(&str, &str)] = &[
    ("{of}: {after: 2026-11-30}", "1 6 9"),
    ("{of}: {before: 2027-01-01}", "1 9"),
    ("{of}: {not: 2026-12-01}", "6"),
    ("{of}: {not_in: [2026-12-01]}", "6"),
    ("{of}: 2026-12-01", "1 9"),
    ("{of}: {between: [2026-01-01, 2026-12-31]}", "1 9"),
    ("{of}: {within_next: 30 days}", "1 9"),
    ("not: {{of}: {before: 2027-01-01}}", "6"),
    ("not: {any: [{{of}: {before: 2020-01-01}}, {{of}: {after: 2030-01-01}}]}", "1 6 9"),
    ("{of}: present", "1 6 9"),
    ("{of}: missing", "2 3 4 5 7 8 10 11"),
];

const TIMES: &Values = &[
    Some("2026-11-20 10:00:00"),
    Some("never"),
    Some("2026-02-31T10:00:00Z"),
    Some("2026-11-20T10:00:00+02:00"),
    Some("2026-11-20 10:00:00+02"),
    Some("2026-11-20T08:00:00.000001Z"),
    Some("2026-11-20"),
    Some(""),
    None,
    Some("2026-11-20T25:00:00"),
    Some("2026-11-20T10:00"),
    Some("2026-11-20T10:00:00+02:0"),
    Some("2026-11-20T10:00:00 "),
    Some("1969-07-20T22:17:40-05:30"),
    Some("2026-11-20T24:00:00Z"),
    Some("2026-11-20  10:00:00"),
    // Leap seconds: no database keeps one, so none of them is taken for the second before or after.
    Some("2016-12-31T23:59:60Z"),
    Some("2026-11-20 10:00:60"),
];

const TIME_CASES: &[(&str, &str)] = &[
    ("{of}: {after: '2026-11-20T08:00:00Z'}", "1 6 11"),
    ("{of}: {before: '2026-11-20T08:00:00.000001Z'}", "4 5 7 14"),
    ("{of}: {before: '1969-07-21T03:47:40Z'}", ""),
    ("{of}: {before: '1969-07-21T03:47:41Z'}", "14"),
    ("{of}: {not: '2026-11-20T08:00:00Z'}", "1 6 7 11 14"),
    ("{of}: {older_than: 1 day}", "4 5 6 7 14"),
    ("not: {{of}: {before: '2026-11-20T09:00:00Z'}}", "1 11"),
    ("{of}: present", "1 4 5 6 7 11 14"),
    ("{of}: missing", "2 3 8 9 10 12 13 15 16 17 18"),
];

const SECONDS: &Values = &[
    Some("1795176000"),
    Some("soon"),
    Some("-5"),
    Some("1795176000.5"),
    Some(" 7 "),
    Some(""),
    None,
    Some("1e2"),
    Some("1,795,176,000"),
];

const SECOND_CASES: &[(&str, &str)] = &[
    ("{of}: {after: 2026-01-01}", "1 4"),
    ("{of}: {before: 2000-01-01}", "3 5 8"),
    ("not: {{of}: {after: 2026-01-01}}", "3 5 8"),
    ("{of}: {not: '2026-11-20T12:00:00Z'}", "3 4 5 8"),
    ("{of}: present", "1 3 4 5 8"),
    ("{of}: missing", "2 6 7 9"),
];

const NUMBERS: &Values = &[
    Some("1000"),
    Some("1,000"),
    Some("-0.0"),
    Some(" 7"),
    Some("7e0"),
    Some("\t7\n"),
    Some("abc"),
    Some(""),
    Some(".5"),
    Some("5."),
    Some("+7"),
    Some("1E+05"),
    Some("0.000000000001"),
    Some("--5"),
    Some("1e"),
    Some("1.2.3"),
    Some("e5"),
    Some("1e2e3"),
    None,
    Some("-"),
    Some("1e2.5"),
    Some("12345678901234567890.5"),
    Some("7-"),
    Some("1e999"),
];

const NUMBER_CASES: &[(&str, &str)] = &[
    ("{of}: 7", "4 5 6 11"),
    ("{of}: 0", "3"),
    ("{of}: {above: 0}", "1 4 5 6 9 10 11 12 13 22"),
    ("{of}: {below: 1}", "3 9 13"),
    ("{of}: {at_least: 100000}", "12 22"),
    ("{of}: {above: 12345678901234500000}", "22"),
    ("not: {{of}: {above: 0}}", "3"),
    ("{of}: missing", "2 7 8 14 15 16 17 18 19 20 21 23 24"),
];

const WHOLES: &Values = &[
    Some("7"),
    Some("7.5"),
    Some("7.0"),
    Some(" 8 "),
    Some("NaN"),
    Some("Infinity"),
    Some("-3"),
    Some(""),
    None,
    Some("1e1"),
    Some("1.5e1"),
    Some("10e-1"),
    Some("seven"),
];

const WHOLE_CASES: &[(&str, &str)] = &[
    ("{of}: 7", "1 3"),
    ("{of}: {above: 7}", "4 10 11"),
    ("{of}: {at_least: 2}", "1 3 4 10 11"),
    ("{of}: {not: 7}", "4 7 10 11 12"),
    ("not: {{of}: {above: 7}}", "1 3 7 12"),
    ("{of}: missing", "2 5 6 8 9 13"),
];

const FLAGS: &Values = &[Some("Y"), Some(" yes "), Some("NO"), Some("?"), Some(""), None, Some("1"), Some("off")];

const FLAG_CASES: &[(&str, &str)] = &[
    ("{of}: true", "1 2 7"),
    ("{of}: {not: true}", "3 8"),
    ("not: {{of}: false}", "1 2 7"),
    ("{of}: missing", "4 5 6"),
];

/// Text in a column, in an attribute and in JSON is read in one way.
async fn all_agree(ty: &str, declared: &str, values: &Values, cases: &[(&str, &str)]) {
    let catalog = format!(
        "version: 1\ntime_zone: UTC\nentities:\n  thing:\n    table: things\n    key: id\n    attributes:\n      \
         custom: {{table: custom, record: thing_id, name: name, value: value}}\n    fields:\n      \
         own: {{column: own, type: {declared}}}\n      eav: {{attribute: custom.it, type: {ty}}}\n      \
         json: {{column: props, path: deep.it, type: {ty}}}\n"
    );
    let mut sql = "CREATE TABLE things (id integer PRIMARY KEY, own varchar(40), props {json});\n\
                   CREATE TABLE custom (thing_id integer, name varchar(10), value varchar(40));\n"
        .to_owned();
    for (id, value) in (1..).zip(values) {
        let quoted = value.map_or_else(|| "NULL".to_owned(), |value| format!("'{value}'"));
        let json = serde_json::json!({"deep": {"it": value}}).to_string();
        let _ = writeln!(sql, "INSERT INTO things VALUES ({id}, {quoted}, '{json}');");
        if value.is_some() {
            let _ = writeln!(sql, "INSERT INTO custom VALUES ({id}, 'it', {quoted});");
        }
    }
    let asked: Vec<(String, &str)> = ["own", "eav", "json"]
        .into_iter()
        .flat_map(|of| cases.iter().map(move |(condition, keys)| (condition.replace("{of}", of), *keys)))
        .collect();
    for world in World::all() {
        // A backslash of JSON is one of MariaDB's strings as well.
        let sql = match world.dialect() {
            Dialect::MySql => sql.replace('\\', "\\\\"),
            _ => sql.clone(),
        };
        world.execute(&sql).await;
        hold(&world, &catalog, &asked, values.len()).await;
    }
}

/// The conditions hold for these records and no others; what is shown is what is there.
async fn hold(world: &World, catalog: &str, cases: &[(String, &str)], records: usize) {
    let terms: String = cases.iter().map(|(condition, _)| format!("  - {condition}\n")).collect();
    let rule = format!(
        "version: 1\nid: r\nmode: live\npurpose: service\nfor_each: thing\ntrigger: {{schedule: {{cron: \"0 9 * * *\"}}}}\n\
         where:\n{terms}steps: [webhook: {{to: crm}}]\n"
    );
    let (rule, _) = world.rule(catalog, &rule).await;
    let subjects: Vec<_> = (1..=records).map(|id| subject(&id.to_string())).collect();
    let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    let facts = world.facts(&rule, &subjects, now).await;
    assert_eq!(facts.len(), records);
    let mut wrong = Vec::new();
    for (number, (condition, expected)) in cases.iter().enumerate() {
        let held = facts.iter().filter(|(_, facts)| facts.conditions[number] == Some(true));
        let held: BTreeSet<u32> = held.map(|(key, _)| key.parse().unwrap()).collect();
        let told = held.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        if told != *expected {
            wrong.push(format!("{condition}: {told} instead of {expected}"));
        }
        if let Some(field) = condition.strip_suffix(": missing") {
            for (key, facts) in &facts {
                let there = facts.record[field] != Value::Null;
                if there == held.contains(&key.parse().unwrap()) {
                    wrong.push(format!("{field} of {key} is shown as {:?}", facts.record[field]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{:?}\n{}", world.dialect(), wrong.join("\n"));
}

#[tokio::test]
async fn a_day_that_no_calendar_has_is_missing() {
    all_agree("date", "date_text", DAYS, DAY_CASES).await;
}

#[tokio::test]
async fn a_time_that_is_none_is_missing() {
    all_agree("instant", "instant_text", TIMES, TIME_CASES).await;
}

#[tokio::test]
async fn seconds_may_be_kept_as_text() {
    all_agree("epoch_seconds", "epoch_seconds", SECONDS, SECOND_CASES).await;
}

#[tokio::test]
async fn there_is_one_grammar_of_numbers() {
    all_agree("decimal", "number_text", NUMBERS, NUMBER_CASES).await;
}

#[tokio::test]
async fn a_whole_number_has_no_fraction() {
    all_agree("int", "int", WHOLES, WHOLE_CASES).await;
}

const NUMBER_CELLS: &str = "\
    CREATE TABLE things (id integer PRIMARY KEY, exact {exact}, f double precision, other_id integer);\n\
    CREATE TABLE custom (thing_id integer, name varchar(10), value {exact});\n\
    INSERT INTO things VALUES (1, 7, 7, 1), (2, 12.5, 7.5, 2), (3, NULL, NULL, 3), (4, {nan}, {nan}, 4), (5, {inf}, {inf}, 5), \
    (6, -7, -7, 6);\n\
    INSERT INTO custom SELECT id, 'it', exact FROM things;\n";

/// Not a number, and more than every number, are what only PostgreSQL keeps; to the others they are null here.
#[tokio::test]
async fn what_is_no_number_of_its_type_is_missing_however_it_is_kept() {
    let catalog = "version: 1\ntime_zone: UTC\nentities:\n  thing:\n    table: things\n    key: id\n    attributes:\n      \
                   custom: {table: custom, record: thing_id, name: name, value: value}\n    relations:\n      \
                   other: {entity: other, to: other_id}\n    fields:\n      \
                   whole: {column: exact, type: int}\n      whole_f: {column: f, type: int}\n      \
                   decimal_f: {column: f, type: decimal}\n      float_exact: {column: exact, type: float}\n      \
                   computed: {sql: \"$row.exact\", type: int}\n      eav: {attribute: custom.it, type: int}\n      \
                   looked: {look_up: other.whole}\n      kept: {column: exact, type: int, only: {id: {not: 99}}}\n  \
                   other: {table: things, key: id, fields: {whole: {column: exact, type: int}}}\n";
    let whole = ["whole", "whole_f", "computed", "eav", "looked", "kept"];
    let broken = ["exact", "f", "decimal_f", "float_exact"];
    let mut asked = Vec::new();
    for (fields, tests) in [
        (&whole[..], [("{above: 6}", "1"), ("{below: 100}", "1 6"), ("missing", "2 3 4 5"), ("present", "1 6")]),
        (&broken[..], [("{above: 6}", "1 2"), ("{below: 100}", "1 2 6"), ("missing", "3 4 5"), ("present", "1 2 6")]),
    ] {
        let cases =
            fields.iter().flat_map(|field| tests.iter().map(move |(test, keys)| (format!("{field}: {test}"), *keys)));
        asked.extend(cases);
    }
    for world in World::all() {
        let (exact, nan, inf) = match world.dialect() {
            Dialect::Postgres => ("numeric", "'NaN'", "'Infinity'"),
            Dialect::MySql | Dialect::Sqlite => ("decimal(12, 4)", "NULL", "NULL"),
        };
        world.execute(&NUMBER_CELLS.replace("{exact}", exact).replace("{nan}", nan).replace("{inf}", inf)).await;
        hold(&world, catalog, &asked, 6).await;
    }
}

/// Its columns of whole numbers hold anything.
#[tokio::test]
async fn a_column_of_sqlite_is_not_what_it_says() {
    let catalog = "version: 1\ntime_zone: UTC\nentities:\n  thing: {table: things, key: id, fields: {n: {column: n, type: int}}}\n";
    let world = World::sqlite();
    world
        .execute(
            "CREATE TABLE things (id integer PRIMARY KEY, n integer);\n\
             INSERT INTO things VALUES (1, 7), (2, 7.5), (3, 'many'), (4, NULL), (5, 9e99);\n",
        )
        .await;
    let asked = [("n: {above: 6}", "1"), ("n: missing", "2 3 4 5"), ("n: present", "1"), ("n: 7.5", "")];
    hold(&world, catalog, &asked.map(|(condition, keys)| (condition.to_owned(), keys)), 5).await;
}

#[tokio::test]
async fn there_is_one_list_of_flags() {
    all_agree("bool", "bool_text", FLAGS, FLAG_CASES).await;
}

const DOCUMENTS: &[&str] = &[
    r#"{"tags": ["a", "b"], "n": 1e2, "ok": true, "text": true}"#,
    r#"{"tags": "a", "n": "12", "ok": "yes", "text": 12}"#,
    r#"{"tags": {"0": "a"}, "n": true, "ok": 1, "text": "true"}"#,
    r#"{"tags": [], "n": [5], "ok": "maybe", "text": null}"#,
    r#"{"tags": [["a"]], "n": 1.50, "ok": false, "text": 1.50}"#,
    r#"{"tags": "[x", "n": null, "ok": null, "text": ""}"#,
    r#"[{"tags": ["a"]}]"#,
];

const DOCUMENT_CASES: &[(&str, &str)] = &[
    ("first: a", "1"),
    ("first: present", "1 5"),
    ("first: missing", "2 3 4 6 7"),
    ("deep: a", "5"),
    ("of_list: a", "7"),
    ("n: 100", "1"),
    ("n: {above: 0}", "1 2 5"),
    ("n: missing", "3 4 6 7"),
    ("ok: true", "1 2 3"),
    ("ok: false", "5"),
    ("ok: missing", "4 6 7"),
    ("text: 'true'", "1 3"),
    ("text: '12'", "2"),
    ("text: '1.50'", "5"),
    ("text: missing", "4 6 7"),
];

#[tokio::test]
async fn a_position_is_one_of_a_list_and_json_is_read_as_it_is_written() {
    let catalog = "version: 1\ntime_zone: UTC\nentities:\n  thing:\n    table: things\n    key: id\n    fields:\n      \
                   first: {column: props, path: tags.0, type: text}\n      deep: {column: props, path: tags.0.0, type: text}\n      \
                   of_list: {column: props, path: 0.tags.0, type: text}\n      n: {column: props, path: n, type: decimal}\n      \
                   ok: {column: props, path: ok, type: bool}\n      text: {column: props, path: text, type: text}\n";
    let mut sql = "CREATE TABLE things (id integer PRIMARY KEY, props {json});\n".to_owned();
    for (id, document) in (1..).zip(DOCUMENTS) {
        let _ = writeln!(sql, "INSERT INTO things VALUES ({id}, '{document}');");
    }
    let asked: Vec<(String, &str)> =
        DOCUMENT_CASES.iter().map(|(condition, keys)| ((*condition).to_owned(), *keys)).collect();
    for world in World::all() {
        world.execute(&sql).await;
        hold(&world, catalog, &asked, DOCUMENTS.len()).await;
    }
}

const CELLS: &str = "\
    CREATE TABLE things (id integer PRIMARY KEY, born varchar(20));\n\
    CREATE TABLE visits (id integer PRIMARY KEY, thing_id integer, day varchar(20), at varchar(40));\n\
    INSERT INTO things VALUES (1, NULL), (2, NULL), (3, NULL);\n\
    INSERT INTO visits VALUES (1, 1, '2026-08-01', '2026-08-01T10:00:00Z'), (2, 1, 'never', 'never'), \
    (3, 1, '2026-09-31', '2026-09-31T10:00:00Z'), (4, 2, 'soon', 'soon'), (5, 3, '2026-10-01', '2026-10-01T10:00:00Z');\n";

/// Text that is no date neither ends a silence nor is the latest of anything.
#[tokio::test]
async fn what_is_no_date_is_no_activity() {
    for (kept, last) in [("day: {type: date_text}", "2026-08-01"), ("at: {type: instant_text}", "2026-08-01T10:00:00Z")]
    {
        let at = &kept[..kept.find(':').unwrap()];
        let catalog = format!(
            "version: 1\ntime_zone: UTC\nentities:\n  thing:\n    table: things\n    key: id\n    relations:\n      \
             visits: {{entity: visit, by: thing_id}}\n    fields:\n      last: {{max: visits.{at}}}\n  \
             visit: {{table: visits, key: id, at: {at}, fields: {{{kept}}}}}\n"
        );
        let rule = "version: 1\nid: r\nmode: live\npurpose: service\nfor_each: thing\ntrigger:\n  \
                    inactivity: {of: visits, for: 90 days}\nsteps: [webhook: {to: crm}]\n";
        for world in World::all() {
            world.execute(CELLS).await;
            let (rule, _) = world.rule(&catalog, rule).await;
            let window = super::world::window("2026-10-15T00:00:00Z", "2026-11-15T00:00:00Z");
            let found = world.crossings(&rule, nudged::rule::compiled::Reach::Crossed(window)).await;
            let keys: Vec<&str> = found.iter().map(|crossing| crossing.key.as_str()).collect();
            assert_eq!(keys, ["1"], "{:?} {at}", world.dialect());
            let asked = [
                ("last: present".to_owned(), "1 3"),
                ("last: missing".to_owned(), "2"),
                ("last: {older_than: 60 days}".to_owned(), "1"),
                ("visits: {some: {}, within_last: 90 days}".to_owned(), "3"),
            ];
            hold(&world, &catalog, &asked, 3).await;
            let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
            let facts = world.facts(&rule, &[subject("1")], now).await;
            let shown = facts["1"].record["last"].to_json();
            assert_eq!(shown, serde_json::json!(last), "{:?} {at}", world.dialect());
        }
    }
}
