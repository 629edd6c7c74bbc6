//! Steps over weeks of virtual time: waits of every kind, splits, enrolling, clocks and crashes.

mod clocks;
mod enrolling;
mod lives;
mod mortal;
mod nested;
mod overdue;
mod renewal;
mod splits;
mod waits;
mod works;

use crate::support::instant;
use crate::world::{Kind, Setup, World, hours};
use jiff::Timestamp;
use nudged::engine::port::Message;
use nudged::model::EndReason;

const START: &str = "2026-06-01T08:00:00Z";

/// A rule over subscriptions that are new, with these steps.
fn rule(id: &str, settings: &str, steps: &str) -> String {
    format!(
        "version: 1
id: {id}
description: A sequence.
mode: live
purpose: service
for_each: subscription
to: signatory
{settings}
steps:
{steps}"
    )
}

const NEW: &str = "trigger: {created: {at: created_at}}\ncheck_every: 1 hour";

/// Subscriptions have a time when they appeared.
async fn world(at: &str) -> World {
    let tables = "ALTER TABLE subscriptions ADD COLUMN created_at {instant};";
    World::set_up(Setup { tables, ..Setup::of(Kind::Sqlite, instant(at)) }).await
}

/// A subscription that appears in half an hour, of a person in this zone.
async fn subscribe(world: &World, id: usize, zone: &str, renews_on: &str) {
    let created = world.crm.time(world.now() + hours(1) / 2);
    let renews_on = if renews_on.is_empty() { "NULL".to_owned() } else { format!("'{renews_on}'") };
    world
        .crm
        .run(&format!(
            "INSERT INTO contacts VALUES ({id}, {id}, 'p{id}@example.org', 'P{id}', '{zone}', true);
             INSERT INTO subscriptions (id, account_id, contact_id, status, renews_on, created_at)
             VALUES ({id}, {id}, {id}, 'active', {renews_on}, {created})"
        ))
        .await;
}

/// Goes from one due thing to the next until `until`, and tells what was sent, as `06-02 10:00 1 step`, in UTC.
async fn play(world: &World, until: &str) -> Vec<String> {
    let until = instant(until);
    let mut told = Vec::new();
    loop {
        world.turn().await;
        told.extend(sent(world));
        let next = world.engine.next_due().await.unwrap().unwrap_or(Timestamp::MAX);
        assert!(next > world.now(), "what is due is done");
        if next > until {
            world.clock.set(until);
            return told;
        }
        world.clock.set(next);
    }
}

fn sent(world: &World) -> Vec<String> {
    let line = |message: Message| match message {
        Message::Webhook(call) => {
            let (step, key) =
                (call.body["type"].as_str().unwrap(), call.body["data"]["record"]["key"].as_str().unwrap());
            format!("{} {key} {}", world.now().strftime("%m-%d %H:%M"), step.split_once('.').unwrap().1)
        }
        other => panic!("{other:?}"),
    };
    world.webhooks.take().into_iter().map(line).collect()
}

/// Oldest first.
async fn ends(world: &World) -> Vec<Option<EndReason>> {
    let mut ends: Vec<_> = world.enrollments().await.into_iter().map(|enrollment| enrollment.ended).collect();
    ends.reverse();
    ends
}

/// What is noted of all enrollments, the oldest first.
async fn timeline(world: &World) -> Vec<String> {
    let mut ids: Vec<i64> = world.enrollments().await.iter().map(|view| view.id).collect();
    ids.sort_unstable();
    let found = world.store.timelines(&ids).await.unwrap();
    let line = |happening: nudged::engine::port::Happening| {
        let until = happening.until.map_or_else(String::new, |until| until.strftime(" until %m-%d %H:%M").to_string());
        let detail = if happening.attempt.is_some() { "" } else { happening.detail.as_str() };
        let text = format!(
            "{} {} {}{until} {detail}",
            happening.at.strftime("%m-%d %H:%M"),
            happening.step.as_deref().unwrap_or("-"),
            happening.what
        );
        text.trim_end().to_owned()
    };
    found.into_iter().map(line).collect()
}
