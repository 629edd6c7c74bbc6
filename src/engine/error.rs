//! Why the engine could not do something just now.

use super::port::{SourceError, StoreError};
use crate::model::{EntityName, RecordId, RuleId};

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("no generation of rules is loaded yet; load one before sweeping or sending")]
    NoGeneration,
    #[error("there is no rule `{0}` in the running generation; `nudged rules` lists them")]
    NoSuchRule(RuleId),
    #[error("the rule `{rule}` is about `{for_each}` records, not `{entity}`: name the {for_each}")]
    OtherEntity { rule: RuleId, for_each: EntityName, entity: EntityName },
    #[error("`{record}` is of no tenant of the catalog: name it as {names}")]
    OtherTenant { record: RecordId, names: String },
    #[error("{0} is not there, or its entity's `only` leaves it out")]
    NoSuchRecord(RecordId),
    /// A rehearsal can't show what it was asked for; the text says why.
    #[error("{0}")]
    NothingToShow(String),
}

impl EngineError {
    /// The source said no: a missing column, a denied permission.
    #[must_use]
    pub const fn source_refused(&self) -> bool {
        matches!(self, Self::Source(SourceError::Refused(_)))
    }

    /// The source is away and may come back; everything else won't pass by waiting for it.
    #[must_use]
    pub const fn source_away(&self) -> bool {
        matches!(self, Self::Source(SourceError::Unavailable(_)))
    }
}
