use crate::diagnostic::yaml::{At, Node};
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
}

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
pub struct ScheduleEntry {
    /// Minute, hour, day of month, month, day of week, in the catalog's zone: `"0 9 * * MON"`.
    pub cron: At<String>,
}
