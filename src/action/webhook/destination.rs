//! One destination: its client, its signature, one call.

use super::guard::{self, PrivateAddress, PublicOnly};
use super::{DestinationOptions, answer, signature};
use crate::action::{SetupError, came_to, permanent, quoted, tls, transient, unknown};
use crate::engine::port::{Sent, WebhookCall};
use crate::model::{Outcome, Period};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect};
use secrecy::ExposeSecret;
use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(in crate::action) struct Destination {
    url: Url,
    client: Client,
    key: Option<Vec<u8>>,
    timeout: Duration,
    /// Calls at once: what a slow receiver may hold.
    permits: Semaphore,
}

/// What came back.
pub(in crate::action) struct Answered {
    pub status: StatusCode,
    /// What the status means, unless it means success.
    pub refused: Option<Sent>,
    /// Where it came in full.
    pub body: Option<Vec<u8>>,
}

impl Answered {
    /// For a receiver that knows no key which would make a repeat harmless: what failed there, or behind it, may have
    /// been taken first. Only 503 says that it was not.
    pub fn without_key(mut self) -> Self {
        if self.status.is_server_error() && self.status != StatusCode::SERVICE_UNAVAILABLE {
            self.refused = Some(unknown(format!("{}: it may have been taken before that", self.status)));
        }
        self
    }

    /// What became of the message, when the status says it all.
    pub fn in_short(self) -> Sent {
        self.refused.unwrap_or_else(|| came_to(Outcome::Sent { reply: self.status.to_string() }))
    }
}

impl Destination {
    /// `section`: where its options stand in the configuration.
    pub(in crate::action) fn new(section: &str, options: &DestinationOptions) -> Result<Self, SetupError> {
        let wrong = |key: &str, problem: String| SetupError::option(format!("{section}.{key}"), problem);
        let url = Url::parse(&options.url).map_err(|error| wrong("url", error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("url", "only http and https can be called".to_owned()));
        }
        // Numbers never reach the resolver, so they are looked at here. The URL parser has already
        // turned spellings such as 0x7f.1 into plain ones.
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let private = host.parse::<IpAddr>().is_ok_and(|address| !guard::is_public(address));
        if private && !options.allow_private {
            return Err(wrong("url", PrivateAddress(host.to_owned()).to_string()));
        }
        let secret = options.secret.as_ref().map(|secret| signature::key(secret.expose_secret()));
        let key = match secret {
            Some(None) => return Err(wrong("secret", "`whsec_` must be followed by base64".to_owned())),
            other => other.flatten(),
        };
        let client = client(options).map_err(|error| match error {
            SetupError::Option { key, problem } => wrong(&key, problem),
            other => other,
        })?;
        let permits = Semaphore::new(options.sessions.clamp(1, 256));
        Ok(Self { url, client, key, timeout: seconds(options.timeout), permits })
    }

    pub(super) async fn call(&self, call: &WebhookCall, now: Timestamp) -> Sent {
        let Ok(body) = serde_json::to_vec(&call.body) else { return permanent("the body is not JSON") };
        let headers = self.headers(call, now, &body);
        self.post(headers, body, call.keep_answer, now).await
    }

    /// JSON without key or signature, for receivers that know neither.
    pub(in crate::action) async fn post_json(&self, body: &serde_json::Value, now: Timestamp) -> Sent {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = body.to_string();
        match self.exchange(now, |client, url| client.post(url).headers(headers).body(body)).await {
            Ok(answered) => answered.without_key().in_short(),
            Err(sent) => sent,
        }
    }

    async fn post(&self, headers: HeaderMap, body: Vec<u8>, keep_answer: bool, now: Timestamp) -> Sent {
        let asked = self.exchange(now, |client, url| client.post(url).headers(headers).body(body)).await;
        let Answered { status, refused, body } = match asked {
            Ok(answered) => answered,
            Err(sent) => return sent,
        };
        if let Some(refused) = refused {
            return refused;
        }
        let reply = format!("{status}");
        if !keep_answer {
            return came_to(Outcome::Sent { reply });
        }
        match body.and_then(|body| serde_json::from_slice(&body).ok()) {
            Some(answer) => Sent { outcome: Outcome::Sent { reply }, answer: Some(answer) },
            None => came_to(Outcome::Sent { reply: format!("{reply}; the answer is not JSON or too long to keep") }),
        }
    }

    /// One request within the deadline, and what was answered; the other way round what became of it without an answer.
    pub(in crate::action) async fn exchange(
        &self,
        now: Timestamp,
        request: impl FnOnce(&Client, Url) -> RequestBuilder,
    ) -> Result<Answered, Sent> {
        let deadline = Instant::now() + self.timeout;
        let permit = timeout_at(deadline, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(transient("all sessions of the destination are busy")) };
        let request = request(&self.client, self.url.clone());
        let response = match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failed(&error)),
            // Connecting has a shorter deadline of its own, so this is the answer that did not come.
            Err(_) => return Err(unknown("the receiver did not answer in time")),
        };
        let status = response.status();
        let refused = answer::refusal(status, response.headers(), now);
        let body = timeout_at(deadline, answer::body(response)).await.ok().flatten();
        Ok(Answered { status, refused, body })
    }

    fn headers(&self, call: &WebhookCall, now: Timestamp, body: &[u8]) -> HeaderMap {
        let id = call.delivery.to_string();
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(WEBHOOK_ID, value(&id));
        headers.insert(IDEMPOTENCY_KEY, value(&id));
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(now.as_second()));
        if let Some(key) = &self.key {
            headers.insert(WEBHOOK_SIGNATURE, value(&signature::sign(key, &id, now.as_second(), body)));
        }
        headers
    }
}

fn seconds(period: Period) -> Duration {
    Duration::from_secs(period.max_seconds().unsigned_abs().max(1))
}

fn client(options: &DestinationOptions) -> Result<Client, SetupError> {
    let mut config = tls::config("webhook ca_file", options.ca_file.as_deref())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut headers = HeaderMap::new();
    if let Some(token) = &options.token {
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
        let mut bearer =
            bearer.map_err(|_| SetupError::option("token", "holds characters that headers can't carry"))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    let mut builder = Client::builder()
        .tls_backend_preconfigured(config)
        .user_agent(concat!("nudged/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(seconds(options.connect_timeout).min(seconds(options.timeout).mul_f64(0.75)))
        .pool_idle_timeout(Duration::from_secs(45))
        .pool_max_idle_per_host(options.sessions.max(1));
    if !options.allow_private {
        builder = builder.dns_resolver(PublicOnly);
    }
    builder.build().map_err(|error| SetupError::Tls(error.to_string()))
}

/// No answer: whether the call may have arrived depends on how far it came.
fn failed(error: &reqwest::Error) -> Sent {
    if let Some(private) = cause::<PrivateAddress>(error) {
        return permanent(private.to_string());
    }
    let reason = innermost(error);
    if error.is_builder() {
        return permanent(format!("the call could not be made: {reason}"));
    }
    if error.is_connect() {
        return transient(format!("can't reach the receiver: {reason}"));
    }
    unknown(format!("the connection broke before an answer came: {reason}"))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// The outer messages repeat the URL, which may hold a password.
fn innermost(error: &reqwest::Error) -> String {
    quoted(&causes(error).last().map(ToString::to_string).unwrap_or_default())
}
