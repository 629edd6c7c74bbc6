//! The configuration: one TOML file, its defaults, and what the environment overrides.
//!
//! Settings belong to the module that uses them; here they are only composed, read and checked. The
//! commented reference is `config.toml` at the top of the repository, embedded as [`REFERENCE`]; a test
//! holds it against the defaults of these types, so the two can't drift apart (the idea is nextest's).
//!
//! Secrets may be written as `env:NAME`, `file:/path` or `credential:NAME`; see [`secret`].

mod engine;
mod error;
mod load;
mod mask;
mod overlay;
mod paths;
mod retention;
pub mod secret;

pub use engine::{EngineOptions, SenderOptions};
pub use error::ConfigError;
pub use load::{Environment, Secrecy, load, read};
pub use retention::RetentionOptions;

use crate::action::chat::ChatOptions;
use crate::action::email::EmailOptions;
use crate::action::sms::SmsOptions;
use crate::action::webhook::DestinationOptions;
use crate::engine::{Sending, Settings, Texts};
use crate::model::{Budget, Cap, Limits, Period, SendWindow, Topic, Unit, blank};
use crate::rulebook::RulebookOptions;
use crate::web::{BounceOptions, EventOptions, PageOptions, WebOptions};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `config.toml`: every key with its default and what it does.
pub const REFERENCE: &str = include_str!("../../config.toml");

/// Everything an operator can set.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub source: SourceSection,
    pub state: StateOptions,
    pub rules: RulebookOptions,
    pub marketing: MarketingOptions,
    pub sender: SenderOptions,
    pub email: EmailOptions,
    /// The places that rules may call, by name.
    pub webhooks: BTreeMap<String, DestinationOptions>,
    /// The chats of colleagues that rules may write to, by name.
    pub chats: BTreeMap<String, ChatOptions>,
    /// Text messages to phones.
    pub sms: SmsOptions,
    /// The systems that may send events, by the name that rules use.
    pub events: BTreeMap<String, EventOptions>,
    /// The services that report bounces, by the name in their URL.
    pub bounces: BTreeMap<String, BounceOptions>,
    pub engine: EngineOptions,
    pub retention: RetentionOptions,
    pub web: WebOptions,
    /// The pages behind the links of mails.
    pub pages: PageOptions,
    pub service: ServiceOptions,
    pub log: LogOptions,
}

/// The CRM database.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSection {
    /// `postgres://…`, `mysql://…` or `sqlite:/path`. Empty: not told yet.
    #[schemars(with = "String")]
    pub url: SecretString,
    /// Connections held open at most.
    #[schemars(range(min = 2, max = 100))]
    pub connections: u32,
    /// No statement may run longer.
    #[schemars(with = "String")]
    pub statement_timeout: Period,
    /// How long to wait for a connection.
    #[schemars(with = "String")]
    pub connect_timeout: Period,
}

impl Default for SourceSection {
    fn default() -> Self {
        Self {
            url: SecretString::default(),
            connections: 4,
            statement_timeout: Period::new(2, Unit::Minute),
            connect_timeout: Period::new(10, Unit::Second),
        }
    }
}

/// The state database: matches, enrollments, what is due and what was done.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateOptions {
    /// `sqlite:/path`, or `postgres://…` where several nodes share the work.
    #[schemars(with = "String")]
    pub url: SecretString,
    /// Nothing stands between nudged and PostgreSQL: no pooler that hands each transaction another session.
    pub direct: bool,
    /// Where the files beside the state are kept. Empty: beside its file; for PostgreSQL in systemd's state directory, or
    /// `/var/lib/nudged`.
    pub directory: PathBuf,
    /// The file that remembers how many sends there were, against restores and clones. `none`: there is none, by choice.
    pub witness: String,
    /// The file that keeps the suppression list once more. `none`: there is none, by choice.
    pub journal: String,
    /// Names this machine. Empty: what `/etc/machine-id` says.
    pub machine_id: String,
    /// With less room than this on the disk of an SQLite state, in MiB, sweeps stop. 0: never.
    pub min_free_mib: u64,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            url: SecretString::from("sqlite:/var/lib/nudged/state.db"),
            direct: false,
            directory: PathBuf::new(),
            witness: String::new(),
            journal: String::new(),
            machine_id: String::new(),
            min_free_mib: 1_024,
        }
    }
}

/// What marketing messages may be about.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MarketingOptions {
    /// The topics that a rule's `purpose` may name, besides `service` and `staff`.
    #[schemars(with = "BTreeSet<String>")]
    pub topics: BTreeSet<Topic>,
    /// Who may be written to.
    pub consent: ConsentRequired,
    /// When messages on topics may leave, in the reader's zone: `09:00-20:00 MON-SAT`. Empty: at any time.
    #[serde(deserialize_with = "blank::or_value")]
    #[schemars(with = "String")]
    pub window: Option<SendWindow>,
    /// How many messages on topics one person gets, all rules together: `3 per 7 days`.
    #[schemars(with = "Vec<String>")]
    pub cap: Vec<Cap>,
    /// Records not heard of for longer than this get no more messages on topics; the catalog's `last_activity` says
    /// when they were. Empty: however long.
    #[serde(deserialize_with = "blank::or_value")]
    #[schemars(with = "String")]
    pub sunset: Option<Period>,
}

/// What consent has to be there. It stands in the configuration so that whoever looks for another way is told that
/// there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConsentRequired {
    /// A yes. Missing or null means no.
    OptIn,
}

impl Default for MarketingOptions {
    fn default() -> Self {
        Self {
            topics: [Topic::from("offers"), Topic::from("news")].into(),
            consent: ConsentRequired::OptIn,
            window: "09:00-20:00 MON-SAT".parse().ok(),
            cap: vec![Cap { count: 1, per: Period::days(1) }, Cap { count: 3, per: Period::days(7) }],
            sunset: Some(Period::new(18, Unit::Month)),
        }
    }
}

impl Config {
    /// The engine's settings, from all sections that have a say in them.
    pub fn settings(&self) -> Settings {
        let Self { marketing, email, sms, .. } = self;
        let budget = Budget { per_day: email.per_day, warm_up: email.warm_up };
        let sending = Sending {
            window: marketing.window.clone(),
            limits: Arc::new(Limits { caps: marketing.cap.clone(), budget }),
            sunset: marketing.sunset,
            rate: email.rate,
            per_domain: email.per_domain,
            seeds: email.seeds.clone(),
            texts: Texts {
                limits: Arc::new(Limits { caps: sms.cap.clone(), ..Limits::default() }),
                window: sms.window.clone(),
                rate: sms.rate,
                country: sms.country,
                seeds: sms.seeds.clone(),
            },
            tracks: email.track.clone(),
        };
        Settings { sending, ..self.engine.settings(&self.sender, self.service.drain()) }
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
    #[serde(deserialize_with = "log_level")]
    pub level: String,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

/// The filter would take an unknown word for the name of a module, and be silent about everything else.
fn log_level<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let level = String::deserialize(deserializer)?;
    let is_level = |part: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part));
    match level.split(',').map(str::trim).find(|part| !part.contains(['=', '[']) && !is_level(part)) {
        Some(unknown) => Err(serde::de::Error::unknown_variant(unknown, &LEVELS)),
        None => Ok(level),
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
    use secrecy::ExposeSecret;

    #[test]
    fn a_level_that_is_none_would_silence_the_log() {
        let level =
            |level: &str| toml::from_str::<LogOptions>(&format!("level = '{level}'")).map_err(|e| e.to_string());
        for fine in ["info", "WARN", "info,nudged::engine=debug", "off", "sqlx=warn, debug"] {
            assert!(level(fine).is_ok(), "{fine}");
        }
        for (wrong, word) in [("warning", "warning"), ("verbos", "verbos"), ("info,sqlx", "sqlx"), ("", "")] {
            let told = level(wrong).unwrap_err();
            assert!(told.contains(&format!("unknown variant `{word}`, expected one of `error`, `warn`")), "{told}");
        }
    }

    #[test]
    fn the_reference_says_what_the_defaults_are() {
        let reference = load("config.toml", REFERENCE, false, &Environment::none(), Secrecy::Resolve).unwrap();
        // Debug leaves secrets out, so these are compared beside it.
        assert_eq!(format!("{reference:#?}"), format!("{:#?}", Config::default()));
        assert_eq!(reference.state.url.expose_secret(), Config::default().state.url.expose_secret());
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
