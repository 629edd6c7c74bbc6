//! Windows and caps put messages off in a preview and in a simulation as they do live, those of its own included.

use super::nothing;
use crate::support::instant;
use crate::world::{Kind, Setup, World, days, hours};
use jiff::Timestamp;
use nudged::engine::port::Message;
use nudged::engine::rehearse::{Happened, Simulator};
use nudged::engine::{PreviewScope, Previewer, Sending, Settings, preview};
use nudged::model::{Limits, RuleId};
use nudged::store::sqlite::SqliteStore;
use std::sync::Arc;

const START: &str = "2026-06-01T08:00:00Z";
const RULE: &str = "version: 1
id: often
description: Three mails, two hours apart.
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  created: {at: created_at, settle: none}
late: within 10 days
guard: {floor: 1000}
check_every: 1 hour
steps:
  - email: {template: hello}
  - wait: {for: 2 hours}
  - email: {template: hello}
  - wait: {for: 2 hours}
  - email: {template: hello}
";
const HELLO: (&str, &str) = ("templates/hello.md", "---\nsubject: Hello\n---\nHello\n");
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

async fn world(sending: Sending) -> World {
    let settings = Settings { sending, ..Settings::default() };
    let world = World::set_up(Setup { settings, ..Setup::of(Kind::Sqlite, instant(START)) }).await;
    let created = world.crm.time(world.now() + hours(1));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts VALUES (1, 'Ada', 'AT', {created});
             INSERT INTO contacts VALUES (1, 1, 'ada@x.example', 'Ada', 'Europe/Vienna', TRUE);"
        ))
        .await;
    world.load(&[("often.yaml", RULE), HELLO, LAYOUT]).await;
    world
}

fn capped(caps: &str, window: Option<&str>) -> Sending {
    let limits = Limits { caps: caps.split(", ").map(|cap| cap.parse().unwrap()).collect(), ..Limits::default() };
    let window = window.map(|window| window.parse().unwrap());
    Sending { limits: Arc::new(limits), window, ..Sending::default() }
}

/// When each mail would leave, by a preview at the hour at which the rule looks.
async fn previewed(world: &World, sending: &Sending) -> Vec<Timestamp> {
    let (generation, sender) = (world.generation(), nothing());
    let look = Previewer { sending: Some(sending), ..super::previewer(world, &generation, &sender) };
    let shown = preview(&look, &RuleId::from("often"), &PreviewScope::LastInterval).await.unwrap();
    let [matched] = shown.matches.as_slice() else { panic!("one: {shown:?}") };
    matched.messages.iter().filter(|message| message.content.is_ok()).map(|message| message.due_at).collect()
}

async fn simulated(world: &World, sending: &Sending, from: Timestamp) -> Vec<Timestamp> {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path().join("state.db"), from).await.unwrap());
    let settings = Settings { sending: sending.clone(), ..Settings::default() };
    let simulator = Simulator {
        source: world.source.clone(),
        store,
        generation: world.generation(),
        settings,
        from,
        until: from + days(8),
        only: Vec::new(),
    };
    let mut sent = Vec::new();
    let run = simulator.run(|happened| {
        if let Happened::Attempt(attempt) = happened
            && attempt.outcome == "sent"
        {
            sent.push(attempt.finished_at);
        }
    });
    run.await.unwrap();
    sent
}

async fn agree(sending: Sending) -> Vec<Timestamp> {
    let world = world(sending.clone()).await;
    let simulated = simulated(&world, &sending, world.now()).await;
    world.clock.advance(hours(1));
    let previewed = previewed(&world, &sending).await;
    assert_eq!(previewed, simulated, "preview and simulate");
    world.turn().await;
    let mut sent = vec![world.now(); world.mail.take().len()];
    for _ in 0..8 * 24 {
        world.pass(hours(1)).await;
        sent.extend(world.mail.take().iter().map(|_| world.now()));
    }
    assert_eq!(previewed, sent, "preview and live");
    sent
}

#[tokio::test]
async fn the_places_that_its_own_messages_use_up_count() {
    let first = instant(START) + hours(1);
    assert_eq!(agree(capped("1 per day", None)).await, [first, first + days(1), first + days(2)]);
    assert_eq!(agree(capped("2 per day", None)).await, [first, first + hours(2), first + days(1)]);
    let weekly = agree(capped("1 per day, 2 per week", None)).await;
    assert_eq!(weekly, [first, first + days(1), first + days(7)]);
}

#[tokio::test]
async fn so_does_the_window() {
    let sent = agree(capped("1 per day", Some("09:00-10:30"))).await;
    // From Monday at 11:00 in Vienna to Tuesday at 9:00, and from then on a day apart.
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert_eq!(sent[0], instant("2026-06-02T07:00:00Z"));
}

/// Whose mails left, and when.
type Sent = Vec<(Timestamp, String)>;

const NAMED: (&str, &str) = ("templates/hello.md", "---\nsubject: \"{{ record.name }}\"\n---\nHello\n");

async fn shared_by_preview(world: &World, sending: &Sending) -> Sent {
    let (generation, sender) = (world.generation(), nothing());
    let look = Previewer { sending: Some(sending), ..super::previewer(world, &generation, &sender) };
    let shown = preview(&look, &RuleId::from("often"), &PreviewScope::LastInterval).await.unwrap();
    let messages = shown.matches.iter().flat_map(|found| &found.messages);
    let mails = messages.filter_map(|message| match message.content.as_ref().ok()? {
        Message::Email(mail) => Some((message.due_at, mail.subject.clone())),
        other => panic!("a mail: {other:?}"),
    });
    let mut sent: Sent = mails.collect();
    sent.sort();
    sent
}

async fn shared_by_live(world: &World) -> Sent {
    let mut sent = Sent::new();
    for _ in 0..8 * 24 {
        let now = world.now();
        sent.extend(world.mail.mails().into_iter().map(|(_, subject)| (now, subject)));
        world.pass(hours(1)).await;
    }
    sent.sort();
    sent
}

#[tokio::test]
async fn two_records_with_one_address_share_its_caps() {
    let sending = capped("1 per day", None);
    let world = world(sending.clone()).await;
    let created = world.crm.time(world.now() + hours(1));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts VALUES (2, 'Bob', 'AT', {created});
             INSERT INTO accounts VALUES (3, 'Cy', 'AT', {created});
             INSERT INTO contacts VALUES (2, 2, 'Ada@X.example', 'Bob', 'Europe/Vienna', TRUE);
             INSERT INTO contacts VALUES (3, 3, 'cy@x.example', 'Cy', 'Europe/Vienna', TRUE);"
        ))
        .await;
    let two = RULE.replacen("  - wait: {for: 2 hours}\n  - email: {template: hello}\n", "", 1);
    world.load(&[("often.yaml", &two), NAMED, LAYOUT]).await;
    world.clock.advance(hours(1));
    let previewed = shared_by_preview(&world, &sending).await;
    let first = instant(START) + hours(1);
    let expected = [
        (first, "Ada"),
        (first, "Cy"),
        (first + days(1), "Ada"),
        (first + days(1), "Cy"),
        (first + days(2), "Bob"),
        (first + days(3), "Bob"),
    ];
    assert_eq!(previewed, expected.map(|(at, name)| (at, name.to_owned())));
    world.turn().await;
    assert_eq!(previewed, shared_by_live(&world).await, "preview and live");
}
