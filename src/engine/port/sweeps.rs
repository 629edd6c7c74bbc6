use super::{Owner, StoreError};
use crate::model::{EntityName, Key, Lane, MatchId, Occasion, RecordId, RuleId, SkipReason, Tenant, VersionHash};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

/// The ledger of matches, and the watermarks that say how far each rule has looked.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Takes the rule's lease for one sweep, or `None` when another node sweeps it, it is held or paused.
    /// Raises the epoch, so that whoever held it before can't commit any more. An owner that gave up a
    /// sweep (its source went away) may simply begin again.
    async fn begin_sweep(
        &self,
        rule: &RuleId,
        lane: Lane,
        tenant: &Tenant,
        owner: &Owner,
    ) -> Result<Option<Lease>, StoreError>;

    /// Holds on to the lease while a long sweep reads.
    async fn keep_sweep(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Lets go of every rule that `owner` was sweeping, so that a stop keeps nobody waiting.
    async fn give_up_sweeps(&self, owner: &Owner) -> Result<(), StoreError>;

    /// Remembers that the rule's entity had records: see [`Lease::populated`].
    async fn note_populated(&self, lease: &Lease) -> Result<(), StoreError>;

    /// How these crossers of the lease's rule stand, in the same order. Asked before their facts, so that a
    /// re-read window costs little, and so that the guard counts only new ones.
    async fn standings(&self, lease: &Lease, candidates: &[Candidate]) -> Result<Vec<Standing>, StoreError>;

    /// What these tracks have under way. A preview asks as well.
    async fn under_way(&self, tracks: &[[u8; 16]]) -> Result<Vec<Running>, StoreError>;

    /// A sweep that fits one batch: matches, enrollments, first outbox rows, misses and watermark in one
    /// transaction. Matches that are in the ledger already are counted and left alone.
    async fn commit_sweep(&self, lease: &Lease, commit: &SweepCommit) -> Result<SweepCount, StoreError>;

    /// Holds the rule until it is edited or an operator resumes it. The sweep under way goes on.
    async fn trip(&self, lease: &Lease, reason: &str) -> Result<(), StoreError>;

    /// One batch of a larger sweep, kept as `staged`: nobody sees it before [`Ledger::close_sweep`].
    /// A sweep that crashed before closing is staged again from the start.
    async fn stage(&self, lease: &Lease, sweep: &SweepId, found: &Found) -> Result<SweepCount, StoreError>;

    /// The latest episode of each of these records (by [`crate::model::InstanceSecret::record_hash`]) under the
    /// lease's rule, in the same order. Asking needs no lease: a preview asks as well.
    async fn episodes(&self, lease: &Lease, records: &[[u8; 16]]) -> Result<Vec<Option<Episode>>, StoreError>;

    /// One page of the rule's open episodes, by when they want to be looked at.
    async fn open_episodes(&self, lease: &Lease, page: &EpisodePage) -> Result<Vec<OpenEpisode>, StoreError>;

    /// Ends a staged sweep: moves the watermark and sets the batch released or held, in one transaction; with
    /// `counted` only where that is still so.
    async fn close_sweep(
        &self,
        lease: &Lease,
        sweep: &SweepId,
        verdict: &Verdict,
        progress: &Progress,
        counted: Option<Counted>,
    ) -> Result<(), StoreError>;

    /// Turns up to `limit` released, staged matches (of any sweep) into enrollments and outbox rows.
    /// Idempotent; returns how many it turned, 0 when none are left.
    async fn expand(&self, limit: usize) -> Result<usize, StoreError>;

    /// Frees or drops a held sweep. Its matches are entered, or ended, by the next [`Ledger::expand`].
    async fn decide_held(&self, sweep: &SweepId, release: bool, now: Timestamp) -> Result<u64, StoreError>;

    /// Live matches of the rule entered since `since`: what the guard counts.
    async fn matched_since(
        &self,
        rule: &RuleId,
        lane: Lane,
        tenant: &Tenant,
        since: Timestamp,
    ) -> Result<u64, StoreError>;

    /// The same over all tenants.
    async fn matched_everywhere(&self, rule: &RuleId, lane: Lane, since: Timestamp) -> Result<u64, StoreError>;
}

/// What the guard counted over all tenants of a rule. Each tenant has a lease of its own, so another node may enter
/// matches between the count and the commit, which is then refused by [`StoreError::Overtaken`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub since: Timestamp,
    pub matches: u64,
}

/// The right to sweep one rule, until somebody with a higher epoch takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub rule: RuleId,
    pub lane: Lane,
    pub tenant: Tenant,
    pub epoch: i64,
    pub progress: Progress,
    /// Nothing that crossed at or before this is looked at.
    pub baseline: Timestamp,
    /// The rule's entity was seen to have records, so none at all means a restore or a lost permission.
    pub populated: bool,
}

/// How far a rule has looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Crossings up to here have been evaluated.
    pub watermark: Timestamp,
    /// The last sweep that completed, by the source's clock.
    pub swept_at: Timestamp,
    /// When crossings since `keep_trying` were last read again.
    pub rechecked_at: Timestamp,
    /// When the nightly reconcile last ran.
    pub reconciled_at: Timestamp,
    /// Those who were inside at the baseline have been noted, for triggers that keep episodes.
    pub seeded: bool,
}

/// The name of one large or held sweep.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SweepId(pub String);

/// What a sweep, or one batch of it, found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    pub matches: Vec<NewMatch>,
    pub misses: Vec<Miss>,
    /// Episodes that opened, closed, or want to be looked at at another time.
    pub episodes: Vec<EpisodeChange>,
}

impl Found {
    /// Rows to write.
    #[must_use]
    pub fn len(&self) -> usize {
        self.matches.len() + self.misses.len() + self.episodes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One stay of a record inside what its rule watches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// Counted from 1, whatever became of earlier definitions: the occasion of a match.
    pub ordinal: u64,
    pub opened_at: Timestamp,
    /// `None` while it is open.
    pub closed_at: Option<Timestamp>,
    /// When it may end, by the facts last seen; [`Timestamp::MAX`] where only new facts can end it.
    pub due_at: Timestamp,
    /// HMAC of the value that a rule watches.
    pub value: Option<[u8; 16]>,
    /// Our own writes that were intended up to here are in the value.
    pub own: Timestamp,
}

/// How a record's episode stands after a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpisodeChange {
    pub record: [u8; 16],
    /// Kept in the clear only while the episode is open, so that the record can be asked for again.
    pub key: Key,
    pub episode: Episode,
}

/// Which open episodes to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpisodePage {
    /// `due_at` and record of the last one of the page before.
    pub after: Option<(Timestamp, [u8; 16])>,
    /// Those due up to here,
    pub due_until: Timestamp,
    /// or opened after this.
    pub opened_after: Timestamp,
    pub limit: usize,
}

/// An open episode and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenEpisode {
    pub record: [u8; 16],
    pub key: Key,
    pub episode: Episode,
}

/// Everything one small sweep leaves behind.
#[derive(Debug, Clone)]
pub struct SweepCommit {
    pub found: Found,
    pub progress: Progress,
    /// How many crossed, whatever became of them.
    pub crossed: u64,
    /// Set when the guard holds the sweep: its matches are kept staged under this id and reason.
    pub held: Option<(SweepId, String)>,
    /// Committed only where this is still so.
    pub counted: Option<Counted>,
}

/// A crosser whose facts were not asked yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub id: MatchId,
    /// See [`NewMatch::former`].
    pub former: Vec<MatchId>,
    pub track: [u8; 16],
    /// See [`NewMatch::former_tracks`].
    pub former_tracks: Vec<[u8; 16]>,
    /// See [`NewMatch::tolerance`].
    pub tolerance: Option<SignedDuration>,
    pub occasion_at: Option<Timestamp>,
    pub entity: EntityName,
    pub key: Key,
    pub occasion: Occasion,
}

/// What the ledger knows of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    New,
    /// Crossed before and did not match.
    Missed {
        kind: MissKind,
        reason: String,
    },
    /// Entered (also held or skipped). Rows that an unclosed sweep left staged don't count.
    Known,
    /// Within the tolerance of the record's greatest occasion that is entered, which was then.
    TooClose {
        to: Timestamp,
    },
}

impl Standing {
    /// Whether no sweep would enter it, whatever is true of the record.
    #[must_use]
    pub const fn is_spent(&self) -> bool {
        matches!(self, Self::Known | Self::TooClose { .. })
    }
}

/// A match to enter.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMatch {
    pub id: MatchId,
    /// The same match under the rule's former ids; in the ledger under any of them, it isn't new.
    pub former: Vec<MatchId>,
    /// HMAC of (rule, lane, record): finds the record's earlier matches of this rule.
    pub track: [u8; 16],
    /// The same under the rule's former ids.
    pub former_tracks: Vec<[u8; 16]>,
    /// For inactivity: `occasion_at` must exceed the greatest of these tracks by more than this.
    pub tolerance: Option<SignedDuration>,
    pub rule: RuleId,
    pub lane: Lane,
    pub record: RecordId,
    pub version: VersionHash,
    pub occasion: Occasion,
    pub occasion_at: Option<Timestamp>,
    /// `occasion.*` for templates, as JSON.
    pub occasion_data: serde_json::Value,
    pub crossed_at: Timestamp,
    pub matched_at: Timestamp,
    /// Where lateness counts from.
    pub planned_at: Timestamp,
    pub entry: usize,
    /// First step and when it is due; `None`: the rule has no steps.
    pub first: Option<(usize, Timestamp)>,
    /// Enter it in the ledger, but don't act: too late, or overtaken by a later offset.
    pub skip: Option<SkipReason>,
    /// What to do with an active enrollment of the same record: see `on_rematch`.
    pub restart: Rematch,
}

/// What a second match does while the record is still in a sequence of the same rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rematch {
    /// The new match is entered in the ledger and starts nothing.
    Ignore,
    /// The running enrollment is cancelled and a new one starts.
    Restart,
    /// Starts when the running one ends.
    Queue,
    /// Both run.
    Parallel,
}

/// An enrollment under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    pub track: [u8; 16],
    pub id: i64,
    /// Its delivery is dead or of unknown outcome: nothing of it goes on by itself.
    pub is_parked: bool,
}

/// A record that crossed but did not match, and why; kept for `why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    pub entity: EntityName,
    pub key: Key,
    pub occasion: Occasion,
    pub crossed_at: Timestamp,
    pub kind: MissKind,
    /// The first term that failed, as written, or what kept it from being judged.
    pub reason: String,
}

/// Whether a miss was the rule's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MissKind {
    /// A term or the script said no: that was its chance, beyond `keep_trying`.
    Refused,
    /// Its script failed or its record could not be read: no answer yet, so it is asked again.
    Unjudged,
}

/// What a commit found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepCount {
    pub entered: u64,
    /// In the ledger before, or within the tolerance of an earlier one.
    pub known: u64,
}

/// What becomes of a staged sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Released,
    Held(String),
}
