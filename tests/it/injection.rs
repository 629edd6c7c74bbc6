//! Text that tries to be SQL, through every string that a rule, a catalog, an event or a record can hold, on three
//! databases: it is a value or a name, compared and passed on letter by letter, and nothing else. A table that nobody
//! names stands beside and must stay as it is.

use crate::support::instant;
use crate::world::{CATALOG, Kind, Setup, World, hours, minutes};
use futures::TryStreamExt;
use jiff::SignedDuration;
use nudged::diagnostic::SourceFile;
use nudged::engine::port::{Inbound, Message};
use nudged::model::{Tenant, Value};
use nudged::rule::statement::Statement;
use rstest::rstest;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const START: &str = "2026-11-21T10:00:00Z";

pub const TEXTS: [&str; 20] = [
    "'; DROP TABLE canary; --",
    "\"; DROP TABLE canary; --",
    "`; DROP TABLE canary; --",
    "\\'; DELETE FROM canary; --",
    "x') OR ('1'='1",
    "' OR 1=1 /*",
    "*/ DROP TABLE canary /*",
    "$1",
    "?",
    ":name",
    "@@version",
    "%s",
    "%",
    "_' OR name LIKE '%",
    "$$; DROP TABLE canary; $$",
    "{\"k\": 1}, {\"k\": \"' OR ''='\"}",
    "$.a[0].\"b\" ->> '$'",
    "ʼ; DROP TABLE canary; ‘’“”＇",
    "a\\",
    "line\nbreak\ttab\u{202e}",
];

/// Nobody's name is one of the texts above, whatever it says.
const OTHERS: [&str; 5] = ["plain", "' OR '1'='1", "1", "%%", "A\\\\"];

pub const CANARY: &str = "CREATE TABLE canary (id INTEGER PRIMARY KEY, text VARCHAR(60));
                      INSERT INTO canary VALUES (1, 'alive');";

/// As JSON, which is YAML too.
pub fn yaml(text: &str) -> String {
    Json::from(text).to_string()
}

pub fn sql(kind: Kind, text: &str) -> String {
    let text = if kind == Kind::MariaDb { text.replace('\\', "\\\\") } else { text.to_owned() };
    format!("'{}'", text.replace('\'', "''"))
}

fn quoted(kind: Kind, name: &str) -> String {
    let sign = if kind == Kind::MariaDb { '`' } else { '"' };
    format!("{sign}{}{sign}", name.replace(sign, &format!("{sign}{sign}")))
}

pub async fn asked(world: &World, tenant: &str, sql: &str) -> Vec<Vec<Value>> {
    let statement = Statement { sql: sql.to_owned(), binds: Vec::new() };
    let tenant = Tenant::new(tenant);
    let rows: Vec<_> = world.source.rows(&tenant, statement).try_collect().await.unwrap();
    rows.into_iter().map(|row| row.0).collect()
}

pub async fn the_canary_lives(world: &World) {
    assert_eq!(asked(world, "", "SELECT text FROM canary").await, [[Value::Text("alive".into())]]);
}

pub fn bodies(world: &World) -> Vec<Json> {
    let calls = world.webhooks.take().into_iter().map(|message| match message {
        Message::Webhook(call) => call.body["data"].clone(),
        other => panic!("not a webhook: {other:?}"),
    });
    calls.collect()
}

pub fn sorted<T: Ord>(list: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = list.into_iter().collect();
    list.sort();
    list
}

/// Each of the operators over the name, and whom it holds for, worked out here.
fn conditions(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let value = yaml(text);
    let all: Vec<&str> = TEXTS.iter().chain(&OTHERS).copied().collect();
    let who = |holds: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
        all.iter().filter(|name| holds(name)).map(|name| (*name).to_owned()).collect()
    };
    vec![
        (format!("name: {value}"), who(&|name| name == text)),
        (format!("name: {{in: [{value}, nobody]}}"), who(&|name| name == text)),
        (format!("name: {{not: {value}}}"), who(&|name| name != text)),
        (format!("name: {{starts_with: {value}}}"), who(&|name| name.starts_with(text))),
        (format!("name: {{ends_with: {value}}}"), who(&|name| name.ends_with(text))),
        (format!("name: {{contains: {value}}}"), who(&|name| name.contains(text))),
        (format!("orders: {{some: {{note: {value}}}}}"), who(&|name| name == text)),
        (format!("orders: {{none: {{note: {{contains: {value}}}}}}}"), who(&|name| !name.contains(text))),
    ]
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn texts_of_rules_and_records_are_values(#[case] kind: Kind) {
    let list = TEXTS.iter().chain(&OTHERS).map(|text| yaml(text)).collect::<Vec<_>>().join(", ");
    let catalog = CATALOG
        .replace("only: {status: [paid]}", &format!("only: {{note: [{list}]}}"))
        .replace("reason: complaint", &format!("reason: {}", yaml(TEXTS[0])));
    let insert =
        "tasks:\n  insert: [{table: todo, set: {id: $uuid, title: $title, body: $body, fixed: FIXED, ref: $ref}}]\n";
    let catalog = format!("{catalog}{}", insert.replace("FIXED", &yaml(TEXTS[3])));
    let tables = "ALTER TABLE orders ADD COLUMN note VARCHAR(100);
                  CREATE TABLE canary (id INTEGER PRIMARY KEY, text VARCHAR(60));
                  INSERT INTO canary VALUES (1, 'alive');
                  CREATE TABLE todo (id VARCHAR(40) PRIMARY KEY, title VARCHAR(200), body VARCHAR(200), fixed VARCHAR(60),
                                     ref VARCHAR(80));";
    let world = World::set_up(Setup { catalog, tables, ..Setup::of(kind, instant(START)) }).await;
    let placed = world.crm.time(world.now() - SignedDuration::from_hours(29 * 24 + 23));
    for (id, text) in TEXTS.iter().chain(&OTHERS).enumerate() {
        let text = sql(kind, text);
        world.crm.run(&format!("INSERT INTO accounts VALUES ({id}, {text}, 'AT', {placed})")).await;
        let mail = format!("'a{id}@x.example'");
        world.crm.run(&format!("INSERT INTO contacts VALUES ({id}, {id}, {mail}, {text}, NULL, TRUE)")).await;
        world.crm.run(&format!("INSERT INTO orders VALUES ({id}, {id}, {placed}, 'paid', {text})")).await;
    }
    let mut rules = Vec::new();
    let mut expected = BTreeSet::new();
    for (number, text) in TEXTS.iter().enumerate() {
        for (which, (condition, who)) in conditions(text).into_iter().enumerate() {
            let id = format!("rule-{number}-{which}");
            let say = yaml(&text.replace('{', "(").replace('}', ")"));
            rules.push((
                format!("{id}.yaml"),
                format!(
                    "version: 1\nid: {id}\ndescription: {}\nmode: live\npurpose: service\nfor_each: customer\n\
                     to: main_contact\ntrigger: {{inactivity: {{of: orders, for: 30 days}}}}\nguard: {{floor: 1000}}\n\
                     where:\n  - {condition}\nsteps:\n  - webhook: {{to: sink, body: {{rule: {id}, say: {say}, \
                     of: \"{{{{ record.name }}}}\", person: \"{{{{ to.first_name }}}}\"}}}}\n",
                    yaml(text)
                ),
            ));
            expected.extend(who.into_iter().map(|name| (id.clone(), name, text.replace('{', "(").replace('}', ")"))));
        }
    }
    let task = "version: 1\nid: tasks\nmode: live\npurpose: service\nfor_each: customer\nto: main_contact\n\
                trigger: {inactivity: {of: orders, for: 30 days}}\nguard: {floor: 1000}\nsteps:\n  \
                - task: {title: \"{{ record.name }}\", body: \"x{{ record.name }}y\"}\n  \
                - email: {template: hello}\n";
    rules.push(("tasks.yaml".to_owned(), task.to_owned()));
    let mut files: Vec<(&str, &str)> = rules.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    files.push(("templates/hello.md", "---\nsubject: \"{{ record.name }}\"\n---\n{{ to.first_name }}\n"));
    world.load(&files).await;
    world.pass(hours(2)).await;

    let text = |body: &Json, key: &str| body[key].as_str().unwrap().to_owned();
    let said: BTreeSet<_> = bodies(&world)
        .iter()
        .map(|body| {
            assert_eq!(body["of"], body["person"]);
            (text(body, "rule"), text(body, "of"), text(body, "say"))
        })
        .collect();
    let (missing, more) =
        (expected.difference(&said).collect::<Vec<_>>(), said.difference(&expected).collect::<Vec<_>>());
    assert!(missing.is_empty() && more.is_empty(), "{kind:?} lacks {missing:?} and has {more:?}");

    let names = || TEXTS.iter().chain(&OTHERS).copied();
    // Two inserts at once may meet in MariaDB, which ends one of them; that one is tried again.
    for _ in 0..20 {
        if world.deliveries().await.iter().all(|(state, _)| state == "sent") {
            break;
        }
        world.pass(minutes(10)).await;
    }
    let unsent: Vec<_> = world.deliveries().await.into_iter().filter(|(state, _)| state != "sent").collect();
    assert!(unsent.is_empty(), "{kind:?} {unsent:?}");
    let wrote = asked(&world, "", "SELECT title, body, fixed FROM todo").await;
    let expected =
        names().map(|name| [name.to_owned(), format!("x{name}y"), TEXTS[3].to_owned()].map(Value::Text).to_vec());
    let shown = |rows: Vec<Vec<Value>>| sorted(rows.into_iter().map(|row| format!("{row:?}")));
    assert_eq!(shown(wrote), shown(expected.collect()), "{kind:?}");
    // A header has one line.
    let one_line = |text: &str| text.replace(['\n', '\t'], " ");
    let subjects = sorted(world.mail.mails().into_iter().map(|(_, subject)| one_line(&subject)));
    assert_eq!(subjects, sorted(names().map(one_line)), "{kind:?}");
    the_canary_lives(&world).await;
}

fn names_catalog([table, key, field, json, attributes, value, attribute]: [&str; 7], path: &str) -> String {
    format!(
        "version: 1\ntime_zone: Europe/Vienna\nentities:\n  customer:\n    table: {}\n    key: {}\n    \
         attributes:\n      custom: {{table: {}, record: owner, name: {}, value: {}}}\n    fields:\n      \
         name: {{column: {}, type: text}}\n      seats: {{attribute: {}, type: text}}\n      \
         plan: {{column: {}, path: {}, type: text}}\n",
        yaml(table),
        yaml(key),
        yaml(attributes),
        yaml("na'me"),
        yaml(value),
        yaml(field),
        yaml(&format!("custom.{attribute}")),
        yaml(json),
        yaml(path),
    )
}

/// Names of tables, columns, attributes and the way into JSON.
#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn names_of_the_catalog_are_names(#[case] kind: Kind) {
    let (table, key, field) = ("acc\"o'u`nts; DROP TABLE canary; --", "k'e\"y`", "na\"me' OR `1`=1 --");
    let (json, attributes, value) = ("js\"on`'", "at'tr\"`s", "va`l\"ue'");
    let attribute = "se'ats\"; DROP TABLE canary; --";
    let catalog = names_catalog([table, key, field, json, attributes, value, attribute], "pl'an\"s`; --");
    let file = SourceFile { path: "catalog.yaml".into(), text: catalog };
    let refused = nudged::catalog::read(&Arc::new(file)).findings;
    assert_eq!(refused.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["catalog.path"], "no way into JSON");
    let path = "plan";
    let column = |name: &str| quoted(kind, name);
    let json_type = if kind == Kind::Postgres { "JSONB" } else { "TEXT" };
    let tables = format!(
        "{CANARY}
         CREATE TABLE {} ({} VARCHAR(60) PRIMARY KEY, {} VARCHAR(60), {} {json_type});
         CREATE TABLE {} (owner VARCHAR(60), {} VARCHAR(60), {} VARCHAR(60));",
        column(table),
        column(key),
        column(field),
        column(json),
        column(attributes),
        column("na'me"),
        column(value),
    );
    let catalog = names_catalog([table, key, field, json, attributes, value, attribute], path);
    let setup = Setup { catalog, own_tables: Some(tables), ..Setup::of(kind, instant(START)) };
    let world = World::set_up(setup).await;
    for text in TEXTS {
        let document = json!({ path: text }).to_string();
        world
            .crm
            .run(&format!(
                "INSERT INTO {} VALUES ({}, {}, {});
                 INSERT INTO {} VALUES ({}, {}, {});",
                column(table),
                sql(kind, text),
                sql(kind, text),
                sql(kind, &document),
                column(attributes),
                sql(kind, text),
                sql(kind, attribute),
                sql(kind, text),
            ))
            .await;
    }
    let rule = |id: &str, where_: &str| {
        format!(
            "version: 1\nid: {id}\nmode: live\npurpose: service\nfor_each: customer\ntrigger: {{schedule: {{cron: \"0 * * * *\"}}}}\n\
             guard: {{floor: 1000}}\nwhere:\n{where_}steps:\n  - webhook: {{to: sink, body: {{key: \"{{{{ record.key }}}}\", \
             name: \"{{{{ record.name }}}}\", seats: \"{{{{ record.seats }}}}\", plan: \"{{{{ record.plan }}}}\"}}}}\n"
        )
    };
    let list = TEXTS.iter().map(|text| yaml(text)).collect::<Vec<_>>().join(", ");
    let all = rule("all", &format!("  - seats: [{list}]\n  - plan: [{list}]\n  - name: [{list}]\n"));
    let none = rule("none", "  - seats: nobody\n");
    world.load(&[("all.yaml", &all), ("none.yaml", &none)]).await;
    world.pass(hours(2)).await;
    let said = sorted(bodies(&world).iter().map(|body| {
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        [text("key"), text("name"), text("seats"), text("plan")]
    }));
    assert_eq!(said, sorted(TEXTS.map(|text| [(); 4].map(|()| text.to_owned()))), "{kind:?}");
    // Keys came back from the state, and were asked for by it.
    let keys = world.enrollments().await.into_iter().map(|view| view.record.unwrap().key.to_string());
    assert_eq!(sorted(keys), sorted(TEXTS.map(str::to_owned)), "{kind:?}");
    the_canary_lives(&world).await;
}

/// Tenants, bodies and ids of events, occasions, and what a webhook answered.
#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn tenants_events_and_answers_are_values(#[case] kind: Kind) {
    let (per_transaction, tenant_of) = match kind {
        Kind::Sqlite => ("SELECT $tenant", None),
        Kind::Postgres => {
            ("SELECT set_config('app.tenant', $tenant, true)", Some("SELECT current_setting('app.tenant')"))
        }
        Kind::MariaDb => ("SET @tenant = $tenant", Some("SELECT CAST(@tenant AS CHAR)")),
    };
    let names = TEXTS.map(yaml).join(", ");
    let tenants = format!("tenants: {{names: [{names}], per_transaction: \"{per_transaction}\"}}\n");
    let catalog = format!(
        "version: 1\ntime_zone: UTC\n{tenants}entities:\n  customer: {{table: people, key: id, fields: {{name: name}}}}\n"
    );
    let tables = format!("{CANARY} CREATE TABLE people (id VARCHAR(60) PRIMARY KEY, name VARCHAR(60));");
    let per_transaction = Some(per_transaction.to_owned());
    let setup = Setup { catalog, own_tables: Some(tables), per_transaction, ..Setup::of(kind, instant(START)) };
    let world = World::set_up(setup).await;
    for text in TEXTS {
        if let Some(question) = tenant_of {
            assert_eq!(asked(&world, text, question).await, [[Value::Text(text.into())]], "{kind:?}");
        }
        let text = sql(kind, text);
        world.crm.run(&format!("INSERT INTO people VALUES ({text}, {text})")).await;
    }
    let rule = "version: 1\nid: told\nmode: live\npurpose: service\nfor_each: customer\ncheck_every: 1 minute\n\
                trigger: {event: {name: told, key: data.key, id: data.id, tenant: data.tenant}}\n\
                guard: {floor: 1000}\nsteps:\n  - webhook: {to: sink, save: answer, body: {ask: \"{{ occasion.row.data.say }}\"}}\n  \
                - wait: {for: 1 hour}\n  - webhook: {to: sink, body: {of: \"{{ record.name }}\", got: \"{{ saved.answer.text }}\"}}\n";
    world.load(&[("told.yaml", rule)]).await;
    world.clock.advance(SignedDuration::from_secs(30));
    for (number, text) in TEXTS.iter().enumerate() {
        let tenant = TEXTS[(number + 1) % TEXTS.len()];
        let body = json!({"data": {"key": text, "id": text, "tenant": tenant, "say": text}});
        let event = Inbound { name: "told".into(), id: (*text).to_owned(), received_at: world.now(), body };
        assert!(world.store.accept(&event).await.unwrap());
        assert!(!world.store.accept(&event).await.unwrap(), "the same event again");
    }
    // What it answers is as bad as what it was asked.
    world.webhooks.echo("ask");
    world.pass(hours(1)).await;
    let asked_for = sorted(bodies(&world).iter().map(|body| body["ask"].as_str().unwrap().to_owned()));
    assert_eq!(asked_for, sorted(TEXTS.map(str::to_owned)), "{kind:?}");
    world.pass(hours(2)).await;
    let said = sorted(bodies(&world).iter().map(|body| {
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        [text("of"), text("got")]
    }));
    assert_eq!(said, sorted(TEXTS.map(|text| [(); 2].map(|()| text.to_owned()))), "{kind:?}");
    let occasions = world.enrollments().await.into_iter().map(|view| {
        let record = view.record.unwrap();
        (view.occasion.unwrap().to_string(), record.key.to_string(), record.tenant.to_string())
    });
    let next = |number: usize| TEXTS[(number + 1) % TEXTS.len()].to_owned();
    let expected =
        TEXTS.iter().enumerate().map(|(number, text)| ((*text).to_owned(), (*text).to_owned(), next(number)));
    assert_eq!(sorted(occasions), sorted(expected), "{kind:?}");
    the_canary_lives(&world).await;
}

/// Words, placeholders and filters of the catalog, and the strings of triggers that keep episodes or read answers.
#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn filters_words_and_triggers_are_values(#[case] kind: Kind) {
    let world = World::set_up(Setup {
        catalog: every_filter(),
        own_tables: Some(format!("{CANARY}{EVERY_TABLE}")),
        ..Setup::of(kind, instant(START))
    })
    .await;
    let names = || TEXTS.iter().chain(&OTHERS).copied();
    let (flag, placed) = (|yes: bool| if yes { "TRUE" } else { "FALSE" }, world.crm.time(world.now()));
    for (id, name) in names().enumerate() {
        let name = sql(kind, name);
        let mail = format!("'a{id}@x.example'");
        world
            .crm
            .run(&format!(
                "INSERT INTO accounts VALUES ({id}, {name}, {name}, {});
                 INSERT INTO links VALUES ({id}, {id}, {name});
                 INSERT INTO persons VALUES ({id}, {mail}, {name});
                 INSERT INTO notes VALUES ({id}, {id}, {name}, {placed});
                 INSERT INTO todo VALUES ('old{id}', 'old', {id}, {name}, 'old{id}');",
                flag(false)
            ))
            .await;
    }
    let mut rules: Vec<(String, String)> = Vec::new();
    let mut add = |id: String, more: String| {
        let mail = if id == "person" { ", mail: \"{{ to.email }}\"" } else { "" };
        let text = format!(
            "version: 1\nid: {id}\nmode: live\npurpose: service\nfor_each: account\nguard: {{floor: 1000}}\n{more}steps:\n  \
             - webhook: {{to: sink, body: {{rule: {id}{mail}, of: \"{{{{ record.name }}}}\", word: \"{{{{ record.word }}}}\"}}}}\n"
        );
        rules.push((format!("{id}.yaml"), text));
    };
    let schedule = "trigger: {schedule: {cron: \"0 * * * *\"}}\nwhere:\n";
    let theirs =
        ["notes: {some: {}}", "linked: {count: 1}", "far: {some: {}}", "own_notes: {some: {}}", "looked: present"];
    for (number, term) in theirs.iter().enumerate() {
        add(format!("theirs-{number}"), format!("{schedule}  - {term}\n"));
        add(format!("not-theirs-{number}"), format!("{schedule}  - not: {{{term}}}\n"));
    }
    add("gone".to_owned(), format!("{schedule}  - gone: missing\n"));
    add("person".to_owned(), format!("to: main\n{schedule}  - name: present\n"));
    for (number, text) in TEXTS.iter().enumerate() {
        let (one, next) = (yaml(text), yaml(TEXTS[(number + 1) % TEXTS.len()]));
        add(format!("word-{number}"), format!("{schedule}  - word: {next}\n"));
        add(format!("survey-{number}"), format!("trigger: {{survey: {{of: answers, kind: {one}, settle: none}}}}\n"));
        add(format!("segment-{number}"), format!("trigger: {{segment: {{when: {{name: {one}, ready: true}}}}}}\n"));
        add(
            format!("count-{number}"),
            format!("trigger: {{count: {{of: notes, at_least: 2, within: 9 days, only: {{text: {one}}}}}}}\n"),
        );
        add(format!("changed-{number}"), format!("trigger: {{changed: {{field: tag, from: {one}, to: [{next}]}}}}\n"));
    }
    let task = "version: 1\nid: tasks\nmode: live\npurpose: service\nfor_each: account\ntrigger: {schedule: {cron: \"0 * * * *\"}}\n\
                guard: {floor: 1000}\nsteps:\n  - task: {title: new, unless_open: any}\n";
    rules.push(("tasks.yaml".to_owned(), task.to_owned()));
    let files: Vec<(&str, &str)> = rules.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    world.load(&files).await;
    world.pass(minutes(30)).await;
    assert!(bodies(&world).is_empty(), "nothing has happened yet");

    let now = world.crm.time(world.now());
    for (id, name) in names().enumerate() {
        let next = sql(kind, TEXTS[(id + 1) % TEXTS.len()]);
        let name = sql(kind, name);
        world
            .crm
            .run(&format!(
                "INSERT INTO notes VALUES ({}, {id}, {name}, {now});
                 INSERT INTO surveys VALUES ({id}, {id}, 9, {name}, {now});
                 UPDATE accounts SET ready = {}, tag = {next} WHERE id = {id};",
                100 + id,
                flag(true)
            ))
            .await;
    }
    world.pass(hours(2)).await;
    let said: BTreeSet<(String, String)> = bodies(&world)
        .iter()
        .map(|body| {
            let text = |key: &str| body[key].as_str().unwrap().to_owned();
            let (rule, of) = (text("rule"), text("of"));
            let place = TEXTS.iter().position(|known| *known == of);
            assert_eq!(
                text("word"),
                place.map_or(of.clone(), |at| TEXTS[(at + 1) % TEXTS.len()].to_owned()),
                "{kind:?}"
            );
            if rule == "person" {
                let own = place.map_or("nobody@x.example".to_owned(), |at| format!("a{at}@x.example"));
                assert_eq!(text("mail"), own, "{kind:?}");
            }
            (rule, of)
        })
        .collect();
    let mut expected = BTreeSet::new();
    for (number, text) in TEXTS.iter().enumerate() {
        let own = ["word", "survey", "segment", "count", "changed"].map(|rule| format!("{rule}-{number}"));
        let all = (0..theirs.len()).map(|term| format!("theirs-{term}"));
        let rules = own.into_iter().chain(all).chain(["gone".to_owned(), "person".to_owned()]);
        expected.extend(rules.map(|rule| (rule, (*text).to_owned())));
    }
    for name in OTHERS {
        // What is looked up is missing for them, and nothing that is missing is `present`, so its opposite holds.
        let rules = (0..theirs.len()).map(|term| format!("not-theirs-{term}")).chain(["person".to_owned()]);
        expected.extend(rules.map(|rule| (rule, name.to_owned())));
    }
    let (lacks, more) =
        (expected.difference(&said).collect::<Vec<_>>(), said.difference(&expected).collect::<Vec<_>>());
    assert!(lacks.is_empty() && more.is_empty(), "{kind:?} lacks {lacks:?} and has {more:?}");

    // Two inserts at once may meet in MariaDB, which ends one of them; that one is tried again.
    for _ in 0..7 {
        world.pass(minutes(4)).await;
    }
    let wrote = asked(&world, "", "SELECT account_id FROM todo WHERE title = 'new'").await;
    let wrote = sorted(wrote.into_iter().map(|row| format!("{row:?}")));
    let expected = sorted((0..TEXTS.len()).map(|id| format!("{:?}", [Value::Int(i64::try_from(id).unwrap())])));
    assert_eq!(wrote, expected, "{kind:?}: those whose old task is done, and nobody else");
    the_canary_lives(&world).await;
}

const EVERY_TABLE: &str = "
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, name VARCHAR(100), tag VARCHAR(100), ready BOOLEAN);
    CREATE TABLE links (account_id INTEGER, person_id INTEGER, kind VARCHAR(100));
    CREATE TABLE persons (id INTEGER PRIMARY KEY, email VARCHAR(60), first_name VARCHAR(100));
    CREATE TABLE notes (id INTEGER PRIMARY KEY, account_id INTEGER, text VARCHAR(100), made_at {instant});
    CREATE TABLE surveys (id INTEGER PRIMARY KEY, account_id INTEGER, rating INTEGER, kind VARCHAR(100), answered_at {instant});
    CREATE TABLE todo (id VARCHAR(40) PRIMARY KEY, title VARCHAR(200), account_id INTEGER, status VARCHAR(100), ref VARCHAR(80));
";

/// The texts in every filter that a catalog has, as stored values and as words.
fn every_filter() -> String {
    let list = TEXTS.map(yaml).join(", ");
    let words: Vec<String> =
        (0..TEXTS.len()).map(|at| format!("{}: [{}]", yaml(TEXTS[(at + 1) % TEXTS.len()]), yaml(TEXTS[at]))).collect();
    format!(
        "version: 1
time_zone: UTC
entities:
  account:
    table: accounts
    key: id
    fields:
      word: {{column: name, type: text, means: {{{words}}}}}
      gone: {{column: name, type: text, missing: [{list}]}}
      looked: {{look_up: own.kind}}
    relations:
      notes: {{entity: note, by: account_id, only: {{text: [{list}]}}}}
      own_notes: {{entity: note, by: account_id, when: {{name: [{list}]}}}}
      linked: {{entity: person, through: links, from: account_id, to: person_id, through_only: {{kind: [{list}]}}}}
      far: {{entity: person, hops: [{{table: links, from: account_id, to: person_id, only: {{kind: [{list}]}}}}]}}
      everybody: {{entity: person, through: links, from: account_id, to: person_id}}
      own: {{entity: link, to: id, only: {{kind: [{list}]}}}}
      answers: {{entity: answer, by: account_id}}
    recipients:
      main: {{first_of: everybody, only: {{first_name: [{list}]}}, else: nobody@x.example}}
  note: {{table: notes, key: id, at: made_at}}
  link: {{table: links, key: account_id}}
  person: {{table: persons, key: id, person: {{email: email, first_name: first_name}}}}
  answer: {{table: surveys, key: id, at: answered_at, score: rating, kind: kind}}
tasks:
  open: {{status: {{not_in: [{list}]}}}}
  insert:
    - {{table: todo, set: {{id: $uuid, title: $title, account_id: $record.key, status: {new}, ref: $ref}}}}
",
        words = words.join(", "),
        new = yaml(TEXTS[0]),
    )
}
