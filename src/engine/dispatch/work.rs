//! A claimed row on its way through the dispatcher, counted until it is settled.

use super::walk::Walked;
use crate::engine::context::Context;
use crate::engine::event::Event;
use crate::engine::flight::Ticket;
use crate::engine::port::{
    Attempt, Claimed, Completion, Contender, Message, Note, Noted, OutboxToken, Place, Reader, RuleVersion, Then,
};
use crate::model::{DeliveryId, Outcome, SendWindow, StepId, Suppression, TemplateName};
use crate::rule::CompiledRule;
use crate::rule::generation::Generation;
use jiff::{Timestamp, tz::TimeZone};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// A claimed row before its rule is at hand.
#[derive(Debug)]
pub struct Boarded {
    pub claimed: Claimed,
    pub ticket: Ticket,
}

/// A claimed row with the rule it runs.
#[derive(Debug)]
pub struct Work {
    pub claimed: Claimed,
    pub rule: Arc<CompiledRule>,
    pub node: usize,
    /// `rule` took over from the version that the enrollment pinned.
    pub migrates: bool,
    /// Whom its message is for, once that is known and somebody counts it.
    pub contender: Option<Contender>,
    pub ticket: Ticket,
}

/// A message ready to be sent.
#[derive(Debug)]
pub struct Parcel {
    pub work: Work,
    pub delivery: DeliveryId,
    pub kind: &'static str,
    pub repeatable: bool,
    pub reader: Option<Reader>,
    /// What it needs before it may leave; its instant is that of the mark.
    pub place: Option<Place>,
    pub message: Message,
    /// The version of its template, where copies go to seed addresses.
    pub template: Option<(TemplateName, Arc<str>)>,
    /// Keep the answer under this name.
    pub save: Option<String>,
    /// Kept once it is sent, whatever the answer.
    pub keep: Option<(String, serde_json::Value)>,
    /// Of the person, for waits that follow.
    pub zone: TimeZone,
    /// When its reader may be written to; `None`: at any hour.
    pub hours: Option<Hours>,
    /// When its facts were asked.
    pub asked: Instant,
    /// The rules that it was decided by.
    pub decided_by: Arc<Generation>,
    /// For the timeline, once it is sent.
    pub notes: Vec<(StepId, Noted)>,
    /// Those whose matches it tells of as well.
    pub followers: Vec<Follower>,
}

/// The send windows of a message, in its reader's zone.
#[derive(Debug)]
pub struct Hours {
    pub windows: Vec<SendWindow>,
    pub zone: TimeZone,
}

impl Hours {
    fn are_over(&self, now: Timestamp) -> bool {
        let windows: Vec<&SendWindow> = self.windows.iter().collect();
        SendWindow::all_open(&windows, now, &self.zone).is_none_or(|open| open > now)
    }
}

/// A row that sends nothing itself: another one's message tells of its match.
#[derive(Debug)]
pub struct Follower {
    pub work: Work,
    pub delivery: DeliveryId,
    /// Of the person, for waits that follow.
    pub zone: TimeZone,
}

impl Parcel {
    /// All rows that it speaks for.
    pub fn tokens(&self) -> impl Iterator<Item = OutboxToken> {
        let followers = self.followers.iter().map(|follower| follower.work.claimed.token);
        std::iter::once(self.work.claimed.token).chain(followers)
    }
}

impl Parcel {
    /// Its facts are too old to write to somebody by, the rules have changed since it was decided, or its window has
    /// closed.
    pub fn is_stale(&self, context: &Context) -> bool {
        let replaced = context.generation().is_ok_and(|running| !Arc::ptr_eq(&running, &self.decided_by));
        let late = || self.hours.as_ref().is_some_and(|hours| hours.are_over(context.clock.now()));
        replaced || self.asked.elapsed() > context.settings.facts_age || late()
    }
}

/// A row whose fate is decided, on its way to the settler.
pub struct Finished {
    pub completion: Completion,
    pub events: Vec<Event>,
    pub ticket: Ticket,
    /// Of a send under way: free again once the outcome is committed.
    pub permit: Option<OwnedSemaphorePermit>,
    /// The address is gone: nobody writes to it again.
    pub gone: Option<Suppression>,
    /// What is decided with it, in the same transaction.
    pub together: Vec<Finished>,
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
pub fn settle_unread(context: &Context, boarded: Boarded, then: &Then, detail: &str) -> Finished {
    let Boarded { claimed, ticket } = boarded;
    let mut events = Vec::new();
    if context.events.receiver_count() > 0 {
        note_end(&claimed, then, detail.to_owned(), &mut events);
    }
    let what = match then {
        Then::End { .. } => Some(Noted::Cancelled(detail.to_owned())),
        Then::Hold { reason } => Some(Noted::Held(reason.clone())),
        _ => None,
    };
    let notes = what.map(|what| Note { at: context.clock.now(), step: None, what }).into_iter().collect();
    let completion = Completion { notes, ..Completion::of(claimed.token, then.clone()) };
    Finished { completion, events, ticket, permit: None, gone: None, together: Vec::new() }
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
        Then::Advance { .. } | Then::Wait { .. } | Then::Again { .. } | Then::Park { .. } => {}
    }
}

impl Work {
    pub fn step(&self) -> StepId {
        self.rule.rule.nodes.get(self.node).map_or_else(|| StepId::from("?"), |node| node.id.clone())
    }

    /// Concludes the row, with a line for the attempt log where there is a verdict.
    pub fn conclude(self, context: &Context, verdict: Option<Verdict>, Walked { then, notes }: Walked) -> Finished {
        let events = if context.events.receiver_count() > 0 {
            self.events(context, verdict.as_ref(), &then, &notes)
        } else {
            Vec::new()
        };
        let at = context.clock.now();
        let line = |(step, what)| Note { at, step: Some(step), what };
        let mut notes: Vec<Note> = notes.into_iter().map(line).collect();
        if let Then::Hold { reason } = &then {
            notes.push(line((self.step(), Noted::Held(reason.clone()))));
        }
        if self.migrates && matches!(then, Then::Advance { .. } | Then::Wait { .. }) {
            notes.insert(0, line((self.step(), Noted::Migrated(self.rule.version.clone()))));
        }
        let step = self.step();
        let Self { claimed, ticket, rule, migrates, contender, .. } = self;
        let migrated = migrates.then(|| RuleVersion {
            rule: claimed.rule.clone(),
            hash: rule.version.clone(),
            text: Arc::clone(&rule.text),
        });
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
        let contender = contender.filter(|_| matches!(then, Then::Again { .. }));
        let completion = Completion { attempt, migrated, notes, contender, ..Completion::of(claimed.token, then) };
        Finished { completion, events, ticket, permit: None, gone: None, together: Vec::new() }
    }

    fn events(
        &self,
        context: &Context,
        verdict: Option<&Verdict>,
        then: &Then,
        notes: &[(StepId, Noted)],
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
        let now = context.clock.now();
        for (step, decided) in notes.iter().filter(|(_, noted)| noted.until().is_none_or(|until| until > now)) {
            events.push(Event::StepDecided {
                rule: rule.clone(),
                lane: *lane,
                record: record.clone(),
                step: step.clone(),
                decided: decided.clone(),
            });
        }
        let step_gone = notes.iter().find_map(|(_, noted)| match noted {
            Noted::StepGone(why) => Some(why.clone()),
            _ => None,
        });
        let detail = verdict.map_or_else(
            || step_gone.unwrap_or_default(),
            |verdict| match &verdict.outcome {
                Outcome::Ended { detail, .. } | Outcome::Skipped { detail, .. } => detail.clone(),
                _ => String::new(),
            },
        );
        note_end(&self.claimed, then, detail, &mut events);
        events
    }
}
