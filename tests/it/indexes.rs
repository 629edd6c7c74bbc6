//! The indexes that `check --db` asks for: each can be made as it is printed, and then nobody asks for it any more.

use crate::support::instant;
use crate::world::{Kind, Setup, World};
use nudged::rule::generation::Generation;
use nudged::rule::index;
use rstest::rstest;
use std::collections::BTreeSet;

const START: &str = "2026-11-20T12:30:00Z";

const TABLES: &str = "
CREATE TABLE records (record_id INTEGER PRIMARY KEY, created_at {instant}, born DATE);
CREATE TABLE accounts (id INTEGER PRIMARY KEY, status_id INTEGER, props {json}, changed_at {instant}, secs VARCHAR(20));
CREATE TABLE custom_values (account_id INTEGER, field VARCHAR(20), value VARCHAR(40));
CREATE TABLE statuses (id INTEGER PRIMARY KEY, since {instant});
CREATE TABLE orders (id INTEGER PRIMARY KEY, buyer_id INTEGER, placed_at {instant}, changed_at {instant}, paid BOOLEAN);
CREATE TABLE invoices (number INTEGER PRIMARY KEY, customer_no INTEGER, issued_at {instant});
CREATE TABLE tickets (id INTEGER PRIMARY KEY, account_id INTEGER, opened_at {instant}, status VARCHAR(20));
CREATE VIEW seen_tickets AS SELECT id, account_id, opened_at FROM tickets;
CREATE TABLE account_people (account_id INTEGER, person_id INTEGER);
CREATE TABLE people (id INTEGER PRIMARY KEY, email VARCHAR(60), phone VARCHAR(40));
CREATE TABLE notes (id INTEGER PRIMARY KEY, parent_type VARCHAR(20), parent_id INTEGER);
CREATE INDEX notes_of_parents ON notes (parent_type, parent_id);
CREATE TABLE marks (id INTEGER PRIMARY KEY, kind VARCHAR(20), account_id INTEGER);
CREATE INDEX marks_by_kind ON marks (kind, account_id);
CREATE TABLE jobs (title VARCHAR(60), account INTEGER, ref VARCHAR(40), status VARCHAR(20));
CREATE TABLE blocked (address VARCHAR(60), number VARCHAR(40));
CREATE TABLE leads_of_a_table_whose_name_is_so_long_that_nothing_fits_behind (id INTEGER PRIMARY KEY, seen TEXT);
";

const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  account:
    table: accounts
    key: id
    updated_at: changed_at
    parents:
      - {table: records, key: record_id, columns: [created_at, born]}
    attributes:
      custom: {table: custom_values, record: account_id, name: field, value: value}
    relations:
      status: {entity: status, to: status_id}
      orders: {entity: order, by: buyer_id}
      tickets: {entity: ticket, by: account_id}
      seen: {entity: seen, by: account_id}
      activity: {entity: activity, by: account}
      notes: {entity: note, by: parent_id, only: {parent_type: Account}}
      marks: {entity: mark, by: account_id}
      people: {entity: person, through: account_people, from: account_id, to: person_id}
    fields:
      ends: {column: props, path: plan.ends, type: date}
      renews: {attribute: custom.renews, type: date}
      since: {look_up: status.since}
      paid_at: {sql: \"$row.changed_at\", type: instant}
      signed: {column: secs, type: epoch_seconds}
      spent: {count: orders}
    recipients:
      main: {first_of: people, else: other}
      other: {first_of: people}
  status: {table: statuses, key: id}
  order: {table: orders, key: id, at: placed_at, updated_at: changed_at}
  invoice: {table: invoices, key: number, at: issued_at}
  ticket: {table: tickets, key: id, at: opened_at}
  seen: {table: seen_tickets, key: id, at: opened_at}
  activity:
    union:
      order: {fields: {account: buyer_id, at: placed_at}}
      invoice: {fields: {account: customer_no, at: issued_at}}
    at: at
  note: {table: notes, key: id}
  mark: {table: marks, key: id}
  person: {table: people, key: id, person: {email: email, phone: phone}}
  lead:
    table: leads_of_a_table_whose_name_is_so_long_that_nothing_fits_behind
    key: id
    fields: {seen: {type: instant_text}}
suppressions: [{table: blocked, email: address, phone: number}]
tasks:
  open: {status: {not_in: [Done]}}
  insert: [{table: jobs, set: {title: $title, account: $record.key, ref: $ref, status: New}}]
";

/// What a rule adds to its head, and the columns that must be found by. Every rule over accounts asks for `changed_at`.
const RULES: &[(&str, &[&str])] = &[
    (
        "trigger: {inactivity: {of: orders, for: 90 days, fallback: created_at}}",
        &["orders.buyer_id", "orders.changed_at", "orders.placed_at", "records.created_at"],
    ),
    ("trigger: {yearly: {field: born}}", &["records.born"]),
    ("trigger: {yearly: {field: ends}}", &[]),
    ("trigger: {yearly: {field: renews}}", &["custom_values.account_id"]),
    ("trigger: {yearly: {field: since}}", &[]),
    ("trigger: {created: {at: paid_at}}", &[]),
    ("trigger: {created: {at: signed}}", &[]),
    ("trigger: {created: {at: created_at}}", &["records.created_at"]),
    ("trigger: {count: {of: tickets, at_least: 3, within: 14 days}}", &["tickets.account_id", "tickets.opened_at"]),
    ("trigger: {count: {of: seen, at_least: 3, within: 14 days}}", &[]),
    (
        "trigger: {decline: {of: activity, by: 50, from_at_least: 4, window: 30 days}}",
        &["invoices.customer_no", "invoices.issued_at", "orders.buyer_id", "orders.placed_at"],
    ),
    ("trigger: {changed: {field: spent}}", &["orders.buyer_id"]),
    ("trigger: {segment: {when: {tickets: {some: {status: open}}}}}", &["tickets.account_id"]),
    ("to: main\ntrigger: {schedule: {cron: \"0 9 * * *\"}}", &["account_people.account_id"]),
    ("trigger: {schedule: {cron: \"0 9 * * *\"}}\nwhere: [{renews: present}]", &["custom_values.account_id"]),
    ("trigger: {schedule: {cron: \"0 9 * * *\"}}\nwhere: [{notes: some}]", &[]),
    ("trigger: {schedule: {cron: \"0 9 * * *\"}}\nwhere: [{marks: some}]", &["marks.account_id"]),
];

fn written() -> Vec<(String, String)> {
    let rule = |(number, more): (usize, &str)| {
        let head = format!(
            "version: 1\nid: rule-{number:02}\nmode: live\npurpose: service\n{more}\nsteps: [webhook: {{to: sink}}]\n"
        );
        (format!("rule-{number:02}.yaml"), head)
    };
    let accounts = RULES.iter().map(|(more, _)| format!("for_each: account\n{more}"));
    let all = accounts.chain(["for_each: lead\ntrigger: {created: {at: seen}}".to_owned()]);
    all.enumerate().map(|(number, more)| rule((number, &more))).collect()
}

fn missing(generation: &Generation, rule: usize) -> Vec<index::NeededIndex> {
    let rule = &generation.rules[format!("rule-{rule:02}").as_str()].rule;
    let surroundings = &generation.surroundings;
    index::missing(rule, &generation.catalog, surroundings.schema.as_ref().unwrap(), surroundings.dialect)
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn every_index_that_is_asked_for_can_be_made_and_is_enough(#[case] kind: Kind) {
    let json = if kind == Kind::Postgres { "JSONB" } else { "TEXT" };
    let (tables, catalog) = (Some(TABLES.replace("{json}", json)), CATALOG.to_owned());
    let world = World::set_up(Setup { own_tables: tables, catalog, ..Setup::of(kind, instant(START)) }).await;
    let rules = written();
    let files: Vec<(&str, &str)> = rules.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let generation = world.build(&files);
    let mut statements = BTreeSet::new();
    for (number, (more, expected)) in RULES.iter().enumerate() {
        let needed = missing(&generation, number);
        let told: BTreeSet<String> =
            needed.iter().map(|needed| format!("{}.{}", needed.table, needed.column)).collect();
        let expected = expected.iter().chain(&["accounts.changed_at"]).map(|column| (*column).to_owned());
        assert_eq!(told, expected.collect(), "{kind:?}: {more}");
        statements.extend(needed.iter().map(|needed| needed.create(world.source.dialect(), &generation.catalog)));
    }
    let lead = missing(&generation, RULES.len());
    assert_eq!(lead.iter().map(|needed| needed.column.as_str()).collect::<Vec<_>>(), ["seen"], "{kind:?}");
    statements.insert(lead[0].create(world.source.dialect(), &generation.catalog));
    for statement in &statements {
        world.crm.run(statement).await;
    }
    world.learn().await;
    let generation = world.build(&files);
    for (number, (_, text)) in rules.iter().enumerate() {
        assert!(missing(&generation, number).is_empty(), "{kind:?}: {text}");
    }
}

const TASK: (&str, &str) = (
    "rule-00.yaml",
    "version: 1\nid: rule-00\nmode: live\npurpose: service\nfor_each: status\ntrigger: {created: {at: since}}\n\
     steps: [task: {title: Call, unless_open: any}]\n",
);
const MAIL: (&str, &str) = (
    "rule-01.yaml",
    "version: 1\nid: rule-01\nmode: live\npurpose: service\nfor_each: account\nto: other\n\
     trigger: {schedule: {cron: \"0 9 * * *\"}}\nsteps: [email: {template: mail}, sms: {text: Hi}]\n",
);
const TEMPLATE: (&str, &str) = ("templates/mail.md", "---\nsubject: Hi\n---\nHello\n");

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn tables_of_tasks_and_lists_and_hashes_are_looked_at_as_well(#[case] kind: Kind) {
    let json = if kind == Kind::Postgres { "JSONB" } else { "TEXT" };
    let hash = if kind == Kind::Postgres { "USING hash " } else { "" };
    let tables = format!("{}CREATE INDEX hashed ON statuses {hash}(since);\n", TABLES.replace("{json}", json));
    let setup = Setup { own_tables: Some(tables), catalog: CATALOG.to_owned(), ..Setup::of(kind, instant(START)) };
    let world = World::set_up(setup).await;
    let generation = world.build(&[TASK, MAIL, TEMPLATE]);
    let told = |rule: usize| -> Vec<String> {
        missing(&generation, rule).iter().map(|needed| format!("{}.{}", needed.table, needed.column)).collect()
    };
    let since: &[&str] = if kind == Kind::Postgres { &["statuses.since"] } else { &[] };
    assert_eq!(told(0), [&["jobs.account", "jobs.ref"], since].concat(), "{kind:?}");
    // MariaDB has no indexes over expressions.
    let lists: &[&str] = if kind == Kind::MariaDb { &[] } else { &["blocked.address", "blocked.number"] };
    assert_eq!(told(1), [&["account_people.account_id", "accounts.changed_at"], lists].concat(), "{kind:?}");
    for needed in (0..2).flat_map(|rule| missing(&generation, rule)) {
        world.crm.run(&needed.create(world.source.dialect(), &generation.catalog)).await;
    }
    world.learn().await;
    let generation = world.build(&[TASK, MAIL, TEMPLATE]);
    assert!((0..2).all(|rule| missing(&generation, rule).is_empty()), "{kind:?}");
}
