//! A claimed row on its way through the dispatcher, counted until it is settled.

use crate::engine::context::Context;
use crate::engine::event::{Decided, Event};
use crate::engine::port::{Attempt, Claimed, Completion, Message, Then};
use crate::model::{DeliveryId, Outcome, StepId};
use crate::rule::CompiledRule;
use jiff::{Timestamp, tz::TimeZone};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

/// How many claimed rows are not settled yet.
#[derive(Debug, Clone)]
pub struct Flight(Arc<watch::Sender<usize>>);

impl Default for Flight {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Flight {
    pub fn board(&self) -> Ticket {
        self.0.send_modify(|count| *count += 1);
        Ticket(self.clone())
    }

    pub fn is_empty(&self) -> bool {
        *self.0.borrow() == 0
    }

    /// Resolves once every row that was claimed has been settled, released or lost.
    pub async fn landed(&self) {
        // The sender lives in `self`, so the channel can't close while we wait.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One row under way; counted until it is dropped.
#[derive(Debug)]
pub struct Ticket(Flight);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// A claimed row with the rule it runs.
#[derive(Debug)]
pub struct Work {
    pub claimed: Claimed,
    pub rule: Arc<CompiledRule>,
    pub node: usize,
    pub ticket: Ticket,
}

/// A message ready to be sent.
#[derive(Debug)]
pub struct Parcel {
    pub work: Work,
    pub delivery: DeliveryId,
    pub kind: &'static str,
    pub repeatable: bool,
    pub message: Message,
    /// Keep the answer under this name.
    pub save: Option<String>,
    /// Of the person, for waits that follow.
    pub zone: TimeZone,
    /// When its facts were asked.
    pub asked: Instant,
}

/// A row whose fate is decided, on its way to the settler.
pub struct Finished {
    pub completion: Completion,
    pub events: Vec<Event>,
    pub ticket: Ticket,
    /// Of a send under way: free again once the outcome is committed.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// What became of a row, before it is put into words for the log and the feed.
pub struct Verdict {
    pub delivery: DeliveryId,
    pub kind: &'static str,
    pub outcome: Outcome,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub took: Duration,
}

/// Settles a row whose rule was not looked at: put off, held, or cancelled.
pub fn settle_unread(context: &Context, claimed: &Claimed, ticket: Ticket, then: &Then, detail: &str) -> Finished {
    let mut events = Vec::new();
    if context.events.receiver_count() > 0 {
        note_end(claimed, then, detail.to_owned(), &mut events);
    }
    let completion = Completion { token: claimed.token, attempt: None, then: then.clone(), saved: None };
    Finished { completion, events, ticket, permit: None }
}

fn note_end(claimed: &Claimed, then: &Then, detail: String, events: &mut Vec<Event>) {
    let (rule, lane, record) = (claimed.rule.clone(), claimed.lane, claimed.record.clone());
    match then {
        Then::End { reason, .. } => {
            events.push(Event::EnrollmentEnded { rule, lane, record, reason: *reason, detail });
        }
        Then::Hold { reason } => {
            events.push(Event::EnrollmentHeld { rule, lane, record, reason: reason.clone() });
        }
        Then::Advance { .. } | Then::Again { .. } | Then::Park { .. } => {}
    }
}

impl Work {
    pub fn step(&self) -> StepId {
        self.rule.rule.nodes.get(self.node).map_or_else(|| StepId::from("?"), |node| node.id.clone())
    }

    /// Concludes the row, with a line for the attempt log where there is a verdict.
    pub fn conclude(
        self,
        context: &Context,
        verdict: Option<Verdict>,
        then: Then,
        waits: Option<(StepId, Timestamp)>,
    ) -> Finished {
        let events = if context.events.receiver_count() > 0 {
            self.events(context, verdict.as_ref(), &then, waits)
        } else {
            Vec::new()
        };
        let step = self.step();
        let Self { claimed, ticket, .. } = self;
        let attempt = verdict.map(|verdict| Attempt {
            delivery: verdict.delivery,
            match_id: claimed.match_id,
            rule: claimed.rule,
            lane: claimed.lane,
            record: claimed.record,
            step,
            kind: verdict.kind,
            number: claimed.attempts + 1,
            started_at: verdict.started_at,
            finished_at: verdict.finished_at,
            outcome: verdict.outcome,
        });
        let completion = Completion { token: claimed.token, attempt, then, saved: None };
        Finished { completion, events, ticket, permit: None }
    }

    fn events(
        &self,
        context: &Context,
        verdict: Option<&Verdict>,
        then: &Then,
        waits: Option<(StepId, Timestamp)>,
    ) -> Vec<Event> {
        let Claimed { rule, lane, record, .. } = &self.claimed;
        let mut events = Vec::with_capacity(2);
        if let Some(verdict) = verdict {
            events.push(Event::AttemptFinished {
                delivery: verdict.delivery,
                rule: rule.clone(),
                lane: *lane,
                record: record.clone(),
                step: self.step(),
                kind: verdict.kind,
                number: self.claimed.attempts + 1,
                outcome: verdict.outcome.clone(),
                due_at: self.claimed.due_at,
                took: verdict.took,
            });
        }
        if let Some((step, until)) = waits.filter(|(_, until)| *until > context.clock.now()) {
            let decided = Decided::WaitsUntil(until);
            events.push(Event::StepDecided { rule: rule.clone(), lane: *lane, record: record.clone(), step, decided });
        }
        let detail = verdict.map_or_else(String::new, |verdict| match &verdict.outcome {
            Outcome::Ended { detail, .. } | Outcome::Skipped { detail, .. } => detail.clone(),
            _ => String::new(),
        });
        note_end(&self.claimed, then, detail, &mut events);
        events
    }
}
