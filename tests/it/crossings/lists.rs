//! The source's own lists of who must not be written to: whoever is on one is found, however the one or the other wrote
//! the address.

use super::world::{World, subject};
use jiff::Timestamp;
use nudged::model::Country;
use nudged::rule::compiled::PersonFacts;
use nudged::rule::statement::Dialect;
use std::fmt::Write;

const CATALOG: &str = r"
version: 1
time_zone: Europe/Vienna
entities:
  contact:
    table: contacts
    key: id
    person: {email: email, phone: phone}
    consent: {email: {offers: news_ok}}
    recipients:
      me: {self: true}
suppressions:
  - {table: blocked, email: address, reason: bounce}
  - {table: robinson, email: mail, phone: number}
";

const RULE: &str = "version: 1\nid: silence\nmode: shadow\npurpose: offers\nfor_each: contact\nto: me\n\
                    trigger: {schedule: {cron: \"0 9 * * *\"}}\nsteps:\n  - task: {title: Call}\n";

const TABLES: &str = r"
CREATE TABLE contacts (id integer PRIMARY KEY, email varchar(80), phone varchar(40), news_ok boolean);
CREATE TABLE blocked (address varchar(80));
CREATE TABLE robinson (mail varchar(80), number varchar(40));
";

/// Each with what is listed in its place, and the reason that is told of it.
const MAILBOXES: &[(&str, &str, Option<&str>)] = &[
    ("ada@x.example", "ada@x.example", Some("bounce")),
    ("Bob@Example.com ", "BOB@example.com", Some("bounce")),
    ("cid@x.example", "  CID@x.example \t", Some("bounce")),
    ("dan@x.example", "dan@x.example\r", Some("bounce")),
    ("müller@x.example", "MÜLLER@x.example ", Some("bounce")),
    ("ÖZIL@x.example", "özil@x.example", Some("bounce")),
    ("under_score@x.example", "underXscore@x.example", None),
    ("möller@x.example", "maller@x.example", None),
    ("eve@x.example", "eve@x.example.org", None),
];

const NUMBERS: &[(&str, &str, bool)] = &[
    ("0660 1234567", "+436601234567", true),
    ("+43 660 1234568", "0660/123 45 68", true),
    ("0043 (0)660 1234569", "+43-660-123.45.69", true),
    ("0660 1234570", "06601234570", true),
    ("0660 1234571 ext. 9", "+43 660 1234571", true),
    ("0660 1234572", "+49 660 1234572", false),
    ("0660 1234573", "1234573", false),
];

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

async fn people(world: &World, rows: &str) -> Vec<PersonFacts> {
    world.execute(TABLES).await;
    world.execute(rows).await;
    let (rule, _) = world.rule(CATALOG, RULE).await;
    let count = MAILBOXES.len().max(NUMBERS.len());
    let subjects: Vec<_> = (0..count).map(|number| subject(&number.to_string())).collect();
    assert_eq!(rule.unwanted(&[]), Vec::new(), "about nobody nothing is asked");
    let mut facts = world.facts(&rule, &subjects, now()).await;
    (0..count).filter_map(|number| facts.remove(&number.to_string())?.recipients.remove("me")).collect()
}

#[tokio::test]
async fn a_mailbox_on_a_list_is_found_whatever_its_letters_and_blanks() {
    for world in World::all() {
        let mut rows = "INSERT INTO blocked VALUES (NULL), ('');\n".to_owned();
        for (number, (mailbox, listed, _)) in MAILBOXES.iter().enumerate() {
            let _ = writeln!(rows, "INSERT INTO contacts VALUES ({number}, '{mailbox}', NULL, TRUE);");
            let _ = writeln!(rows, "INSERT INTO blocked VALUES ('{listed}');");
        }
        for (person, (mailbox, listed, reason)) in people(&world, &rows).await.iter().zip(MAILBOXES) {
            assert_eq!(person.suppressed.as_deref(), *reason, "{mailbox:?} {listed:?} {:?}", world.dialect());
        }
    }
}

#[tokio::test]
async fn a_number_on_a_list_is_found_however_it_is_written() {
    let austria: Option<Country> = "AT".parse().ok();
    for world in World::all() {
        let mut rows = "INSERT INTO robinson VALUES (NULL, NULL), ('', '');\n".to_owned();
        for (number, (phone, listed, _)) in NUMBERS.iter().enumerate() {
            let _ = writeln!(rows, "INSERT INTO contacts VALUES ({number}, 'p{number}@x.example', '{phone}', TRUE);");
            let _ = writeln!(rows, "INSERT INTO robinson VALUES (NULL, '{listed}');");
        }
        rows += "INSERT INTO robinson VALUES ('P1@x.example', NULL);\n";
        let found = people(&world, &rows).await;
        for (person, (phone, listed, is_same)) in found.iter().zip(NUMBERS) {
            let told = person.number_suppressed(austria);
            assert_eq!(told, is_same.then_some("suppressed"), "{phone} {listed} {:?}", world.dialect());
        }
        let mailed: Vec<_> = found.iter().map(|person| person.suppressed.is_some()).collect();
        assert_eq!(mailed, [false, true, false, false, false, false, false], "{:?}", world.dialect());
    }
}

#[tokio::test]
async fn lists_are_read_by_the_indexes_that_check_asks_for() {
    for world in World::all() {
        let (mail, phone, many) = match world.dialect() {
            Dialect::Postgres => (
                r"lower(btrim(CAST(address AS text), E' \t\r\n'))",
                "right(regexp_replace(CAST(number AS text), '[^0-9]', '', 'g'), 6)",
                "generate_series(1, 3000) AS n(n)",
            ),
            Dialect::Sqlite => ("lower(trim(CAST(address AS TEXT), char(32, 9, 13, 10)))", "", "(SELECT 1 AS n)"),
            // It has no indexes over expressions.
            Dialect::MySql => continue,
        };
        let mut rows = format!(
            "CREATE INDEX by_mail ON blocked ({mail});\nINSERT INTO contacts VALUES (0, 'a@x.example', '0660 1234567', TRUE);\n\
             INSERT INTO blocked SELECT 'x' || n || '@x.example' FROM {many};\n\
             INSERT INTO robinson SELECT NULL, '+43660' || (1000000 + n) FROM {many};\n"
        );
        if !phone.is_empty() {
            let _ =
                writeln!(rows, "CREATE INDEX by_number ON robinson ({phone});\nANALYZE blocked;\nANALYZE robinson;");
        }
        world.execute(TABLES).await;
        world.execute(&rows).await;
        let (rule, _) = world.rule(CATALOG, RULE).await;
        let facts: Vec<_> = world.facts(&rule, &[subject("0")], now()).await.into_values().collect();
        let mut plans = String::new();
        for (_, statement) in rule.unwanted(&facts) {
            plans += &world.plan(statement).await;
        }
        assert!(plans.contains("by_mail"), "{plans}");
        assert!(phone.is_empty() || plans.contains("by_number"), "{plans}");
    }
}
