//! What readers decide by the links of mails, in the CRM's own columns.

use super::*;
use crate::catalog_shapes::written;
use crate::world::{Crm, hours, minutes};
use async_trait::async_trait;
use futures::stream::BoxStream;
use nudged::action::email::mailed_out::MailedOut;
use nudged::catalog::{ColumnSchema, Schema, Table};
use nudged::engine::Event;
use nudged::engine::port::{Aged, Deed, Done, SourceError};
use nudged::model::{AddressHash, Channel, Preference, PreferenceSource, Tenant, Topic};
use nudged::rule::statement::{Dialect, Row, Statement};
use tokio::sync::Notify;

pub(super) const RULE: &str = "version: 1
id: offers
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger: {schedule: {cron: \"0 * * * *\"}}
steps: [{email: {template: hello}}]
";
pub(super) const TEMPLATE: &str = "---\nsubject: \"{{ record.name }}\"\n---\nHello\n";

async fn office(kind: Kind) -> (World, DeliveryId) {
    let world = world(kind).await;
    world.crm.run("INSERT INTO accounts (id, name) VALUES (1, 'Ada')").await;
    world.crm.run("INSERT INTO contacts (id, account_id, email, news_ok, no_calls) VALUES (5, 1, 'ada@x.example', true, false)").await;
    world.crm.run("INSERT INTO accounts (id, name) VALUES (2, 'Bob')").await;
    world.crm.run("INSERT INTO contacts (id, account_id, email, news_ok, no_calls) VALUES (6, 2, 'bob@x.example', true, false)").await;
    world.load(&[("offers.yaml", RULE), ("templates/hello.md", TEMPLATE)]).await;
    world.pass(hours(1)).await;
    let mails = world.mail.take();
    assert_eq!(mails.len(), 2);
    let ours = mails.into_iter().find_map(|message| match message {
        nudged::engine::port::Message::Email(email) if email.to_address == "ada@x.example" => Some(email.delivery),
        _ => None,
    });
    (world, ours.unwrap())
}

fn hash(world: &World, address: &str) -> AddressHash {
    world.store.secret().address_hash(Channel::Email, address)
}

fn said(world: &World, delivery: DeliveryId, topic: Option<&str>, allowed: bool) -> Preference {
    Preference {
        hash: hash(world, "ada@x.example"),
        channel: Channel::Email,
        topic: topic.map(Topic::from),
        allowed,
        since: world.now(),
        source: PreferenceSource::OneClick,
        delivery: Some(delivery),
    }
}

pub(super) async fn columns(world: &World) -> Vec<String> {
    let flag = |name: &str| match world.crm {
        Crm::Postgres(..) => format!("CASE WHEN {name} THEN 1 ELSE 0 END"),
        _ => name.to_owned(),
    };
    let sql = format!(
        "SELECT id, {}, {}, CASE WHEN news_at IS NULL THEN 0 ELSE 1 END FROM contacts ORDER BY id",
        flag("news_ok"),
        flag("no_calls")
    );
    written(world, sql).await
}

#[tokio::test]
async fn a_no_and_a_later_yes_reach_the_persons_own_row() {
    for kind in KINDS {
        let (world, delivery) = office(kind).await;
        world.store.prefer(&[said(&world, delivery, Some("offers"), false)]).await.unwrap();
        assert_eq!(
            columns(&world).await,
            ["5 | 1 | 0 | 0", "6 | 1 | 0 | 0"],
            "{kind:?}: the page asks the CRM nothing"
        );
        assert_eq!(world.engine.carry_consents().await.unwrap(), 1, "{kind:?}");
        assert_eq!(columns(&world).await, ["5 | 0 | 0 | 0", "6 | 1 | 0 | 0"], "{kind:?}");
        assert_eq!(world.engine.carry_consents().await.unwrap(), 0, "{kind:?}: done once");

        world.clock.advance(minutes(5));
        let yes = Preference { source: PreferenceSource::Confirmed, ..said(&world, delivery, Some("offers"), true) };
        assert!(world.store.confirm(&yes, world.now() - minutes(1)).await.unwrap());
        assert_eq!(world.engine.carry_consents().await.unwrap(), 1, "{kind:?}");
        assert_eq!(columns(&world).await, ["5 | 1 | 0 | 1", "6 | 1 | 0 | 0"], "{kind:?}: with when it was given");
    }
}

#[tokio::test]
async fn a_source_that_is_away_gets_it_later_and_only_what_was_said_last() {
    let (world, delivery) = office(Kind::Sqlite).await;
    world.wire.cut(true);
    world.store.prefer(&[said(&world, delivery, Some("offers"), false)]).await.unwrap();
    assert_eq!(world.engine.carry_consents().await.unwrap(), 0);
    world.wire.cut(false);
    assert_eq!(world.engine.carry_consents().await.unwrap(), 0, "it rests first");
    world.clock.advance(minutes(2));
    assert_eq!(world.engine.carry_consents().await.unwrap(), 1);
    assert_eq!(columns(&world).await[0], "5 | 0 | 0 | 0");

    // Two decisions while it is away again.
    world.wire.cut(true);
    world.store.prefer(&[said(&world, delivery, Some("offers"), true)]).await.unwrap();
    assert_eq!(world.engine.carry_consents().await.unwrap(), 0);
    world.clock.advance(minutes(1));
    world.store.prefer(&[said(&world, delivery, Some("offers"), false)]).await.unwrap();
    world.wire.cut(false);
    world.clock.advance(minutes(5));
    world.crm.run("UPDATE contacts SET news_ok = true").await;
    assert_eq!(world.engine.carry_consents().await.unwrap(), 1);
    assert_eq!(columns(&world).await[0], "5 | 0 | 0 | 0", "the last word");
}

#[tokio::test]
async fn an_address_that_is_somebody_elses_now_and_a_rule_that_watches_are_left_alone() {
    let (world, delivery) = office(Kind::Postgres).await;
    let watch = "version: 1\nid: watch\nmode: live\npurpose: service\nfor_each: contact\n\
                 trigger: {changed: {field: news_ok}}\ncheck_every: 1 hour\nsteps: [{webhook: {to: sink}}]\n";
    world.load(&[("offers.yaml", RULE), ("watch.yaml", watch), ("templates/hello.md", TEMPLATE)]).await;
    world.pass(hours(1)).await;
    let sent = world.mail.take();
    assert_eq!(sent.len(), 2);
    world.store.prefer(&[said(&world, delivery, Some("offers"), false)]).await.unwrap();
    world.engine.carry_consents().await.unwrap();
    assert_eq!(columns(&world).await[0], "5 | 0 | 0 | 0");
    world.pass(hours(1)).await;
    let watched = world.enrollments().await.iter().filter(|view| view.rule.as_str() == "watch").count();
    assert_eq!(watched, 0, "it was us");

    world.crm.run("UPDATE contacts SET email = 'new@x.example', news_ok = true WHERE id = 5").await;
    world.clock.advance(minutes(1));
    world
        .store
        .prefer(&[said(&world, delivery, Some("offers"), true), said(&world, delivery, None, true)])
        .await
        .unwrap();
    world.clock.advance(minutes(1));
    world.store.prefer(&[said(&world, delivery, Some("offers"), false)]).await.unwrap();
    world.engine.carry_consents().await.unwrap();
    assert_eq!(columns(&world).await[0], "5 | 1 | 0 | 0", "the address is not theirs any more");
}

/// Waits before it commits until it is told to go on.
struct Late {
    inner: Arc<dyn Source>,
    there: Notify,
    go: Notify,
}

#[async_trait]
impl Source for Late {
    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    async fn now(&self) -> Result<Timestamp, SourceError> {
        self.inner.now().await
    }

    fn rows<'a>(&'a self, tenant: &'a Tenant, statement: Statement) -> BoxStream<'a, Result<Row, SourceError>> {
        self.inner.rows(tenant, statement)
    }

    async fn transact(&self, tenant: &Tenant, steps: Vec<Deed>) -> Result<Vec<Done>, SourceError> {
        self.there.notify_one();
        self.go.notified().await;
        self.inner.transact(tenant, steps).await
    }

    async fn schema(&self, tables: &[Table]) -> Result<Schema, SourceError> {
        self.inner.schema(tables).await
    }

    async fn describe(&self, sql: &str) -> Result<Vec<ColumnSchema>, SourceError> {
        self.inner.describe(sql).await
    }

    async fn prepare(&self, statement: &Statement) -> Result<(), SourceError> {
        self.inner.prepare(statement).await
    }
}

/// One node is on its way with a no when the person says yes again. The other node waits for it while it may live; then it
/// goes ahead, and the no comes in late and lies over the yes: whoever brought it has the yes carried again.
#[tokio::test]
async fn of_two_nodes_the_last_word_stands_even_when_the_older_one_arrives_later() {
    for kind in KINDS {
        let (world, delivery) = office(kind).await;
        let late = Arc::new(Late { inner: Arc::clone(&world.source), there: Notify::new(), go: Notify::new() });
        let first = world.engine_over(late.clone(), Arc::clone(&world.store), nudged::engine::Settings::default());
        world.store.prefer(&[said(&world, delivery, Some("offers"), false)]).await.unwrap();
        let second = async {
            late.there.notified().await;
            world.clock.advance(jiff::SignedDuration::from_secs(5));
            world.store.prefer(&[said(&world, delivery, Some("offers"), true)]).await.unwrap();
            assert_eq!(world.engine.carry_consents().await.unwrap(), 0, "{kind:?}: it waits for the other");
            world.clock.advance(minutes(2));
            assert_eq!(world.engine.carry_consents().await.unwrap(), 1, "{kind:?}");
            assert!(columns(&world).await[0].starts_with("5 | 1"), "{kind:?}");
            late.go.notify_one();
        };
        let (carried, ()) = tokio::join!(first.carry_consents(), second);
        assert_eq!(carried.unwrap(), 1, "{kind:?}");
        assert!(columns(&world).await[0].starts_with("5 | 0"), "{kind:?}: the older one came in last");
        assert_eq!(world.engine.carry_consents().await.unwrap(), 1, "{kind:?}");
        assert!(columns(&world).await[0].starts_with("5 | 1"), "{kind:?}: what was said last");
        world.clock.advance(minutes(5));
        assert_eq!(world.engine.carry_consents().await.unwrap(), 0, "{kind:?}: and that is all");
    }
}

/// What a mail program sends where `List-Unsubscribe` names an address.
async fn mail_out(world: &World, topic: Option<&str>, mail: Option<DeliveryId>) {
    let intake = nudged::web::Intake::new(Arc::clone(&world.store), world.clock.clone());
    let (address, topic) = (hash(world, "ada@x.example"), topic.map(Topic::from));
    intake.unsubscribe(&[MailedOut { address, topic, mail }]).await.unwrap();
}

#[tokio::test]
async fn a_no_by_mail_reaches_the_row_as_one_by_the_link_does() {
    for kind in KINDS {
        for (topic, named) in [(Some("offers"), true), (None, false)] {
            let (world, delivery) = office(kind).await;
            mail_out(&world, topic, named.then_some(delivery)).await;
            assert_eq!(world.engine.carry_consents().await.unwrap(), 1, "{kind:?}");
            assert_eq!(columns(&world).await, ["5 | 0 | 0 | 0", "6 | 1 | 0 | 0"], "{kind:?}: {topic:?}");
        }
    }
}

#[tokio::test]
async fn a_no_to_all_does_not_lie_over_a_later_yes_to_one_topic() {
    let (world, delivery) = office(Kind::Sqlite).await;
    world.wire.cut(true);
    mail_out(&world, None, None).await;
    assert_eq!(world.engine.carry_consents().await.unwrap(), 0);
    world.clock.advance(minutes(1));
    world.store.prefer(&[said(&world, delivery, Some("offers"), true)]).await.unwrap();
    world.wire.cut(false);
    world.clock.advance(minutes(5));
    assert_eq!(world.engine.carry_consents().await.unwrap(), 2);
    assert!(columns(&world).await[0].starts_with("5 | 1"));
}

#[tokio::test]
async fn a_rule_that_is_gone_or_has_another_name_is_no_hindrance() {
    for kind in KINDS {
        for files in [vec![], vec![("renamed.yaml", RULE.replace("id: offers", "id: spring\nwas: [offers]"))]] {
            let (world, delivery) = office(kind).await;
            let mut files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
            files.push(("templates/hello.md", TEMPLATE));
            world.load(&files).await;
            world.store.prefer(&[said(&world, delivery, Some("offers"), false)]).await.unwrap();
            assert_eq!(world.engine.carry_consents().await.unwrap(), 1, "{kind:?}");
            assert_eq!(columns(&world).await, ["5 | 0 | 0 | 0", "6 | 1 | 0 | 0"], "{kind:?}: {files:?}");
        }
    }
}

/// One mail about two customers, each with a row of its own for the same address.
#[tokio::test]
async fn of_a_combined_mail_every_records_row_is_written() {
    for kind in KINDS {
        let world = world(kind).await;
        world.crm.run("INSERT INTO accounts (id, name) VALUES (1, 'Ada'), (2, 'Bob')").await;
        world.crm.run("INSERT INTO contacts (id, account_id, email, news_ok, no_calls) VALUES (5, 1, 'ada@x.example', true, false), (6, 2, 'ada@x.example', true, false)").await;
        let rule = RULE.replace("to: main_contact", "to: main_contact\ncombine: per recipient");
        world.load(&[("offers.yaml", &rule), ("templates/hello.md", TEMPLATE)]).await;
        world.pass(hours(1)).await;
        let mails = world.mail.take();
        let [nudged::engine::port::Message::Email(mail)] = mails.as_slice() else { panic!("{mails:?}") };
        world.store.prefer(&[said(&world, mail.delivery, Some("offers"), false)]).await.unwrap();
        assert_eq!(world.engine.carry_consents().await.unwrap(), 1, "{kind:?}");
        assert_eq!(columns(&world).await, ["5 | 0 | 0 | 0", "6 | 0 | 0 | 0"], "{kind:?}");
    }
}

#[tokio::test]
async fn where_the_mail_is_forgotten_the_address_tells_and_who_is_not_found_is_told_of() {
    for kind in KINDS {
        let (world, delivery) = office(kind).await;
        let pruned = world.store.prune(Aged::Attempts, world.now() + hours(1), 100).await.unwrap();
        assert!(pruned > 0, "{kind:?}");
        world.store.prefer(&[said(&world, delivery, Some("offers"), false)]).await.unwrap();
        assert_eq!(world.engine.carry_consents().await.unwrap(), 1, "{kind:?}");
        assert_eq!(columns(&world).await, ["5 | 0 | 0 | 0", "6 | 1 | 0 | 0"], "{kind:?}");

        world.events();
        world.crm.run("UPDATE contacts SET email = 'new@x.example', news_ok = true WHERE id = 5").await;
        world.clock.advance(minutes(1));
        world.store.prefer(&[said(&world, delivery, Some("offers"), false)]).await.unwrap();
        assert_eq!(world.engine.carry_consents().await.unwrap(), 1, "{kind:?}");
        let told = world.events().into_iter().filter(|event| matches!(event, Event::ConsentUnwritten { .. })).count();
        assert_eq!(told, 1, "{kind:?}");
        assert_eq!(columns(&world).await[0], "5 | 1 | 0 | 0", "{kind:?}");
    }
}
