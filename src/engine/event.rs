//! What happened, for the feed, the log and the metrics. The engine announces and never prints.
//!
//! Events are a courtesy: a listener that lags loses some, and nothing depends on them. What must be
//! known for certain is in the state.

use super::expectation::Mood;
use super::port::{Aged, Noted, Rescued};
use super::sweep::SweepReport;
use crate::model::{
    AttemptNumber, DeliveryId, EndReason, Lane, MatchId, Occasion, Outcome, RecordId, RuleId, StepId, Tenant, Topic,
};
use jiff::Timestamp;
use std::time::Duration;

#[derive(Debug, Clone)]
pub enum Event {
    /// A generation runs: rules with a fresh baseline and rules that are gone.
    GenerationAdopted {
        hash: String,
        rules: usize,
        baselined: Vec<RuleId>,
        removed: Vec<RuleId>,
    },
    /// How many a fresh baseline left out.
    LeftOut {
        rule: RuleId,
        lane: Lane,
        tenant: Tenant,
        count: u64,
    },
    SweepFinished(SweepReport),
    /// A sweep could not run now and is tried again; nothing is lost.
    SweepPostponed {
        rule: RuleId,
        lane: Lane,
        tenant: Tenant,
        reason: String,
    },
    /// The source, or the catalog, doesn't take an answer to a survey; it is tried again.
    AnswerRefused {
        delivery: DeliveryId,
        reason: String,
    },
    /// The source understood a rule's question and said no: the tables may have changed under it.
    SourceRefused {
        rule: RuleId,
        reason: String,
    },
    /// A sweep ended by a defect; it is tried again.
    SweepFailed {
        rule: RuleId,
        lane: Lane,
        tenant: Tenant,
        reason: String,
    },
    /// Announced for sweeps that are committed at once; larger ones, which are staged, announce only their counts.
    Matched {
        match_id: MatchId,
        rule: RuleId,
        lane: Lane,
        record: RecordId,
        occasion: Occasion,
        crossed_at: Timestamp,
        /// The step it starts with and when.
        first: Option<(StepId, Timestamp)>,
    },
    /// Crossed, but a term or the script said no.
    Missed {
        rule: RuleId,
        lane: Lane,
        record: RecordId,
        occasion: Occasion,
        reason: String,
    },
    /// Another system told something, and not of whom: this is wrong with it, once.
    Unread {
        rule: RuleId,
        lane: Lane,
        tenant: Tenant,
        /// The sender's id of it.
        event: String,
        problem: String,
    },
    /// What became of a step that sends nothing.
    StepDecided {
        rule: RuleId,
        lane: Lane,
        record: RecordId,
        step: StepId,
        decided: Noted,
    },
    AttemptFinished {
        delivery: DeliveryId,
        rule: RuleId,
        lane: Lane,
        record: RecordId,
        step: StepId,
        kind: &'static str,
        number: AttemptNumber,
        outcome: Outcome,
        due_at: Timestamp,
        took: Duration,
    },
    EnrollmentEnded {
        rule: RuleId,
        lane: Lane,
        record: RecordId,
        reason: EndReason,
        detail: String,
    },
    /// A pool of codes has come down to its low-water mark.
    PoolLow {
        rule: RuleId,
        /// With the tenant where there is one.
        pool: String,
        free: u64,
    },
    /// What readers decided can't be written into the CRM as yet; it is tried again.
    ConsentsPostponed {
        count: usize,
        reason: String,
    },
    /// No row of the CRM has the address of a reader who decided something; it holds in the state alone.
    ConsentUnwritten {
        /// [`DeliveryId::UNNAMED`]: not by the link of a mail.
        delivery: DeliveryId,
        topic: Option<Topic>,
    },
    /// The source refused what a rule's due steps ask of it; they are tried again.
    StepsPostponed {
        rule: RuleId,
        tenant: Tenant,
        steps: usize,
        reason: String,
    },
    /// The rule's script failed before a message, and holds its enrollment.
    ScriptFailed {
        rule: RuleId,
    },
    /// An enrollment's step can't run until a reload or an operator repairs it.
    EnrollmentHeld {
        rule: RuleId,
        lane: Lane,
        record: RecordId,
        reason: String,
    },
    /// The guard or an error stopped a rule; its matches wait for an operator.
    RuleHeld {
        rule: RuleId,
        lane: Lane,
        tenant: Tenant,
        reason: String,
    },
    /// A rule's script failed for too many records; it rests until it is edited or an operator resumes it.
    RuleTripped {
        rule: RuleId,
        lane: Lane,
        tenant: Tenant,
        reason: String,
    },
    /// A rule went quiet or wild, by its own `expect`, or is as usual again.
    Expectation {
        rule: RuleId,
        lane: Lane,
        mood: Mood,
        /// In the last 7 days.
        matched: u64,
        /// `20..60`.
        expected: String,
    },
    /// A mail about a rule did not reach who answers for it.
    OwnerNotTold {
        rule: RuleId,
        reason: String,
    },
    SourceLost {
        reason: String,
    },
    SourceBack {
        after: Duration,
    },
    /// The state database failed; work under way is kept in memory and tried again.
    StateFailed {
        reason: String,
    },
    Rescued(Rescued),
    /// Rows that had grown old were forgotten.
    Pruned {
        what: Aged,
        count: u64,
    },
    /// Matches that no rule can meet again were dropped from the ledger.
    LedgerPruned {
        count: u64,
    },
    /// Nothing is sent: the state was restored, moved or cloned, and an operator has to say which.
    SendingHeld {
        reason: String,
    },
    /// An operator has confirmed; what is due is sent.
    SendingFreed,
    /// A state that had gone back has forgotten so many entries of the suppression list and of what readers said; its
    /// journal had them.
    Recalled {
        entries: u64,
    },
    /// The disk of the state is nearly full: sweeps stop, what is due is still sent.
    RoomShort {
        free: u64,
    },
    RoomBack {
        free: u64,
    },
}
