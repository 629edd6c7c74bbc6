//! Rules that a rehearsal finds standing still: what they come to says nothing of them once they go on.

use crate::engine::context::lane_of;
use crate::engine::port::{RuleState, RuleStatus};
use crate::rule::CompiledRule;
use std::fmt;

/// Why a rule finds nobody, or does nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standstill {
    /// The guard, the brake, an error or its script stopped its sweeps; the text says which.
    Held(String),
    /// An operator's word.
    Paused,
    /// `mode: paused`.
    ByFile,
}

impl Standstill {
    /// Each reason once, for however many tenants.
    pub(super) fn of(rule: &CompiledRule, states: &[RuleState]) -> Vec<Self> {
        let Some(lane) = lane_of(rule) else { return vec![Self::ByFile] };
        let own = states.iter().filter(|state| state.rule == rule.rule.id && state.lane == lane);
        let mut found: Vec<Self> = own
            .filter_map(|state| match &state.status {
                RuleStatus::Paused => Some(Self::Paused),
                RuleStatus::Held(reason) => Some(Self::Held(reason.clone())),
                RuleStatus::Running | RuleStatus::Removed => None,
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// Whose word it is, for JSON.
    #[must_use]
    pub const fn by(&self) -> &'static str {
        match self {
            Self::Held(_) => "hold",
            Self::Paused => "operator",
            Self::ByFile => "file",
        }
    }
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(reason) => write!(f, "finds nobody while it is held: {reason}"),
            Self::Paused => write!(f, "does nothing while an operator has paused it"),
            Self::ByFile => write!(f, "does nothing while its file says `mode: paused`"),
        }
    }
}
