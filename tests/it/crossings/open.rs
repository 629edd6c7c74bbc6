//! Rows of which nobody can say whether they count: a customer whose ticket has no status is neither one with an open
//! ticket nor one without.

use super::world::{World, subject};
use jiff::Timestamp;
use nudged::model::Value;

const CATALOG: &str = "
version: 1
time_zone: UTC
entities:
  thing:
    table: things
    key: id
    relations:
      tickets: {entity: ticket, by: thing_id}
    fields:
      spent: {sum: tickets.total}
  ticket:
    table: tickets
    key: id
    at: opened_at
    relations:
      notes: {entity: note, by: ticket_id}
    fields: {opened_at: {type: instant, zone: UTC}}
  note: {table: notes, key: id}
";

const TABLES: &str = "
CREATE TABLE things (id integer PRIMARY KEY);
CREATE TABLE tickets (id integer PRIMARY KEY, thing_id integer, status varchar(10), total integer, opened_at {naive});
CREATE TABLE notes (id integer PRIMARY KEY, ticket_id integer, kind varchar(10));
INSERT INTO things VALUES (1), (2), (3), (4), (5), (6), (7);
INSERT INTO tickets VALUES
 (10, 1, 'open', 10, '2026-11-20 00:00:00'),
 (20, 2, 'closed', 5, NULL),
 (30, 3, NULL, 7, '2026-11-20 00:00:00'),
 (40, 4, 'open', 1, NULL), (41, 4, NULL, 2, '2026-11-20 00:00:00'),
 (60, 6, 'closed', NULL, NULL), (61, 6, 'closed', NULL, NULL),
 (70, 7, NULL, 0, NULL), (71, 7, '', 0, NULL);
INSERT INTO notes VALUES (1, 10, NULL), (2, 20, 'call'), (3, 30, 'mail'), (4, 30, NULL);
";

const CASES: &[(&str, &str)] = &[
    ("tickets: {some: {status: open}}", "1 4"),
    ("tickets: {none: {status: open}}", "2 5 6"),
    ("not: {tickets: {some: {status: open}}}", "2 5 6"),
    ("not: {tickets: {none: {status: open}}}", "1 4"),
    ("tickets: {none: {status: {not: open}}}", "1 5"),
    ("tickets: {some: {status: {not: open}}}", "2 6"),
    ("tickets: {none: {status: missing}}", "1 2 5 6"),
    ("tickets: {some: {status: missing}}", "3 4 7"),
    ("tickets: {none: {}}", "5"),
    ("tickets: {none: {status: open, total: {above: 5}}}", "2 4 5 6 7"),
    // A row without a time is of no time.
    ("tickets: {none: {}, within_last: 30 days}", "2 5 6 7"),
    ("tickets: {none: {status: open}, within_last: 30 days}", "2 5 6 7"),
    ("tickets: {count: 0, only: {status: open}}", "2 5 6"),
    ("tickets: {count: {at_least: 1}, only: {status: open}}", "1 4"),
    ("tickets: {count: 1, only: {status: open}}", "1"),
    ("tickets: {count: {at_most: 1}, only: {status: open}}", "1 2 3 5 6"),
    ("tickets: {count: {between: [0, 2]}, only: {status: open}}", "1 2 3 4 5 6 7"),
    ("tickets: {count: {not: 1}, only: {status: open}}", "2 5 6"),
    ("not: {tickets: {count: {at_least: 2}, only: {status: open}}}", "1 2 3 5 6"),
    ("not: {tickets: {count: 5, only: {status: open}}}", "1 2 5 6"),
    ("tickets: {sum: {total: {below: 1}}}", "5 7"),
    ("tickets: {sum: {total: {at_least: 5}}}", "1 2 3"),
    ("not: {tickets: {sum: {total: {at_least: 5}}}}", "4 5 7"),
    ("tickets: {sum: {total: {at_least: 1}}, only: {status: open}}", "1 4"),
    ("tickets: {max: {total: {below: 9}}}", "2 3 4 7"),
    ("spent: {at_most: 0}", "5 7"),
    ("spent: missing", "6"),
    ("tickets: {some: {notes: {none: {kind: call}}}}", "4 6 7"),
    ("tickets: {none: {notes: {some: {kind: call}}}}", "4 5 6 7"),
    ("not: {tickets: {some: {notes: {some: {kind: mail}}}}}", "2 4 5 6 7"),
    ("any: [{tickets: {none: {status: open}}}, {tickets: {some: {}}}]", "1 2 3 4 5 6 7"),
    ("all: [{not: {tickets: {some: {status: open}}}}, {tickets: {none: {status: closed}}}]", "5"),
];

fn rule() -> String {
    let terms: String = CASES.iter().map(|(condition, _)| format!("  - {condition}\n")).collect();
    format!(
        "version: 1\nid: r\nmode: live\npurpose: service\nfor_each: thing\ntrigger: {{schedule: {{cron: \"0 9 * * *\"}}}}\n\
         where:\n{terms}steps: [webhook: {{to: crm}}]\n"
    )
}

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

#[tokio::test]
async fn a_row_of_which_nobody_can_say_leaves_a_question_open() {
    for world in World::all() {
        world.execute(TABLES).await;
        let (rule, _) = world.rule(CATALOG, &rule()).await;
        let subjects: Vec<_> = (1..=7).map(|id| subject(&id.to_string())).collect();
        let facts = world.facts(&rule, &subjects, now()).await;
        let mut wrong = Vec::new();
        for (number, (condition, expected)) in CASES.iter().enumerate() {
            let held: Vec<&str> =
                facts.iter().filter(|(_, f)| f.conditions[number] == Some(true)).map(|(key, _)| key.as_str()).collect();
            if held.join(" ") != *expected {
                wrong.push(format!("{condition}: {} instead of {expected}", held.join(" ")));
            }
        }
        assert!(wrong.is_empty(), "{:?}\n{}", world.dialect(), wrong.join("\n"));
        // Open is neither true nor false: what `explain` and `why` tell.
        assert_eq!(facts["3"].conditions[..4], [None; 4], "{:?}", world.dialect());
        assert_eq!(facts["1"].conditions[..4], [Some(true), Some(false), Some(false), Some(true)]);
        assert_eq!(facts["6"].record["spent"], Value::Null);
    }
}
