//! The small CRM with phones and preferences.

use crate::support::instant;
use crate::world::{Kind, Setup, World, days, minutes};
use nudged::engine::port::Message;
use nudged::engine::{Sending, Settings, Texts};

/// What people of the contacts table have besides their address.
const PERSON: (&str, &str) = (
    "    person: {email: email, first_name: first_name, zone: tz}\n    consent: {email: {offers: news_ok}}\n",
    "    fields: {customer: account_id, likes: {column: channel, means: {email: [E], sms: [S], task: [P]}}}
    person: {email: email, phone: phone, first_name: first_name, zone: tz, channel: likes}
    consent: {email: {offers: news_ok}, phone: {any_topic: {not: do_not_call}}}\n",
);

pub fn settings() -> Settings {
    let texts = Texts { country: "AT".parse().ok(), ..Texts::default() };
    Settings { sending: Sending { texts, ..Sending::default() }, ..Settings::default() }
}

pub async fn world_with(kind: Kind, settings: Settings) -> World {
    set_up(Setup { settings, ..Setup::of(kind, instant("2026-06-01T08:00:00Z")) }).await
}

pub async fn set_up(setup: Setup) -> World {
    let catalog = setup.catalog.replace("    fields: {customer: account_id}\n    person:", "    person:");
    assert!(catalog.contains(PERSON.0), "{catalog}");
    let catalog = catalog.replace(PERSON.0, PERSON.1);
    let catalog = catalog
        .replace("      contacts: {entity: contact, by: customer}\n    recipients:\n", "      contacts: {entity: contact, by: customer}\n      owners: {entity: user, to: owner_id}\n    recipients:\n      owner: {first_of: owners, staff: true, else: team@acme.example}\n")
        .replace("  subscription:\n", "  user: {table: users, key: id, person: {email: email, first_name: name}}\n  subscription:\n")
        .replace("fields: {country: country_code}", "fields: {country: country_code, health: health}");
    let blocked = "suppressions: [{table: blocked, email: address, reason: complaint}]";
    let both = "suppressions: [{table: blocked, email: address, reason: complaint}, {table: blocked_phones, phone: number, reason: robinson list}]";
    let catalog = catalog.replace(blocked, both);
    let tables = "ALTER TABLE contacts ADD phone VARCHAR(40);
ALTER TABLE contacts ADD channel VARCHAR(1);
ALTER TABLE contacts ADD do_not_call BOOLEAN;
ALTER TABLE accounts ADD owner_id INTEGER;
ALTER TABLE accounts ADD health INTEGER;
CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(40), email VARCHAR(60));
CREATE TABLE blocked_phones (number VARCHAR(40));
";
    World::set_up(Setup { catalog, tables, ..setup }).await
}

/// A customer whose last order is 30 days old in half an hour, and their contact.
pub async fn customer(world: &World, n: u32, contact: &str) {
    let ordered = world.crm.time(world.ago(days(30)) + minutes(30));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts (id, name, country_code, created_at) VALUES ({n}, 'C{n}', 'AT', {ordered});
             INSERT INTO contacts (id, account_id, email, first_name, tz, news_ok, phone, channel, do_not_call)
             VALUES ({n}, {n}, {contact});
             INSERT INTO orders VALUES ({n}, {n}, {ordered}, 'paid')"
        ))
        .await;
}

/// Number and text of every text message since the last call.
pub fn texts(world: &World) -> Vec<(String, String)> {
    let texts = world.webhooks.take().into_iter().map(|message| match message {
        Message::Sms(sms) => (sms.to, sms.text),
        other => panic!("not a text message: {other:?}"),
    });
    let mut texts: Vec<_> = texts.collect();
    texts.sort();
    texts
}

/// Outcome and detail of every delivery, in the order of their words.
pub async fn outcomes(world: &World) -> Vec<String> {
    let mut all: Vec<String> =
        world.deliveries().await.into_iter().map(|(state, detail)| format!("{state} {detail}")).collect();
    all.sort();
    all
}
