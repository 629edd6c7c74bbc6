//! `[sms]` of the configuration.

use crate::action::webhook::DestinationOptions;
use crate::model::{Cap, Country, Period, Rate, SendWindow, Unit, blank};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Messages to one gateway at once.
pub(super) const SESSIONS: usize = 4;
const TWILIO: &str = "https://api.twilio.com";

/// Text messages to phones: by whom they go, and what protects their readers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SmsOptions {
    /// Whose numbers are meant that are written without a country: `AT`.
    #[serde(deserialize_with = "blank::or_value")]
    #[schemars(with = "String")]
    pub country: Option<Country>,
    /// The check warns of texts that are more segments than this. Every segment is paid for.
    #[schemars(range(min = 1, max = 10))]
    pub segments: u32,
    /// How many text messages on topics one person gets, all rules together.
    #[schemars(with = "Vec<String>")]
    pub cap: Vec<Cap>,
    /// When they may leave, in the reader's zone, within `marketing.window`. Empty: as that says.
    #[serde(deserialize_with = "blank::or_value")]
    #[schemars(with = "String")]
    pub window: Option<SendWindow>,
    /// Text messages of one process: `1/s`. Empty: as fast as it goes.
    #[serde(deserialize_with = "blank::or_value")]
    #[schemars(with = "String")]
    pub rate: Option<Rate>,
    /// Numbers that get a copy of the first message of each version of a text.
    pub seeds: Vec<String>,
    /// Every text message goes to this number and to nobody else. For trying things out.
    pub redirect_all_to: String,
    /// An answer that is one of these words puts the number on the suppression list.
    pub stop_words: Vec<String>,
    /// Who carries the messages, by the name that rules may use.
    pub gateways: BTreeMap<String, GatewayOptions>,
}

impl Default for SmsOptions {
    fn default() -> Self {
        let words = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "STOPP", "ARRET"];
        Self {
            country: None,
            segments: 3,
            cap: vec![Cap { count: 1, per: Period::days(1) }, Cap { count: 2, per: Period::days(7) }],
            window: None,
            rate: Some(Rate { count: 1, unit: Unit::Second }),
            seeds: Vec::new(),
            redirect_all_to: String::new(),
            stop_words: words.map(str::to_owned).into(),
            gateways: BTreeMap::new(),
        }
    }
}

/// One way to the phone network.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewayOptions {
    pub format: GatewayFormat,
    /// Of `twilio` only where it isn't Twilio itself but somebody who speaks as it does.
    #[serde(default)]
    pub url: String,
    /// Twilio's Account SID, or a user's name.
    #[serde(default)]
    pub account: Option<String>,
    /// With `account` the password, else sent as `Authorization: Bearer …` or in `key_header`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretString>,
    /// The header that carries `token`, where it is one of its own.
    #[serde(default)]
    pub key_header: Option<String>,
    /// The number or name that messages come from.
    #[serde(default)]
    pub from: Option<String>,
    /// Twilio's Messaging Service, in place of `from`.
    #[serde(default)]
    pub messaging_service: Option<String>,
    /// Of `form` and `json`.
    #[serde(default)]
    pub method: GatewayMethod,
    /// What is sent, of `form` and `json`: `{to}`, `{from}`, `{text}` and `{id}` stand for what they say.
    #[serde(default = "usual_body")]
    pub body: BTreeMap<String, Json>,
    /// Further headers; no secrets, which belong into `token`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
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

/// How the gateway wants its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GatewayFormat {
    /// Twilio's Messages resource, which others offer as well.
    Twilio,
    /// Form fields of your choice.
    Form,
    /// JSON of your choice.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum GatewayMethod {
    #[default]
    Post,
    Put,
    /// With the fields in the address.
    Get,
}

impl GatewayOptions {
    /// The defaults for this URL.
    pub fn to(format: GatewayFormat, url: impl Into<String>) -> Self {
        Self {
            format,
            url: url.into(),
            account: None,
            token: None,
            key_header: None,
            from: None,
            messaging_service: None,
            method: GatewayMethod::Post,
            body: usual_body(),
            headers: BTreeMap::new(),
            timeout: ten_seconds(),
            allow_private: false,
            ca_file: None,
        }
    }

    /// Where messages go.
    pub(super) fn address(&self) -> String {
        let base = if self.url.is_empty() { TWILIO } else { self.url.as_str() };
        match self.format {
            GatewayFormat::Twilio => {
                let account = self.account.as_deref().unwrap_or_default();
                format!("{}/2010-04-01/Accounts/{account}/Messages.json", base.trim_end_matches('/'))
            }
            GatewayFormat::Form | GatewayFormat::Json => self.url.clone(),
        }
    }

    pub(super) fn destination(&self) -> DestinationOptions {
        DestinationOptions {
            timeout: self.timeout,
            sessions: SESSIONS,
            allow_private: self.allow_private,
            ca_file: self.ca_file.clone(),
            ..DestinationOptions::to(self.address())
        }
    }
}

fn usual_body() -> BTreeMap<String, Json> {
    ["to", "from", "text"].into_iter().map(|name| (name.to_owned(), Json::from(format!("{{{name}}}")))).collect()
}

const fn ten_seconds() -> Period {
    Period::new(10, Unit::Second)
}
