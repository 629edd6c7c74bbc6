//! Surveys, dates and schedules; tasks; plans.

use super::world::{World, told_crossings, window};
use nudged::model::{Key, RecordId, Tenant, Value};
use nudged::rule::compiled::Reach;
use nudged::rule::statement::{Dialect, Row, Statement};
use nudged::rule::task::{TaskValues, inserts, open_tasks, read_open_task};

const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: id
    fields: {renews: {column: renews, type: date}, plan: plan}
    relations:
      answers: {entity: answer, by: customer}
      contacts: {entity: contact, by: customer}
    recipients:
      main: {first_of: contacts}
  answer: {table: answers, key: id, at: answered_at, score: rating, kind: kind, fields: {customer: account_id, kind: kind, comment: comment, rating: {type: number_text}}}
  contact: {table: contacts, key: id, fields: {customer: account_id}, person: {email: email, zone: tz}}
tasks:
  open: {status: {not_in: [Done, Cancelled]}}
  insert:
    - {table: tasks, set: {id: $uuid, title: $title, due: $due, status: New, account_id: $record.key, plan: $record.plan, reference: $ref}}
    - {table: task_people, set: {task_id: $1.id, user_id: $assignee.key}}
";

const TABLES: &str = "
CREATE TABLE accounts (id varchar(40) PRIMARY KEY, renews {date}, plan varchar(20));
CREATE TABLE answers (id {uuid} PRIMARY KEY, account_id varchar(40), answered_at {naive}, rating varchar(5), kind varchar(5), comment varchar(80));
CREATE TABLE contacts (id integer PRIMARY KEY, account_id varchar(40), email varchar(60), tz varchar(40));
CREATE TABLE tasks (id {uuid} PRIMARY KEY, title varchar(200), due {date}, status varchar(20), account_id varchar(40), plan varchar(20), reference varchar(64) UNIQUE);
CREATE TABLE task_people (task_id {uuid} NOT NULL, user_id integer NOT NULL);
INSERT INTO accounts VALUES ('a-1', '2026-12-01', 'gold'), ('Ä 2', '2026-12-01', 'x'), ('a''3', NULL, NULL);
INSERT INTO contacts VALUES (1, 'a-1', 'a@x.example', 'Pacific/Auckland'), (2, 'Ä 2', 'b@x.example', 'Mars/Olympus');
INSERT INTO answers VALUES
 ('0192f0c1-0000-7000-8000-000000000001', 'a-1', '2026-10-25 02:30:00', '3', 'nps', 'slow; \"late\"'),
 ('0192f0c1-0000-7000-8000-000000000002', 'a-1', '2026-10-25 02:30:00', '9', 'nps', NULL),
 ('0192f0c1-0000-7000-8000-000000000003', 'Ä 2', '2026-10-25 02:30:00', 'n/a', 'nps', NULL),
 ('0192f0c1-0000-7000-8000-000000000004', 'Ä 2', '2026-10-25 02:30:00', '0', 'csat', NULL),
 ('0192f0c1-0000-7000-8000-000000000005', 'Ä 2', NULL, '0', 'nps', NULL);
";

fn rule(trigger: &str, rest: &str) -> String {
    format!(
        "version: 1\nid: r\nmode: live\npurpose: service\nfor_each: customer\nto: main\ntrigger:\n  {trigger}\n{rest}"
    )
}

const WAIT: &str = "steps:\n  - wait: {for: 1 day}\n";

#[tokio::test]
async fn an_answer_in_an_overlap_is_found_in_both_passes_of_the_clock() {
    for world in World::all() {
        world.execute(TABLES).await;
        let (rule, _) = world
            .rule(CATALOG, &rule("survey: {of: answers, kind: nps, score: {at_most: 6}, settle: 10 minutes}", WAIT))
            .await;
        for (after, until, expected) in [
            ("2026-10-25T00:35:00Z", "2026-10-25T00:40:00Z", 1),
            ("2026-10-25T00:40:00Z", "2026-10-25T01:35:00Z", 0),
            ("2026-10-25T01:35:00Z", "2026-10-25T01:40:00Z", 1),
        ] {
            let found = world.crossings(&rule, Reach::Crossed(window(after, until))).await;
            assert_eq!(found.len(), expected, "{:?} {until}", world.dialect());
            if let [answer] = found.as_slice() {
                assert_eq!(told_crossings(&found), ["a-1 0192f0c1-0000-7000-8000-000000000001"]);
                assert_eq!(answer.row["comment"], Value::Text("slow; \"late\"".to_owned()));
            }
        }
    }
}

#[tokio::test]
async fn a_date_is_reached_at_a_local_time_where_the_recipient_lives() {
    let offsets = "offsets:\n  60 days before:\n    - wait: {for: 1 day}\n  1 day after:\n    - wait: {for: 1 day}\n";
    for world in World::all() {
        world.execute(TABLES).await;
        let (rule, _) = world.rule(CATALOG, &rule("date: {field: renews, at: \"09:00\"}", offsets)).await;
        // Nine o'clock on 2 October in Auckland is the evening before in UTC; an unknown zone is Vienna's.
        for (until, expected) in [
            ("2026-10-01T20:00:00Z", vec!["a-1 2026-12-01/-60 days"]),
            ("2026-10-01T21:00:00Z", vec![]),
            ("2026-10-02T07:00:00Z", vec!["Ä 2 2026-12-01/-60 days"]),
            ("2026-12-01T20:00:00Z", vec!["a-1 2026-12-01/+1 day"]),
            ("2026-12-02T08:00:00Z", vec!["Ä 2 2026-12-01/+1 day"]),
        ] {
            let until: jiff::Timestamp = until.parse().unwrap();
            let window =
                nudged::rule::compiled::Window { after: until - jiff::SignedDuration::from_mins(1), until, now: until };
            let found = world.crossings(&rule, Reach::Crossed(window)).await;
            assert_eq!(told_crossings(&found), expected, "{:?} {until}", world.dialect());
        }
    }
}

#[tokio::test]
async fn a_schedule_takes_every_matching_record_at_its_instant() {
    for world in World::all() {
        world.execute(TABLES).await;
        let rest = format!("where:\n  - plan: present\n{WAIT}");
        let (rule, _) = world.rule(CATALOG, &rule("schedule: {cron: \"0 9 * * MON\"}", &rest)).await;
        let planned = window("2026-11-16T08:00:00Z", "2026-11-23T08:00:00Z");
        let found = world.crossings(&rule, Reach::Crossed(planned)).await;
        let expected = ["a-1 2026-11-23T08:00:00.000000Z", "Ä 2 2026-11-23T08:00:00.000000Z"];
        assert_eq!(told_crossings(&found), expected, "{:?}", world.dialect());
        let keys = [Key::new("Ä 2"), Key::new("a'3"), Key::new("' OR ''='")];
        assert_eq!(told_crossings(&world.crossings(&rule, Reach::Of(planned, &keys)).await), expected[1..]);
    }
}

#[tokio::test]
async fn a_task_is_written_once_whatever_how_often() {
    for world in World::all() {
        world.execute(TABLES).await;
        let (rule, catalog) = world.rule(CATALOG, &rule("schedule: {cron: \"0 9 * * MON\"}", WAIT)).await;
        let facts = world
            .facts(
                &rule,
                &[super::world::subject("a-1"), super::world::subject("Ä 2")],
                "2026-11-21T10:00:00Z".parse().unwrap(),
            )
            .await;
        let assignee = Key::new("7");
        let record = RecordId { tenant: Tenant::new(""), entity: "customer".into(), key: Key::new("a-1") };
        let values = TaskValues {
            reference: "00ff",
            record: &record,
            facts: Some(&facts["a-1"].record),
            title: "Call '; DROP TABLE tasks; --",
            body: None,
            due: Some(jiff::civil::date(2026, 11, 24)),
            assignee_key: Some(&assignee),
            assignee_email: None,
            score: None,
            comment: None,
            now: "2026-11-21T10:00:00Z".parse().unwrap(),
        };
        let tenant = Tenant::new("");
        let write = || world.source.write(&tenant, inserts(&catalog, world.dialect(), &values));
        assert_eq!(write().await.unwrap(), [1, 1], "{:?}", world.dialect());
        assert_eq!(write().await.unwrap(), [0, 0]);
        let broken = TaskValues { reference: "01ff", assignee_key: None, ..values.clone() };
        assert!(world.source.write(&tenant, inserts(&catalog, world.dialect(), &broken)).await.is_err());
        let count = Statement {
            sql: "SELECT COUNT(*) FROM tasks t JOIN task_people p ON p.task_id = t.id WHERE t.plan = 'gold'".to_owned(),
            binds: Vec::new(),
        };
        assert_eq!(world.count(count).await, 1, "all or nothing");
        let records = ["a-1".into(), "Ä 2".into()];
        let entity = "customer".into();
        let open = world.rows(open_tasks(&catalog, world.dialect(), &entity, &records).unwrap()).await;
        let open: Vec<_> = open.iter().map(|row| read_open_task(&catalog, &entity, row).unwrap()).collect();
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].record.as_str(), open[0].reference.as_deref()), ("a-1", Some("00ff")));
    }
}

/// On a table that is worth an index, the quiet window reads by it.
#[tokio::test]
async fn a_quiet_window_is_read_by_the_index() {
    let world = World::postgres();
    world
        .execute(
            "CREATE TABLE accounts (id integer PRIMARY KEY, is_active boolean NOT NULL, created_at timestamptz);
             CREATE TABLE orders (id integer PRIMARY KEY, account_id integer, placed_at timestamptz, status text);
             INSERT INTO accounts SELECT n, TRUE, NULL FROM generate_series(1, 40000) n;
             INSERT INTO orders SELECT n, n % 40000 + 1, timestamptz '2026-01-01' + n * interval '2 minutes', 'paid' FROM generate_series(1, 200000) n;
             CREATE INDEX ON orders (placed_at);
             CREATE INDEX ON orders (account_id, placed_at);
             ANALYZE;",
        )
        .await;
    let (rule, _) = world.rule(super::inactivity::CATALOG, super::inactivity::RULE).await;
    let quiet = window("2026-09-01T00:00:00Z", "2026-09-01T00:15:00Z");
    let mut statement = rule.crossings(Reach::Crossed(quiet)).remove(0);
    statement.sql = format!("EXPLAIN {}", statement.sql);
    let plan: Vec<String> = world
        .rows(statement)
        .await
        .iter()
        .map(|Row(cells)| cells[0].as_text().unwrap_or_default().to_owned())
        .collect();
    let plan = plan.join("\n");
    assert!(plan.contains("orders_placed_at_idx") && plan.contains("orders_account_id_placed_at_idx"), "{plan}");
    assert!(!plan.contains("Seq Scan"), "{plan}");
    assert_eq!(world.dialect(), Dialect::Postgres);
}

/// Keys of every kind: read back in one canonical text, and found again by it.
#[tokio::test]
async fn records_are_found_by_keys_of_every_kind() {
    for world in World::all() {
        world
            .execute(
                "CREATE TABLE natives (id {uuid} PRIMARY KEY, name varchar(9));
                 CREATE TABLE binaries (id {bytes} PRIMARY KEY, name varchar(9));
                 CREATE TABLE texts (id varchar(9) PRIMARY KEY, name varchar(9));
                 INSERT INTO natives VALUES ('0192f0c1-0000-7000-8000-00000000000a', 'a'), ('0192f0c1-0000-7000-8000-00000000000b', 'b');
                 INSERT INTO texts VALUES ('K1', 'a'), ('k2', 'b');",
            )
            .await;
        let bytes = ["0192f0c1000070008000000000000a0a", "0192f0c1000070008000000000000b0b"];
        let insert = |hex: &str, name: &str| {
            let value = match world.dialect() {
                Dialect::Postgres => format!("decode('{hex}', 'hex')"),
                Dialect::MySql | Dialect::Sqlite => format!("x'{hex}'"),
            };
            format!("INSERT INTO binaries VALUES ({value}, '{name}');\n")
        };
        world.execute(&[insert(bytes[0], "a"), insert(bytes[1], "b")].concat()).await;
        for (table, key, first, second) in [
            ("natives", "id", "0192f0c1-0000-7000-8000-00000000000a", "0192f0c1-0000-7000-8000-00000000000b"),
            ("binaries", "id", "0x0192f0c1000070008000000000000a0a", "0x0192f0c1000070008000000000000b0b"),
            (
                "binaries",
                "{column: id, type: uuid_binary}",
                "0192f0c1-0000-7000-8000-000000000a0a",
                "0192f0c1-0000-7000-8000-000000000b0b",
            ),
            ("texts", "id", "K1", "k2"),
        ] {
            let catalog = format!(
                "version: 1\ntime_zone: UTC\nentities:\n  customer: {{table: {table}, key: {key}, fields: {{name: name}}}}\n"
            );
            let text = rule("schedule: {cron: \"0 9 * * MON\"}", WAIT).replace("to: main\n", "");
            let (rule, _) = world.rule(&catalog, &text).await;
            let week = window("2026-11-16T08:00:00Z", "2026-11-23T08:00:00Z");
            let found = world.crossings(&rule, Reach::Crossed(week)).await;
            let keys: Vec<&str> = found.iter().map(|crossing| crossing.key.as_str()).collect();
            assert_eq!(keys, [first, second], "{:?} {table}", world.dialect());
            let second = [Key::new(second)];
            assert_eq!(
                world.crossings(&rule, Reach::Of(week, &second)).await.len(),
                1,
                "{:?} {table}",
                world.dialect()
            );
            let first = Key::new(first);
            let chunk = Reach::Chunk { window: week, after: Some(&first), upto: Some(&second[0]) };
            assert_eq!(world.crossings(&rule, chunk).await[0].key, second[0]);
            let end = world.rows(rule.chunk_end(Some(&first), 1)).await;
            assert_eq!(rule.read_key(&end[0]).unwrap(), second[0]);
            let facts = world.facts(&rule, &[super::world::subject(first.as_str())], week.now).await;
            assert_eq!(facts[first.as_str()].record["name"], Value::Text("a".to_owned()));
            let other = if table == "texts" { "k1" } else { "0192f0c1-0000-7000-8000-0000000000ff" };
            assert!(
                world.facts(&rule, &[super::world::subject(other)], week.now).await.is_empty(),
                "{:?}",
                world.dialect()
            );
        }
    }
}
