//! Several nodes on one shared state and one source.

use crate::support::{PATIENCE, instant, wait_until};
use crate::world::{Kind, Setup, World, days, hours, minutes};
use async_trait::async_trait;
use jiff::SignedDuration;
use nudged::engine::Settings;
use nudged::engine::port::{Message, Sender, Sent};
use nudged::model::Outcome;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Barrier, OnceCell, watch};

const RULE: &str = "version: 1
id: silence
description: Silent.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 10 days}
where:
  - country: AT
check_every: 1 hour
guard: {per_day: 100000, floor: 100000}
steps:
  - webhook: {to: sink}
";

const MATCHES: usize = 2_000;

/// Counts what is sent under each delivery id, and waits with its first until every node has one.
struct Counter {
    sent: Arc<Mutex<HashMap<String, u32>>>,
    mine: Mutex<usize>,
    begun: OnceCell<()>,
    all: Arc<Barrier>,
}

#[async_trait]
impl Sender for Counter {
    fn sessions(&self) -> usize {
        8
    }

    async fn send(&self, message: Message) -> Sent {
        self.begun
            .get_or_init(async || {
                self.all.wait().await;
            })
            .await;
        let Message::Webhook(call) = message else { panic!("{message:?}") };
        *self.sent.lock().unwrap().entry(call.delivery.to_string()).or_default() += 1;
        *self.mine.lock().unwrap() += 1;
        Sent { outcome: Outcome::Sent { reply: "ok".into() }, answer: None }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_deliver_each_match_once() {
    let settings = Settings {
        claim: 50,
        batch: 300,
        poll: Duration::from_millis(50),
        rescue_every: Duration::from_millis(200),
        heartbeat: Duration::from_millis(100),
        ..Settings::default()
    };
    let setup = Setup { settings, shared: true, ..Setup::of(Kind::Postgres, instant("2026-06-01T08:00:00Z")) };
    let world = World::set_up(setup).await;
    let (now, ordered) = (world.crm.time(world.now()), world.crm.time(world.ago(days(10)) + minutes(30)));
    world
        .crm
        .run(&format!(
            "INSERT INTO accounts SELECT n, 'C' || n, 'AT', {now} FROM generate_series(1, {MATCHES}) n;
             INSERT INTO orders SELECT n, n, {ordered}, 'paid' FROM generate_series(1, {MATCHES}) n;
             INSERT INTO accounts VALUES (0, 'Zoe', 'AT', {now})"
        ))
        .await;
    world.load(&[("silence.yaml", RULE)]).await;
    let (sent, all) = (Arc::new(Mutex::new(HashMap::new())), Arc::new(Barrier::new(2)));
    let stop = watch::Sender::new(false);
    let (mut senders, mut nodes) = (Vec::new(), Vec::new());
    for owner in ["a", "b"] {
        let counter = Counter { sent: sent.clone(), mine: Mutex::default(), begun: OnceCell::new(), all: all.clone() };
        let sender = Arc::new(counter);
        let (engine, stopping) = (world.node(owner, sender.clone()).await, stop.subscribe());
        senders.push(sender);
        nodes.push(tokio::spawn(async move { engine.run(stopping).await }));
    }
    world.clock.advance(hours(1));
    wait_until(PATIENCE, async || {
        // What found its channel full is put off for some seconds.
        world.clock.advance(SignedDuration::from_millis(200));
        let sent = sent.lock().unwrap().len();
        sent == MATCHES && world.store.overview(world.now()).await.unwrap().active_enrollments == 0
    })
    .await;
    stop.send_replace(true);
    for node in nodes {
        tokio::time::timeout(PATIENCE, node).await.unwrap().unwrap();
    }
    let sent = sent.lock().unwrap().clone();
    assert_eq!(sent.len(), MATCHES);
    assert!(sent.values().all(|times| *times == 1), "{:?}", sent.iter().find(|(_, times)| **times != 1));
    assert!(senders.iter().all(|sender| *sender.mine.lock().unwrap() > 0), "both took part");
    assert_eq!(world.enrollments().await.len(), MATCHES);
}
