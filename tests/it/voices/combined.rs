//! What one person would get for several of their records at the same moment is one message.

use super::world::{settings, texts, world_with};
use crate::world::{Kind, World, days, hours};
use nudged::engine::port::Message;
use nudged::engine::{PreviewScope, preview};
use nudged::model::{Cap, EndReason, Limits, Outcome, Period};
use rstest::rstest;
use std::sync::Arc;

const RULE: &str = "version: 1
id: renewal
mode: live
purpose: offers
for_each: subscription
to: signatory
combine: per recipient
trigger: {date: {field: renews_on, at: \"09:00\"}}
where: [{status: running}]
check_every: 1 hour
offsets:
  7 days before:
    - email: {template: renewal}
";
const MAIL: (&str, &str) = (
    "templates/renewal.md",
    "---\nsubject: \"{{ combined | length }} plans renew\"\n---\n{% for row in combined %}\n- Plan {{ row.record.key }} on {{ row.occasion.value | date }}\n{%- endfor %}\n",
);
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

/// Ada has three plans that renew on 12 June, and one a day later; Ben has one.
async fn plans(world: &World) {
    world
        .crm
        .run(
            "INSERT INTO contacts (id, account_id, email, first_name, news_ok, phone, do_not_call) VALUES (1, 1, 'ada@x.example', 'Ada', true, '0664 1234567', false);
             INSERT INTO contacts (id, account_id, email, first_name, news_ok) VALUES (2, 2, 'ben@x.example', 'Ben', true);
             INSERT INTO subscriptions VALUES (11, 1, 1, 'running', '2026-06-12');
             INSERT INTO subscriptions VALUES (12, 1, 1, 'running', '2026-06-12');
             INSERT INTO subscriptions VALUES (13, 1, 1, 'running', '2026-06-12');
             INSERT INTO subscriptions VALUES (14, 1, 1, 'cancelled', '2026-06-12');
             INSERT INTO subscriptions VALUES (15, 1, 1, 'running', '2026-06-13');
             INSERT INTO subscriptions VALUES (21, 2, 2, 'running', '2026-06-12')",
        )
        .await;
}

fn mails(world: &World) -> Vec<(String, String, String)> {
    let mails = world.mail.take().into_iter().map(|message| match message {
        Message::Email(email) => (email.to_address, email.subject, email.text),
        other => panic!("not a mail: {other:?}"),
    });
    let mut mails: Vec<_> = mails.collect();
    mails.sort();
    mails
}

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::postgres(Kind::Postgres)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn three_plans_of_one_contact_are_one_mail(#[case] kind: Kind) {
    let world = world_with(kind, settings()).await;
    plans(&world).await;
    world.load(&[("renewal.yaml", RULE), MAIL, LAYOUT]).await;
    world.turn().await;
    world.pass(days(4)).await;
    let sent = mails(&world);
    let heads: Vec<_> = sent.iter().map(|(to, subject, _)| (to.as_str(), subject.as_str())).collect();
    assert_eq!(heads, [("ada@x.example", "3 plans renew"), ("ben@x.example", "1 plans renew")]);
    for plan in ["Plan 11 on", "Plan 12 on", "Plan 13 on"] {
        assert!(sent[0].2.contains(plan), "{}", sent[0].2);
    }
    // Every match is in the ledger, has come to its end, and the log says which message told of it.
    let enrollments = world.enrollments().await;
    assert_eq!(enrollments.len(), 4);
    assert!(enrollments.iter().all(|found| found.ended == Some(EndReason::Completed)), "{enrollments:?}");
    let deliveries = world.deliveries().await;
    let combined: Vec<_> = deliveries.iter().filter(|(state, _)| state == "skipped").collect();
    assert_eq!(combined.len(), 2, "{deliveries:?}");
    let into = combined[0].1.strip_prefix("combined: combined into ").unwrap();
    assert!(combined.iter().all(|(_, detail)| detail.ends_with(into)), "{combined:?}");

    world.pass(days(1)).await;
    let heads: Vec<_> = mails(&world).into_iter().map(|mail| mail.1).collect();
    assert_eq!(heads, ["1 plans renew"], "the one of the day after");
}

#[tokio::test]
async fn a_combined_message_counts_once_and_is_put_off_whole() {
    let mut settings = settings();
    let caps = vec![Cap { count: 1, per: Period::days(1) }];
    settings.sending.limits = Arc::new(Limits { caps, ..Limits::default() });
    let world = world_with(Kind::Sqlite, settings).await;
    plans(&world).await;
    world.load(&[("renewal.yaml", RULE), MAIL, LAYOUT]).await;
    world.turn().await;
    world.pass(days(4)).await;
    assert_eq!(mails(&world).len(), 2, "three plans took one place");
    // The one of the day after comes a second before its 24 hours are over, and waits for them.
    world.crm.run("INSERT INTO subscriptions VALUES (16, 1, 1, 'running', '2026-06-12')").await;
    world.pass(hours(2)).await;
    assert_eq!(mails(&world), []);
    world.pass(hours(23)).await;
    let heads: Vec<_> = mails(&world).into_iter().map(|mail| mail.1).collect();
    assert_eq!(heads, ["2 plans renew"], "what had to wait goes with what came meanwhile");
}

#[tokio::test]
async fn a_refusal_holds_for_all_and_a_plan_that_is_cancelled_meanwhile_is_left_out() {
    let world = world_with(Kind::Sqlite, settings()).await;
    plans(&world).await;
    world.load(&[("renewal.yaml", RULE), MAIL, LAYOUT]).await;
    world.turn().await;
    world.mail.answer([
        Outcome::Transient { reason: "451 later".into(), retry_after: None },
        Outcome::Transient { reason: "451 later".into(), retry_after: None },
    ]);
    world.pass(days(4)).await;
    assert_eq!(mails(&world).len(), 2);
    world.crm.run("UPDATE subscriptions SET status = 'cancelled' WHERE id = 12").await;
    world.pass(hours(1)).await;
    let sent = mails(&world);
    assert_eq!(sent[0].1, "2 plans renew");
    assert!(!sent[0].2.contains("Plan 12"), "{}", sent[0].2);
}

#[tokio::test]
async fn text_messages_are_combined_as_well() {
    let world = world_with(Kind::Sqlite, settings()).await;
    plans(&world).await;
    let sms = "sms: {text: \"{{ combined | length }} plans renew: {% for row in combined %}{{ row.record.key }} {% endfor %}\"}";
    let rule = RULE.replace("email: {template: renewal}", sms);
    world.load(&[("renewal.yaml", &rule)]).await;
    world.turn().await;
    world.pass(days(4)).await;
    assert_eq!(texts(&world), [("+436641234567".to_owned(), "3 plans renew: 11 12 13".to_owned())]);
}

/// The source tells of them in whatever order it likes: `record` is the same in a preview and in what is sent.
#[tokio::test]
async fn what_is_combined_stands_in_the_order_of_time_and_then_of_keys() {
    let world = world_with(Kind::Postgres, settings()).await;
    plans(&world).await;
    world
        .crm
        .run(
            "INSERT INTO subscriptions VALUES (101, 1, 1, 'running', '2026-06-12');
             INSERT INTO subscriptions VALUES (9, 1, 1, 'running', '2026-06-12');
             UPDATE subscriptions SET status = 'running' WHERE id = 11",
        )
        .await;
    let mail = MAIL.1.replace("plans renew", "plans renew, first {{ record.key }}");
    world.load(&[("renewal.yaml", RULE), (MAIL.0, &mail), LAYOUT]).await;
    world.turn().await;
    world.clock.advance(days(4));
    let (generation, sender) = (world.generation(), crate::rehearsal::nothing());
    let look = crate::rehearsal::previewer(&world, &generation, &sender);
    let rows = |text: &str| text.split("\n\n").next().unwrap_or_default().to_owned();
    let previewed = preview(&look, &"renewal".into(), &PreviewScope::Last(days(2))).await.unwrap();
    let messages = previewed.matches.iter().flat_map(|found| &found.messages);
    let shown: Vec<_> = messages
        .filter_map(|message| match &message.content {
            Ok(Message::Email(email)) => Some((email.to_address.clone(), email.subject.clone(), rows(&email.text))),
            _ => None,
        })
        .filter(|(to, ..)| to == "ada@x.example")
        .collect();
    world.turn().await;
    let sent = mails(&world);
    assert_eq!(sent[0].1, "5 plans renew, first 9");
    let places: Vec<_> = [9, 11, 12, 13, 101].map(|plan| sent[0].2.find(&format!("Plan {plan} on"))).into();
    assert!(places.is_sorted() && places[0].is_some(), "{}", sent[0].2);
    assert_eq!(shown, [(sent[0].0.clone(), sent[0].1.clone(), rows(&sent[0].2))]);
}

#[tokio::test]
async fn a_rate_counts_messages_and_not_their_rows() {
    let mut settings = settings();
    settings.sending.rate = "2/min".parse().ok();
    let world = world_with(Kind::Sqlite, settings).await;
    plans(&world).await;
    world.load(&[("renewal.yaml", RULE), MAIL, LAYOUT]).await;
    world.turn().await;
    world.pass(days(4)).await;
    let heads: Vec<_> = mails(&world).into_iter().map(|mail| mail.1).collect();
    assert_eq!(heads, ["3 plans renew", "1 plans renew"]);
}
