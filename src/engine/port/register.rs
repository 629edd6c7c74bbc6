use super::{Progress, StoreError};
use crate::model::{InstanceSecret, Lane, RuleId, Tenant, VersionHash};
use async_trait::async_trait;
use jiff::Timestamp;

/// What the state knows of rules and generations.
#[async_trait]
pub trait Register: Send + Sync {
    /// Drawn once, when the state is created.
    fn secret(&self) -> &InstanceSecret;

    /// Brings the rule states in line with a new generation, in one transaction: new rules get a
    /// baseline, changed definitions a new one, renamed rules keep theirs, rules that are gone are
    /// marked. Stores each version's text.
    async fn adopt(&self, rules: &[Adoption], now: Timestamp) -> Result<Adopted, StoreError>;

    /// Makes the held steps of enrollments due again: whatever held them may have been repaired. Those that would be
    /// held at once for the same reason stay as they are, so that it costs what changed. Returns how many.
    async fn free_held(&self, still: &[StillHeld]) -> Result<u64, StoreError>;

    async fn rule_states(&self) -> Result<Vec<RuleState>, StoreError>;

    /// An operator's pause outranks files and survives reloads. Resuming frees a rule as well whose script failed
    /// too often.
    async fn set_paused(&self, rule: &RuleId, paused: bool) -> Result<bool, StoreError>;

    /// How many an activation left out before its baseline. False: somebody else has said so already.
    async fn set_left_out(&self, rule: &RuleId, lane: Lane, tenant: &Tenant, count: u64) -> Result<bool, StoreError>;

    /// Keeps a generation that loaded well, so that a restart with broken files can run it.
    async fn save_generation(&self, generation: &StoredGeneration) -> Result<(), StoreError>;
    async fn last_generation(&self) -> Result<Option<StoredGeneration>, StoreError>;
}

/// One rule of the new generation, for one lane and tenant.
#[derive(Debug, Clone)]
pub struct Adoption {
    pub rule: RuleId,
    pub was: Vec<RuleId>,
    pub lane: Lane,
    pub tenant: Tenant,
    pub version: VersionHash,
    /// What its script adds stands behind a point.
    pub definition: VersionHash,
    /// The rule file's text, stored under `version`.
    pub text: String,
    /// Where the baseline starts when it is set: `now` for `backfill: none`.
    pub baseline: Timestamp,
}

/// A rule whose steps in one lane the running generation holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillHeld {
    pub rule: RuleId,
    pub lane: Lane,
    /// Only those who run this version; what runs another is not held but ended.
    pub version: Option<VersionHash>,
    pub reason: &'static str,
}

/// What changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Rules with a new baseline, which want their left-out count.
    pub baselined: Vec<(RuleId, Lane, Tenant)>,
    pub removed: Vec<RuleId>,
}

/// One rule's standing, for one lane and tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleState {
    pub rule: RuleId,
    pub lane: Lane,
    pub tenant: Tenant,
    pub version: VersionHash,
    pub definition: VersionHash,
    pub baseline: Timestamp,
    /// Since when it looks as it does now: its baseline, or the change of its steps where that is later.
    pub looking_since: Timestamp,
    pub progress: Progress,
    pub status: RuleStatus,
    /// Its script failed too often; `status` has the reason.
    pub tripped: bool,
    pub left_out: Option<u64>,
    pub matches: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleStatus {
    Running,
    Paused,
    /// The guard, the brake, an error or its script stopped it; the text says which.
    Held(String),
    /// Not in the running generation.
    Removed,
}

/// The whole tree of files of a generation that loaded well, and the schema it was checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGeneration {
    /// SHA-256 over paths and contents.
    pub hash: String,
    /// Path and text.
    pub files: Vec<(String, String)>,
    pub loaded_at: Timestamp,
}
