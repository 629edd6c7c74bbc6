//! Tables that change under a catalog: what `check --db` names, and which rules of a running system rest.

use crate::site::Site;
use crate::support::PATIENCE;
use crate::support::poll_until;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

#[test]
fn the_check_names_every_table_column_type_and_query_that_drifted() {
    let site = Site::new();
    site.rules(&[]);
    std::fs::write(
        site.folder.path().join("rules/catalog.yaml"),
        "version: 1
time_zone: Europe/Vienna
entities:
  account:
    table: accounts
    key: id
    parents: [{table: records, key: id, columns: [made_at, made_by]}]
    attributes:
      custom: {table: custom, record: owner_id, name: field, value: vlaue}
    relations:
      people: {entity: person, hops: [{table: links, from: account_id, to: person_no}]}
    fields:
      seats: {attribute: custom.seats, type: int}
      born: {column: name_of_it, type: date}
      level: {column: level, type: bool}
  person: {table: people, key: id, person: {email: email}}
  ghost: {table: ghosts, key: id}
  query: {sql: \"SELECT id, nmae FROM accounts\", key: id}
",
    )
    .unwrap();
    site.sql(
        "crm.db",
        "DROP TABLE IF EXISTS accounts; CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT, level DECIMAL);
         CREATE TABLE records (id INTEGER PRIMARY KEY, made_at DATETIME);
         CREATE TABLE custom (owner_id INTEGER, field TEXT, value TEXT);
         CREATE TABLE links (account_id INTEGER, person_id INTEGER);
         CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT);",
    );
    let (code, data, talk) = site.run(&["check", "--db", "--format", "json"]);
    assert_eq!(code, 4, "{talk}");
    let report: Json = serde_json::from_str(&data).unwrap();
    let mut found: Vec<(String, String)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let named =
                finding["message"].as_str().unwrap().split('`').skip(1).step_by(2).collect::<Vec<_>>().join(" ");
            (finding["code"].as_str().unwrap().to_owned(), named)
        })
        .collect();
    found.sort();
    let expected = [
        ("catalog.column-type", "level true false"),
        ("catalog.no-column", "accounts name_of_it"),
        ("catalog.no-column", "custom vlaue"),
        ("catalog.no-column", "links person_no"),
        ("catalog.no-column", "records made_by"),
        ("catalog.no-table", "ghosts"),
        ("catalog.query", "query"),
    ];
    let expected: Vec<(String, String)> =
        expected.iter().map(|(code, named)| ((*code).to_owned(), (*named).to_owned())).collect();
    assert_eq!(found, expected, "{data}");
}

/// Once, at the catalog's line, and also where no rule makes a task yet.
#[test]
fn a_task_that_its_table_cannot_hold_is_told_without_any_rule() {
    let site = Site::new();
    site.rules(&[]);
    std::fs::write(
        site.folder.path().join("rules/catalog.yaml"),
        "version: 1
time_zone: Europe/Vienna
entities: {account: {table: accounts, key: id}}
tasks:
  insert:
    - table: todo
      set:
        title: $title
        made: $now
        ref: $ref
",
    )
    .unwrap();
    site.sql(
        "crm.db",
        "DROP TABLE IF EXISTS accounts; CREATE TABLE accounts (id INTEGER PRIMARY KEY);
         CREATE TABLE todo (title TEXT, made BIGINT, ref VARCHAR(8));",
    );
    let (code, data, talk) = site.run(&["check", "--db", "--format", "json"]);
    assert_eq!(code, 4, "{talk}");
    let report: Json = serde_json::from_str(&data).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let [found] = findings.as_slice() else { panic!("{data}") };
    assert_eq!((&found["code"], &found["at"]["line"]), (&"catalog.column-type".into(), &9.into()), "{data}");
    assert!(!found["help"].as_str().unwrap().contains("check --db"), "{data}");
}

#[test]
fn constants_are_held_against_their_own_column_alone() {
    let site = Site::new();
    site.rules(&[]);
    std::fs::write(
        site.folder.path().join("rules/catalog.yaml"),
        "version: 1
time_zone: Europe/Vienna
entities:
  account:
    table: accounts
    key: id
    only: {level: high}
    fields:
      open: {count: tickets, only: {open: true}}
    relations:
      tickets: {entity: ticket, by: account}
  ticket:
    table: tickets
    key: id
    fields:
      open: {look_up: state.open}
    relations: {state: {entity: state, to: state_id}}
  state: {table: states, key: id, fields: {open: {column: is_open, type: bool_text}}}
",
    )
    .unwrap();
    site.sql(
        "crm.db",
        "DROP TABLE IF EXISTS accounts; CREATE TABLE accounts (id INTEGER PRIMARY KEY, level INTEGER);
         DROP TABLE IF EXISTS tickets; CREATE TABLE tickets (id INTEGER PRIMARY KEY, account INTEGER, state_id INTEGER);
         CREATE TABLE states (id INTEGER PRIMARY KEY, is_open TEXT);",
    );
    let (_, data, talk) = site.run(&["check", "--db", "--format", "json"]);
    let report: Json = serde_json::from_str(&data).expect(&talk);
    let constants: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["code"] == "catalog.constant")
        .map(|finding| finding["message"].as_str().unwrap())
        .collect();
    let [told] = constants.as_slice() else { panic!("{data}") };
    assert!(told.contains("`high`") && told.contains("`level`"), "{told}");
}

#[test]
fn a_filter_that_leaves_out_every_row_is_told() {
    let site = Site::new();
    site.rules(&[]);
    let catalog = |only: &str| {
        format!(
            "version: 1\ntime_zone: Europe/Vienna\nentities:\n  account: {{table: clients, key: id, only: {only}}}\n"
        )
    };
    let rule = "version: 1\nid: hello\nmode: live\npurpose: staff\nfor_each: account\n\
                trigger: {schedule: {cron: \"0 8 * * MON\"}}\nsteps: [task: {title: hello}]\n";
    site.sql(
        "crm.db",
        "CREATE TABLE clients (id INTEGER PRIMARY KEY, archived BOOLEAN); INSERT INTO clients VALUES (1, NULL), (2, TRUE);",
    );
    for (only, told) in [("{archived: false}", true), ("{archived: [false, missing]}", false)] {
        std::fs::write(site.folder.path().join("rules/catalog.yaml"), catalog(only)).unwrap();
        site.rules(&[("hello.yaml", rule)]);
        let (code, data, talk) = site.run(&["check", "--db"]);
        let page = format!("{data}{talk}");
        assert_eq!(page.contains("`account` has rows, and its `only` leaves out every one of them"), told, "{page}");
        assert_eq!(code, 0, "{page}");
    }
}

#[test]
fn a_daemon_notices_itself_that_a_column_went_and_that_it_came_back() {
    let site = Site::new();
    let rule = |id: &str, activity: &str| {
        format!(
            "version: 1\nid: {id}\nmode: live\npurpose: staff\nfor_each: customer\n\
             trigger: {{inactivity: {{of: {activity}, for: 90 days}}}}\ncheck_every: 1 second\n\
             steps: [task: {{title: hello}}]\n"
        )
    };
    site.rules(&[("one.yaml", &rule("by-orders", "orders")), ("two.yaml", &rule("by-tickets", "tickets"))]);
    site.configure("settle = \"50 ms\"", "settle = \"50 ms\"\nrescan = \"2 seconds\"");
    let _daemon = site.start();
    site.told("READY=1");
    site.crm("ALTER TABLE orders DROP COLUMN status");
    let trouble = |site: &Site| site.status()["daemon"]["rulebook"].to_string();
    poll_until(PATIENCE, || trouble(&site).contains("by-orders"));
    assert!(!trouble(&site).contains("by-tickets"), "{}", trouble(&site));
    let (_, table, _) = site.run(&["rules"]);
    let line = |rule: &str| table.lines().find(|line| line.starts_with(rule)).unwrap_or_default().to_owned();
    assert!(line("by-orders").contains("resting") && line("by-tickets").contains("running"), "{table}");
    site.crm("ALTER TABLE orders ADD COLUMN status TEXT");
    poll_until(PATIENCE, || !trouble(&site).contains("by-orders"));
}

/// A rule of tasks for who has been silent so long.
fn silent(id: &str, activity: &str) -> String {
    format!(
        "version: 1\nid: {id}\nmode: live\npurpose: staff\nfor_each: customer\n\
         trigger: {{inactivity: {{of: {activity}, for: 90 days}}}}\nsteps: [task: {{title: hello}}]\n"
    )
}

/// What is broken is named beside an answer from the rest, and is the error where it is asked about itself.
#[test]
fn one_broken_file_or_drifted_rule_keeps_nobody_from_an_answer() {
    let site = Site::new();
    let (orders, tickets) = (silent("by-orders", "orders"), silent("by-tickets", "tickets"));
    site.crm("INSERT INTO accounts VALUES (1, 'Ada', 'cafe', 'Graz', 'AT', 'B', 0, 1, 0, '2020-01-01 00:00:00')");
    let lately = (Timestamp::now() - SignedDuration::from_hours(72)).strftime("%F").to_string();
    let broken = silent("by-mistake", "orders").replace("trigger:", "triger:");
    site.rules(&[("broken.yaml", &broken), ("one.yaml", &orders), ("two.yaml", &tickets)]);
    let of_one: &[&[&str]] = &[
        &["explain", "RULE", "--record", "customer:1"],
        &["preview", "RULE"],
        &["backtest", "RULE", "--from", &lately],
        &["simulate", "RULE", "--days", "1"],
    ];
    let of_all: &[&[&str]] = &[&["why", "customer:1"], &["plan"], &["simulate", "--days", "1"]];
    let ask = |command: &[&str], rule: &str| {
        let command: Vec<&str> = command.iter().map(|word| if *word == "RULE" { rule } else { word }).collect();
        site.run(&command)
    };
    for command in of_one.iter().chain(of_all) {
        let (code, said, talk) = ask(command, "by-tickets");
        assert!(code == 0 && talk.contains("goes without broken.yaml (by-mistake)"), "{command:?}: {talk}{said}");
        assert!(talk.contains("yaml.unknown-key"), "{command:?}: {talk}");
    }
    let (_, planned, _) = ask(&["plan"], "");
    assert!(planned.contains("by-tickets") && !planned.contains("by-mistake"), "{planned}");
    for command in of_one {
        let (code, _, talk) = ask(command, "by-mistake");
        assert!(code == 4 && talk.contains("yaml.unknown-key"), "{command:?}: {talk}");
    }

    site.rules(&[("one.yaml", &orders), ("two.yaml", &tickets)]);
    site.crm("ALTER TABLE orders DROP COLUMN status");
    for command in of_one.iter().chain(of_all) {
        let (code, said, talk) = ask(command, "by-tickets");
        assert!(code == 0 && talk.contains("goes without one.yaml (by-orders)"), "{command:?}: {talk}{said}");
    }
    let (_, told, _) = ask(&["why", "customer:1"], "");
    assert!(told.contains("by-orders (live): the rule rests") && told.contains("by-tickets (live)"), "{told}");
    for command in of_one {
        let (code, _, talk) = ask(command, "by-orders");
        assert!(code == 4 && talk.contains("rule.query-refused"), "{command:?}: {talk}");
    }
}

/// What had been asked before the column went is asked anew, again and again; and only those that need it rest.
#[test]
fn a_column_of_people_that_went_rests_those_who_need_it_for_as_long_as_it_is_gone() {
    let site = Site::new();
    let rule = |id: &str, description: &str, body: &str| {
        format!(
            "version: 1\nid: {id}\ndescription: {description}\nmode: live\npurpose: service\nfor_each: customer\n\
             to: main_contact\ntrigger: {{inactivity: {{of: orders, for: 90 days}}}}\ncheck_every: 1 second\n\
             steps: [webhook: {{to: team-chat, body: {{text: \"{body}\"}}}}]\n"
        )
    };
    let needs = rule("needs-it", "Tells the number.", "{{ to.phone }} {{ record.name }}");
    let other = rule("needs-none", "Of first class, by phone.", "{{ record.name }}");
    site.rules(&[("one.yaml", &needs), ("two.yaml", &other)]);
    site.configure("settle = \"50 ms\"", "settle = \"50 ms\"\nrescan = \"1 second\"");
    let _daemon = site.start();
    site.told("READY=1");
    site.crm("ALTER TABLE contacts DROP COLUMN phone; ALTER TABLE accounts DROP COLUMN class");
    let rests = |rule: &str| site.status()["daemon"]["rulebook"].to_string().contains(rule);
    for _ in 0..3 {
        let (_, said, talk) = site.run(&["reload"]);
        assert!(rests("needs-it") && !rests("needs-none"), "{}: {said}{talk}", site.status());
    }
}
