//! Why the engine could not do something just now.

use super::port::{SourceError, StoreError};
use crate::model::RuleId;

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
