//! One step, the channel that its reader prefers, and the next one where that can't be.

use super::world::{customer, outcomes, settings, texts, world_with};
use crate::world::{Kind, hours};
use nudged::engine::Previewer;
use nudged::engine::rehearse::{explain, why};
use nudged::model::RecordId;
use rstest::rstest;
use serde_json::json;

const RULE: &str = "version: 1
id: silence
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger: {inactivity: {of: orders, for: 30 days}}
check_every: 1 hour
steps:
  - message:
      channel: preferred
      email: {template: mail}
      sms: {text: \"{{ to.first_name }}, we miss you\"}
      task: {title: \"Call {{ to.first_name }}\"}
";
const MAIL: (&str, &str) = ("templates/mail.md", "---\nsubject: We miss you\n---\nHello\n");
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::postgres(Kind::Postgres)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn each_is_reached_as_they_like_it(#[case] kind: Kind) {
    let world = world_with(kind, settings()).await;
    customer(&world, 1, "'a@x.example', 'Ada', NULL, true, '0664 1234567', 'S', false").await;
    customer(&world, 2, "'b@x.example', 'Ben', NULL, true, '0664 7654321', 'E', false").await;
    customer(&world, 3, "'c@x.example', 'Cleo', NULL, true, NULL, 'P', false").await;
    // Prefers text messages, and has said no to calls.
    customer(&world, 4, "'d@x.example', 'Dan', NULL, true, '0664 1111111', 'S', true").await;
    customer(&world, 5, "NULL, 'Eve', NULL, true, NULL, 'S', false").await;
    customer(&world, 6, "'f@x.example', 'Flo', NULL, true, '0664 2222222', NULL, false").await;
    world.load(&[("silence.yaml", RULE), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    assert_eq!(texts(&world), [("+436641234567".to_owned(), "Ada, we miss you".to_owned())]);
    let mut mailed: Vec<String> = world.mail.mails().into_iter().map(|(to, _)| to).collect();
    mailed.sort();
    assert_eq!(mailed, ["b@x.example", "d@x.example", "f@x.example"]);
    let written = outcomes(&world).await;
    assert_eq!(written, ["sent ok", "sent ok", "sent ok", "sent ok", "sent written", "sent written"]);

    // Why it went another way is in the record's history.
    let told = async |key: &str| {
        let record = RecordId { tenant: "".into(), entity: "customer".into(), key: key.into() };
        let enrollments = world.enrollments().await;
        let found = enrollments.iter().find(|found| found.record.as_ref() == Some(&record)).unwrap();
        let happened = world.store.timelines(&[found.id]).await.unwrap();
        happened.into_iter().filter(|line| line.what == "fell_back").map(|line| line.detail).collect::<Vec<_>>()
    };
    assert_eq!(told("4").await, ["sms: no consent to offers by phone"]);
    assert_eq!(told("5").await, ["sms: the recipient has no phone number; email: the recipient has no address"]);
    assert_eq!(told("1").await, [""; 0]);
    assert_eq!(told("6").await, [""; 0], "nobody knows what they prefer, so nothing was fallen back from");
}

#[tokio::test]
async fn explain_and_why_tell_of_phones_too() {
    let world = world_with(Kind::Sqlite, settings()).await;
    customer(&world, 4, "'d@x.example', 'Dan', NULL, true, '0664 1111111', 'S', true").await;
    world.load(&[("silence.yaml", RULE), MAIL, LAYOUT]).await;
    world.pass(hours(1)).await;
    let (generation, sender, settings) = (world.generation(), json!({}), settings());
    let previewer = Previewer {
        generation: &generation,
        source: &*world.source,
        store: &*world.store,
        sender: &sender,
        sending: Some(&settings.sending),
        now: world.now(),
        limit: 100,
    };
    let record = RecordId { tenant: "".into(), entity: "customer".into(), key: "4".into() };
    let told = explain(&previewer, &"silence".into(), &record).await.unwrap();
    let reached: Vec<_> = told
        .recipients
        .iter()
        .map(|reached| (reached.channel.as_str(), reached.address.as_deref(), reached.consent))
        .collect();
    assert_eq!(reached, [("email", Some("d@x.example"), Some(true)), ("sms", Some("+436641111111"), Some(false))]);
    assert_eq!(why(&previewer, &record, world.ago(hours(24))).await.unwrap().len(), 1);
}
