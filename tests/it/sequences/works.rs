//! A sequence of steps that leave something behind (a colleague's turn, a mail, a code of a pool, a task, a value in the
//! CRM, another rule), with a process that dies at every call that writes into the state: nothing is left out, and
//! nothing is done twice.

use super::lives::{At, Fate, Lives, SETTLE};
use crate::catalog_shapes::written;
use crate::support::instant;
use crate::world::{Kind, Setup, World};
use nudged::engine::Settings;
use nudged::engine::port::Message;
use nudged::model::{DeliveryId, RecordId};
use rstest::rstest;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  subscription:
    table: subscriptions
    key: id
    fields:
      stage: {writable: true}
      owner: {column: owner_id, writable: true}
    relations:
      contacts: {entity: contact, to: contact_id}
    recipients:
      signatory: {first_of: contacts}
  contact:
    table: contacts
    key: id
    person: {email: email, first_name: first_name, zone: tz}
  colleague:
    table: staff
    key: id
    person: {email: email, first_name: first_name}
pools:
  vouchers:
    table: vouchers
    code: code
    taken: {taken_by: $ref, taken_at: $now, subscription_id: $record.key}
";

const TABLES: &str = "
ALTER TABLE subscriptions ADD COLUMN stage VARCHAR(20);
ALTER TABLE subscriptions ADD COLUMN owner_id INTEGER;
CREATE TABLE staff (id INTEGER PRIMARY KEY, email VARCHAR(60), first_name VARCHAR(60));
CREATE TABLE vouchers (code VARCHAR(20) PRIMARY KEY, taken_by VARCHAR(80), taken_at {instant}, subscription_id INTEGER);
";

const WORKS: &str = r#"version: 1
id: works
mode: live
purpose: service
unknown: resend
for_each: subscription
to: signatory
trigger:
  date: {field: renews_on, at: "09:00"}
check_every: 12 hours
offsets:
  42 days before:
    - assign: {from: colleague, set: owner}
    - email: {template: gift}
    - claim: {pool: vouchers, save: voucher, when_empty: hold}
    - task: {title: "{{ saved.voucher.code }} for {{ record.id }}", assign_to: assigned}
    - wait: {for: 1 day}
    - update: {set: {stage: worked}}
    - enroll: {rule: after}
    - webhook: {id: told, to: sink}
"#;

const AFTER: &str = "version: 1
id: after
mode: live
purpose: service
for_each: subscription
to: signatory
trigger: {enrolled: {}}
steps:
  - webhook: {id: after, to: sink}
";

/// What nudged writes is no change, so nobody is told of one.
const WATCH: &str = "version: 1
id: watch
mode: live
purpose: service
for_each: subscription
to: signatory
trigger: {changed: {field: stage}}
check_every: 12 hours
steps:
  - webhook: {id: noticed, to: sink}
";

const GIFT: &str = "---\nsubject: \"Soon, {{ to.first_name }}\"\n---\nHello\n";
const END: &str = "2026-03-11T12:00:00Z";
const PEOPLE: usize = 4;

/// Two of three rows at a time, so that the sweep is staged.
async fn world(shared: bool) -> World {
    let settings = Settings { batch: 3, ..Settings::default() };
    let setup = Setup { catalog: CATALOG.to_owned(), tables: TABLES, settings, shared, ..start() };
    let world = World::set_up(setup).await;
    for id in 1..=PEOPLE {
        world
            .crm
            .run(&format!(
                "INSERT INTO contacts VALUES ({id}, {id}, 'p{id}@example.org', 'P{id}', 'Europe/Vienna', true);
                 INSERT INTO subscriptions (id, account_id, contact_id, status, renews_on)
                 VALUES ({id}, {id}, {id}, 'active', '2026-04-20')"
            ))
            .await;
    }
    world.crm.run("INSERT INTO staff VALUES (10, 'di@x.example', 'Di'), (11, 'ed@x.example', 'Ed')").await;
    let vouchers: Vec<String> = (0..2 * PEOPLE).map(|n| format!("('v{n}')")).collect();
    world.crm.run(&format!("INSERT INTO vouchers (code) VALUES {}", vouchers.join(", "))).await;
    let files = [("works.yaml", WORKS), ("after.yaml", AFTER), ("watch.yaml", WATCH), ("templates/gift.md", GIFT)];
    world.load(&files).await;
    world
}

fn start() -> Setup {
    Setup::of(Kind::Sqlite, instant("2026-03-08T09:00:00Z"))
}

/// What there is at the end, whoever got which code and which colleague.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    /// Each mail and webhook once, however often it was tried.
    sent: BTreeSet<String>,
    stages: Vec<String>,
    ends: Vec<String>,
}

struct Played {
    left: Left,
    repeated: usize,
}

fn take(world: &World, seen: &mut HashSet<DeliveryId>, sent: &mut BTreeSet<String>) -> usize {
    let mut repeated = 0;
    for message in world.mail.take().into_iter().chain(world.webhooks.take()) {
        let (delivery, line) = match message {
            Message::Email(email) => (email.delivery, format!("{} {}", email.to_address, email.subject)),
            Message::Webhook(call) => {
                (call.delivery, format!("{} {}", call.body["data"]["record"]["key"], call.body["type"]))
            }
            other => panic!("{other:?}"),
        };
        if seen.insert(delivery) {
            assert!(sent.insert(format!("{} {line}", world.now())), "{line} under two ids");
        } else {
            repeated += 1;
        }
    }
    repeated
}

async fn play(world: &World, fate: &Arc<Fate>) -> Played {
    let (mut lives, mut seen) = (Lives::begin(world, fate), HashSet::new());
    let (mut repeated, mut left) = (0, Left::default());
    loop {
        let next = lives.turn().await;
        repeated += take(world, &mut seen, &mut left.sent);
        if next > instant(END) {
            break;
        }
        world.clock.set(next);
    }
    left.stages = written(world, "SELECT id, stage FROM subscriptions ORDER BY id".to_owned()).await;
    for view in world.enrollments().await {
        let key = view.record.as_ref().unwrap().key.as_str();
        left.ends.push(format!("{} {key} {}", view.rule, view.ended.map_or("running", |reason| reason.as_str())));
    }
    left.ends.sort();
    everybody_has_one_of_each(world).await;
    Played { left, repeated }
}

/// A code, a colleague and a task that tells of both; the colleagues have as many each.
async fn everybody_has_one_of_each(world: &World) {
    let codes = "SELECT subscription_id, code FROM vouchers WHERE taken_by IS NOT NULL ORDER BY subscription_id";
    let codes = written(world, codes.to_owned()).await;
    let owners = "SELECT s.id, p.email FROM subscriptions s JOIN staff p ON p.id = s.owner_id ORDER BY s.id";
    let owners = written(world, owners.to_owned()).await;
    assert_eq!((codes.len(), owners.len()), (PEOPLE, PEOPLE), "{codes:?} {owners:?}");
    let mut turns = BTreeMap::new();
    for (id, (code, owner)) in (1..).zip(codes.iter().zip(&owners)) {
        let (code, owner) = (code.split_once(" | ").unwrap(), owner.split_once(" | ").unwrap());
        assert_eq!((code.0, owner.0), (&*id.to_string(), &*id.to_string()), "{codes:?} {owners:?}");
        *turns.entry(owner.1).or_insert(0) += 1;
        let record = RecordId { tenant: "".into(), entity: "subscription".into(), key: id.to_string().as_str().into() };
        let tasks = world.store.dossier(&record).await.unwrap().tasks;
        let tasks: Vec<_> = tasks.iter().map(|task| (task.title.as_str(), task.assignee.as_deref())).collect();
        assert_eq!(tasks, [(&*format!("{} for {id}", code.1), Some(owner.1))]);
        let _: i32 = id;
    }
    assert!(turns.values().all(|count| *count == PEOPLE / 2), "{turns:?}");
}

/// One in seventeen writes is deadly, each by turns: a message that was begun five times and never came to an end waits
/// for an operator.
#[rstest]
#[tokio::test]
async fn killed_at_every_write(#[values(false, true)] shared: bool) {
    let (whole, fate) = (world(shared).await, Fate::kind(At::EveryWrite));
    let whole = play(&whole, &fate).await;
    assert_eq!(whole.repeated, 0);
    assert_eq!(whole.left.sent.len(), 3 * PEOPLE, "{:?}", whole.left);
    let calls = "begin_sweep commit_sweep stage close_sweep expand claim assign add_task intend confirm_writes";
    let written = fate.calls();
    assert!(calls.split(' ').chain([SETTLE]).all(|call| written.contains(&call)), "{written:?}");

    let (mut repeated, mut deaths) = (0, 0);
    for turn in 0..17 {
        let (world, fate) = (world(shared).await, Fate::deadly(At::EveryWrite, (17, turn)));
        let played = play(&world, &fate).await;
        assert_eq!(played.left, whole.left, "turn {turn}");
        repeated += played.repeated;
        deaths += fate.deaths();
    }
    assert!(deaths > 100, "{deaths}");
    assert!(repeated > 0, "some died between sending and writing it down, and sent again under the same id");
}
