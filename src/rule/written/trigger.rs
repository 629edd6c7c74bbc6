use super::condition::Conditions;
use crate::diagnostic::yaml::{At, Node, ShortOr};
use schemars::JsonSchema;
use serde::Deserialize;

/// What makes a record match.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriggerEntry {
    /// Nothing happened for a while: `inactivity: {of: orders, for: 90 days}`.
    Inactivity(InactivityEntry),
    /// An answer came in: `survey: {of: responses, kind: nps, score: {at_most: 6}}`.
    Survey(SurveyEntry),
    /// A date of the record comes near or has passed; needs `offsets`: `date: {field: renews_on, at: "09:00"}`.
    Date(DateEntry),
    /// At planned times, for every record that matches: `schedule: {cron: "0 9 * * MON"}`.
    Schedule(ScheduleEntry),
    /// A record appeared: `created: {}`.
    Created(CreatedEntry),
    /// A cart or a quote was left open: `abandoned: {of: carts, open: {status: open}, idle: 3 hours}`.
    Abandoned(AbandonedEntry),
    /// A birthday or another anniversary: `yearly: {field: birth_date, at: "09:00"}`.
    Yearly(YearlyEntry),
    /// Read-only SQL of your own returns a key and an occasion:
    /// `query: {sql: "SELECT account_id, id FROM invoices", key: account_id, occasion: id}`.
    Query(QueryEntry),
    /// Another system tells us, signed: `event: {name: signed-up, key: data.customer_id}`.
    Event(EventEntry),
    /// So many related rows within some time: `count: {of: tickets, at_least: 3, within: 14 days}`.
    Count(CountEntry),
    /// A condition turns true, or false: `segment: {when: {tier: vip}}`.
    Segment(SegmentEntry),
    /// A field's value changes: `changed: {field: stage, to: won}`.
    Changed(ChangedEntry),
    /// Activity fell: `decline: {of: orders, by: 50, from_at_least: 4, window: 90 days}`.
    Decline(DeclineEntry),
    /// Only the `enroll` steps of other rules start it: `enrolled: {}`.
    Enrolled(EnrolledEntry),
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnrolledEntry {}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InactivityEntry {
    /// The relation whose rows are the activity. Its entity needs `at`.
    pub of: At<String>,
    /// How long without any: `90 days`.
    #[serde(rename = "for")]
    pub silent_for: At<String>,
    /// A time field of the record that counts for those who never had any activity, such as `created_at`.
    pub fallback: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SurveyEntry {
    /// The relation to the responses. Their entity needs `at` and `score`.
    pub of: At<String>,
    /// Only responses of this kind.
    pub kind: Option<At<String>>,
    /// `{at_most: 6}`, `{at_least: 9}` or `{between: [7, 8]}`; any answer if left out.
    pub score: Option<Node>,
    /// How long to wait for corrections before acting: `5 minutes`, which is also the default.
    pub settle: Option<At<String>>,
    /// Leaves out answers of the record this soon after one that matched: `180 days`.
    pub cooldown: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DateEntry {
    /// The date field of the record.
    pub field: At<String>,
    /// Local time of the day: `"09:00"`, which is also the default.
    pub at: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountEntry {
    /// The relation whose rows are counted. Its entity needs `at`.
    pub of: At<String>,
    /// Which of its rows count.
    pub only: Option<Conditions>,
    /// How many rows it takes: `3`.
    pub at_least: At<u64>,
    /// Within which time: `14 days`.
    pub within: At<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SegmentEntry {
    /// The condition that a record is inside by.
    pub when: Conditions,
    /// `true`: fires for those who leave, in place of those who enter.
    #[serde(default)]
    pub leaves: bool,
    /// How long a record must be outside before it has left: `1 day`, which is also the default, or `none`.
    pub min_out: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclineEntry {
    /// The relation whose rows are the activity. Its entity needs `at`.
    pub of: At<String>,
    /// Which of its rows count.
    pub only: Option<Conditions>,
    /// By how many percent at least: `50`.
    pub by: At<u32>,
    /// From how many rows at least: `4`.
    pub from_at_least: At<u64>,
    /// The time that is counted: `90 days`.
    pub window: At<String>,
    /// What it is compared with: the time before it (the default), or the same time of last year.
    pub compared_with: Option<At<ComparedWord>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedEntry {
    /// The field that is watched.
    pub field: At<String>,
    /// Only changes away from this value, one of these, or `missing`.
    pub from: Option<Node>,
    /// Only changes to this value, one of these, or `missing`.
    pub to: Option<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComparedWord {
    /// The time of the same length just before.
    WindowBefore,
    /// The same time one year earlier.
    LastYear,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleEntry {
    /// Minute, hour, day of month, month, day of week, in the catalog's zone: `"0 9 * * MON"`.
    pub cron: At<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatedEntry {
    /// The time field that says when the record appeared; if left out, the `at` of its entity.
    pub at: Option<At<String>>,
    /// How long to wait until its fields are filled in: `5 minutes`; not at all if left out.
    pub settle: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbandonedEntry {
    /// The relation to the carts or quotes; left out where the record itself is one.
    pub of: Option<At<String>>,
    /// What holds for a cart that is still open, in its own fields: `{status: open}`.
    pub open: Conditions,
    /// How long it was left alone: `3 hours`.
    pub idle: At<String>,
    /// The time field that says when the cart last changed; if left out, `updated_at` or else `at` of its entity.
    pub changed_at: Option<At<String>>,
    /// A relation of the record: a row of it that is not older than the cart's last change ends the wait.
    pub unless: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct YearlyEntry {
    /// The date field whose day comes again every year.
    pub field: At<String>,
    /// Local time of the day: `"09:00"`, which is also the default.
    pub at: Option<At<String>>,
    /// `3 days before` or `1 week after`; on the day itself if left out.
    pub offset: Option<At<String>>,
    /// What 29 February is in a year without one.
    pub feb29: Option<At<Feb29Word>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Feb29Word {
    /// 28 February; the default.
    Feb28,
    /// 1 March.
    Mar1,
    /// Nothing: that year is left out.
    Skip,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryEntry {
    /// One SELECT or WITH statement, or one for each database. `:after` and `:until` stand for the window.
    pub sql: At<ShortOr<QuerySql>>,
    /// The column that returns the record's key.
    pub key: At<String>,
    /// The column that returns what makes a match unique: a record matches once for each value of it.
    pub occasion: At<String>,
    /// The column that returns when it happened. Without it, what the first look returns is left out.
    pub at: Option<At<String>>,
    /// Columns that templates see as `occasion.row.NAME`.
    #[serde(default)]
    pub row: Vec<At<String>>,
}

/// The same question in the SQL of each database.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuerySql {
    pub postgres: Option<At<String>>,
    /// Also for MariaDB.
    pub mysql: Option<At<String>>,
    pub sqlite: Option<At<String>>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventEntry {
    /// Which event: a name under `[events]` in the configuration, and the end of its address `/events/NAME`.
    pub name: At<String>,
    /// Where the body names the record: `data.customer_id`.
    pub key: At<String>,
    /// Where the body says what makes a match unique; if left out, the event's own id does.
    pub id: Option<At<String>>,
    /// Where the body names the tenant, if the catalog has any.
    pub tenant: Option<At<String>>,
}
