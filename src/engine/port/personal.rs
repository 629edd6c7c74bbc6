use super::{Happening, KeptMessage, MissView, StoreError};
use crate::model::{AddressHash, DeliveryId, EndReason, EnrollmentState, Lane, RecordId, RuleId};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value as Json;

/// What the state holds about one record: to hand it out, and to erase it.
#[async_trait]
pub trait Personal: Send + Sync {
    /// Everything but events, which only a rule can tell whose they are.
    async fn dossier(&self, record: &RecordId) -> Result<Dossier, StoreError>;

    /// Erases the record: ends what is under way, and empties whatever names it or tells of it. Hashes, the ledger and
    /// counts stay, so that no occasion it ever crossed at matches again; those that had only been refused are entered
    /// in the ledger. Safe to repeat, which is needed where something was being sent ([`Forgotten::in_flight`]).
    async fn forget(&self, record: &RecordId, now: Timestamp) -> Result<Forgotten, StoreError>;

    /// How many of these enrollments have a message on its way at this moment.
    async fn in_flight(&self, enrollments: &[i64]) -> Result<u64, StoreError>;

    /// Empties events of other systems, by their numbers; they stay known by their ids. How many.
    async fn empty_events(&self, numbers: &[i64]) -> Result<u64, StoreError>;

    /// Removes the clear addresses of these entries of the suppression list; the entries hold. How many.
    async fn unname(&self, hashes: &[AddressHash]) -> Result<u64, StoreError>;

    /// Forgets up to `limit` rows of one kind that are older than `before`; how many. Never what is under way.
    async fn prune(&self, what: Aged, before: Timestamp, limit: usize) -> Result<u64, StoreError>;
}

/// What grows old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aged {
    /// Attempts, without those that name a task: `unless_open` asks for them as long as their enrollment is kept.
    Attempts,
    /// What happened between the attempts.
    Timeline,
    /// Who crossed and did not match.
    Misses,
    /// Enrollments that have ended, with all that is left of them. The newest of a record in a rule that an occasion
    /// is measured by is emptied instead.
    Enrollments,
    /// Events of other systems.
    Events,
    /// Our own writes of values that rules watch.
    Writes,
    /// Messages that were kept as they left.
    Messages,
}

impl Aged {
    pub const ALL: [Self; 7] =
        [Self::Attempts, Self::Timeline, Self::Misses, Self::Enrollments, Self::Events, Self::Writes, Self::Messages];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Timeline => "timeline",
            Self::Misses => "misses",
            Self::Enrollments => "enrollments",
            Self::Events => "events",
            Self::Writes => "writes",
            Self::Messages => "messages",
        }
    }
}

/// What the state holds about a record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dossier {
    pub enrollments: Vec<Enrolled>,
    /// Attempts and what happened between them.
    pub happenings: Vec<Happening>,
    /// Messages that were kept and tell of it.
    pub messages: Vec<KeptMessage>,
    pub misses: Vec<MissView>,
    pub episodes: Vec<Stay>,
    pub tasks: Vec<BuiltInTask>,
}

impl Dossier {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An enrollment with all that is kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolled {
    pub id: i64,
    pub rule: RuleId,
    pub lane: Lane,
    pub occasion: Option<String>,
    pub occasion_at: Option<Timestamp>,
    pub occasion_data: Json,
    pub entered_at: Timestamp,
    /// `None`: it is part of a sweep that is held.
    pub state: Option<EnrollmentState>,
    pub ended: Option<EndReason>,
    pub ended_at: Option<Timestamp>,
    pub saved: Json,
    pub hold: Option<String>,
}

/// The latest episode under a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    pub rule: RuleId,
    pub lane: Lane,
    pub ordinal: u64,
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
}

/// A task of the built-in list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltInTask {
    pub reference: DeliveryId,
    pub title: String,
    pub body: Option<String>,
    pub due: Option<String>,
    pub assignee: Option<String>,
    pub created_at: Timestamp,
    pub done_at: Option<Timestamp>,
}

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub enrollments: u64,
    /// Of these, how many were under way and have been cancelled.
    pub cancelled: u64,
    /// Attempts whose details were emptied.
    pub attempts: u64,
    pub timeline: u64,
    /// Messages that were kept, also those that tell of others as well.
    pub messages: u64,
    pub misses: u64,
    pub episodes: u64,
    pub tasks: u64,
    /// Messages that are being sent at this moment: they can't be called back, and leave an empty line in the log.
    pub in_flight: u64,
}

impl Forgotten {
    /// Whether anything was there to erase.
    #[must_use]
    pub const fn found(&self) -> bool {
        self.enrollments + self.misses + self.episodes + self.tasks > 0
    }
}

impl std::ops::AddAssign for Forgotten {
    /// What is in flight is what the later one saw.
    fn add_assign(&mut self, later: Self) {
        self.enrollments += later.enrollments;
        self.cancelled += later.cancelled;
        self.attempts += later.attempts;
        self.timeline += later.timeline;
        self.messages += later.messages;
        self.misses += later.misses;
        self.episodes += later.episodes;
        self.tasks += later.tasks;
        self.in_flight = later.in_flight;
    }
}
