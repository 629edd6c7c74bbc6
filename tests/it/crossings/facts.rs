//! Every operator, quantifier, field kind and recipient, on three databases with the same answers.

use super::world::{World, subject};
use jiff::Timestamp;
use nudged::model::{Key, Value};
use nudged::rule::compiled::Subject;

const CATALOG: &str = r#"
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: we-ird "Tab`le"
    key: id
    only: {is_active: true}
    fields:
      name: name
      tier: {column: class, means: {vip: [A, A+], standard: [B, C]}}
      born: {column: born, type: date, missing: [1900-01-01]}
      amount: {column: amount, type: number_text}
      agreed: {column: agreed, type: bool_text}
      seen: {column: seen, type: instant, zone: UTC}
      local: {column: local, type: instant}
      spent: {sum: orders.total}
      last_order: {max: orders.placed_at}
    relations:
      orders: {entity: order, by: customer}
      contacts: {entity: contact, by: customer}
      people: {entity: user, through: assigned, from: account_id, to: user_id}
    recipients:
      main: {first_of: contacts, order: [is_primary desc, id]}
      billing: {first_of: contacts, only: {role: billing}, else: main}
      owner: {first_of: people, staff: true, else: lead@acme.example}
  order:
    table: orders
    key: id
    at: placed_at
    only: {status: [paid, shipped]}
    fields: {customer: account_id, placed_at: {type: instant, zone: UTC}, total: total, status: status}
  contact:
    table: contacts
    key: id
    fields: {customer: account_id}
    person: {email: email, first_name: first_name, zone: tz}
    consent: {email: {offers: news_ok}}
  user: {table: users, key: id, person: {email: email}}
suppressions: [{table: blocked, email: address, reason: bounce}]
"#;

const TABLES: &str = r"
CREATE TABLE {odd} (id integer PRIMARY KEY, is_active boolean, name varchar(40), class varchar(5), born {date},
  amount varchar(20), agreed varchar(5), seen {instant}, local {naive}, n integer, d decimal(10,2));
CREATE TABLE orders (id integer PRIMARY KEY, account_id integer, placed_at {instant}, total decimal(10,2), status varchar(20));
CREATE TABLE contacts (id integer PRIMARY KEY, account_id integer, email varchar(60), first_name varchar(40), tz varchar(40),
  role varchar(20), is_primary boolean, news_ok boolean);
CREATE TABLE users (id integer PRIMARY KEY, email varchar(60));
CREATE TABLE assigned (account_id integer, user_id integer);
CREATE TABLE blocked (address varchar(60));
";

const ROWS: &str = r"
INSERT INTO {odd} VALUES
 (1, TRUE, 'Anna', 'A', '1980-02-03', '12.50', 'Y', '2026-06-01 00:00:00{z}', '2026-10-25 02:30:00', 5, 10.00),
 (2, TRUE, 'anna', 'B', '1900-01-01', 'twelve', 'n', '2026-01-01 00:00:00{z}', '2026-01-01 00:00:00', NULL, 0.10),
 (3, TRUE, '', 'X', NULL, '', '?', NULL, NULL, -3, NULL),
 (4, TRUE, '100%_\O''Brien', 'A+', '2000-12-31', ' 7 ', 'yes', '2027-01-01 00:00:00{z}', '2026-11-20 00:00:00', 0, 99.99),
 (5, TRUE, NULL, NULL, '2026-11-21', '-3', NULL, '2026-11-21 10:00:00{z}', '2026-11-21 11:00:00', 100, 100.00),
 (6, FALSE, 'gone', 'A', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO orders VALUES
 (1, 1, '2026-11-01 00:00:00{z}', 0.10, 'paid'), (2, 1, '2026-11-10 00:00:00{z}', 0.20, 'paid'), (3, 1, '2026-11-15 00:00:00{z}', 500, 'cancelled'),
 (4, 2, '2026-01-01 00:00:00{z}', 40, 'shipped'), (5, 4, '2027-05-05 00:00:00{z}', 1000, 'paid'), (6, 5, NULL, 7, 'paid');
INSERT INTO contacts VALUES
 (1, 1, 'b@x.example', 'Bo', 'America/New_York', 'billing', FALSE, TRUE), (2, 1, 'p@x.example', 'Pat', '', 'other', TRUE, FALSE),
 (3, 2, '', 'No', NULL, 'other', TRUE, NULL), (4, 4, 'BLOCKED@x.example', 'Al', NULL, 'other', TRUE, TRUE);
INSERT INTO users VALUES (1, 'u1@acme.example'), (2, 'u2@acme.example');
INSERT INTO assigned VALUES (1, 2), (1, 2), (1, 1);
INSERT INTO blocked VALUES ('blocked@X.example'), (NULL);
";

/// A condition and the customers for whom it holds at 2026-11-21 10:00 UTC (11:00 in Vienna).
const CASES: &[(&str, &str)] = &[
    ("name: Anna", "1"),
    ("name: {not: Anna}", "2 4"),
    ("name: {in: [Anna, anna]}", "1 2"),
    ("name: {not_in: [Anna, anna]}", "4"),
    ("name: missing", "3 5"),
    ("name: present", "1 2 4"),
    ("name: {contains: 'nn'}", "1 2"),
    ("name: {contains: '%_\\O'}", "4"),
    ("name: {starts_with: 'A'}", "1"),
    ("name: {starts_with: '_'}", ""),
    ("name: {ends_with: \"O'Brien\"}", "4"),
    ("name: {ends_with: \"' OR 1=1 --\"}", ""),
    ("not: {name: Anna}", "2 4"),
    ("tier: vip", "1 4"),
    ("tier: {not: vip}", "2 3"),
    ("born: missing", "2 3"),
    ("born: {before: 2000-12-31}", "1"),
    ("born: {after: 2000-12-30}", "4 5"),
    ("born: {within_last: 1 day}", "5"),
    ("born: {older_than: 20 years}", "1 4"),
    ("amount: {at_least: 7}", "1 4"),
    ("amount: {below: 0}", "5"),
    ("amount: missing", "2 3"),
    ("not: {amount: {above: 7}}", "4 5"),
    ("agreed: true", "1 4"),
    ("agreed: false", "2"),
    ("n: {at_least: 0}", "1 4 5"),
    ("n: {between: [0, 5]}", "1 4"),
    ("n: {at_most: -3}", "3"),
    ("n: {not: 5}", "3 4 5"),
    ("d: {above: 0.1}", "1 4 5"),
    ("d: 0.1", "2"),
    ("d: {below: 99.99}", "1 2"),
    ("seen: {older_than: 100 days}", "1 2"),
    ("seen: {within_next: 60 days}", "4 5"),
    ("seen: {within_last: 1 minute}", "5"),
    ("seen: {before: 2026-06-01}", "2"),
    ("seen: {after: now}", "4"),
    // A day is all of it, from its first moment in Vienna to its last.
    ("seen: 2026-06-01", "1"),
    ("seen: {not: 2026-06-01}", "2 4 5"),
    ("seen: {in: [2026-06-01, 2027-01-01]}", "1 4"),
    ("seen: {at_most: 2026-06-01}", "1 2"),
    ("seen: {below: 2026-06-01}", "2"),
    ("seen: {at_least: 2026-06-01}", "1 4 5"),
    ("seen: {above: 2026-06-01}", "4 5"),
    ("seen: {after: 2026-06-01}", "4 5"),
    ("seen: {between: [2026-06-01, 2026-06-01]}", "1"),
    ("local: 2026-10-25", "1"),
    ("local: {at_most: 2026-11-20}", "1 2 4"),
    ("not: {local: 2026-10-25}", "2 4 5"),
    ("local: {within_last: 1 minute}", "5"),
    ("local: {within_last: 61 minutes}", "5"),
    ("local: {before: '2026-10-25T00:31:00Z'}", "1 2"),
    ("local: {before: '2026-10-25T00:30:00Z'}", "2"),
    ("spent: {at_least: 0.3}", "1 2 5"),
    ("spent: {at_most: 0}", "3 4"),
    ("last_order: {older_than: 30 days}", "2"),
    ("orders: {some: {}}", "1 2 5"),
    ("orders: {none: {}}", "3 4"),
    ("orders: {some: {total: {above: 0.1}}, within_last: 30 days}", "1"),
    ("orders: {some: {}, within_next: 1 year}", "4"),
    ("orders: {count: {at_least: 2}}", "1"),
    ("people: {count: 2}", "1"),
    ("orders: {sum: {total: {at_least: 0.3}}, within_last: 30 days}", "1"),
    ("orders: {min: {total: {below: 0.2}}}", "1"),
    ("orders: {max: {total: {above: 0.15}}}", "1 2 5"),
    ("any: [{name: Anna}, {n: 100}]", "1 5"),
    ("all: [{name: present}, {not: {n: missing}}]", "1 4"),
    ("not: {any: [{name: Anna}, {orders: {some: {}}}]}", "4"),
];

fn rule(terms: &str, goal: &str) -> String {
    format!(
        "version: 1\nid: r\nmode: live\npurpose: offers\nfor_each: customer\nto: billing\ntrigger:\n  \
         inactivity: {{of: orders, for: 90 days}}\nwhere:\n{terms}{goal}steps:\n  \
         - task: {{title: Call, assign_to: owner}}\n  - task: {{title: Call again, assign_to: main}}\n"
    )
}

async fn crm(world: &World) {
    world.execute(TABLES).await;
    let (z, rows) = match world.dialect() {
        nudged::rule::statement::Dialect::MySql => ("", ROWS.replace("\\O", "\\\\O")),
        _ => ("Z", ROWS.to_owned()),
    };
    world.execute(&rows.replace("{z}", z)).await;
}

fn all() -> Vec<Subject> {
    ["1", "2", "3", "4", "5", "6", "77"].map(subject).to_vec()
}

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

#[tokio::test]
async fn every_operator_means_the_same_everywhere() {
    let terms: String = CASES.iter().map(|(condition, _)| format!("  - {condition}\n")).collect();
    for world in World::all() {
        crm(&world).await;
        let (rule, _) = world.rule(CATALOG, &rule(&terms, "")).await;
        let facts = world.facts(&rule, &all(), now()).await;
        assert_eq!(facts.keys().map(String::as_str).collect::<String>(), "12345", "only records come back");
        let mut wrong = Vec::new();
        for (number, (condition, expected)) in CASES.iter().enumerate() {
            let holds: Vec<&str> =
                facts.iter().filter(|(_, f)| f.conditions[number] == Some(true)).map(|(key, _)| key.as_str()).collect();
            if holds.join(" ") != *expected {
                wrong.push(format!("{condition}: {} instead of {expected}", holds.join(" ")));
            }
        }
        assert!(wrong.is_empty(), "{:?}\n{}", world.dialect(), wrong.join("\n"));
    }
}

const TEXTS: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer: {table: texts, key: id, relations: {orders: {entity: order, by: customer}}}
  order: {table: orders, key: id, at: placed_at, fields: {customer: account_id}}
";

/// Names that many collations take for the same, and a code that fills its column or doesn't.
const WRITTEN: &str = "
CREATE TABLE texts (id integer PRIMARY KEY, name varchar(20), code char(4));
CREATE TABLE orders (id integer PRIMARY KEY, account_id integer, placed_at {instant});
INSERT INTO texts VALUES
 (1, 'Caf\u{e9}', 'AT'), (2, 'Cafe\u{301}', 'at'), (3, 'Anna ', 'ATDE'), (4, 'Anna', ''), (5, 'anna', NULL), (6, ' ', 'D T');
";

const COMPARED: &[(&str, &str)] = &[
    ("name: Caf\u{e9}", "1"),
    ("name: Cafe\u{301}", "2"),
    ("name: Cafe", ""),
    ("name: {in: [Caf\u{e9}, Anna]}", "1 4"),
    ("name: {not: Caf\u{e9}}", "2 3 4 5 6"),
    ("name: {contains: \u{e9}}", "1"),
    ("name: {starts_with: Cafe}", "2"),
    ("name: {ends_with: \u{301}}", "2"),
    ("name: Anna", "4"),
    ("name: 'Anna '", "3"),
    ("name: ' Anna'", ""),
    ("name: {not: Anna}", "1 2 3 5 6"),
    ("name: {not_in: [Anna, 'Anna ']}", "1 2 5 6"),
    ("name: {in: ['Anna ', anna]}", "3 5"),
    ("name: {ends_with: ' '}", "3 6"),
    ("name: {ends_with: a}", "4 5"),
    ("name: {starts_with: 'Anna '}", "3"),
    ("name: {contains: 'a '}", "3"),
    // A blank is a text; only no text at all is missing.
    ("name: missing", ""),
    ("name: ' '", "6"),
    // The blanks with which a database fills a column of a fixed width are not part of its text.
    ("code: AT", "1"),
    ("code: {in: [AT, at]}", "1 2"),
    ("code: {not: AT}", "2 3 6"),
    ("code: 'AT  '", ""),
    ("code: {starts_with: AT}", "1 3"),
    ("code: {ends_with: T}", "1 6"),
    ("code: {ends_with: ' '}", ""),
    ("code: {contains: ' '}", "6"),
    ("code: missing", "4 5"),
    ("code: present", "1 2 3 6"),
];

#[tokio::test]
async fn text_is_compared_byte_by_byte_whatever_the_collation() {
    let terms: String = COMPARED.iter().map(|(condition, _)| format!("  - {condition}\n")).collect();
    let rule = format!(
        "version: 1\nid: r\nmode: live\npurpose: staff\nfor_each: customer\ntrigger:\n  \
         inactivity: {{of: orders, for: 90 days}}\nwhere:\n{terms}steps:\n  - webhook: {{to: crm}}\n"
    );
    for world in World::all() {
        world.execute(WRITTEN).await;
        let (rule, _) = world.rule(TEXTS, &rule).await;
        let facts = world.facts(&rule, &["1", "2", "3", "4", "5", "6"].map(subject), now()).await;
        let mut wrong = Vec::new();
        for (number, (condition, expected)) in COMPARED.iter().enumerate() {
            let holds: Vec<&str> =
                facts.iter().filter(|(_, f)| f.conditions[number] == Some(true)).map(|(key, _)| key.as_str()).collect();
            if holds.join(" ") != *expected {
                wrong.push(format!("{condition}: {} instead of {expected}", holds.join(" ")));
            }
        }
        assert!(wrong.is_empty(), "{:?}\n{}", world.dialect(), wrong.join("\n"));
        // What templates show and scripts see is the same text.
        let read: Vec<_> = facts.values().map(|facts| (&facts.record["name"], &facts.record["code"])).collect();
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(read[0], (&text("Caf\u{e9}"), &text("AT")), "{:?}", world.dialect());
        assert_eq!(read[1], (&text("Cafe\u{301}"), &text("at")), "{:?}", world.dialect());
        assert_eq!(read[2], (&text("Anna "), &text("ATDE")), "{:?}", world.dialect());
    }
}

#[tokio::test]
async fn roles_lead_to_people_with_their_consent_and_suppression() {
    for world in World::all() {
        crm(&world).await;
        let (rule, _) = world.rule(CATALOG, &rule("  - name: present\n", "")).await;
        let facts = world.facts(&rule, &all(), now()).await;
        let one = &facts["1"];
        let billing = &one.recipients["billing"];
        assert_eq!(billing.email.as_deref(), Some("b@x.example"), "{:?}", world.dialect());
        assert_eq!((billing.email_consent, billing.phone_consent), (Some(true), None));
        assert_eq!(one.recipients["main"].email_consent, Some(false));
        assert_eq!(one.zone.iana_name(), Some("America/New_York"));
        let owner = &one.recipients["owner"];
        assert_eq!((owner.key.clone(), owner.staff), (Some(Key::new("1")), true));
        // No billing contact: main stands in; no address, no consent.
        let two = &facts["2"].recipients["billing"];
        assert_eq!((two.key.clone(), two.email.clone(), two.email_consent), (Some(Key::new("3")), None, None));
        assert_eq!(facts["2"].zone.iana_name(), Some("Europe/Vienna"));
        assert_eq!(facts["3"].recipients["billing"].key, None);
        assert_eq!(facts["3"].recipients["owner"].email.as_deref(), Some("lead@acme.example"));
        assert_eq!(facts["4"].recipients["main"].suppressed.as_deref(), Some("bounce"));
        assert_eq!(facts["1"].recipients["main"].suppressed, None);
        assert_eq!(one.record["tier"], Value::Text("vip".to_owned()));
        assert_eq!(one.record["amount"], Value::Decimal("12.50".parse().unwrap()));
        assert_eq!(one.record["agreed"], Value::Bool(true));
        assert_eq!(one.record["local"], Value::Instant("2026-10-25T00:30:00Z".parse().unwrap()));
        assert_eq!(one.record["last_order"], Value::Instant("2026-11-10T00:00:00Z".parse().unwrap()));
        assert_eq!(facts["2"].record["born"], Value::Null);
        assert_eq!(facts["2"].record["amount"], Value::Null);
    }
}

#[tokio::test]
async fn a_goal_counts_what_is_newer_than_the_occasion_and_within_its_time_since_entry() {
    let goal = "goal: {name: back, when: {orders: {some: {}, since: entry}}, within: 30 days}\n";
    for world in World::all() {
        crm(&world).await;
        let (rule, _) = world.rule(CATALOG, &rule("  - name: present\n", goal)).await;
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        for (since, entered, reached) in [
            (at("2026-11-01T00:00:00Z"), at("2026-11-05T00:00:00Z"), true),
            (at("2026-11-10T00:00:00Z"), at("2026-11-10T00:00:00Z"), false),
            (at("2026-07-01T00:00:00Z"), at("2026-10-10T00:00:00Z"), true),
            (at("2026-07-01T00:00:00Z"), at("2026-10-01T00:00:00Z"), false),
            (None, None, false),
        ] {
            let subjects = [Subject { key: Key::new("1"), since, entered }, subject("2")];
            let facts = world.facts(&rule, &subjects, now()).await;
            let found = facts["1"].goal == Some(true);
            assert_eq!(found, reached, "{:?} {since:?} {entered:?}", world.dialect());
            // Later than that it is no success, but reached all the same.
            let ordered_since = since.is_some_and(|since| since < at("2026-11-10T00:00:00Z").unwrap());
            assert_eq!(facts["1"].goal_ever == Some(true), ordered_since, "{:?} {since:?}", world.dialect());
            assert_ne!(facts["2"].goal, Some(true));
        }
    }
}

/// Those without a value come first, unless the catalog says otherwise.
#[tokio::test]
async fn people_are_ordered_with_what_is_missing_first_or_last() {
    let catalog = "version: 1\ntime_zone: UTC\nentities:\n  firm:\n    table: firms\n    key: id\n    relations:\n      \
                   people: {entity: person, by: firm_id}\n    recipients:\n      \
                   first: {first_of: people, order: [is_primary desc]}\n      \
                   last: {first_of: people, order: [is_primary desc nulls last]}\n      \
                   rising: {first_of: people, order: [is_primary nulls last]}\n  \
                   person: {table: people, key: id, person: {email: email}}\n";
    let rule = "version: 1\nid: r\nmode: live\npurpose: staff\nfor_each: firm\ntrigger: {schedule: {cron: \"0 9 * * *\"}}\nsteps:\n  \
                - task: {title: A, assign_to: first}\n  - task: {title: B, assign_to: last}\n  - task: {title: C, assign_to: rising}\n";
    for world in World::all() {
        world
            .execute(
                "CREATE TABLE firms (id integer PRIMARY KEY);\n\
                 CREATE TABLE people (id integer PRIMARY KEY, firm_id integer, email varchar(20), is_primary boolean);\n\
                 INSERT INTO firms VALUES (1);\n\
                 INSERT INTO people VALUES (1, 1, 'a@x.example', FALSE), (2, 1, 'b@x.example', NULL), (3, 1, 'c@x.example', TRUE);\n",
            )
            .await;
        let (rule, _) = world.rule(catalog, rule).await;
        let facts = world.facts(&rule, &[subject("1")], "2026-11-21T10:00:00Z".parse().unwrap()).await;
        let picked = ["first", "last", "rising"].map(|role| facts["1"].recipients[role].key.clone());
        assert_eq!(picked, ["2", "3", "1"].map(|key| Some(Key::new(key))), "{:?}", world.dialect());
    }
}
