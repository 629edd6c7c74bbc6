//! Steps that write into the CRM, on the three databases.

mod assign;
mod claim;
mod consent;
mod own;
mod pages;
mod task;
mod update;

use crate::support::instant;
use crate::world::{Kind, Setup, World};
use jiff::Timestamp;
use nudged::engine::port::{Sender, Sent, Source, Store, Write, WriteDraft};
use nudged::engine::{Event, TaskWriter};
use nudged::model::{Clock, DeliveryId, RecordId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

const START: &str = "2026-11-20T12:30:00Z";
const KINDS: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::MariaDb];

const CATALOG: &str = "
version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: id
    fields:
      stage: {writable: true}
      tier: {column: class, means: {vip: [A, A+], standard: [B, C]}, writable: true}
      seats: {writable: true}
      amount: {writable: true}
      active: {writable: true}
      contacted_at: {writable: true}
      renews_on: {writable: true}
      owner: {column: owner_id, writable: true}
      owner_email: {writable: true}
      note: {writable: true}
    relations:
      contacts: {entity: contact, by: customer}
    recipients:
      main_contact: {first_of: contacts, order: [id]}
    tags: {table: account_tags, record: account_id, tag: tag}
  contact:
    table: contacts
    key: id
    fields: {customer: account_id}
    person: {email: email, first_name: first_name}
    consent:
      email: {offers: news_ok, given_at: news_at, write_back: true}
      phone: {any_topic: {not: no_calls}}
  colleague:
    table: staff
    key: id
    person: {email: email, first_name: first_name}
pools:
  vouchers:
    table: vouchers
    code: code
    only: {campaign: spring}
    taken: {taken_by: $ref, taken_at: $now, account_id: $record.key}
    low_water: 2
";

const TABLES: &str = "
CREATE TABLE accounts (id INTEGER PRIMARY KEY, name VARCHAR(60), stage VARCHAR(20), class VARCHAR(4), seats INTEGER,
                       amount NUMERIC(10,2), active BOOLEAN, contacted_at {instant}, renews_on DATE, owner_id INTEGER,
                       owner_email VARCHAR(60), note VARCHAR(200), untouched VARCHAR(20));
CREATE TABLE account_tags (account_id INTEGER, tag VARCHAR(40));
CREATE TABLE contacts (id INTEGER PRIMARY KEY, account_id INTEGER, email VARCHAR(60), first_name VARCHAR(60),
                       news_ok BOOLEAN, news_at {instant}, no_calls BOOLEAN);
CREATE TABLE staff (id INTEGER PRIMARY KEY, email VARCHAR(60), first_name VARCHAR(60), team VARCHAR(20));
CREATE TABLE vouchers (code VARCHAR(20) PRIMARY KEY, campaign VARCHAR(20), taken_by VARCHAR(80), taken_at {instant},
                       account_id INTEGER);
";

fn setup(kind: Kind) -> Setup {
    let (catalog, own_tables) = (CATALOG.to_owned(), Some(TABLES.to_owned()));
    Setup { catalog, own_tables, ..Setup::of(kind, instant(START)) }
}

async fn world(kind: Kind) -> World {
    World::set_up(setup(kind)).await
}

/// A rule over customers, started each hour.
fn hourly(id: &str, more: &str) -> String {
    format!(
        "version: 1
id: {id}
mode: live
purpose: service
for_each: customer
to: main_contact
trigger: {{schedule: {{cron: \"0 * * * *\"}}}}
{more}"
    )
}

fn delivery(number: u32) -> DeliveryId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    DeliveryId(id)
}

/// The daemon's own writer, by hand.
struct Writer(TaskWriter, Arc<Mutex<Vec<Event>>>);

impl Writer {
    fn new(world: &World) -> Self {
        Self::over(world, Arc::clone(&world.source), Arc::clone(&world.store))
    }

    fn over(world: &World, source: Arc<dyn Source>, store: Arc<dyn Store>) -> Self {
        let (_, generation) = watch::channel(Some(world.generation()));
        let clock: Arc<dyn Clock> = world.clock.clone();
        let announced = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&announced);
        let announce = Arc::new(move |event: &Event| heard.lock().unwrap().push(event.clone()));
        Self(TaskWriter::new(clock, source, store, generation).telling(world.mail.clone(), announce), announced)
    }

    async fn write(&self, number: u32, key: &str, at: Timestamp, what: Write) -> Sent {
        let record = RecordId { tenant: "".into(), entity: "customer".into(), key: key.into() };
        let (delivery, rule) = (delivery(number), "by-hand".into());
        let (enrollment, fields) = (i64::from(number), BTreeMap::new());
        let draft = WriteDraft { delivery, enrollment, rule, record, at, fields, what };
        self.0.send(nudged::engine::port::Message::Write(Box::new(draft))).await
    }
}

/// Kind, outcome and detail of what was tried for a customer, newest first.
async fn attempts(world: &World, key: &str) -> Vec<(String, String, String)> {
    let all = world.store.attempts(0, 10_000).await.unwrap().into_iter().rev();
    let ours = all.filter(|attempt| attempt.record.as_ref().is_some_and(|record| record.key.as_str() == key));
    ours.map(|attempt| (attempt.kind, attempt.outcome, attempt.detail)).collect()
}
