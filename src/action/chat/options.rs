//! `[chats.NAME]` of the configuration.

use crate::action::webhook::DestinationOptions;
use crate::model::{Period, Unit};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::path::PathBuf;

/// Messages to one chat at once: more would only be told to slow down.
pub(super) const SESSIONS: usize = 2;

/// One chat that rules may write to by its name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatOptions {
    /// Whose incoming webhook it is.
    pub format: ChatFormat,
    /// The webhook's URL: who knows it can write there.
    #[schemars(with = "String")]
    pub url: SecretString,
    /// Until the answer's head has come, connecting counted in.
    #[serde(default = "ten_seconds")]
    #[schemars(with = "String")]
    pub timeout: Period,
    /// Loopback, private, link-local and metadata addresses are refused otherwise.
    #[serde(default)]
    pub allow_private: bool,
    /// PEM certificates trusted besides those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// How the chat wants its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatFormat {
    Slack,
    /// By a workflow "when a webhook request is received".
    Teams,
    Discord,
    Mattermost,
}

impl ChatOptions {
    /// The defaults for this URL.
    pub fn to(format: ChatFormat, url: impl Into<String>) -> Self {
        Self { format, url: url.into().into(), timeout: ten_seconds(), allow_private: false, ca_file: None }
    }

    pub(super) fn destination(&self) -> DestinationOptions {
        DestinationOptions {
            timeout: self.timeout,
            sessions: SESSIONS,
            allow_private: self.allow_private,
            ca_file: self.ca_file.clone(),
            ..DestinationOptions::to(self.url.expose_secret())
        }
    }
}

const fn ten_seconds() -> Period {
    Period::new(10, Unit::Second)
}
