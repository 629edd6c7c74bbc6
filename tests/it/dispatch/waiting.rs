//! Messages that are decided and wait: for a session, or past the end of their window, while what they were decided by
//! changes.

use super::{all_silent, ended, silent};
use crate::support::{PATIENCE, instant, wait_until};
use crate::world::{Recorder, World, hours};
use async_trait::async_trait;
use nudged::engine::port::{Message, Sender, Sent};
use nudged::engine::{Sending, Settings};
use nudged::model::{Channel, EndReason, Preference, PreferenceSource, Suppression, SuppressionReason};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A sender with one session that stands still until it is let go.
struct Gate {
    recorder: Arc<Recorder>,
    open: Semaphore,
}

impl Gate {
    fn before(recorder: &Arc<Recorder>) -> Arc<Self> {
        Arc::new(Self { recorder: recorder.clone(), open: Semaphore::new(0) })
    }
}

#[async_trait]
impl Sender for Gate {
    fn sessions(&self) -> usize {
        1
    }

    async fn send(&self, message: Message) -> Sent {
        let sent = self.recorder.send(message).await;
        drop(self.open.acquire().await.unwrap());
        sent
    }
}

/// So many mails are due: the first is under way, and stands still.
async fn at_the_gate(count: i64) -> (Arc<World>, Arc<Gate>, JoinHandle<()>) {
    let world = Arc::new(silent("  - email: {template: mail-1}\n").await);
    all_silent(&world, count).await;
    let gate = Gate::before(&world.mail);
    let engine = world.sending(gate.clone(), Settings::default());
    world.clock.advance(hours(2));
    engine.sweep_due().await.unwrap();
    let running = tokio::spawn(async move {
        engine.dispatch_due().await.unwrap();
    });
    wait_until(PATIENCE, async || world.mail.messages.lock().unwrap().len() == 1).await;
    (world, gate, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waited_for_its_session_is_asked_about_again() {
    let world = Arc::new(silent("  - email: {template: mail-1}\n").await);
    all_silent(&world, 2).await;
    let gate = Gate::before(&world.mail);
    let age = Duration::from_millis(300);
    let engine = world.sending(gate.clone(), Settings { facts_age: age, ..Settings::default() });
    world.clock.advance(hours(2));
    engine.sweep_due().await.unwrap();
    let began = Instant::now();
    let running = tokio::spawn(async move { engine.dispatch_due().await });
    wait_until(PATIENCE, async || world.mail.messages.lock().unwrap().len() == 1).await;
    // The other one's message is marked and waits. Meanwhile both of them order.
    let now = world.crm.time(world.now());
    world.crm.run(&format!("INSERT INTO orders VALUES (11, 1, {now}, 'paid'), (12, 2, {now}, 'paid')")).await;
    wait_until(PATIENCE, async || began.elapsed() > age * 2).await;
    gate.open.add_permits(10);
    running.await.unwrap().unwrap();
    assert_eq!(world.mail.take().len(), 1, "whoever came back gets no mail");
    let ends = ended(&world).await;
    assert!(ends.contains(&Some(EndReason::Goal)) && ends.contains(&Some(EndReason::Completed)), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waited_past_the_end_of_its_window_waits_for_the_next() {
    let world = Arc::new(silent("  - email: {template: mail-1}\n").await);
    all_silent(&world, 4).await;
    let gate = Gate::before(&world.mail);
    let sending = Sending { window: Some("09:00-20:00".parse().unwrap()), ..Sending::default() };
    let engine = world.sending(gate.clone(), Settings { sending, ..Settings::default() });
    world.clock.set(instant("2026-06-01T10:00:00Z"));
    engine.sweep_due().await.unwrap();
    let running = tokio::spawn(async move { engine.dispatch_due().await.map(|_| engine) });
    wait_until(PATIENCE, async || world.mail.messages.lock().unwrap().len() == 1).await;
    // It is evening for those who wait behind it.
    world.clock.set(instant("2026-06-01T18:01:00Z"));
    gate.open.add_permits(10);
    let engine = running.await.unwrap().unwrap();
    assert_eq!(world.mail.take().len(), 1, "nobody else gets a mail at night");
    world.clock.set(instant("2026-06-02T08:00:00Z"));
    engine.dispatch_due().await.unwrap();
    assert_eq!(world.mail.take().len(), 3);
}

/// However young the facts are that it was decided by.
#[tokio::test(flavor = "multi_thread")]
async fn a_no_stops_all_but_what_is_marked_already() {
    let (world, gate, running) = at_the_gate(8).await;
    let (secret, since) = (world.store.secret(), world.now());
    let addresses = (2..=8).map(|id| format!("c{id}@example.org")).chain(["ada@example.org".to_owned()]);
    let hashes = addresses.map(|address| secret.address_hash(Channel::Email, &address));
    let (listed, said): (Vec<_>, Vec<_>) = hashes.enumerate().partition(|(index, _)| index % 2 == 0);
    let suppressions = listed.into_iter().map(|(_, hash)| Suppression {
        channel: Channel::Email,
        hash,
        address: None,
        reason: SuppressionReason::Complained,
        since,
    });
    let refusals = said.into_iter().map(|(index, hash)| Preference {
        hash,
        channel: Channel::Email,
        topic: (index % 4 == 1).then(|| "offers".into()),
        allowed: false,
        since,
        source: PreferenceSource::OneClick,
        delivery: None,
    });
    world.store.suppress(&suppressions.collect::<Vec<_>>()).await.unwrap();
    world.store.prefer(&refusals.collect::<Vec<_>>()).await.unwrap();
    gate.open.add_permits(10);
    running.await.unwrap();
    let sent = world.mail.take().len();
    assert!((1..=2).contains(&sent), "two may be marked for one session: {sent}");
    let left_out = world.deliveries().await.into_iter().filter(|(state, _)| state == "skipped").count();
    assert_eq!(sent + left_out, 8, "each is on record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_all_but_what_is_marked_already() {
    let (world, gate, running) = at_the_gate(6).await;
    assert!(world.store.set_paused(&"win-back".into(), true).await.unwrap());
    gate.open.add_permits(10);
    running.await.unwrap();
    let sent = world.mail.take().len();
    assert!((1..=2).contains(&sent), "two may be marked for one session: {sent}");
    world.store.set_paused(&"win-back".into(), false).await.unwrap();
    world.turn().await;
    assert_eq!(sent + world.mail.take().len(), 6, "the others wait among those that are due");
}
