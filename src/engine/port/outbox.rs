use super::{Keeping, StoreError};
use crate::model::{
    AddressHash, AttemptNumber, Channel, ContactId, DeliveryId, DeliveryState, EndReason, EntityName, Key, Lane,
    Limits, MatchId, Occasion, Outcome, Preference, RecordId, RuleId, StepId, Suppression, SuppressionReason,
    TemplateName, Tenant, Topic, VersionHash,
};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// The table of due deliveries and steps.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Leases up to `limit` rows due at `now`, oldest first. `Due` rows become `Claimed`.
    async fn claim(&self, owner: &Owner, now: Timestamp, limit: usize) -> Result<Vec<Claimed>, StoreError>;

    /// Leases what else is due at a step where matches of a rule meet, and on its way there. Nodes that ask at the same
    /// time are answered one after the other.
    async fn gather(&self, of: &super::Gathering, now: Timestamp, limit: usize) -> Result<super::Gathered, StoreError>;

    /// Marks and completions of many deliveries in one transaction. A token whose lease was lost is left
    /// alone and named in the result: its mark must not be followed by I/O. A completion of the same
    /// attempt is still accepted from `sending` and `unknown`.
    async fn settle(&self, settlement: &Settlement) -> Result<Settled, StoreError>;

    /// Gives claimed rows back untouched (shutdown, or a channel that is full).
    async fn release(&self, tokens: &[OutboxToken]) -> Result<(), StoreError>;

    /// Extends the leases of work that is really under way. What its owner has lost track of (a settlement
    /// that was refused) is not among it, and is rescued once its lease ends.
    async fn heartbeat(&self, tokens: &[OutboxToken]) -> Result<(), StoreError>;

    /// Takes back rows with expired leases, `owner`'s own among them, and, on a single-node store, whatever
    /// earlier boots held: claimed rows become due; `sending` ones become due again if their step may repeat (`repeatable`
    /// was set by the mark), else `unknown`.
    async fn rescue(&self, owner: &Owner, now: Timestamp) -> Result<Rescued, StoreError>;

    /// How long the lease still runs that ends first, zero when it is over; `None` when no row is leased.
    async fn lease_ends(&self) -> Result<Option<Duration>, StoreError>;

    /// When the next row is due, however far ahead; `None` when the outbox is empty.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Which of these are suppressed.
    async fn suppressed(&self, hashes: &[AddressHash]) -> Result<Vec<Suppression>, StoreError>;

    async fn suppress(&self, entries: &[Suppression]) -> Result<u64, StoreError>;

    /// Takes addresses off the list again; how many were on it.
    async fn unsuppress(&self, entries: &[(Channel, AddressHash)], now: Timestamp) -> Result<u64, StoreError>;

    /// All of them, page by page, in the order of their hashes.
    async fn suppressions_after(
        &self,
        after: Option<AddressHash>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError>;

    /// Newest first.
    async fn suppressions(&self, limit: usize) -> Result<Vec<Suppression>, StoreError>;

    /// What was sent to these people after an instant, and what is due to them by another, as far as the outbox knows
    /// whom its rows are for ([`Completion::contender`]).
    async fn standings_of(
        &self,
        contacts: &[ContactId],
        since: Timestamp,
        due_by: Timestamp,
    ) -> Result<Vec<ContactStanding>, StoreError>;

    /// Rows of these tracks that are due by an instant, of which isn't known yet whom they are for: nobody has looked at
    /// them, or somebody is about to.
    async fn coming(&self, tracks: &[[u8; 16]], by: Timestamp) -> Result<Vec<Coming>, StoreError>;

    /// What the daily budget has come to on that day.
    async fn spent_on(&self, day: i64) -> Result<Spent, StoreError>;

    /// Forgets what was sent before an instant, once no cap counts it any more.
    async fn forget_sends(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Whether this is the first time that this version of a template is sent. True once, whoever asks.
    async fn is_first_copy(&self, template: &TemplateName, version: &str, now: Timestamp) -> Result<bool, StoreError>;

    /// An operator's decision over dead or unknown deliveries: back to due, or given up (the sequence
    /// goes on after it).
    async fn retry(&self, ids: &[DeliveryId], now: Timestamp) -> Result<u64, StoreError>;
    async fn discard(&self, ids: &[DeliveryId], now: Timestamp) -> Result<u64, StoreError>;

    /// The built-in task list, for sources without one. Idempotent by reference (the delivery id).
    async fn add_task(
        &self,
        reference: DeliveryId,
        task: &super::TaskDraft,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Open tasks of the built-in list, with the delivery that made each.
    async fn open_tasks(
        &self,
        tenant: &Tenant,
        entity: &EntityName,
        keys: &[Key],
    ) -> Result<Vec<(Key, DeliveryId)>, StoreError>;

    /// Which of these deliveries are the rule's: for `unless_open: same`.
    async fn deliveries_of(&self, rule: &RuleId, ids: &[DeliveryId]) -> Result<HashSet<DeliveryId>, StoreError>;

    /// Ends enrollments that are under way, on an operator's word; those that had ended are left alone. A message that
    /// is being sent is not called back. Returns how many were ended.
    async fn cancel_enrollments(&self, ids: &[i64], why: &str, now: Timestamp) -> Result<u64, StoreError>;

    /// Puts enrollments that wait at one step to the same step of another version: id and node. Those that are being
    /// worked on at the moment, or have ended, are left alone. Returns how many were moved.
    async fn move_enrollments(
        &self,
        to: &RuleVersion,
        moves: &[(i64, usize)],
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Versions that active enrollments pin, with their rule file's text.
    async fn pinned_versions(
        &self,
        known: &HashSet<(RuleId, VersionHash)>,
    ) -> Result<Vec<(RuleId, VersionHash, String)>, StoreError>;
}

/// Who holds a lease: a node and its boot, so that a reused node name is still rescued.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner(pub String);

/// The right to work on one outbox row. The epoch rises with every claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OutboxToken {
    pub id: i64,
    pub epoch: i64,
}

/// A due step of an enrollment, with what is needed to run it.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub token: OutboxToken,
    pub match_id: MatchId,
    pub rule: RuleId,
    pub lane: Lane,
    pub version: VersionHash,
    pub record: RecordId,
    pub occasion: Occasion,
    pub occasion_at: Option<Timestamp>,
    pub occasion_data: serde_json::Value,
    pub entered_at: Timestamp,
    pub entry: usize,
    pub node: usize,
    /// How often this enrollment has reached this node before.
    pub iteration: u32,
    /// The tries so far.
    pub attempts: AttemptNumber,
    pub due_at: Timestamp,
    /// Where lateness counts from.
    pub planned_at: Timestamp,
    /// When the wait it stands at began; `None` where it has just come there, or doesn't stand at one.
    pub since: Option<Timestamp>,
    /// Answers kept by earlier steps.
    pub saved: serde_json::Value,
    /// An operator gave this delivery up: skip it ([`crate::model::SkipReason::Discarded`]) and go on after it.
    pub discarded: bool,
}

/// A batch for one transaction.
#[derive(Debug, Clone, Default)]
pub struct Settlement {
    pub marks: Vec<Mark>,
    pub completions: Vec<Completion>,
}

/// `claimed → sending`, before any I/O.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub token: OutboxToken,
    pub delivery: DeliveryId,
    /// What is being sent, so that a delivery whose process died can still be named.
    pub step: StepId,
    /// `email`, `webhook`, `chat`, `task`, `sms`.
    pub kind: &'static str,
    /// Safe to repeat with the same key after a crash (webhook, task); an email, a chat and a text message are not.
    pub repeatable: bool,
    /// Whom it is to; `None`: no person whom we know an address of.
    pub reader: Option<Reader>,
    /// What it needs before it may leave; `None`: nothing counts it.
    pub place: Option<Place>,
}

/// Whom a message is to, as lists of those who don't want it know them. They are asked again with the mark: a no that came
/// after the facts were read counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    pub hash: AddressHash,
    /// What it is about; `None`: nothing that people can refuse.
    pub topic: Option<Topic>,
    /// Of our own people, who are only spared what bounces.
    pub staff: bool,
}

impl Reader {
    /// Whether one of these keeps the message from leaving.
    #[must_use]
    pub fn is_refused(&self, suppressed: Option<SuppressionReason>, said: Option<&Preference>) -> bool {
        suppressed.is_some_and(|reason| reason.stops(self.staff))
            || (self.topic.is_some() && said.is_some_and(|said| !said.allowed))
    }
}

/// A place under the caps and in the daily budget, taken together with the mark and given back when the message
/// definitely failed. A delivery holds one at most, however often it is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whose caps count it; `None`: it is exempt from them.
    pub contact: Option<ContactId>,
    pub at: Timestamp,
    pub day: BudgetDay,
    pub limits: Arc<Limits>,
}

/// A day of the daily budget, in the catalog's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetDay {
    /// Days since 1970.
    pub number: i64,
    /// When the next one begins.
    pub next: Timestamp,
}

/// What is known of a person on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactStanding {
    pub contact: ContactId,
    /// Messages that count under the caps, each with its delivery.
    pub sends: Vec<(DeliveryId, Timestamp)>,
    pub waiting: Vec<Waiting>,
}

/// A message that waits for the same person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its row in the outbox.
    pub id: i64,
    pub priority: u8,
    pub due_at: Timestamp,
}

/// A row that comes due for a record under a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coming {
    pub track: [u8; 16],
    /// Its row in the outbox.
    pub id: i64,
    pub version: VersionHash,
    pub node: usize,
    pub due_at: Timestamp,
}

/// Whom a row of the outbox is for, and how much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    pub contact: ContactId,
    pub priority: u8,
}

/// How far a daily budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// The first day anything was sent on.
    pub first: Option<i64>,
    pub used: u64,
}

/// The end of one try, or of a step that needs none.
#[derive(Debug, Clone)]
pub struct Completion {
    pub token: OutboxToken,
    /// `None` for waits and branches, which leave no attempt behind.
    pub attempt: Option<Attempt>,
    pub then: Then,
    /// Added to the enrollment's `saved` under this name.
    pub saved: Option<(String, serde_json::Value)>,
    /// The rule version whose nodes [`Then::Advance`] counts in, where it isn't the one that was pinned.
    pub migrated: Option<RuleVersion>,
    /// What else happened on the way, for the timeline.
    pub notes: Vec<Note>,
    /// Starts the record in another rule's steps, in the same transaction.
    pub enrolls: Option<Box<Enrolling>>,
    /// Noted on a row that comes again, so that others for the same person can see it coming.
    pub contender: Option<Contender>,
    /// What is kept of the message, where messages are kept and it left.
    pub keeping: Option<Arc<Keeping>>,
    /// Marked, and then not sent after all: what it took of caps and budget is given back.
    pub unsent: Option<DeliveryId>,
}

impl Completion {
    /// A completion that leaves nothing but `then` behind.
    #[must_use]
    pub const fn of(token: OutboxToken, then: Then) -> Self {
        Self {
            token,
            attempt: None,
            then,
            saved: None,
            migrated: None,
            notes: Vec::new(),
            enrolls: None,
            contender: None,
            keeping: None,
            unsent: None,
        }
    }
}

/// A match that a step of another rule makes.
#[derive(Debug, Clone)]
pub struct Enrolling {
    pub of: super::NewMatch,
    /// What it pins; the text comes along, as with a migration.
    pub version: RuleVersion,
}

/// A line of an enrollment's timeline that is no attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub at: Timestamp,
    pub step: Option<StepId>,
    pub what: Noted,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noted {
    /// Waits until then, if nothing changes.
    Waits(Timestamp),
    /// Waits for a condition, at most until then.
    Asks(Timestamp),
    /// The condition that was waited for holds.
    CameTrue,
    /// It didn't come true in time.
    TimeUp,
    /// There is no date to wait for.
    NoDate,
    /// The case that was taken.
    Branch(String),
    /// The arm that was drawn.
    Arm(String),
    /// Started in another rule's steps.
    Enrolled(RuleId),
    /// Would have been started there, in the shadow lane.
    WouldEnroll(RuleId),
    Held(String),
    /// Another version of the rule took over.
    Migrated(VersionHash),
    Cancelled(String),
    /// It was to go on with a newer version of the rule, which doesn't have its step.
    StepGone(String),
    /// An operator made a delivery due again.
    Retried,
    /// An operator gave a delivery up.
    Discarded,
    /// It didn't go by the channel that its reader prefers, and why.
    FellBack(String),
}

impl Noted {
    /// The name in the timeline.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Waits(_) => "waits",
            Self::Asks(_) => "asks",
            Self::CameTrue => "came_true",
            Self::TimeUp => "time_up",
            Self::NoDate => "no_date",
            Self::Branch(_) => "branch",
            Self::Arm(_) => "arm",
            Self::Enrolled(_) => "enrolled",
            Self::WouldEnroll(_) => "would_enroll",
            Self::Held(_) => "held",
            Self::Migrated(_) => "migrated",
            Self::Cancelled(_) => "cancelled",
            Self::StepGone(_) => "step_gone",
            Self::Retried => "retried",
            Self::Discarded => "discarded",
            Self::FellBack(_) => "fell_back",
        }
    }

    /// What people read beside it.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Branch(text)
            | Self::Arm(text)
            | Self::Held(text)
            | Self::Cancelled(text)
            | Self::StepGone(text)
            | Self::FellBack(text) => text,
            Self::Enrolled(rule) | Self::WouldEnroll(rule) => rule.as_str(),
            Self::Migrated(version) => version.as_str(),
            Self::Waits(_)
            | Self::Asks(_)
            | Self::CameTrue
            | Self::TimeUp
            | Self::NoDate
            | Self::Retried
            | Self::Discarded => "",
        }
    }

    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Waits(until) | Self::Asks(until) => Some(*until),
            _ => None,
        }
    }
}

/// A version that an enrollment pins from now on. The text comes along, since a reload may have dropped it
/// from the state while the step ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleVersion {
    pub rule: RuleId,
    pub hash: VersionHash,
    pub text: Arc<str>,
}

/// A line of the attempt log.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub delivery: DeliveryId,
    pub match_id: MatchId,
    pub rule: RuleId,
    pub lane: Lane,
    pub record: RecordId,
    pub step: StepId,
    /// `email`, `webhook`, `chat`, `task`, `sms`.
    pub kind: &'static str,
    pub number: AttemptNumber,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub outcome: Outcome,
}

/// What happens to the outbox row.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// Replaced by a row for this node.
    Advance { node: usize, due_at: Timestamp, planned_at: Timestamp },
    /// Stands at a wait that began at `since`, and is looked at again when it is due.
    Wait { node: usize, due_at: Timestamp, planned_at: Timestamp, since: Timestamp },
    /// Deleted; the enrollment ends.
    End { reason: EndReason, at: Timestamp },
    /// Due again. `counts`: the try is counted towards the last one (a postponement isn't).
    Again { due_at: Timestamp, counts: bool },
    /// Kept for an operator.
    Park { state: DeliveryState },
    /// Kept until a reload or an operator frees it.
    Hold { reason: String },
}

/// What a settlement could not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Tokens whose lease was lost.
    pub lost: Vec<OutboxToken>,
    /// Marks that found no place. Their rows are still claimed.
    pub refused: Vec<Refusal>,
}

/// A message that may not leave yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub token: OutboxToken,
    pub until: Timestamp,
    pub reason: String,
}

/// What a rescue found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Claimed, never begun.
    pub requeued: u64,
    /// Begun, and repeated with the same key.
    pub repeated: u64,
    /// Begun, outcome unknown.
    pub unknown: u64,
}
