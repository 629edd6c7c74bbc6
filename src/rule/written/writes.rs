//! Steps that write into the CRM.

use super::Conditions;
use crate::diagnostic::yaml::{At, Named, Node};
use schemars::JsonSchema;
use serde::Deserialize;

/// Fields and tags of the record. Only what the catalog calls writable.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateEntry {
    /// New values by field: a constant, a template, `now` for times, or `null`.
    pub set: Named<Node>,
    /// Tags that the record gets, each a template.
    pub add_tags: Vec<At<String>>,
    /// Tags that it loses.
    pub remove_tags: Vec<At<String>>,
    /// The step's name; its kind if left out.
    pub id: Option<At<String>>,
}

/// Who of several colleagues takes the record. Later steps call them `assigned`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssignEntry {
    /// Their addresses, in the order of their turns.
    pub among: Vec<At<String>>,
    /// The entity they are records of, in place of `among`.
    pub from: Option<At<String>>,
    /// With `from`: which of its records take turns.
    pub only: Option<Conditions>,
    /// Whose turn it is: `round_robin` if left out.
    pub by: Option<At<BalanceWord>>,
    /// A writable field that gets the colleague: the key with `from`, the address with `among`.
    pub set: Option<At<String>>,
    /// Steps that name the same rotation take turns together, in whatever rule. The step's own if left out.
    pub rotation: Option<At<String>>,
    /// The step's name; its kind if left out.
    pub id: Option<At<String>>,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalanceWord {
    /// One after the other.
    RoundRobin,
    /// Whoever has the fewest records of this rotation that are still in their sequence.
    LeastLoaded,
}

/// A code from a pool of the catalog, given away once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimEntry {
    /// A pool of the catalog.
    pub pool: At<String>,
    /// Later templates see it as `saved.NAME.code`.
    pub save: At<String>,
    /// What happens when no code is left: `hold` if left out.
    pub when_empty: Option<At<WhenEmptyWord>>,
    /// The step's name; kind and pool if left out.
    pub id: Option<At<String>>,
}

/// What happens when no code is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenEmptyWord {
    /// The step waits, and goes on when there are codes again.
    Hold,
    /// The sequence goes on without a code; `saved.NAME.code` is empty.
    Skip,
}
