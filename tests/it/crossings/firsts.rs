//! The first of several rows, of every record of a batch: an attribute under its name's number, and the person who is
//! picked by one. Put plainly, MariaDB answers such questions wrongly from the second record on where `text` is sorted.

use super::world::{World, subject};
use jiff::Timestamp;
use std::fmt::Write;

const CATALOG: &str = r"
version: 1
time_zone: Europe/Vienna
entities:
  account:
    table: accounts
    key: id
    attributes: {custom: &eav {table: eav, record: entity_id, name: attribute_id, value: value, names: {table: attributes, key: id, name: code}}}
    fields: {favourite: {attribute: custom.favourite}, seats: {attribute: custom.seats}}
    relations: {contacts: {entity: contact, by: account_id}}
    recipients:
      main: {first_of: contacts, only: {duty: boss}, order: [name]}
  contact:
    table: contacts
    key: id
    attributes: {custom: *eav}
    fields: {name: name, duty: {attribute: custom.duty}}
    person: {email: email}
";

const RULE: &str = "version: 1\nid: firsts\nmode: shadow\npurpose: service\nfor_each: account\nto: main\n\
                    trigger: {schedule: {cron: \"0 9 * * *\"}}\nwhere: [favourite: {in: [tea, coffee]}]\n\
                    steps:\n  - task: {title: Call}\n";

const TABLES: &str = r"
CREATE TABLE accounts (id integer PRIMARY KEY);
CREATE TABLE attributes (id integer PRIMARY KEY, code varchar(40));
CREATE TABLE contacts (id integer PRIMARY KEY, account_id integer, name text, email varchar(80));
CREATE TABLE eav (value_id integer PRIMARY KEY, entity_id integer, attribute_id integer, value text);
CREATE INDEX of_entity ON eav (entity_id, attribute_id);
CREATE INDEX of_account ON contacts (account_id);
INSERT INTO attributes VALUES (1, 'seats'), (2, 'favourite'), (3, 'duty');
";

const ACCOUNTS: i64 = 24;

/// Every third account drinks neither, and the boss is the second of its three contacts by name.
fn rows() -> String {
    let mut sql = String::new();
    let mut value = 0;
    let mut keep = |sql: &mut String, entity: i64, attribute: i64, text: &str| {
        value += 1;
        let _ = writeln!(sql, "INSERT INTO eav VALUES ({value}, {entity}, {attribute}, '{text}');");
    };
    for id in 0..ACCOUNTS {
        let _ = writeln!(sql, "INSERT INTO accounts VALUES ({id});");
        keep(&mut sql, id, 1, &format!("{}", id % 10));
        keep(&mut sql, id, 2, ["tea", "coffee", "water"][usize::try_from(id % 3).unwrap()]);
        for place in 0..3 {
            let contact = 1000 + id * 3 + place;
            let _ =
                writeln!(sql, "INSERT INTO contacts VALUES ({contact}, {id}, 'N{place}', 'p{place}@a{id}.example');");
            keep(&mut sql, contact, 3, if place == 0 { "clerk" } else { "boss" });
        }
    }
    sql
}

#[tokio::test]
async fn the_first_row_is_that_of_each_record() {
    let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    for world in World::all() {
        world.execute(TABLES).await;
        world.execute(&rows()).await;
        let (rule, _) = world.rule(CATALOG, RULE).await;
        let subjects: Vec<_> = (0..ACCOUNTS).map(|id| subject(&id.to_string())).collect();
        let found = world.facts(&rule, &subjects, now).await;
        for id in 0..ACCOUNTS {
            let facts = &found[&id.to_string()];
            assert_eq!(facts.conditions, [Some(id % 3 != 2)], "{:?} {id}", world.dialect());
            let boss = facts.recipients.values().next().unwrap();
            assert_eq!(boss.email.as_deref(), Some(&*format!("p1@a{id}.example")), "{:?} {id}", world.dialect());
        }
    }
}
