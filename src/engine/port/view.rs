use super::{Claimed, StoreError, SweepId};
use crate::model::{
    AttemptNumber, DeliveryId, EndReason, EnrollmentState, Key, Lane, MatchId, Occasion, RecordId, RuleId, VersionHash,
};
use async_trait::async_trait;
use jiff::Timestamp;

/// Read-only questions that people ask: status, enrollments, deliveries, why.
#[async_trait]
pub trait View: Send + Sync {
    async fn overview(&self, now: Timestamp) -> Result<Overview, StoreError>;
    async fn enrollments(&self, filter: &EnrollmentFilter) -> Result<Vec<EnrollmentView>, StoreError>;
    /// How many the filter lets through, whatever its limit.
    async fn count_enrollments(&self, filter: &EnrollmentFilter) -> Result<u64, StoreError>;
    /// Everything that happened to each of these enrollments, oldest first.
    async fn timelines(&self, ids: &[i64]) -> Result<Vec<Happening>, StoreError>;
    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryView>, StoreError>;
    /// Oldest first; only those after `after_id`, so that a feed can follow the log.
    async fn attempts(&self, after_id: i64, limit: usize) -> Result<Vec<AttemptView>, StoreError>;
    async fn misses(&self, record: &RecordId) -> Result<Vec<MissView>, StoreError>;
    async fn held_sweeps(&self) -> Result<Vec<SweepView>, StoreError>;
    /// Whom a held sweep matched, in the order of [`HeldMatch::place`]; only those after `after`, and at most
    /// `limit`, so that a sweep of any size can be paged through. None for a sweep that isn't held.
    async fn held_matches(&self, sweep: &SweepId, after: i64, limit: usize) -> Result<Vec<HeldMatch>, StoreError>;
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    pub matches: u64,
    pub active_enrollments: u64,
    pub held_enrollments: u64,
    pub outbox_due: u64,
    pub outbox_waiting: u64,
    pub outbox_sending: u64,
    pub outbox_unknown: u64,
    pub outbox_dead: u64,
    pub oldest_due: Option<Timestamp>,
    pub suppressed: u64,
    /// Attempts of the last 24 hours by outcome.
    pub attempts_today: Vec<(String, u64)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnrollmentFilter {
    pub rule: Option<RuleId>,
    pub lane: Option<Lane>,
    pub record: Option<RecordId>,
    pub state: Option<EnrollmentState>,
    /// The one with this number.
    pub id: Option<i64>,
    /// Those of other versions of the rule.
    pub other_than: Option<VersionHash>,
    /// Those with smaller numbers: the next page, as the newest come first.
    pub below: Option<i64>,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentView {
    /// A number for people to name it by.
    pub id: i64,
    pub match_id: MatchId,
    pub rule: RuleId,
    pub lane: Lane,
    /// The key is `None` once the person was erased.
    pub record: Option<RecordId>,
    pub occasion: Option<Occasion>,
    pub state: EnrollmentState,
    pub ended: Option<EndReason>,
    pub entered_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// The node it waits at and until when.
    pub next: Option<(usize, Timestamp)>,
    /// How that node stands: `due`, `queued`, `held`, `sending` …
    pub standing: Option<String>,
    /// `None`: nobody runs it any more.
    pub version: Option<String>,
    /// Why it is held.
    pub hold: Option<String>,
}

impl EnrollmentView {
    /// It has not begun: another of its record is under way, which `on_rematch: queue` lets end first.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.standing.as_deref() == Some("queued") && self.state == EnrollmentState::Active
    }
}

/// A line of an enrollment's timeline: an attempt, or what happened in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    pub enrollment: i64,
    pub at: Timestamp,
    pub step: Option<String>,
    /// The name of an [`super::Noted`], or of an attempt's outcome.
    pub what: String,
    pub detail: String,
    pub until: Option<Timestamp>,
    /// Kind, number and id, where it is an attempt.
    pub attempt: Option<(String, AttemptNumber, DeliveryId)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    pub rule: Option<RuleId>,
    pub lane: Option<Lane>,
    pub record: Option<RecordId>,
    /// `due`, `sending`, `unknown`, `dead`, or an outcome: `sent`, `skipped` …
    pub state: Option<String>,
    pub limit: usize,
}

/// The newest attempt of a delivery, or its place in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryView {
    pub delivery: Option<DeliveryId>,
    pub rule: RuleId,
    pub lane: Lane,
    pub record: Option<RecordId>,
    pub step: String,
    pub kind: String,
    pub state: String,
    pub attempts: AttemptNumber,
    pub at: Timestamp,
    pub detail: String,
}

/// A line of the attempt log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptView {
    pub id: i64,
    pub delivery: DeliveryId,
    pub rule: RuleId,
    pub lane: Lane,
    pub record: Option<RecordId>,
    pub step: String,
    pub kind: String,
    pub number: AttemptNumber,
    pub finished_at: Timestamp,
    pub outcome: String,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissView {
    pub rule: RuleId,
    pub lane: Lane,
    pub key: Key,
    pub occasion: Occasion,
    pub crossed_at: Timestamp,
    pub reason: String,
    pub seen_at: Timestamp,
}

/// A sweep that the guard holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepView {
    pub id: String,
    pub rule: RuleId,
    pub lane: Lane,
    pub reason: String,
    pub matches: u64,
    pub since: Timestamp,
}

/// A match of a held sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldMatch {
    /// Where the next page begins.
    pub place: i64,
    /// The key is `None` once the person was erased.
    pub record: Option<RecordId>,
    pub occasion: Option<Occasion>,
    pub matched_at: Timestamp,
    /// Entered only to be left out; a release doesn't act on it.
    pub left_out: Option<EndReason>,
    /// The first step, as a release makes it due; `None`: there is none, or the person was erased.
    pub begins: Option<Box<Claimed>>,
}
