use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

/// Where the admin API listens.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebOptions {
    /// A unix socket; empty for none.
    pub socket: PathBuf,
    /// A TCP address; empty for none.
    pub listen: String,
    /// What callers over TCP must send as `Authorization: Bearer …`; required outside loopback.
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretString>,
    /// A TCP address for the events of other systems, which may be public; empty for none.
    pub public_listen: String,
}

/// A system that may send events to `/events/NAME`, signed by the Standard Webhooks scheme.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventOptions {
    /// `whsec_…`, or any text that both sides know.
    #[schemars(with = "String")]
    pub secret: SecretString,
    /// The secret before, while both are in use.
    #[schemars(with = "Option<String>")]
    pub previous_secret: Option<SecretString>,
}

impl Default for WebOptions {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/nudged/admin.sock"),
            listen: "127.0.0.1:9464".to_owned(),
            token: None,
            public_listen: String::new(),
        }
    }
}
