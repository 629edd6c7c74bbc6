//! One mail to each colleague with everything that concerns them.

use super::world::{settings, world_with};
use crate::rehearsal::previewer;
use crate::support::instant;
use crate::world::{Kind, World, days, hours};
use async_trait::async_trait;
use jiff::SignedDuration;
use nudged::engine::port::{Message, Sender, Sent};
use nudged::engine::{PreviewScope, Retention, Settings, preview};
use nudged::model::{EndReason, Outcome, RecordId};
use rstest::rstest;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Notify;

const RULE: &str = "version: 1
id: at-risk
mode: live
purpose: staff
for_each: customer
to: owner
trigger: {schedule: {cron: \"0 9 * * MON\"}}
where: [{health: {at_most: 50}}]
guard: {per_day: 100000, percent_per_day: 100, floor: 100000}
steps:
  - digest: {template: at-risk, rows: 3, order: [health, name desc]}
  - webhook: {to: sink}
";
const MAIL: (&str, &str) = (
    "templates/at-risk.md",
    "---\nsubject: \"{{ count }} at risk\"\n---\nHi {{ to.first_name | default(\"team\") }}:\n{% for row in rows %}\n- {{ row.record.name }} {{ row.record.health }}\n{%- endfor %}\n{% if more %}\nand {{ more }} more\n{% endif %}\n",
);
const LAYOUT: (&str, &str) = ("templates/layouts/default.html", "<html><body>{{ content }}</body></html>");

async fn customers(world: &World, owner: &str, healths: &[(u32, u32)]) {
    for (id, health) in healths {
        let sql = format!(
            "INSERT INTO accounts (id, name, country_code, owner_id, health) VALUES ({id}, 'C{id}', 'AT', {owner}, {health})"
        );
        world.crm.run(&sql).await;
    }
}

/// Address, subject and text of every mail since the last call.
fn mails(world: &World) -> Vec<(String, String, String)> {
    let mails = world.mail.take().into_iter().filter_map(|message| match message {
        Message::Email(email) => Some((email.to_address, email.subject, email.text)),
        // The other node sends everything by this one.
        _ => None,
    });
    let mut mails: Vec<_> = mails.collect();
    mails.sort();
    mails
}

/// The same of every mail that a preview shows, and how many matches it says to be told of in another's.
async fn previewed(world: &World) -> (Vec<(String, String, String)>, usize) {
    let (generation, sender) = (world.generation(), json!({}));
    let look = previewer(world, &generation, &sender);
    let found = preview(&look, &"at-risk".into(), &PreviewScope::LastInterval).await.unwrap();
    let shown: Vec<_> = found.matches.into_iter().flat_map(|matched| matched.messages).collect();
    let told = shown.iter().filter(|message| matches!(&message.content, Err(why) if why.starts_with("told of in")));
    let told = told.count();
    let mails = shown.into_iter().filter_map(|message| match message.content {
        Ok(Message::Email(email)) => Some((email.to_address, email.subject, email.text)),
        _ => None,
    });
    let mut mails: Vec<_> = mails.collect();
    mails.sort();
    (mails, told)
}

/// To the next Monday at nine in Vienna.
fn until_monday(world: &World) -> SignedDuration {
    instant("2026-06-08T07:00:00Z").duration_since(world.now())
}

async fn office(kind: Kind, settings: Settings) -> World {
    let world = world_with(kind, settings).await;
    world.crm.run("INSERT INTO users VALUES (1, 'Jana', 'jana@acme.example'); INSERT INTO users VALUES (2, 'Max', 'max@acme.example')").await;
    world
}

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::postgres(Kind::Postgres)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn each_colleague_gets_one_mail_with_the_worst_first(#[case] kind: Kind) {
    let world = office(kind, settings()).await;
    customers(&world, "1", &[(1, 40), (2, 10), (3, 40), (4, 20), (5, 90)]).await;
    customers(&world, "2", &[(6, 50)]).await;
    customers(&world, "NULL", &[(7, 5)]).await;
    world.load(&[("at-risk.yaml", RULE), MAIL, LAYOUT]).await;
    world.turn().await;
    world.clock.advance(until_monday(&world));
    let (previewed, told_elsewhere) = previewed(&world).await;
    world.turn().await;
    let sent = mails(&world);
    assert_eq!((previewed, told_elsewhere), (sent.clone(), 3), "a preview shows the mails as they are sent");
    let heads: Vec<_> = sent.iter().map(|(to, subject, _)| (to.as_str(), subject.as_str())).collect();
    let expected =
        [("jana@acme.example", "4 at risk"), ("max@acme.example", "1 at risk"), ("team@acme.example", "1 at risk")];
    assert_eq!(heads, expected);
    let lines: Vec<&str> = sent[0].2.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines[0], "Hi Jana:");
    let named: Vec<&str> =
        lines.iter().filter_map(|line| line.trim_start_matches(['*', '-', ' ']).strip_prefix('C')).collect();
    assert_eq!(named, ["2 10", "4 20", "3 40"], "{}", sent[0].2);
    assert!(sent[0].2.contains("and 1 more"), "{}", sent[0].2);
    assert!(!sent[1].2.contains("more"), "{}", sent[1].2);

    // Every match has its own line, and its own way on.
    let told = world.deliveries().await;
    let combined = told.iter().filter(|(_, detail)| detail.starts_with("combined: combined into ")).count();
    assert_eq!(combined, 3, "{told:?}");
    assert_eq!(world.webhooks.take().len(), 6);

    world.pass(days(7)).await;
    assert_eq!(mails(&world).len(), 3, "and again a week later");
}

#[tokio::test]
async fn nothing_to_tell_is_no_mail() {
    let world = office(Kind::Sqlite, settings()).await;
    customers(&world, "1", &[(1, 90)]).await;
    world.load(&[("at-risk.yaml", RULE), MAIL, LAYOUT]).await;
    world.turn().await;
    world.pass(until_monday(&world)).await;
    assert_eq!(mails(&world), []);
}

/// More than one claim holds, more than one transaction enters, and all of them come from a wait.
#[rstest]
#[case::at_once("")]
#[case::after_a_wait("  - wait: {days: [TUE], at: \"08:00\"}\n")]
#[tokio::test]
async fn a_digest_is_whole_however_many_match(#[case] wait: &str) {
    let settings = Settings { claim: 7, batch: 40, ..settings() };
    let world = office(Kind::Sqlite, settings).await;
    let healths: Vec<(u32, u32)> = (1..=150).map(|id| (id, 10)).collect();
    customers(&world, "1", &healths[..100]).await;
    customers(&world, "2", &healths[100..]).await;
    let rule = RULE.replace("steps:\n", &format!("steps:\n{wait}"));
    world.load(&[("at-risk.yaml", &rule), MAIL, LAYOUT]).await;
    world.turn().await;
    world.pass(until_monday(&world)).await;
    world.pass(days(1)).await;
    let heads: Vec<_> = mails(&world).into_iter().map(|(to, subject, _)| (to, subject)).collect();
    let expected = [("jana@acme.example", "100 at risk"), ("max@acme.example", "50 at risk")];
    assert_eq!(heads, expected.map(|(to, subject)| (to.to_owned(), subject.to_owned())));
}

#[tokio::test]
async fn a_digest_that_fails_for_now_comes_again_whole_and_one_in_doubt_waits_whole() {
    let rule = RULE.replace("purpose: staff", "purpose: staff\nunknown: hold");
    let world = office(Kind::Sqlite, settings()).await;
    customers(&world, "1", &[(1, 40), (2, 10), (3, 30)]).await;
    world.load(&[("at-risk.yaml", &rule), MAIL, LAYOUT]).await;
    world.turn().await;
    world.mail.answer([
        Outcome::Transient { reason: "451".into(), retry_after: None },
        Outcome::Unknown { reason: "no answer".into() },
    ]);
    world.pass(until_monday(&world)).await;
    assert_eq!(mails(&world).len(), 1);
    assert_eq!(world.webhooks.take().len(), 0);
    // Looked at every second: the first to be due again doesn't go alone.
    for _ in 0..60 {
        world.pass(SignedDuration::from_secs(1)).await;
    }
    let sent = mails(&world);
    assert_eq!(sent.iter().map(|mail| mail.1.as_str()).collect::<Vec<_>>(), ["3 at risk"]);
    world.pass(hours(24)).await;
    assert_eq!(mails(&world), []);
    assert_eq!(
        world.store.overview(world.now()).await.unwrap().outbox_unknown,
        3,
        "none of them is told of twice unasked"
    );
}

#[tokio::test]
async fn in_shadow_a_digest_is_written_down_once() {
    let world = office(Kind::Sqlite, settings()).await;
    customers(&world, "1", &[(1, 40), (2, 10)]).await;
    let rule = RULE.replace("mode: live", "mode: shadow");
    world.load(&[("at-risk.yaml", &rule), MAIL, LAYOUT]).await;
    world.turn().await;
    world.pass(until_monday(&world)).await;
    assert_eq!(mails(&world), []);
    let told: Vec<String> = world.deliveries().await.into_iter().map(|(_, detail)| detail).collect();
    assert_eq!(told.iter().filter(|detail| detail.ends_with(": 2 at risk")).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|detail| detail.starts_with("combined into ")).count(), 1, "{told:?}");
}

/// Two nodes that claim halves at the same time: each colleague still gets one mail.
#[tokio::test]
async fn two_nodes_make_one_digest() {
    let settings = Settings { claim: 10, ..settings() };
    let world = {
        use crate::world::Setup;
        let setup = Setup::of(Kind::Sqlite, instant("2026-06-01T08:00:00Z"));
        super::world::set_up(Setup { shared: true, settings, ..setup }).await
    };
    world.crm.run("INSERT INTO users VALUES (1, 'Jana', 'jana@acme.example')").await;
    let healths: Vec<(u32, u32)> = (1..=60).map(|id| (id, 10)).collect();
    customers(&world, "1", &healths).await;
    world.load(&[("at-risk.yaml", RULE), MAIL, LAYOUT]).await;
    let other = world.node("other", world.mail.clone()).await;
    world.turn().await;
    world.clock.advance(until_monday(&world));
    world.engine.sweep_due().await.unwrap();
    for _ in 0..20 {
        let (one, two) = tokio::join!(world.engine.dispatch_due(), other.dispatch_due());
        one.unwrap();
        two.unwrap();
        world.clock.advance(SignedDuration::from_secs(2));
    }
    let heads: Vec<String> = mails(&world).into_iter().map(|mail| mail.1).collect();
    assert_eq!(heads, ["60 at risk"]);
}

/// A group that stood for a day: of its rows one was deleted, one is well again, one has another owner, and one of the
/// owners has left.
#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::postgres(Kind::Postgres)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn a_digest_tells_what_is_left_of_its_group_when_it_is_due(#[case] kind: Kind) {
    let world = office(kind, settings()).await;
    world.crm.run("INSERT INTO users VALUES (3, 'Eva', 'eva@acme.example')").await;
    customers(&world, "1", &[(1, 40), (2, 10), (3, 30), (4, 20)]).await;
    customers(&world, "2", &[(6, 50)]).await;
    customers(&world, "3", &[(8, 50), (9, 45)]).await;
    let rule = RULE.replace("steps:\n", "steps:\n  - wait: {for: 1 day}\n");
    world.load(&[("at-risk.yaml", &rule), MAIL, LAYOUT]).await;
    world.turn().await;
    world.pass(until_monday(&world)).await;
    assert_eq!(mails(&world), []);
    world.crm.run("DELETE FROM accounts WHERE id = 2").await;
    world.crm.run("UPDATE accounts SET health = 90 WHERE id = 3").await;
    world.crm.run("UPDATE accounts SET owner_id = 2 WHERE id = 4").await;
    world.crm.run("DELETE FROM users WHERE id = 3").await;
    world.pass(days(1)).await;
    let sent = mails(&world);
    let heads: Vec<_> = sent.iter().map(|(to, subject, _)| (to.as_str(), subject.as_str())).collect();
    let expected =
        [("jana@acme.example", "1 at risk"), ("max@acme.example", "2 at risk"), ("team@acme.example", "2 at risk")];
    assert_eq!(heads, expected, "{kind:?}");
    assert!(sent[0].2.contains("C1 40") && sent[1].2.contains("C4 20"), "{kind:?}: {sent:?}");
    let mut ends: Vec<String> = Vec::new();
    for view in world.enrollments().await {
        let key = view.record.unwrap().key.to_string();
        ends.push(format!("{key} {}", view.ended.unwrap().as_str()));
    }
    ends.sort();
    let expected =
        ["1 completed", "2 record_gone", "3 where_false", "4 completed", "6 completed", "8 completed", "9 completed"];
    assert_eq!(ends, expected, "{kind:?}");
}

#[tokio::test]
async fn a_digest_whose_rows_are_all_gone_is_no_mail_and_leaves_nothing_behind() {
    let world = office(Kind::Sqlite, settings()).await;
    customers(&world, "1", &[(1, 40), (2, 10)]).await;
    let rule = RULE.replace("steps:\n", "steps:\n  - wait: {for: 1 day}\n");
    world.load(&[("at-risk.yaml", &rule), MAIL, LAYOUT]).await;
    world.turn().await;
    world.pass(until_monday(&world)).await;
    world.crm.run("UPDATE accounts SET health = 90").await;
    world.pass(days(1)).await;
    assert_eq!(mails(&world), []);
    assert_eq!(world.webhooks.take().len(), 0);
    let ends: Vec<_> = world.enrollments().await.into_iter().map(|view| view.ended.map(EndReason::as_str)).collect();
    assert_eq!(ends, [Some("where_false"), Some("where_false")]);
    assert_eq!(world.engine.next_due().await.unwrap().filter(|due| *due <= world.now()), None);
}

/// What is kept of a digest is found by everybody it tells of; of what is only rehearsed there is nothing to keep.
#[rstest]
#[case::live("live", &["2 at risk"])]
#[case::shadow("shadow", &[])]
#[tokio::test]
async fn a_digest_is_kept_for_all_that_it_tells_of(#[case] mode: &str, #[case] expected: &[&str]) {
    let retention = Retention { messages: days(30), ..Retention::default() };
    let world = office(Kind::Sqlite, Settings { retention, ..settings() }).await;
    customers(&world, "1", &[(1, 40), (2, 10)]).await;
    let rule = RULE.replace("mode: live", &format!("mode: {mode}"));
    world.load(&[("at-risk.yaml", &rule), MAIL, LAYOUT]).await;
    world.turn().await;
    world.pass(until_monday(&world)).await;
    assert_eq!(world.enrollments().await.len(), 2);
    for key in ["1", "2"] {
        let record = RecordId { tenant: "".into(), entity: "customer".into(), key: key.into() };
        let kept = world.store.dossier(&record).await.unwrap().messages;
        let mails: Vec<_> = kept.iter().filter(|kept| kept.kind == "email").collect();
        assert_eq!(
            mails.iter().map(|kept| kept.content.body["subject"].as_str().unwrap()).collect::<Vec<_>>(),
            expected
        );
        assert!(mails.iter().all(|kept| kept.content.to == "jana@acme.example"), "{mails:?}");
        let calls = kept.iter().filter(|kept| kept.kind == "webhook").count();
        assert_eq!(calls, expected.len(), "each has a call of its own");
    }
}

/// Takes a mail and never comes back.
struct Mute(Notify);

#[async_trait]
impl Sender for Mute {
    fn sessions(&self) -> usize {
        1
    }

    async fn send(&self, _message: Message) -> Sent {
        self.0.notify_one();
        std::future::pending().await
    }
}

/// The node dies with the mail on its way: nobody knows whether it left. Held, all rows wait for an operator; resent, they
/// make one mail again, with who came meanwhile left to the next one.
#[rstest]
#[case::held("hold", &[])]
#[case::resent("resend", &["3 at risk"])]
#[tokio::test]
async fn a_digest_whose_node_dies_stays_one_mail(#[case] unknown: &str, #[case] expected: &[&str]) {
    let world = office(Kind::Sqlite, settings()).await;
    customers(&world, "1", &[(1, 40), (2, 10), (3, 30)]).await;
    let rule = RULE.replace("purpose: staff", &format!("purpose: staff\nunknown: {unknown}"));
    world.load(&[("at-risk.yaml", &rule), MAIL, LAYOUT]).await;
    world.turn().await;
    world.clock.advance(until_monday(&world));
    world.engine.sweep_due().await.unwrap();
    let mute = Arc::new(Mute(Notify::new()));
    let doomed = world.sending(mute.clone(), settings());
    tokio::select! {
        _ = doomed.dispatch_due() => panic!("it hangs"),
        () = mute.0.notified() => {}
    }
    drop(doomed);
    world.clock.advance(SignedDuration::from_mins(2));
    let next = world.life("next", Arc::clone(&world.store));
    next.rescue().await.unwrap();
    for _ in 0..20 {
        next.dispatch_due().await.unwrap();
        world.clock.advance(SignedDuration::from_mins(1));
    }
    let heads: Vec<String> = mails(&world).into_iter().map(|mail| mail.1).collect();
    assert_eq!(heads, expected);
    let overview = world.store.overview(world.now()).await.unwrap();
    assert_eq!(overview.outbox_unknown, if expected.is_empty() { 3 } else { 0 });
    assert_eq!(world.webhooks.take().len(), expected.len() * 3, "each goes on by itself");
}
