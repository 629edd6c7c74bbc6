//! A rule file as people write it. Nothing is resolved here; `check` turns it into a [`CheckedRule`].
//!
//! Keys that must be there are optional in these types, so that the checker can report all that are
//! missing at once. The descriptions are what editors show.
//!
//! [`CheckedRule`]: super::CheckedRule

mod condition;
mod steps;
mod tests;
mod trigger;
mod voices;
mod writes;

pub use condition::Conditions;
pub use steps::{
    ArmEntry, BranchEntry, CaseEntry, ChatEntry, DayWord, EmailEntry, EnrollEntry, SplitEntry, StepEntry, StopEntry,
    TaskEntry, UnlessOpenWord, UntilEntry, WaitEntry, WebhookEntry,
};
pub use tests::{EventToldEntry, TestEntry, ThenEntry};
pub use trigger::{
    AbandonedEntry, ChangedEntry, ComparedWord, CountEntry, CreatedEntry, DateEntry, DeclineEntry, EnrolledEntry,
    EventEntry, Feb29Word, InactivityEntry, QueryEntry, QuerySql, ScheduleEntry, SegmentEntry, SurveyEntry,
    TriggerEntry, YearlyEntry,
};

pub use voices::{ChannelWord, DigestEntry, MessageEntry, NothingWord, SmsEntry, WayWord};
pub use writes::{AssignEntry, BalanceWord, ClaimEntry, UpdateEntry, WhenEmptyWord};

use crate::diagnostic::yaml::{At, Named};
use crate::model::Tracking;
use schemars::JsonSchema;
use serde::Deserialize;

/// One rule: what it watches for, in whom, and the steps it takes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "nudged rule")]
pub struct RuleFile {
    /// The version of this format: 1.
    #[schemars(required)]
    pub version: Option<At<u64>>,
    /// The rule's identity, whatever its file is called. Changing it starts the rule anew, unless `was` says
    /// what it was.
    #[schemars(required)]
    pub id: Option<At<String>>,
    /// Former ids: what matched under them doesn't match again.
    #[serde(default)]
    pub was: Vec<At<String>>,
    /// One sentence for people.
    pub description: Option<At<String>>,
    /// The address of who answers for the rule.
    pub owner: Option<At<String>>,
    /// `shadow` records what it would do, `live` does it, `paused` doesn't look.
    #[schemars(required)]
    pub mode: Option<At<ModeWord>>,
    /// Why we write: a topic of the configuration (consent needed), `service` (part of what they asked for), or
    /// `staff` (our own people).
    #[schemars(required)]
    pub purpose: Option<At<String>>,
    /// The entity whose records this rule watches. Names in conditions are its fields and relations.
    #[schemars(required)]
    pub for_each: Option<At<String>>,
    /// The recipient role that messages go to.
    pub to: Option<At<String>>,
    /// Who its mails are from: a name of `[email.senders]` in the configuration. A template's own `from` outranks it.
    pub sender: Option<At<String>>,
    /// Of what `email.track` of the configuration notes, only this; `[]` for nothing.
    pub track: Option<At<Vec<Tracking>>>,
    /// What makes a record match.
    #[schemars(required)]
    pub trigger: Option<At<TriggerEntry>>,
    /// All must hold; tested at the match and again before every message.
    #[serde(rename = "where")]
    pub conditions: Option<Conditions>,
    /// All must hold at the match; not tested again.
    pub only_at_entry: Option<Conditions>,
    /// A file of `scripts/` with `eligible(record, now)`, `enrich(record, now)` or both.
    pub script: Option<At<String>>,
    /// What the sequence is for: when it is reached, the sequence ends.
    pub goal: Option<GoalEntry>,
    /// The sequence ends when this holds. A list means all of it; use `any` for alternatives.
    pub exit_when: Option<Conditions>,
    /// How often to look: `15 minutes`.
    pub check_every: Option<At<String>>,
    /// When to look, as a cron line in the catalog's zone: `"0 9 * * MON-FRI"`.
    pub cron: Option<At<String>>,
    /// What to do about the past when the rule is first loaded: `none`, `30 days` or `all`.
    pub backfill: Option<At<String>>,
    /// What a second match does while the record is still in the sequence.
    pub on_rematch: Option<At<OnRematchWord>>,
    /// How late a match or message may be: `within 7 days`.
    pub late: Option<At<String>>,
    /// How long a record that crossed but failed `where` is tried again: `14 days`.
    pub keep_trying: Option<At<String>>,
    /// How often it is tried again: `1 day`.
    pub recheck: Option<At<String>>,
    /// How many people the rule may reach before somebody has to look.
    pub guard: Option<GuardEntry>,
    /// How many matches are usual; fewer or more raise an alert to the owner.
    pub expect: Option<ExpectEntry>,
    /// Whose business days count: a calendar of the catalog, or a country: `AT`, `DE-BY`. The catalog's if left out.
    pub calendar: Option<At<String>>,
    /// Spreads a large audience over this time: `4 hours`.
    pub spread: Option<At<String>>,
    /// When its messages may leave, in the reader's zone, within the configuration's own window:
    /// `10:00-16:00 MON-FRI`.
    pub window: Option<At<String>>,
    /// Which of two messages to one person goes first where a cap leaves room for one: 0 to 100, usually 50.
    pub priority: Option<At<u8>>,
    /// `per recipient`: what several records of one person would get at the same moment is one message, with a row for
    /// each in `combined`.
    pub combine: Option<At<String>>,
    /// What becomes of running sequences when the steps change.
    pub on_change: Option<At<OnChangeWord>>,
    /// What becomes of running sequences when the rule is deleted.
    pub on_delete: Option<At<OnDeleteWord>>,
    /// What becomes of a mail, a chat or a text message of which nobody knows whether it left: usually it is held for
    /// topics and sent again for `service` and `staff`.
    pub unknown: Option<At<UnknownWord>>,
    /// What happens to a record that matches, in order.
    pub steps: Option<At<Vec<At<StepEntry>>>>,
    /// For date rules, in place of `steps`: `60 days before: [...]`, `on the day: [...]`, `1 day after: [...]`.
    pub offsets: Option<Named<At<Vec<At<StepEntry>>>>>,
    /// Examples with what they should lead to; `nudged test` plays them, and a reload those of changed rules.
    #[serde(default)]
    pub tests: Vec<At<TestEntry>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModeWord {
    /// Finds and records matches, sends nothing.
    Shadow,
    /// Finds matches and acts.
    Live,
    /// Doesn't look.
    Paused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRematchWord {
    /// The new match starts nothing.
    Ignore,
    /// The running sequence is cancelled, a new one starts.
    Restart,
    /// The new one starts when the running one ends.
    Queue,
    /// Both run.
    Parallel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnChangeWord {
    /// They keep the steps they started with.
    Pin,
    /// They go on with the new steps.
    Migrate,
    /// They end.
    Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDeleteWord {
    /// They run to their end.
    Drain,
    /// They end.
    Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownWord {
    /// An operator decides.
    Hold,
    /// It is sent again under the same Message-ID; somebody may get it twice.
    Resend,
}

/// What the sequence is for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoalEntry {
    /// For reports: `bought again`.
    pub name: Option<At<String>>,
    /// Reached when this holds: `{orders: {some: {}, since: entry}}`.
    pub when: Conditions,
    /// Counts only within this time after the match: `30 days`.
    pub within: Option<At<String>>,
}

/// A breach holds the sweep with its list until somebody has looked at it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardEntry {
    /// At most this many matches a day.
    pub per_day: Option<At<u32>>,
    /// At most this share of all records a day.
    pub percent_per_day: Option<At<f64>>,
    /// At most this many times an ordinary day of the rule's last four weeks.
    pub growth: Option<At<f64>>,
    /// Share and growth don't count below this many.
    pub floor: Option<At<u32>>,
}

/// What is usual for the rule.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectEntry {
    /// Matches in 7 days: `20..60`, `20..` or `..60`.
    pub per_week: At<String>,
}
