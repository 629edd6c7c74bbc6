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
    /// A TCP address for what the internet may reach: events of other systems, and the pages behind the links of mails;
    /// empty for none.
    pub public_listen: String,
    /// How the internet reaches it, with TLS: `https://mail.acme.example`. Links of mails begin so.
    pub public_url: String,
}

impl WebOptions {
    /// What links begin with, if that can be: https, or plain on this machine.
    pub fn pages_url(&self) -> Option<String> {
        let url = reqwest::Url::parse(self.public_url.trim()).ok()?;
        let local = matches!(url.host_str()?, "localhost" | "127.0.0.1" | "[::1]");
        let fine = url.scheme() == "https" || (url.scheme() == "http" && local);
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        (fine && bare).then(|| url.as_str().trim_end_matches('/').to_owned())
    }
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
            public_url: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_begin_with_what_a_mail_program_may_call() {
        let url = |text: &str| WebOptions { public_url: text.to_owned(), ..WebOptions::default() }.pages_url();
        assert_eq!(url("https://mail.acme.example/"), Some("https://mail.acme.example".to_owned()));
        assert_eq!(url(" https://acme.example:8443/mail/ "), Some("https://acme.example:8443/mail".to_owned()));
        assert_eq!(url("http://127.0.0.1:8080"), Some("http://127.0.0.1:8080".to_owned()));
        for wrong in
            ["", "mail.acme.example", "http://mail.acme.example", "ftp://acme.example", "https://a.example/?x=1"]
        {
            assert_eq!(url(wrong), None, "{wrong}");
        }
    }
}
