use crate::engine::Retention;
use crate::model::{Period, blank};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;

/// How long things are kept in the state. The ledger of matches names nobody and stays.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionOptions {
    /// Attempts and what happened between them.
    #[schemars(with = "String")]
    pub attempts: Period,
    /// Who crossed without a match, and why. At least 30 days.
    #[schemars(with = "String")]
    pub misses: Period,
    /// Enrollments, from their end on.
    #[schemars(with = "String")]
    pub enrollments: Period,
    /// Events of other systems. At least 30 days.
    #[schemars(with = "String")]
    pub events: Period,
    /// Messages as they left. `0 days`: they are not kept, and rendered again when somebody looks.
    #[schemars(with = "String")]
    pub messages: Period,
    /// Matches of rules that never look back further. Empty: for ever. At least 400 days.
    #[serde(deserialize_with = "blank::or_value")]
    #[schemars(with = "String")]
    pub ledger: Option<Period>,
}

impl Default for RetentionOptions {
    fn default() -> Self {
        Self {
            attempts: Period::days(90),
            misses: Period::days(90),
            enrollments: Period::days(730),
            events: Period::days(30),
            messages: Period::days(0),
            ledger: None,
        }
    }
}

impl RetentionOptions {
    pub fn settings(&self) -> Retention {
        let length = |period: Period| SignedDuration::from_secs(period.max_seconds());
        Retention {
            attempts: length(self.attempts),
            misses: length(self.misses),
            enrollments: length(self.enrollments),
            events: length(self.events),
            messages: length(self.messages),
            ledger: self.ledger.map(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_engines() {
        assert_eq!(RetentionOptions::default().settings(), Retention::default());
    }
}
