use super::{Claimed, OutboxToken, Owner};
use crate::model::{Lane, RuleId, Tenant, VersionHash};

/// A step at which the matches of one rule meet before they are sent together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathering {
    pub rule: RuleId,
    pub lane: Lane,
    pub tenant: Tenant,
    pub version: VersionHash,
    /// Where they meet.
    pub node: usize,
    /// The steps that lead there at once: waits that are over, branches. Who stands there is still to come.
    pub before: Vec<usize>,
    /// Rows that the asker holds already.
    pub held: Vec<OutboxToken>,
    pub owner: Owner,
}

/// What a gathering found, besides what was held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gathered {
    /// Leased now, at the step itself.
    pub there: Vec<Claimed>,
    /// Leased now, on their way there.
    pub coming: Vec<Claimed>,
    /// Others are on their way, and somebody else is busy with them, or holds some that are there.
    pub elsewhere: bool,
}
