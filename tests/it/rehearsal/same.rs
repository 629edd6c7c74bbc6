//! The same rule gives the same records in test, preview, explain, backtest and live, on each database.

mod moved;
mod played;

use super::previewer;
use crate::support::instant;
use crate::world::{Kind, Setup, World, days, hours};
use jiff::Timestamp;
use nudged::action::email::{Composer, EmailOptions};
use nudged::engine::port::{EnrollmentFilter, Inbound, Message, Store, View};
use nudged::engine::rehearse::{Backtester, Simulator, Told, explain};
use nudged::engine::{PreviewScope, Previewer, Settings, preview};
use nudged::model::{RecordId, RuleId};
use nudged::store::sqlite::SqliteStore;
use played::{Cell, Row, given, play};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const START: &str = "2026-10-20T06:00:00Z";
/// Over the end of summer time.
const DAYS: i64 = 10;
const PEOPLE: i64 = 24;

const SILENT: &str = "version: 1
id: silent
description: Silent for 30 days.
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 30 days}
where:
  - country: {in: [AT, DE]}
  - responses: {none: {}, within_last: 5 days}
  - orders: {count: {at_least: 1}}
keep_trying: none
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - email: {template: hello}
";
const SCORED: &str = "version: 1
id: scored
description: A low score.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  survey: {of: responses, kind: nps, score: {at_most: 6}, settle: 1 hour, cooldown: 2 days}
where:
  - country: AT
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
const RENEWS: &str = "version: 1
id: renews
description: A contract that ends.
mode: live
purpose: service
for_each: subscription
to: signatory
trigger:
  date: {field: renews_on, at: \"09:00\"}
where:
  - status: active
guard: {floor: 1000}
check_every: 6 hours
offsets:
  3 days before:
    - webhook: {to: sink}
  on the day:
    - webhook: {to: sink}
";
const MONDAYS: &str = "version: 1
id: mondays
description: Every Monday.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  schedule: {cron: \"0 8 * * MON\"}
where:
  - country: DE
on_rematch: parallel
guard: {floor: 1000}
steps:
  - webhook: {to: sink}
";
const NEW: &str = "version: 1
id: new
description: There since a while.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  created: {at: created_at, settle: 2 hours}
where:
  - country: {in: [AT, CH]}
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
const LEFT: &str = "version: 1
id: left
description: Put together and left alone.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  abandoned: {of: orders, open: {status: paid}, idle: 8 hours, unless: responses}
where:
  - country: {in: [AT, DE]}
keep_trying: none
on_rematch: parallel
late: within 2 days
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
const AGAIN: &str = "version: 1
id: again
description: A year goes by.
mode: live
purpose: service
for_each: subscription
to: signatory
trigger:
  yearly: {field: renews_on, at: \"10:00\"}
where:
  - status: active
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
const OFTEN: &str = "version: 1
id: often
description: Orders within a few days.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  count: {of: orders, at_least: 1, within: 3 days}
where:
  - country: {in: [AT, DE]}
keep_trying: none
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
/// Half of them by time alone.
const FEWER: &str = "version: 1
id: fewer
description: Orders less than before.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  decline: {of: orders, by: 50, from_at_least: 1, window: 26 days}
where:
  - country: {in: [AT, DE]}
keep_trying: none
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
const INSIDE: &str = "version: 1
id: inside
description: Has just ordered.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  segment: {when: {orders: {some: {}, within_last: 2 days}}, min_out: none}
where:
  - country: {in: [AT, DE]}
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
/// Who has ordered for a while and doesn't any more, by time alone.
const OUTSIDE: &str = "version: 1
id: outside
description: Hasn't ordered for two days.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  segment: {when: {orders: {some: {}, within_last: 2 days}}, leaves: true, min_out: none}
where:
  - country: {in: [AT, DE]}
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
const ASKED: &str = "version: 1
id: asked
description: By SQL of its own.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  query:
    sql: SELECT account_id, id, answered_at FROM surveys WHERE answered_at > :after AND answered_at <= :until
    key: account_id
    occasion: id
    at: answered_at
where:
  - country: {in: [AT, DE]}
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
const SAID: &str = "version: 1
id: said
description: Another system says so.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  event: {name: said, key: data.customer}
where:
  - country: {in: [AT, DE]}
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
/// What only a script decides.
const JUDGED: &str = "version: 1
id: judged
description: Silent, and worth it.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 30 days}
where:
  - score: {at_least: 0.5}
script: worth.rhai
keep_trying: none
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
/// Who has just answered gets another chance, for as long as rules usually give one.
const RETRIED: &str = "version: 1
id: retried
description: Silent, and not just asked.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 30 days}
where:
  - responses: {none: {}, within_last: 2 days}
recheck: 6 hours
on_rematch: parallel
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
/// The day of an instant is the person's, and mostly another one than in Vienna or by UTC.
const AT_NIGHT: &str = "version: 1
id: at-night
description: A contract that ends at night.
mode: live
purpose: service
for_each: subscription
to: signatory
trigger:
  date: {field: renews_at, at: \"09:00\"}
guard: {floor: 1000}
check_every: 6 hours
offsets:
  1 day before:
    - webhook: {to: sink}
  on the day:
    - webhook: {to: sink}
";
const NIGHT_AGAIN: &str = "version: 1
id: night-again
description: A year after a night.
mode: live
purpose: service
for_each: subscription
to: signatory
trigger:
  yearly: {field: renews_at, at: \"10:00\"}
guard: {floor: 1000}
check_every: 6 hours
steps:
  - webhook: {to: sink}
";
const RULES: [&str; 17] = [
    "silent",
    "scored",
    "renews",
    "mondays",
    "new",
    "left",
    "again",
    "often",
    "fewer",
    "inside",
    "outside",
    "asked",
    "said",
    "judged",
    "retried",
    "at-night",
    "night-again",
];
const RENEWS_AT: &str = "ALTER TABLE subscriptions ADD COLUMN renews_at {instant};";
const HELLO: (&str, &str) =
    ("templates/hello.md", "---\nsubject: Hello {{ to.first_name }}\n---\nGrüße, {{ record.name }}\n");
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");
const WORTH: (&str, &str) = (
    "scripts/worth.rhai",
    "fn eligible(record, now) { !record.name.ends_with(\"7\") }\n\
     fn score(record, now) { if record.country == \"AT\" { 1 } else if record.country == \"DE\" { 0.5 } else { 0.4 } }\n",
);

/// Customers whose orders, answers and contracts lie all around the ten days, some of them within: in the tables, and
/// as a rule's test gives them.
async fn world(kind: Kind) -> (World, String) {
    let world = World::set_up(Setup { tables: RENEWS_AT, ..Setup::of(kind, instant(START)) }).await;
    let rows = rows(world.now());
    world.crm.run(&rows.iter().map(|row| row.insert(&world)).collect::<String>()).await;
    let rules = RULES.map(|id| (format!("{id}.yaml"), text_of(id)));
    let rules = rules.each_ref().map(|(path, text)| (path.as_str(), *text));
    world.load(&[&rules[..], &[HELLO, LAYOUT, WORTH]].concat()).await;
    tell(&*world.store, world.now()).await;
    let given = given(&rows, &world);
    (world, given)
}

/// What another system says in the days ahead, now and then about somebody who doesn't exist.
async fn tell(store: &dyn Store, start: Timestamp) {
    for (number, received_at, body) in said(start) {
        let event = Inbound { name: "said".into(), id: format!("msg_{number}"), received_at, body };
        store.accept(&event).await.unwrap();
    }
}

fn said(start: Timestamp) -> impl Iterator<Item = (i64, Timestamp, Json)> {
    (1..=14).map(move |number| (number, start + hours(number * 17), json!({"data": {"customer": number * 3}})))
}

fn text_of(rule: &str) -> &'static str {
    let texts = [
        SILENT,
        SCORED,
        RENEWS,
        MONDAYS,
        NEW,
        LEFT,
        AGAIN,
        OFTEN,
        FEWER,
        INSIDE,
        OUTSIDE,
        ASKED,
        SAID,
        JUDGED,
        RETRIED,
        AT_NIGHT,
        NIGHT_AGAIN,
    ];
    texts[RULES.iter().position(|id| *id == rule).unwrap()]
}

fn rows(start: Timestamp) -> Vec<Row> {
    let at = |offset: i64| Cell::At(start + hours(offset));
    let day = |offset: i64| Cell::Text((start + hours(offset)).strftime("%F").to_string());
    let mut rows = Vec::new();
    let mut customer = |id: i64, name: String, country: Option<&str>, zone: Option<&str>, agreed: bool, since: i64| {
        let mail = Cell::Text(format!("c{id}@x.example"));
        rows.push(Row::new(
            "accounts",
            id,
            [("name", Cell::Text(name.clone())), ("country_code", country.into()), ("created_at", at(since))],
        ));
        rows.push(Row::new(
            "contacts",
            id,
            [
                ("account_id", Cell::Int(id)),
                ("email", mail),
                ("first_name", Cell::Text(name)),
                ("tz", zone.into()),
                ("news_ok", Cell::Bool(agreed)),
            ],
        ));
    };
    let order = |id: i64, of: i64, when: i64, status: &str| {
        Row::new(
            "orders",
            id,
            [("account_id", Cell::Int(of)), ("placed_at", at(when)), ("status", Some(status).into())],
        )
    };
    let contract = |id: i64, status: &str, renews: Cell| {
        let ids = [("account_id", Cell::Int(id)), ("contact_id", Cell::Int(id))];
        // Around midnight in Vienna, at four in the morning by UTC; this year, or one of those before.
        let years_ago = 8_766 * (id % 3);
        let night = Cell::At(start + hours(24 * (id % 13) + [16, 17, 22][(id % 3) as usize] - years_ago));
        let more = [("status", Some(status).into()), ("renews_on", renews), ("renews_at", night)];
        Row::new("subscriptions", id, ids.into_iter().chain(more))
    };
    let mut more = Vec::new();
    for id in 1..=PEOPLE {
        let country = [Some("AT"), Some("DE"), Some("CH"), None][(id % 4) as usize];
        let zone = [Some("Europe/Vienna"), Some("America/New_York"), None][(id % 3) as usize];
        let ordered = -24 * 32 + id * 13;
        customer(id, format!("Çelik {id}"), country, zone, id % 5 != 0, ordered);
        more.push(order(id, id, ordered, "paid"));
        // Some order again, some after they fell silent; cancelled ones are no orders.
        if id % 3 == 0 {
            more.push(order(100 + id, id, id * 9, if id % 2 == 0 { "paid" } else { "cancelled" }));
        }
        if id % 8 < 2 {
            let answer =
                [("kind", Some("nps").into()), ("rating", Cell::Int(id % 7)), ("answered_at", at(id * 10 - 20))];
            more.push(Row::new("surveys", id, [("account_id", Cell::Int(id))].into_iter().chain(answer)));
        }
        more.push(contract(id, if id % 6 == 0 { "ended" } else { "active" }, day(24 * (id % 16))));
    }
    // Some come later; they order at once.
    for id in PEOPLE + 1..=PEOPLE + 6 {
        let (country, created) = (["AT", "DE", "CH"][(id % 3) as usize], (id - PEOPLE) * 30);
        customer(id, format!("Neu {id}"), Some(country), None, true, created);
        more.push(order(id, id, created, "paid"));
        let years_ago = (start + hours(24 * (id - PEOPLE))).strftime("2021-%m-%d").to_string();
        more.push(contract(id, "active", Cell::Text(years_ago)));
    }
    rows.extend(more);
    rows
}

/// What the next look is about: whoever crossed since the last one, or is still tried.
fn scope(rule: &RuleId) -> PreviewScope {
    if rule.as_str() == "retried" { PreviewScope::Last(days(14)) } else { PreviewScope::LastInterval }
}

/// `customer:4 2026-…` for a match.
fn told(record: &RecordId, occasion: &impl std::fmt::Display) -> String {
    format!("{record} {occasion}")
}

/// Who would match in the days ahead. What is dated in them is seen as they pass.
async fn simulated(world: &World) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("state.db"), world.now()).await.unwrap());
    tell(&*store, world.now()).await;
    let simulator = Simulator {
        source: world.source.clone(),
        store: store.clone(),
        generation: world.generation(),
        settings: Settings::default(),
        from: world.now(),
        until: world.now() + days(DAYS),
        only: Vec::new(),
    };
    simulator.run(|_| {}).await.unwrap();
    let all = EnrollmentFilter { limit: 10_000, ..EnrollmentFilter::default() };
    let found = store.enrollments(&all).await.unwrap().into_iter();
    found.map(|found| told(&found.record.unwrap(), &found.occasion.unwrap())).collect()
}

/// Explained one by one: it says `matches` of exactly those who are about to, by the newest of their occasions.
async fn everybody_explained(look: &Previewer<'_>, rule: &RuleId, fresh: BTreeSet<String>) {
    let mut explained = BTreeSet::new();
    for id in 1..=PEOPLE + 6 {
        let entity = look.generation.rules[rule].rule.for_each.clone();
        let record = RecordId { tenant: "".into(), entity, key: id.to_string().as_str().into() };
        let told_of = explain(look, rule, &record).await.unwrap();
        if told_of.verdict.code() == "matches" {
            explained.insert(told(&record, &told_of.crossings[0].occasion));
        }
    }
    assert!(explained.is_subset(&fresh), "{rule}: {:?}", explained.difference(&fresh));
    let records = |lines: &BTreeSet<String>| -> BTreeSet<String> {
        lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(records(&explained), records(&fresh), "{rule} at {}", look.now);
}

async fn the_same_everywhere(kind: Kind) {
    let (world, given) = world(kind).await;
    let generation = world.generation();
    let sender = Settings::default().sender;
    let composer = Composer::new(&EmailOptions { from: "hi@acme.example".into(), ..EmailOptions::default() }).unwrap();
    let mut previewed: [BTreeSet<String>; RULES.len()] = Default::default();
    let (mut promised, mut mailed, mut later) = (Vec::new(), Vec::new(), 0);
    let rules = RULES.map(RuleId::from);
    let begin = world.now();
    let simulated = simulated(&world).await;

    for look_number in 0..DAYS * 4 {
        world.clock.advance(hours(6));
        let look = previewer(&world, &generation, &sender);
        for (rule, found) in rules.iter().zip(&mut previewed) {
            let shown = preview(&look, rule, &scope(rule)).await.unwrap();
            // A preview looks behind the rule's baseline as well.
            let fresh = shown.matches.into_iter().filter(|matched| !matched.known && matched.crossed_at > begin);
            let fresh: Vec<_> = fresh.collect();
            if look_number % 10 == 3 {
                everybody_explained(&look, rule, fresh.iter().map(|m| told(&m.record, &m.occasion)).collect()).await;
            }
            for matched in fresh {
                later += usize::from(world.now().duration_since(matched.crossed_at) > hours(6));
                found.insert(told(&matched.record, &matched.occasion));
                for message in matched.messages {
                    if let Ok(Message::Email(email)) = message.content {
                        promised.push(composer.compose(&email, message.due_at).unwrap().bytes);
                    }
                }
            }
        }
        world.turn().await;
        for message in world.mail.take() {
            let Message::Email(email) = message else { panic!("only mails go this way") };
            mailed.push(composer.compose(&email, world.now()).unwrap().bytes);
        }
    }

    assert!(later >= 3, "on a later chance: {later}");

    let mut live: [BTreeSet<String>; RULES.len()] = Default::default();
    for enrollment in world.enrollments().await {
        let place = rules.iter().position(|rule| *rule == enrollment.rule).unwrap();
        live[place].insert(told(&enrollment.record.unwrap(), &enrollment.occasion.unwrap()));
    }
    assert_eq!(simulated, live.iter().flatten().cloned().collect(), "simulate and live");
    for (rule, (live, previewed)) in rules.iter().zip(live.iter().zip(&previewed)) {
        assert!(live.len() >= 3, "{rule} matches some: {live:?}");
        assert_eq!(previewed, live, "{rule}: preview and live");
        let (source, store) = (&*world.source, Some(&*world.store));
        let (from, until) = (begin, begin + days(DAYS));
        let backtester = Backtester { generation: &generation, source, store, from, until, every: None, batch: 7 };
        if ["inside", "outside"].contains(&rule.as_str()) {
            let refused = backtester.run(rule, |_| {}).await.unwrap_err().to_string();
            assert!(refused.contains("who is in its segment now, and not who came or left when"), "{refused}");
            continue;
        }
        let mut past = BTreeSet::new();
        let tested = backtester.run(rule, |told_of| {
            if let Told::Hit(hit) = told_of
                && hit.matched
            {
                assert!(past.insert(told(&hit.record, &hit.occasion)), "no occasion twice");
            }
        });
        let tested = tested.await.unwrap();
        if rule.as_str() == "retried" {
            // A backtest asks each once, and says so (decision 0018): who matched on a later chance is not in it.
            assert!(past.is_subset(live) && past.len() + later == live.len(), "{past:?} of {live:?}");
            continue;
        }
        assert_eq!(past, *live, "{rule}: backtest and live");
        assert_eq!(tested.total.matched, live.len() as u64);
        assert_eq!(tested.days.iter().map(|day| day.tally.matched).sum::<u64>(), tested.total.matched);
        assert!(tested.total.as_of >= tested.total.matched && tested.total.crossed >= tested.total.as_of);
    }
    let judged = &live[RULES.iter().position(|rule| *rule == "judged").unwrap()];
    // One by the script's yes or no, and one by its score.
    let refused = |line: &String| line.starts_with("customer:17 ") || line.starts_with("customer:18 ");
    assert!(!judged.iter().any(refused), "{judged:?}");
    let events: String = said(begin)
        .map(|(number, at, body)| {
            format!("      - {{at: {}, event: {{id: msg_{number}, body: {body}}}}}\n", at.strftime("%F %H:%M"))
        })
        .collect();
    for rule in RULES {
        let events = if rule == "said" { events.as_str() } else { "" };
        play(&world, rule, text_of(rule), (&given, events), &[HELLO, LAYOUT, WORTH]).await;
    }
    assert!(!mailed.is_empty());
    promised.sort();
    mailed.sort();
    for (promised, mailed) in promised.iter().zip(&mailed) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(text(promised), text(mailed), "a mail is what the preview showed, byte for byte");
    }
    assert_eq!(promised.len(), mailed.len());
}

#[tokio::test]
async fn test_preview_explain_backtest_and_live_agree_on_sqlite() {
    Box::pin(the_same_everywhere(Kind::Sqlite)).await;
}

#[tokio::test]
async fn test_preview_explain_backtest_and_live_agree_on_postgres() {
    Box::pin(the_same_everywhere(Kind::Postgres)).await;
}

#[tokio::test]
async fn test_preview_explain_backtest_and_live_agree_on_mariadb() {
    Box::pin(the_same_everywhere(Kind::MariaDb)).await;
}
