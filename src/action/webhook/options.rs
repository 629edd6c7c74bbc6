//! `[webhooks.NAME]` of the configuration.

use crate::model::{Period, Unit};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

/// One place that rules may call by its name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationOptions {
    pub url: String,
    /// `whsec_…`: signs every call by the Standard Webhooks scheme.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub secret: Option<SecretString>,
    /// Sent as `Authorization: Bearer …`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretString>,
    /// Until the answer's head has come, connecting counted in.
    #[serde(default = "ten_seconds")]
    #[schemars(with = "String")]
    pub timeout: Period,
    #[serde(default = "five_seconds")]
    #[schemars(with = "String")]
    pub connect_timeout: Period,
    /// Calls at once.
    #[serde(default = "sixteen")]
    pub sessions: usize,
    /// Loopback, private, link-local and metadata addresses are refused otherwise.
    #[serde(default)]
    pub allow_private: bool,
    /// PEM certificates trusted besides those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

impl DestinationOptions {
    /// The defaults for this URL.
    pub fn to(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            secret: None,
            token: None,
            timeout: ten_seconds(),
            connect_timeout: five_seconds(),
            sessions: sixteen(),
            allow_private: false,
            ca_file: None,
        }
    }
}

const fn ten_seconds() -> Period {
    Period::new(10, Unit::Second)
}

const fn five_seconds() -> Period {
    Period::new(5, Unit::Second)
}

const fn sixteen() -> usize {
    16
}
