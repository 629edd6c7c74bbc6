//! Messages to the chats of colleagues: what arrives there, and what a rule's test can say about it.

use crate::support::{Reply, http_receiver, instant, test_clock};
use crate::world::{Kind, World, days, hours};
use nudged::action::HttpSender;
use nudged::action::chat::{ChatFormat, ChatOptions, ChatSender};
use nudged::action::webhook::WebhookSender;
use nudged::diagnostic::SourceFile;
use nudged::diagnostic::render::{Look, render};
use nudged::engine::Settings;
use nudged::engine::port::{ChatMessage, Message, Sender, Sent};
use nudged::model::{DeliveryId, Outcome};
use nudged::rule::generation::{Gateways, Surroundings, Tree};
use nudged::rule::statement::Dialect;
use nudged::testbench::Bench;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW: &str = "2026-11-21T10:00:00Z";

fn open(format: ChatFormat, url: &str) -> ChatOptions {
    ChatOptions { allow_private: true, ..ChatOptions::to(format, url) }
}

/// As the service puts it together.
fn sender(options: ChatOptions) -> HttpSender {
    let chats = ChatSender::new(&BTreeMap::from([("sales".to_owned(), options)]), test_clock(NOW)).unwrap();
    HttpSender::new(WebhookSender::new(&BTreeMap::new(), test_clock(NOW)).unwrap(), chats)
}

fn message(to: &str, text: &str) -> Message {
    Message::Chat(ChatMessage { delivery: DeliveryId([9; 16]), to: to.into(), text: text.into() })
}

async fn send(options: ChatOptions, text: &str) -> Sent {
    sender(options).send(message("sales", text)).await
}

#[tokio::test]
async fn each_chat_gets_the_json_it_takes() {
    let receiver = http_receiver();
    receiver.reply_next(Reply::ok());
    receiver.reply_next(Reply::status(204));
    receiver.reply_next(Reply::ok());
    receiver.reply_next(Reply::status(202));
    for (format, path) in [
        (ChatFormat::Slack, "/services/T1/B2/x3"),
        (ChatFormat::Discord, "/api/webhooks/1/token"),
        (ChatFormat::Mattermost, "/hooks/abc"),
        (ChatFormat::Teams, "/workflows/1/triggers/manual/paths/invoke"),
    ] {
        let sent = send(open(format, &format!("{}{path}", receiver.url)), "<b> & *Zoë* @all").await;
        assert_eq!(sent.outcome.as_str(), "sent", "{:?}", sent.outcome);
    }
    let received = receiver.received();
    assert_eq!(received[0].path, "/services/T1/B2/x3");
    assert_eq!(received[0].header("content-type"), "application/json");
    assert_eq!(received[0].json()["text"], "&lt;b&gt; &amp; *Zoë* @all");
    assert_eq!(received[1].json()["content"], "\\<b> & \\*Zoë\\* @all");
    assert_eq!(received[1].json()["allowed_mentions"], json!({"parse": []}));
    assert_eq!(received[2].json(), json!({"text": "<b> & \\*Zoë\\* @\u{200b}all"}));
    let card = &received[3].json()["attachments"][0];
    assert_eq!(card["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(card["content"]["body"][0]["inlines"], json!([{"type": "TextRun", "text": "<b> & *Zoë* @all"}]));
}

#[tokio::test]
async fn a_chat_that_asks_for_time_gets_it_and_what_it_refuses_stays_refused() {
    let receiver = http_receiver();
    let chat = || open(ChatFormat::Discord, &format!("{}/s3cret", receiver.url));
    receiver.reply_next(Reply::status(429).header("retry-after", "30"));
    let Outcome::Transient { retry_after, reason } = send(chat(), "hello").await.outcome else {
        panic!("not transient")
    };
    assert_eq!(retry_after, Some(instant("2026-11-21T10:00:30Z")));
    assert!(!reason.contains("s3cret"), "{reason}");
    receiver.reply_next(Reply::status(404));
    let gone = send(chat(), "hello").await.outcome;
    assert!(matches!(&gone, Outcome::Permanent { reason } if !reason.contains("s3cret")), "{gone:?}");
    for (status, outcome) in [(503, "transient"), (500, "unknown"), (502, "unknown")] {
        receiver.reply_next(Reply::status(status));
        assert_eq!(send(chat(), "hello").await.outcome.as_str(), outcome, "{status}: chats know no key");
    }
    let asked = receiver.count();

    assert_eq!(send(chat(), " \n").await.outcome.as_str(), "permanent", "nothing to say");
    let unknown = sender(chat()).send(message("support", "hello")).await.outcome;
    assert_eq!(unknown, Outcome::Permanent { reason: "no chat `support` in the configuration".into() });
    assert_eq!(receiver.count(), asked, "neither left the house");
}

#[tokio::test]
async fn a_chat_inside_our_own_network_must_be_allowed() {
    let options = ChatOptions::to(ChatFormat::Mattermost, "http://10.0.0.1/hooks/s3cret");
    let error = ChatSender::new(&BTreeMap::from([("sales".to_owned(), options)]), test_clock(NOW)).err().unwrap();
    let error = error.to_string();
    assert!(error.starts_with("chats.sales.url: ") && error.contains("allow_private"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}

const RULE: &str = r#"version: 1
id: silence
description: Silent for 30 days.
mode: live
purpose: staff
for_each: customer
trigger: {inactivity: {of: orders, for: 30 days}}
check_every: 1 hour
steps:
  - chat:
      to: sales
      text: |
        {{ record.name }} <{{ record.key }}> is silent
        https://crm.example/accounts/{{ record.key }}
  - chat: {to: sales, text: "Bye"}
"#;

#[tokio::test]
async fn a_rule_writes_to_its_chat_once_and_never_again_in_doubt() {
    let world = World::new(Kind::Sqlite, instant("2026-06-01T08:00:00Z"), Settings::default()).await;
    let ordered = world.crm.time(world.ago(days(30)) + hours(1));
    world.crm.run(&format!("INSERT INTO accounts VALUES (1, '{{{{ Ada }}}}', 'AT', {ordered})")).await;
    world.crm.run(&format!("INSERT INTO orders VALUES (1, 1, {ordered}, 'paid')")).await;
    let held = RULE.replace("purpose: staff", "purpose: staff\nunknown: hold");
    world.load(&[("silence.yaml", &held)]).await;
    world.webhooks.answer([Outcome::Sent { reply: "200".into() }, Outcome::Unknown { reason: "no answer".into() }]);
    world.pass(hours(2)).await;
    world.pass(days(1)).await;
    let texts: Vec<(String, String)> = world
        .webhooks
        .take()
        .into_iter()
        .map(|message| match message {
            Message::Chat(chat) => (chat.to, chat.text),
            other => panic!("{other:?}"),
        })
        .collect();
    let first = "{{ Ada }} <1> is silent\nhttps://crm.example/accounts/1".to_owned();
    assert_eq!(texts, [("sales".to_owned(), first), ("sales".to_owned(), "Bye".to_owned())]);
    assert_eq!(world.store.overview(world.now()).await.unwrap().outbox_unknown, 1, "an operator decides");
}

const CATALOG: &str = "version: 1
time_zone: Europe/Vienna
entities:
  customer: {table: accounts, key: id, fields: {name: name}, relations: {orders: {entity: order, by: customer}}}
  order: {table: orders, key: id, at: placed_at, fields: {customer: account_id}}
";

async fn said(expect: &str) -> String {
    let tests = format!(
        "tests:
  - name: it
    at: 2026-11-21 10:00 Europe/Vienna
    given:
      customer: [{{key: 1, name: Ada}}]
      order: [{{key: 5, customer: 1, placed_at: 30 days ago}}]
    then:
      - {{after: 0 days, expect: {{chat: {expect}}}}}
"
    );
    let file = |path: &str, text: String| Arc::new(SourceFile { path: path.into(), text });
    let files = vec![file("catalog.yaml", CATALOG.to_owned()), file("silence.yaml", format!("{RULE}{tests}"))];
    let surroundings = Surroundings {
        dialect: Dialect::Postgres,
        schema: None,
        destinations: [].into(),
        chats: ["sales".to_owned()].into(),
        gateways: Gateways::default(),
        topics: [].into(),
    };
    let bench = Bench { tree: Arc::new(Tree { files }), surroundings, settings: Settings::default() };
    match bench.play(&bench.rule_files(), 1, |_| {}).await {
        Ok(mut reports) => reports.remove(0).failures().map(|failure| failure.finding.to_string()).collect(),
        Err(findings) => panic!("{}", render(&findings, Look::Plain)),
    }
}

#[tokio::test]
async fn a_test_expects_messages_of_chats() {
    assert_eq!(said("[{to: sales, contains: Ada <1> is silent, record: 1}, chat-sales-2]").await, "");
    let wrong = said("[{to: sales, contains: Bob}, chat-sales-2]").await;
    assert!(wrong.contains("was not sent"), "{wrong}");
}
