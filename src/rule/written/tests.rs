use crate::diagnostic::yaml::{At, Named, Node};
use schemars::JsonSchema;
use serde::Deserialize;

/// An example: what is in the CRM, and what the rule should then do.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestEntry {
    pub name: At<String>,
    /// When the first sweep runs: `2026-11-21 10:00 Europe/Vienna`.
    pub at: At<String>,
    /// Records by entity, with catalog names: `{customer: [{key: 1, country: AT}]}`.
    #[serde(default)]
    pub given: Named<Vec<Node>>,
    /// What is expected, and what happens in between, in order.
    #[serde(default)]
    pub then: Vec<At<ThenEntry>>,
}

/// A moment of an example.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThenEntry {
    /// How long after the first sweep: `3 days`.
    pub after: At<String>,
    /// What happened since the line before: `nothing`, or by action: `{email: [win-back-1]}`.
    pub expect: Option<Node>,
    /// How the sequence has ended by now: `goal`, `exit`, `completed`.
    pub ended: Option<At<String>>,
    /// Rows that appear now, by entity.
    pub insert: Option<Named<Vec<Node>>>,
    /// Rows that change now, by entity; found by their `key`.
    pub update: Option<Named<Vec<Node>>>,
    /// Rows that vanish now, by entity; found by their `key`.
    pub delete: Option<Named<Vec<Node>>>,
}
