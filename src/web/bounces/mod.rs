//! Bounces and complaints, as the services that carry mails report them by webhook.
//!
//! What says that an address is gone, or that its reader called a mail spam, puts it on the suppression list; anything
//! that may pass is only counted. The same report twice changes nothing.

mod formats;

use super::guard::same;
use crate::action::email::mailed_out::MailedOut;
use crate::action::email::returned::Verdict;
use crate::engine::port::{Store, StoreError};
use crate::model::{
    AddressHash, Channel, Clock, DeliveryId, Preference, PreferenceSource, Suppression, SuppressionReason,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::{Said, mailgun, postmark, ses};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A service that reports to `/bounces/NAME`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BounceOptions {
    pub format: BounceFormat,
    /// The password in the URL that the service is given (`https://nudged:SECRET@…`, for `ses` and `postmark`), or
    /// Mailgun's signing key.
    #[schemars(with = "String")]
    pub secret: SecretString,
}

/// Whose reports they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BounceFormat {
    /// Amazon SES, by SNS.
    Ses,
    Postmark,
    Mailgun,
}

/// One address, and what was said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub hash: AddressHash,
    /// Where it is known.
    pub address: Option<String>,
    pub verdict: Verdict,
}

/// Puts addresses on the suppression list, whoever reported them.
#[derive(Clone)]
pub struct Intake {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Intake {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    pub fn hash(&self, address: &str) -> AddressHash {
        self.store.secret().address_hash(Channel::Email, address)
    }

    pub fn secret(&self) -> &crate::model::InstanceSecret {
        self.store.secret()
    }

    /// How many addresses are newly on the list. `by` names the way that the reports came.
    pub async fn take(&self, by: &str, reports: &[Report]) -> Result<u64, StoreError> {
        let entries: Vec<Suppression> = reports.iter().filter_map(|report| self.entry(report)).collect();
        let added = if entries.is_empty() { 0 } else { self.store.suppress(&entries).await? };
        for report in reports {
            metrics::counter!("nudged_bounces_total", "verdict" => report.verdict.as_str(), "by" => by.to_owned())
                .increment(1);
        }
        if added > 0 {
            tracing::info!(by, addresses = added, "addresses were put on the suppression list");
        }
        Ok(added)
    }

    /// Readers who wrote that they want no more.
    pub async fn unsubscribe(&self, readers: &[MailedOut]) -> Result<(), StoreError> {
        if readers.is_empty() {
            return Ok(());
        }
        let (channel, since, source) = (Channel::Email, self.clock.now(), PreferenceSource::Mail);
        let entry = |reader: &MailedOut| Preference {
            hash: reader.address,
            channel,
            topic: reader.topic.clone(),
            allowed: false,
            since,
            source,
            // The CRM is to learn it, too, by the address where no mail is named.
            delivery: Some(reader.mail.unwrap_or(DeliveryId::UNNAMED)),
        };
        self.store.prefer(&readers.iter().map(entry).collect::<Vec<_>>()).await?;
        for reader in readers {
            let topic = reader.topic.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
            metrics::counter!("nudged_preferences_total", "said" => "no", "topic" => topic, "by" => source.as_str())
                .increment(1);
        }
        Ok(())
    }

    /// Our now.
    pub fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    fn entry(&self, report: &Report) -> Option<Suppression> {
        let reason = match report.verdict {
            Verdict::Gone => SuppressionReason::Bounced,
            Verdict::Complaint => SuppressionReason::Complained,
            Verdict::Soft => return None,
        };
        let (hash, address, since) = (report.hash, report.address.clone(), self.clock.now());
        Some(Suppression { channel: Channel::Email, hash, address, reason, since })
    }
}

/// What the route works with.
#[derive(Clone)]
pub struct Bounces {
    options: Arc<BTreeMap<String, BounceOptions>>,
    intake: Intake,
}

impl Bounces {
    pub fn new(options: BTreeMap<String, BounceOptions>, intake: Intake) -> Self {
        Self { options: Arc::new(options), intake }
    }

    /// The route, for the public listener.
    pub fn router(self) -> Router {
        Router::new().route("/bounces/{name}", post(bounce)).with_state(self)
    }
}

/// 200 once what was said is kept; services repeat what is answered otherwise.
async fn bounce(State(bounces): State<Bounces>, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(options) = bounces.options.get(&name) else {
        return refuse(&name, StatusCode::NOT_FOUND, "nobody reports bounces here");
    };
    let secret = options.secret.expose_secret();
    // Mailgun signs its own way, inside the body.
    if options.format != BounceFormat::Mailgun && !knows(&headers, secret) {
        return refuse(&name, StatusCode::UNAUTHORIZED, "the password in the URL is missing or wrong");
    }
    let Ok(body) = serde_json::from_slice::<Json>(&body) else {
        return refuse(&name, StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    let read = match options.format {
        BounceFormat::Ses => ses(&body),
        BounceFormat::Postmark => Ok(postmark(&body)),
        BounceFormat::Mailgun if !mailgun::is_signed(&body, secret, bounces.intake.clock.now()) => {
            return refuse(&name, StatusCode::UNAUTHORIZED, "the signature is missing, wrong or old");
        }
        BounceFormat::Mailgun => Ok(mailgun::read(&body)),
    };
    let said = match read {
        Ok(said) => said,
        Err(why) => return refuse(&name, StatusCode::BAD_REQUEST, why),
    };
    let said = match said {
        Said::Reports(said) => said,
        Said::Confirm(url) => {
            tracing::warn!(bounces = %name, url, "Amazon SNS asks to confirm the subscription: open this address");
            return StatusCode::OK.into_response();
        }
    };
    let reports = said.into_iter().map(|(address, verdict)| Report {
        hash: bounces.intake.hash(&address),
        address: Some(address.trim().to_owned()),
        verdict,
    });
    match bounces.intake.take(&name, &reports.collect::<Vec<_>>()).await {
        Ok(_) => StatusCode::OK.into_response(),
        Err(error) => {
            tracing::error!(%error, bounces = %name, "a bounce could not be kept");
            let again = [(header::RETRY_AFTER, "30")];
            (StatusCode::SERVICE_UNAVAILABLE, again, "it could not be kept; send it again later").into_response()
        }
    }
}

fn refuse(name: &str, status: StatusCode, why: &str) -> Response {
    tracing::debug!(bounces = %name, %status, why, "a report was refused");
    metrics::counter!("nudged_inbound_refused_total", "status" => status.as_u16().to_string()).increment(1);
    (status, format!("{why}\n")).into_response()
}

/// `Authorization: Basic`, whatever the user, or `Bearer`.
fn knows(headers: &HeaderMap, secret: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(token) = given.strip_prefix("Bearer ") {
        return same(token, secret);
    }
    let decoded = given.strip_prefix("Basic ").and_then(|encoded| STANDARD.decode(encoded.trim()).ok());
    let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    !secret.is_empty()
        && pair.as_deref().and_then(|pair| pair.split_once(':')).is_some_and(|(_, given)| same(given, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_opens() {
        let headers = |value: String| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            headers
        };
        let basic = |pair: &str| headers(format!("Basic {}", STANDARD.encode(pair)));
        assert!(knows(&basic("nudged:se:cret"), "se:cret") && knows(&headers("Bearer s".into()), "s"));
        for wrong in [basic("nudged:secret2"), basic("secret"), basic(":"), headers("secret".into()), HeaderMap::new()]
        {
            assert!(!knows(&wrong, "secret"));
        }
        assert!(!knows(&basic("nudged:"), ""));
    }
}
