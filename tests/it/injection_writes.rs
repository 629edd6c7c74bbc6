//! The same texts through everything that is written into the CRM: fields, tags, codes, colleagues, what people said
//! about mails, and what they answered on our page.

use crate::injection::{CANARY, TEXTS, asked, bodies, sorted, sql, the_canary_lives, yaml};
use crate::support::instant;
use crate::world::{Kind, Setup, World, hours, minutes};
use nudged::engine::port::Message;
use nudged::engine::{Links, Settings};
use nudged::model::{Channel, Clock, DeliveryId, Preference, PreferenceSource, Value};
use nudged::web::{Consent, PageOptions, public_router};
use rstest::rstest;
use std::sync::Arc;

const START: &str = "2026-11-21T10:00:00Z";

const TABLES: &str = "
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, name VARCHAR(100), note VARCHAR(200), fixed VARCHAR(100),
                           stage VARCHAR(100), owner VARCHAR(100));
    CREATE TABLE tags (account_id INTEGER, tag VARCHAR(200));
    CREATE TABLE people (id INTEGER PRIMARY KEY, account_id INTEGER, email VARCHAR(60), news VARCHAR(100));
    CREATE TABLE staff (id VARCHAR(100) PRIMARY KEY, email VARCHAR(60), first_name VARCHAR(100), team VARCHAR(100));
    CREATE TABLE codes (code VARCHAR(100) PRIMARY KEY, campaign VARCHAR(100), taken_by VARCHAR(80), who VARCHAR(100),
                        word VARCHAR(100));
    CREATE TABLE answers (ref VARCHAR(80) PRIMARY KEY, name VARCHAR(100), kind VARCHAR(100), rating INTEGER,
                          comment VARCHAR(2000));
";

/// A constant with no braces of a template.
fn constant(number: usize) -> String {
    TEXTS[number % TEXTS.len()].replace('{', "(").replace('}', ")")
}

const YES: usize = 3;
const NO: usize = 0;

fn catalog() -> String {
    let list = TEXTS.map(yaml).join(", ");
    let words: Vec<String> =
        (0..TEXTS.len()).map(|at| format!("{}: [{}]", yaml(TEXTS[(at + 1) % TEXTS.len()]), yaml(TEXTS[at]))).collect();
    format!(
        "version: 1
time_zone: UTC
entities:
  customer:
    table: accounts
    key: id
    fields:
      name: {{column: name, type: text}}
      note: {{writable: true}}
      fixed: {{writable: true}}
      word: {{column: stage, type: text, means: {{{words}}}, writable: true}}
      owner: {{writable: true}}
    relations:
      people: {{entity: person, by: account_id}}
    recipients:
      main: {{first_of: people}}
    tags: {{table: tags, record: account_id, tag: tag}}
  person:
    table: people
    key: id
    person: {{email: email}}
    consent: {{email: {{offers: news, write_back: {{yes: {yes}, no: {no}}}}}}}
  colleague: {{table: staff, key: id, fields: {{team: team}}, person: {{email: email, first_name: first_name}}}}
pools:
  codes:
    table: codes
    code: code
    only: {{campaign: [{list}]}}
    taken: {{taken_by: $ref, who: $record.name, word: {no}}}
surveys:
  nps:
    insert: {{table: answers, set: {{ref: $ref, name: $record.name, kind: {yes}, rating: $score, comment: $comment}}}}
",
        words = words.join(", "),
        yes = yaml(TEXTS[YES]),
        no = yaml(TEXTS[NO]),
    )
}

/// A customer, a colleague and a code for each text.
async fn world(kind: Kind, settings: Settings) -> World {
    let (catalog, own_tables) = (catalog(), Some(format!("{CANARY}{TABLES}")));
    let world = World::set_up(Setup { settings, catalog, own_tables, ..Setup::of(kind, instant(START)) }).await;
    for (id, name) in TEXTS.iter().enumerate() {
        let (old, name) = (sql(kind, &format!("old {name}")), sql(kind, name));
        world
            .crm
            .run(&format!(
                "INSERT INTO accounts (id, name) VALUES ({id}, {name});
                 INSERT INTO tags VALUES ({id}, {old}), ({id}, 'kept');
                 INSERT INTO people VALUES ({id}, {id}, 'a{id}@x.example', {name});
                 INSERT INTO staff VALUES ({name}, 'c{id}@x.example', {name}, {name});
                 INSERT INTO codes (code, campaign) VALUES ({name}, {name});"
            ))
            .await;
    }
    world
}

/// Every row, each cell as it is.
async fn rows(world: &World, sql: &str) -> Vec<Vec<String>> {
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        other => other.to_json().to_string(),
    };
    sorted(asked(world, "", sql).await.iter().map(|row| row.iter().map(text).collect()))
}

fn expected(row: impl Fn(usize, &str) -> Vec<String>) -> Vec<Vec<String>> {
    sorted(TEXTS.iter().enumerate().map(|(id, name)| row(id, name)))
}

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn what_steps_write_are_values(#[case] kind: Kind) {
    let world = world(kind, Settings::default()).await;
    let team = TEXTS.map(yaml).join(", ");
    let rules: Vec<(String, String)> = TEXTS
        .iter()
        .enumerate()
        .map(|(id, name)| {
            let (next, word) = (yaml(&constant(id + 1)), yaml(TEXTS[(id + 1) % TEXTS.len()]));
            let rule = format!(
                "version: 1\nid: writes-{id}\nmode: live\npurpose: service\nfor_each: customer\n\
                 trigger: {{schedule: {{cron: \"0 * * * *\"}}}}\nonly_at_entry:\n  - name: {}\nsteps:\n  \
                 - update: {{set: {{note: \"x{{{{ record.name }}}}y\", fixed: {next}, word: {word}}}, \
                 add_tags: [\"{{{{ record.name }}}}!\", {next}], remove_tags: [\"old {{{{ record.name }}}}\"]}}\n  \
                 - assign: {{from: colleague, only: [team: [{team}]], set: owner, rotation: all}}\n  \
                 - claim: {{pool: codes, save: code}}\n  \
                 - webhook: {{to: sink, body: {{of: \"{{{{ record.name }}}}\", code: \"{{{{ saved.code.code }}}}\", \
                 key: \"{{{{ saved.assigned.key }}}}\", first: \"{{{{ saved.assigned.first_name }}}}\"}}}}\n",
                yaml(name)
            );
            (format!("writes-{id}.yaml"), rule)
        })
        .collect();
    let files: Vec<(&str, &str)> = rules.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    world.load(&files).await;
    world.pass(hours(1)).await;
    // Two writes at once may meet in MariaDB, which ends one of them; that one is tried again.
    let mut said = bodies(&world);
    for _ in 0..20 {
        if said.len() >= TEXTS.len() {
            break;
        }
        world.pass(minutes(2)).await;
        said.extend(bodies(&world));
    }
    let (of, names) = (|key: &str| sorted(said.iter().map(|body| body[key].as_str().unwrap().to_owned())), TEXTS);
    let each = sorted(names.map(str::to_owned));
    for key in ["of", "code", "key", "first"] {
        assert_eq!(of(key), each, "{kind:?}: {key}, {:?}", world.deliveries().await);
    }
    let fields = rows(&world, "SELECT id, note, fixed, stage FROM accounts").await;
    let written = |id: usize, name: &str| vec![id.to_string(), format!("x{name}y"), constant(id + 1), name.to_owned()];
    assert_eq!(fields, expected(written), "{kind:?}");
    assert_eq!(sorted(rows(&world, "SELECT owner FROM accounts").await.concat()), each, "{kind:?}: everybody one");
    let mut tags = expected(|id, name| vec![id.to_string(), format!("{name}!")]);
    tags.extend(expected(|id, _| vec![id.to_string(), constant(id + 1)]));
    tags.extend(expected(|id, _| vec![id.to_string(), "kept".to_owned()]));
    assert_eq!(rows(&world, "SELECT account_id, tag FROM tags").await, sorted(tags), "{kind:?}");
    let codes = rows(&world, "SELECT code, word FROM codes WHERE taken_by IS NOT NULL").await;
    assert_eq!(codes, expected(|_, name| vec![name.to_owned(), TEXTS[NO].to_owned()]), "{kind:?}");
    assert_eq!(sorted(rows(&world, "SELECT who FROM codes").await.concat()), each, "{kind:?}");
    the_canary_lives(&world).await;
}

const ASK: &str = "version: 1
id: ask
mode: live
purpose: service
for_each: customer
to: main
trigger: {schedule: {cron: \"0 * * * *\"}}
guard: {floor: 1000}
steps: [{email: {template: ask, asks: nps}}]
";
const TEMPLATE: (&str, &str) =
    ("templates/ask.md", "---\nsubject: \"{{ record.name }}\"\n---\n[answer]({{ answer_url }})\n");
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

#[rstest]
#[case(Kind::Sqlite)]
#[case(Kind::Postgres)]
#[case(Kind::MariaDb)]
#[tokio::test]
async fn what_readers_say_are_values(#[case] kind: Kind) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let world = world(kind, Settings { links: Links::Served(Some(base.clone())), ..Settings::default() }).await;
    let clock: Arc<dyn Clock> = world.clock.clone();
    let store = Arc::clone(&world.store);
    let pages = Consent::new(store, clock, ["offers".into()].into(), PageOptions::default(), "Acme".to_owned());
    let serving = tokio::spawn(async move {
        axum::serve(listener, public_router([pages.router()])).await.unwrap();
    });
    world.load(&[("ask.yaml", ASK), TEMPLATE, LAYOUT]).await;
    world.pass(hours(1)).await;
    let mails = world.mail.take();
    assert_eq!(mails.len(), TEXTS.len(), "{kind:?}");
    for mail in mails {
        let Message::Email(mail) = mail else { panic!("a mail: {mail:?}") };
        let id: usize = mail.to_address.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        let start = mail.html.find(&format!("{base}/a/")).expect("the mail has a link to answer");
        let link = mail.html[start..].split('"').next().unwrap();
        answer(link, TEXTS[id]).await;
        say(&world, &mail.to_address, mail.delivery, id.is_multiple_of(2)).await;
    }
    serving.abort();
    assert_eq!(world.engine.tell_answers().await.unwrap(), TEXTS.len() as u64, "{kind:?}");
    let answers = rows(&world, "SELECT name, kind, rating, comment FROM answers").await;
    // A comment is text of one or more lines, and nothing else that moves a cursor.
    let shown = |text: &str| text.replace('\t', "");
    let given = |_: usize, name: &str| vec![name.to_owned(), TEXTS[YES].to_owned(), "7".to_owned(), shown(name)];
    assert_eq!(answers, expected(given), "{kind:?}");

    while world.engine.carry_consents().await.unwrap() > 0 {}
    let news = rows(&world, "SELECT id, news FROM people").await;
    let word = |id: usize, _: &str| vec![id.to_string(), TEXTS[if id.is_multiple_of(2) { YES } else { NO }].to_owned()];
    assert_eq!(news, expected(word), "{kind:?}");
    the_canary_lives(&world).await;
}

async fn answer(link: &str, comment: &str) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().post(link).form(&[("score", "7"), ("comment", comment)]);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{comment}: {}", answer.text().await.unwrap());
}

async fn say(world: &World, address: &str, delivery: DeliveryId, allowed: bool) {
    let said = Preference {
        hash: world.store.secret().address_hash(Channel::Email, address),
        channel: Channel::Email,
        topic: Some("offers".into()),
        allowed,
        since: world.now(),
        source: PreferenceSource::OneClick,
        delivery: Some(delivery),
    };
    assert_eq!(world.store.prefer(&[said]).await.unwrap(), 1);
}
