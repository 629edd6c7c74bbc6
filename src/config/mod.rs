//! The configuration: one TOML file, its defaults, and what the environment overrides.
//!
//! Settings belong to the module that uses them; here they are only composed, read and checked. The
//! commented reference is `config.toml` at the top of the repository, embedded as [`REFERENCE`]; a test
//! holds it against the defaults of these types, so the two can't drift apart (the idea is nextest's).
//!
//! Secrets may be written as `env:NAME`, `file:/path` or `credential:NAME`; see [`secret`].

mod error;
mod load;
mod mask;
mod overlay;
pub mod secret;

pub use error::ConfigError;
pub use load::{Environment, Secrecy, load, read};

use crate::model::{Period, Topic, Unit};
use crate::rulebook::RulebookOptions;
use crate::web::WebOptions;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// `config.toml`: every key with its default and what it does.
pub const REFERENCE: &str = include_str!("../../config.toml");

/// Everything an operator can set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub rules: RulebookOptions,
    pub marketing: MarketingOptions,
    pub web: WebOptions,
    pub service: ServiceOptions,
    pub log: LogOptions,
}

/// What marketing messages may be about.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MarketingOptions {
    /// The topics that a rule's `purpose` may name, besides `service` and `staff`.
    #[schemars(with = "BTreeSet<String>")]
    pub topics: BTreeSet<Topic>,
}

impl Default for MarketingOptions {
    fn default() -> Self {
        Self { topics: [Topic::from("offers"), Topic::from("news")].into() }
    }
}

/// How the daemon behaves as a process.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceOptions {
    /// How long SIGTERM waits for messages in flight before they are left to the next start.
    #[schemars(with = "String")]
    pub drain: Period,
    /// How long the scheduler may stand still before systemd's watchdog is no longer fed.
    #[schemars(with = "String")]
    pub stalled: Period,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self { drain: Period::new(30, Unit::Second), stalled: Period::new(2, Unit::Minute) }
    }
}

impl ServiceOptions {
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain.max_seconds().unsigned_abs())
    }

    pub fn stalled(&self) -> Duration {
        Duration::from_secs(self.stalled.max_seconds().unsigned_abs())
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogOptions {
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,nudged::engine=debug`.
    pub level: String,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal under systemd, text on a terminal, otherwise JSON.
    #[default]
    Auto,
    Text,
    Json,
    Journald,
}

/// The JSON Schema of the configuration file, for editors.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_says_what_the_defaults_are() {
        let reference = load("config.toml", REFERENCE, false, &Environment::none(), Secrecy::Resolve).unwrap();
        assert_eq!(reference, Config::default());
    }

    #[test]
    fn every_commented_key_of_the_reference_is_a_real_one() {
        // Uncomment `# key = value` lines (prose has no ` = ` right after one word).
        let uncommented: String = REFERENCE
            .lines()
            .map(|line| match line.strip_prefix("# ").filter(|rest| is_setting(rest)) {
                Some(setting) => format!("{setting}\n"),
                None => format!("{line}\n"),
            })
            .collect();
        load("config.toml", &uncommented, false, &Environment::none(), Secrecy::Leave).unwrap();
    }

    fn is_setting(line: &str) -> bool {
        line.starts_with('[')
            || line
                .split_once(" = ")
                .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)))
    }
}
