//! Steps that reach people otherwise than by mail alone.

use super::steps::{EmailEntry, TaskEntry};
use crate::diagnostic::yaml::At;
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SmsEntry {
    /// A template of one or more lines, in plain text: `"{{ record.name }}, your table is free"`.
    pub text: At<String>,
    /// A recipient role, in place of the rule's `to`.
    pub to: Option<At<String>>,
    /// A gateway of the configuration, where there are several.
    pub via: Option<At<String>>,
    /// The step's name; its kind if left out.
    pub id: Option<At<String>>,
}

/// What would be sent on each channel. The first that the reader prefers and can be reached by is taken.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageEntry {
    /// How the channel is chosen: `preferred`, by `channel` of the catalog's `person`.
    pub channel: At<ChannelWord>,
    pub email: Option<EmailEntry>,
    pub sms: Option<SmsEntry>,
    /// For those who would rather be called.
    pub task: Option<TaskEntry>,
    /// What is tried, in this order, where the preferred channel can't be taken or isn't known: `[email, sms]`. As
    /// listed here if left out.
    #[serde(default)]
    pub otherwise: Vec<At<WayWord>>,
    /// The step's name; its kind if left out.
    pub id: Option<At<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelWord {
    /// The one that its reader prefers.
    Preferred,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WayWord {
    Email,
    Sms,
    Task,
}

/// One mail with everything that stands at this step for the same colleague.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestEntry {
    /// A file of `templates/`, without `.md`. It sees `rows`, `more` and `count`.
    pub template: At<String>,
    /// A recipient role of our own people, in place of the rule's `to`: each gets the matches that lead to them.
    pub to: Option<At<String>>,
    /// How many rows the mail has at most; 50 if left out. `more` says how many it leaves out.
    pub rows: Option<At<u64>>,
    /// Which rows come first, by fields of the record: `[health_score, "name desc"]`. As they matched if left out.
    #[serde(default)]
    pub order: Vec<At<String>>,
    /// Where nothing matched there is no mail: `skip`, which is also the default.
    pub when_empty: Option<At<NothingWord>>,
    /// The step's name; kind and template if left out.
    pub id: Option<At<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NothingWord {
    /// Nothing is sent.
    Skip,
}
