//! One kind of action: a queue of finished messages, a marker that commits `sending` ahead of the I/O, and
//! as many sessions as the sender has.
//!
//! At most two messages per session are marked at any moment: one under way, one ready. That bounds what a
//! crash leaves in doubt. A place is free again only once the outcome is committed.

use super::keeping;
use super::outcome::{Try, after};
use super::prepare::give_back;
use super::seeds;
use super::settler::Settler;
use super::walk::{Walked, Way};
use super::work::{Finished, Follower, Parcel, Verdict, Work};
use crate::engine::context::Context;
use crate::engine::event::Event;
use crate::engine::port::{Mark, Message, OutboxToken, Place, Refusal, Sender, Sent, Then};
use crate::model::{
    Channel as By, DeliveryId, Outcome, SkipReason, Suppression, SuppressionReason, refusal_says, reply_says_gone,
};
use futures::FutureExt;
use jiff::Timestamp;
use rand::RngExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long it is waited when the sends can't be numbered.
const UNWITNESSED: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Channel {
    pub queue: mpsc::Sender<Parcel>,
}

struct Marker {
    context: Arc<Context>,
    settler: Settler,
    places: Arc<Semaphore>,
    at_once: usize,
    work: mpsc::Sender<(Parcel, OwnedSemaphorePermit)>,
    closing: watch::Receiver<bool>,
}

struct Session {
    context: Arc<Context>,
    settler: Settler,
    sender: Arc<dyn Sender>,
    work: Arc<Mutex<mpsc::Receiver<(Parcel, OwnedSemaphorePermit)>>>,
}

impl Channel {
    /// Once `closing` turns true, what is not marked yet is given back instead of sent.
    pub fn start(
        context: &Arc<Context>,
        settler: &Settler,
        sender: &Arc<dyn Sender>,
        closing: watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let sessions = sender.sessions().max(1);
        let at_once = sessions * 2;
        // Enough to go on with while the next rows are claimed and asked about.
        let (queue, parcels) = mpsc::channel((at_once * 8).max(64));
        let (work, ready) = mpsc::channel(at_once);
        let marker = Marker {
            context: Arc::clone(context),
            settler: settler.clone(),
            places: Arc::new(Semaphore::new(at_once)),
            at_once,
            work,
            closing,
        };
        tasks.spawn(marker.run(parcels));
        let ready = Arc::new(Mutex::new(ready));
        for _ in 0..sessions {
            let session = Session {
                context: Arc::clone(context),
                settler: settler.clone(),
                sender: Arc::clone(sender),
                work: Arc::clone(&ready),
            };
            tasks.spawn(session.run());
        }
        Self { queue }
    }
}

impl Marker {
    async fn run(self, mut queue: mpsc::Receiver<Parcel>) {
        while let Some(first) = queue.recv().await {
            let Ok(permit) = Arc::clone(&self.places).acquire_owned().await else { return };
            let mut batch = vec![(first, permit)];
            while batch.len() < self.at_once {
                let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else { break };
                let Ok(parcel) = queue.try_recv() else { break };
                batch.push((parcel, permit));
            }
            self.mark(batch).await;
        }
    }

    async fn mark(&self, batch: Vec<(Parcel, OwnedSemaphorePermit)>) {
        let closing = *self.closing.borrow();
        let (back, ready): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|(parcel, _)| closing || parcel.is_stale(&self.context));
        if !back.is_empty() {
            self.release(back).await;
        }
        if ready.is_empty() {
            return;
        }
        if !self.may_send(ready.len()).await {
            return self.release(ready).await;
        }
        let marks = ready.iter().flat_map(|(parcel, _)| self.marks(parcel));
        let Ok(mut marked) = self.settler.mark(marks.collect()).await else {
            // Without the commit there is no send.
            return self.release(ready).await;
        };
        let mut lost = Vec::new();
        for (mut parcel, permit) in ready {
            let token = parcel.work.claimed.token;
            if let Some(refusal) = marked.refused.remove(&token) {
                self.put_off(parcel, refusal).await;
            } else if marked.lost.contains(&token) {
                lost.push(token);
                // Those are marked, unless they are lost as well.
                self.apart(parcel.followers, self.context.clock.now()).await;
            } else if parcel.followers.iter().any(|follower| marked.lost.contains(&follower.work.claimed.token)) {
                // It would tell of a match that is somebody else's to tell of.
                let is_lost = |work: &Work| marked.lost.contains(&work.claimed.token);
                let (others, mut ours): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut parcel.followers).into_iter().partition(|follower| is_lost(&follower.work));
                lost.extend(others.iter().map(|follower| follower.work.claimed.token));
                let Parcel { work, delivery, zone, .. } = parcel;
                ours.push(Follower { work, delivery, zone });
                self.apart(ours, self.context.clock.now()).await;
            } else {
                // There is room: the queue holds as many as there are places.
                let _ = self.work.send((parcel, permit)).await;
            }
        }
        // What is still ours, since its rule was paused meanwhile, waits among those that are due.
        if !lost.is_empty() {
            self.return_all(lost).await;
        }
    }

    /// Of the message, and of all whose matches it tells of: after a crash none of them is sent again unasked.
    fn marks(&self, parcel: &Parcel) -> Vec<Mark> {
        let mark = |work: &Work, delivery, reader, place| Mark {
            token: work.claimed.token,
            delivery,
            step: work.step(),
            kind: parcel.kind,
            repeatable: parcel.repeatable,
            reader,
            place,
        };
        let place = parcel.place.clone().map(|place| Place { at: self.context.clock.now(), ..place });
        let own = mark(&parcel.work, parcel.delivery, parcel.reader.clone(), place);
        let followers = parcel.followers.iter().map(|follower| mark(&follower.work, follower.delivery, None, None));
        std::iter::once(own).chain(followers).collect()
    }

    /// Rows whose message is not sent now.
    async fn apart(&self, followers: Vec<Follower>, until: Timestamp) {
        for Follower { work, .. } in followers {
            let then = Then::Again { due_at: until, counts: false };
            self.settler.finish(work.conclude(&self.context, None, Walked { then, notes: Vec::new() })).await;
        }
    }

    /// Reserves their numbers, without which nothing leaves.
    async fn may_send(&self, count: usize) -> bool {
        match self.context.gate.draw(&self.context, count).await {
            Ok(open) => open,
            Err(error) => {
                self.context.announce(|| Event::StateFailed { reason: error.to_string() });
                // What is given back is claimed again at once.
                tokio::time::sleep(UNWITNESSED).await;
                false
            }
        }
    }

    /// Others took the last place between the question and the mark.
    async fn put_off(&self, parcel: Parcel, refusal: Refusal) {
        let Parcel { work, delivery, kind, followers, .. } = parcel;
        let Refusal { until, reason, .. } = refusal;
        self.apart(followers, until).await;
        let at = self.context.clock.now();
        let outcome = Outcome::Postponed { until, reason };
        let verdict = Verdict { delivery, kind, outcome, started_at: at, finished_at: at, took: Duration::ZERO };
        let then = Then::Again { due_at: until, counts: false };
        self.settler.finish(work.conclude(&self.context, Some(verdict), Walked { then, notes: Vec::new() })).await;
    }

    /// Stale rows are claimed again at once, with fresh facts.
    async fn release(&self, back: Vec<(Parcel, OwnedSemaphorePermit)>) {
        self.return_all(back.iter().flat_map(|(parcel, _)| parcel.tokens()).collect()).await;
    }

    async fn return_all(&self, tokens: Vec<OutboxToken>) {
        give_back(&self.context, tokens).await;
        self.context.due.notify_one();
    }
}

impl Session {
    fn gone(&self, (channel, address): (By, String), reason: SuppressionReason, since: Timestamp) -> Suppression {
        let hash = self.context.store.secret().address_hash(channel, &address);
        Suppression { channel, hash, address: Some(address), reason, since }
    }

    /// Nothing has left, so the place it took is free again and its facts are asked anew.
    async fn ask_again(&self, parcel: Parcel, permit: OwnedSemaphorePermit) {
        let then = Then::Again { due_at: self.context.clock.now(), counts: false };
        let again = |work: Work| {
            let mut finished = work.conclude(&self.context, None, Walked { then: then.clone(), notes: Vec::new() });
            finished.completion.unsent = Some(parcel.delivery);
            finished
        };
        for follower in parcel.followers {
            self.settler.finish(again(follower.work)).await;
        }
        let mut finished = again(parcel.work);
        finished.permit = Some(permit);
        self.settler.finish(finished).await;
    }

    async fn run(self) {
        loop {
            let next = self.work.lock().await.recv().await;
            let Some((parcel, permit)) = next else { return };
            self.send(parcel, permit).await;
        }
    }

    async fn send(&self, parcel: Parcel, permit: OwnedSemaphorePermit) {
        // It may have waited for this session, or for the state to take its mark.
        if parcel.is_stale(&self.context) {
            return self.ask_again(parcel, permit).await;
        }
        let Parcel { work, delivery, kind, repeatable, message, template, save, keep, zone, notes, followers, .. } =
            parcel;
        let copied = template.map(|template| (message.clone(), template));
        let address = address_of(&message);
        let content = keeping::before(&self.context, &*self.sender, &message);
        let started_at = self.context.clock.now();
        let began = Instant::now();
        // A bug in a sender costs one message its certainty, not the channel a session.
        let sent = AssertUnwindSafe(self.sender.send(message)).catch_unwind().await.unwrap_or_else(|_| Sent {
            outcome: Outcome::Unknown { reason: format!("a bug in the {kind} sender; what it did is not known") },
            answer: None,
        });
        let (took, finished_at) = (began.elapsed(), self.context.clock.now());
        let copied = copied.filter(|_| matches!(sent.outcome, Outcome::Sent { .. }));
        let tried = Try {
            way: Way::of(&work.rule.rule, &work.claimed, &zone),
            node: work.node,
            number: work.claimed.attempts + 1,
            max_attempts: self.context.settings.max_attempts,
            repeatable,
            read: is_read(kind),
            planned_at: work.claimed.planned_at,
            at: finished_at,
            jitter: rand::rng().random(),
        };
        let mut walked = after(tried, &sent.outcome);
        // In doubt it may be answered, too.
        let was_sent = matches!(sent.outcome, Outcome::Sent { .. } | Outcome::Unknown { .. });
        if matches!(sent.outcome, Outcome::Sent { .. }) {
            walked.notes.splice(0..0, notes);
        }
        let gone = address.and_then(|address| {
            let reason = says_gone(address.0, &sent.outcome)?;
            Some(self.gone(address, reason, finished_at))
        });
        let times = (started_at, finished_at, took);
        // They are tried again together, or the message would fall apart.
        let again = if let Then::Again { due_at, .. } = &walked.then { Some(*due_at) } else { None };
        let follow = |follower| self.follow(follower, (delivery, kind), (&sent.outcome, repeatable, again), times);
        let mut together: Vec<Finished> = followers.into_iter().map(follow).collect();
        let kept = keeping::after(content, delivery, &sent.outcome);
        for other in &mut together {
            other.completion.keeping = kept.as_ref().map(|kept| Arc::clone(&kept.of_others));
        }
        let verdict = Verdict { delivery, kind, outcome: sent.outcome, started_at, finished_at, took };
        let mut finished = work.conclude(&self.context, Some(verdict), walked);
        finished.completion.saved = save.zip(sent.answer).or(keep.filter(|_| was_sent));
        finished.completion.keeping = kept.map(|kept| kept.own);
        finished.gone = gone;
        finished.permit = Some(permit);
        finished.together = together;
        self.settler.finish(finished).await;
        if let Some((message, template)) = copied {
            seeds::copy(&self.context, &*self.sender, &message, &template).await;
        }
    }
}

impl Session {
    /// What becomes of a row whose match another one's message tells of: it goes on with that message, or fails with it.
    fn follow(
        &self,
        follower: Follower,
        (into, kind): (DeliveryId, &'static str),
        (came_to, repeatable, again): (&Outcome, bool, Option<Timestamp>),
        (started_at, finished_at, took): (Timestamp, Timestamp, Duration),
    ) -> Finished {
        let Follower { work, delivery, zone } = follower;
        let outcome = match came_to {
            Outcome::Sent { .. } => {
                Outcome::Skipped { reason: SkipReason::Combined, detail: format!("combined into {into}") }
            }
            other => other.clone(),
        };
        let tried = Try {
            way: Way::of(&work.rule.rule, &work.claimed, &zone),
            node: work.node,
            number: work.claimed.attempts + 1,
            max_attempts: self.context.settings.max_attempts,
            repeatable,
            read: is_read(kind),
            planned_at: work.claimed.planned_at,
            at: finished_at,
            jitter: 1.0,
        };
        let mut walked = after(tried, &outcome);
        if let (Then::Again { due_at, .. }, Some(again)) = (&mut walked.then, again) {
            *due_at = again;
        }
        let verdict = Verdict { delivery, kind, outcome, started_at, finished_at, took };
        work.conclude(&self.context, Some(verdict), walked)
    }
}

/// Whether people read what is of this kind.
fn is_read(kind: &str) -> bool {
    matches!(kind, "email" | "sms" | "chat")
}

/// Whom a message goes to.
fn address_of(message: &Message) -> Option<(By, String)> {
    match message {
        Message::Email(email) => Some((By::Email, email.to_address.clone())),
        Message::Sms(sms) => Some((By::Sms, sms.to.clone())),
        Message::Webhook(_) | Message::Chat(_) | Message::Task(_) | Message::Write(_) => None,
    }
}

/// The other side said that nobody can be reached at this address any more, or doesn't want to be.
fn says_gone(by: By, outcome: &Outcome) -> Option<SuppressionReason> {
    let Outcome::Permanent { reason } = outcome else { return None };
    match by {
        By::Email => reply_says_gone(reason).then_some(SuppressionReason::Bounced),
        By::Sms => refusal_says(reason),
    }
}
