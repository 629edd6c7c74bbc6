use crate::diagnostic::yaml::{At, Named, Node};
use schemars::JsonSchema;
use serde::Deserialize;

/// An example: what is in the CRM, and what the rule should then do. `nudged test` plays it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestEntry {
    pub name: At<String>,
    /// When the first sweep runs: `2026-11-21 10:00 Europe/Vienna`. The one before it was one `check_every`
    /// earlier.
    pub at: At<String>,
    /// Records by entity, with catalog names: `{customer: [{key: 1, country: AT}]}`. Times may be relative to
    /// `at`: `90 days ago`, `now`, `in 30 days`, and `long enough ago`, which is what the trigger says.
    #[serde(default)]
    pub given: Named<Vec<Node>>,
    /// What webhook destinations answer, for `save`: `{crm: {id: 7}}`.
    #[serde(default)]
    pub answers: Named<Node>,
    /// What happens, and what is expected, in the order of time.
    #[serde(default)]
    pub then: Vec<At<ThenEntry>>,
}

/// A moment of an example: what changes now, and what must have happened by now.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThenEntry {
    /// How long after the first sweep: `3 days`.
    pub after: Option<At<String>>,
    /// In place of `after`: a local time in the zone of the test, `2026-11-24 10:00`.
    pub at: Option<At<String>>,
    /// All that was sent since the last line that expected anything: `nothing`, or by action:
    /// `{email: [win-back-1]}`.
    pub expect: Option<Node>,
    /// Part of the reason why nothing, or no more, was sent: `no_consent`.
    pub because: Option<At<String>>,
    /// How the sequence has ended by now: `goal`, `exit`, `completed`, or `running`.
    pub ended: Option<At<String>>,
    /// Rows that appear now, by entity. Times may be relative to now.
    pub insert: Option<Named<Vec<Node>>>,
    /// Rows that change now, by entity; found by their `key`.
    pub update: Option<Named<Vec<Node>>>,
    /// Rows that vanish now, by entity; found by their `key`.
    pub delete: Option<Named<Vec<Node>>>,
    /// What another system tells us now, for a rule that waits for an event:
    /// `{body: {data: {customer_id: 1}}}`.
    pub event: Option<At<EventToldEntry>>,
}

/// An event as it comes to the public listener, without its signature.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventToldEntry {
    /// Which one; if left out, the one that the rule waits for.
    pub name: Option<At<String>>,
    /// The sender's id of it, its `webhook-id`: an event sent twice has the same. If left out, it is a new one.
    pub id: Option<At<String>>,
    /// The JSON that is posted.
    pub body: Node,
}
