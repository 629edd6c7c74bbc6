//! The `[email]` section of the configuration.

use crate::model::{Period, Rate, Tracking, Unit, WarmUp, blank};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// How emails leave the house, and from whom.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmailOptions {
    /// `smtp`, or `folder` to write `.eml` files and send nothing.
    pub transport: Transport,
    /// Of the `folder` transport.
    pub folder: PathBuf,
    /// The sender of templates without a `from`: `Acme <hello@acme.example>`.
    pub from: String,
    pub reply_to: Option<String>,
    /// Where bounces go; the address of `from` if not given.
    pub return_path: Option<String>,
    /// The return path names the address: `bounces+TAG@acme.example` (VERP).
    pub return_tags: bool,
    pub host: String,
    /// 587, or 465 with `tls = "implicit"`, or 25 with `tls = "none"`, if not given.
    pub port: Option<u16>,
    pub tls: Tls,
    /// PEM certificates trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    pub username: Option<String>,
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// Connections at once.
    pub sessions: usize,
    /// Messages over one connection before it is opened anew.
    pub messages_per_session: u32,
    /// For one message, connecting and logging in counted in.
    #[schemars(with = "String")]
    pub timeout: Period,
    /// What we call ourselves to the server; the machine's name if not given.
    pub hello: Option<String>,
    /// Mails of one process: `5/s`. Empty: as fast as it goes.
    #[serde(deserialize_with = "blank::or_value")]
    #[schemars(with = "String")]
    pub rate: Option<Rate>,
    /// Mails of one process to one domain: `30/min`.
    #[serde(deserialize_with = "blank::or_value")]
    #[schemars(with = "String")]
    pub per_domain: Option<Rate>,
    /// For a sender that mail servers don't know yet: `50/day, double every 3 days`.
    #[serde(deserialize_with = "blank::or_value")]
    #[schemars(with = "String")]
    pub warm_up: Option<WarmUp>,
    /// Mails in a day, all nodes together.
    #[schemars(range(min = 1))]
    pub per_day: Option<u32>,
    /// Who gets a copy of the first mail of each version of a template.
    pub seeds: Vec<String>,
    /// Every mail goes to this address and to nobody else. For trying things out.
    pub redirect_all_to: String,
    /// Who rules may write as, by the name they use.
    pub senders: BTreeMap<String, IdentityOptions>,
    /// Keys that sign each mail, by their selector.
    pub dkim: BTreeMap<String, DkimOptions>,
    /// A Maildir that bounces and complaints are delivered to; it is read, and what was read is marked as seen.
    pub bounce_maildir: Option<PathBuf>,
    /// What is noted of how mails on topics are read, by those whose consent `tracking` says yes: `opens`, `clicks`.
    pub track: BTreeSet<Tracking>,
    /// What is opened or followed sooner after a mail was sent, a machine did.
    #[schemars(with = "String")]
    pub track_after: Period,
}

/// Somebody that a rule may write as.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityOptions {
    /// `Acme Support <support@acme.example>`
    pub from: String,
    pub reply_to: Option<String>,
}

/// One DKIM key. Its other half is in the DNS, at `SELECTOR._domainkey.DOMAIN`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DkimOptions {
    /// The domain of the sender's address, or one above it.
    pub domain: String,
    /// A private key in PEM: RSA, or Ed25519.
    #[schemars(with = "String")]
    pub key: SecretString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    #[default]
    Smtp,
    Folder,
}

/// Whether the connection is encrypted. Certificates are checked wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// STARTTLS, or nothing is sent.
    #[default]
    Required,
    /// STARTTLS where the server offers it.
    Opportunistic,
    /// From the first byte.
    Implicit,
    /// Never; the password is not sent either.
    None,
}

impl Default for EmailOptions {
    fn default() -> Self {
        Self {
            transport: Transport::Smtp,
            folder: PathBuf::from("mail"),
            from: String::new(),
            reply_to: None,
            return_path: None,
            return_tags: true,
            host: "localhost".to_owned(),
            port: None,
            tls: Tls::Required,
            ca_file: None,
            username: None,
            password: None,
            sessions: 4,
            messages_per_session: 500,
            timeout: Period::new(1, Unit::Minute),
            hello: None,
            rate: Some(Rate { count: 5, unit: Unit::Second }),
            per_domain: Some(Rate { count: 30, unit: Unit::Minute }),
            warm_up: Some(WarmUp { first: 50, double_every: 3 }),
            per_day: None,
            seeds: Vec::new(),
            redirect_all_to: String::new(),
            senders: BTreeMap::new(),
            dkim: BTreeMap::new(),
            bounce_maildir: None,
            track: BTreeSet::new(),
            track_after: Period::new(10, Unit::Second),
        }
    }
}

impl EmailOptions {
    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Tls::Implicit => 465,
            Tls::None => 25,
            Tls::Required | Tls::Opportunistic => 587,
        })
    }
}
