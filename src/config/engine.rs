use crate::engine::Settings;
use crate::model::{AttemptNumber, Period, Unit};
use jiff::SignedDuration;
use jiff::civil::Time;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// How rules are swept and steps are run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EngineOptions {
    /// Records of one sweep batch and matches of one transaction.
    #[schemars(range(min = 100, max = 5000))]
    pub batch: usize,
    /// Rules swept at the same time.
    #[schemars(range(min = 1, max = 64))]
    pub sweeps_at_once: usize,
    /// The try after which a failed delivery is dead.
    #[schemars(range(min = 1))]
    pub max_attempts: AttemptNumber,
    /// How far the source's clock may be from ours before sweeps wait.
    #[schemars(with = "String")]
    pub max_skew: Period,
    /// Facts older than this are asked again before a message is sent.
    #[schemars(with = "String")]
    pub facts_age: Period,
    /// The local time, in the catalog's zone, after which late and changed facts are looked for.
    #[schemars(with = "String")]
    pub reconcile_at: Time,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            batch: 2_000,
            sweeps_at_once: 3,
            max_attempts: 12,
            max_skew: Period::new(5, Unit::Minute),
            facts_age: Period::new(30, Unit::Second),
            reconcile_at: Time::constant(3, 0, 0, 0),
        }
    }
}

/// Who writes: what templates see as `sender`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SenderOptions {
    pub name: String,
    /// The postal address that belongs below marketing mail.
    pub postal_address: String,
    pub website: String,
}

impl EngineOptions {
    /// The engine's settings, with what other sections say.
    pub fn settings(&self, sender: &SenderOptions, drain: Duration) -> Settings {
        Settings {
            batch: self.batch.clamp(100, 5_000),
            sweeps_at_once: self.sweeps_at_once.clamp(1, 64),
            max_attempts: self.max_attempts.max(1),
            max_skew: Some(SignedDuration::from_secs(self.max_skew.max_seconds())),
            facts_age: Duration::from_secs(self.facts_age.max_seconds().unsigned_abs()),
            reconcile_at: self.reconcile_at,
            drain,
            sender: json!({
                "name": sender.name,
                "postal_address": sender.postal_address,
                "website": sender.website,
            }),
            ..Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_engines() {
        let settings = EngineOptions::default().settings(&SenderOptions::default(), Settings::default().drain);
        let engines = Settings { sender: settings.sender.clone(), ..Settings::default() };
        assert_eq!(settings, engines);
    }
}
