//! What the internet may reach: events of other systems, the pages behind the links of mails, bounces by webhook. On
//! a listener of its own, with nothing else behind it.

use super::EventOptions;
use super::signed::{Keys, Refused};
use crate::engine::port::{Inbound, Inbox};
use crate::model::Clock;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tower_http::timeout::TimeoutLayer;

/// A request that takes longer is none that an honest sender makes.
const DEADLINE: Duration = Duration::from_secs(15);
/// Events name a record and a few facts; the facts themselves are in the source.
const LARGEST: usize = 256 * 1024;

/// An endpoint whose secret can't be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("events.{0}: the secret is empty, or what follows `whsec_` is not base64")]
pub struct BadSecret(String);

/// What the routes work with.
#[derive(Clone)]
pub struct Public {
    keys: Arc<BTreeMap<String, Keys>>,
    inbox: Arc<dyn Inbox>,
    clock: Arc<dyn Clock>,
    /// Told after an event was kept.
    arrived: Arc<dyn Fn() + Send + Sync>,
}

impl Public {
    pub fn new(
        events: &BTreeMap<String, EventOptions>,
        inbox: Arc<dyn Inbox>,
        clock: Arc<dyn Clock>,
        arrived: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, BadSecret> {
        let keys = events.iter().map(|(name, options)| {
            let secrets = std::iter::once(&options.secret).chain(&options.previous_secret);
            Ok((name.clone(), Keys::of(secrets).ok_or_else(|| BadSecret(name.clone()))?))
        });
        Ok(Self { keys: Arc::new(keys.collect::<Result<_, _>>()?), inbox, clock, arrived })
    }

    /// The routes, for the public listener.
    pub fn router(self) -> Router {
        Router::new().route("/events/{name}", post(event)).with_state(self)
    }
}

/// All public routes, with limits on body and time.
pub fn public_router(parts: impl IntoIterator<Item = Router>) -> Router {
    parts
        .into_iter()
        .fold(Router::new(), Router::merge)
        .route("/-/healthy", get(|| async { "healthy\n" }))
        .layer(DefaultBodyLimit::max(LARGEST))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, DEADLINE))
}

/// 202 once the event is kept for good; the same id again is the same event, and as welcome.
async fn event(
    State(public): State<Public>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let now = public.clock.now();
    let Some(keys) = public.keys.get(&name) else {
        return refuse(&name, StatusCode::NOT_FOUND, "there is no such event");
    };
    let body = match body {
        Ok(body) => body,
        Err(refused) if refused.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let why =
                format!("the body is larger than {} KiB: name the record, and leave the rest out", LARGEST / 1024);
            return refuse(&name, StatusCode::PAYLOAD_TOO_LARGE, &why);
        }
        Err(refused) => return refuse(&name, refused.status(), "the body did not arrive whole"),
    };
    let id = match keys.verify(&headers, &body, now) {
        Ok(id) => id.to_owned(),
        Err(refused @ Refused::Headers) => return refuse(&name, StatusCode::BAD_REQUEST, &refused.to_string()),
        Err(refused) => return refuse(&name, StatusCode::UNAUTHORIZED, &refused.to_string()),
    };
    if !is_json(&headers) {
        return refuse(&name, StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/json`");
    }
    let Ok(body @ serde_json::Value::Object(_)) = serde_json::from_slice(&body) else {
        return refuse(&name, StatusCode::BAD_REQUEST, "the body is not a JSON object");
    };
    if holds_nul(&body) {
        return refuse(&name, StatusCode::BAD_REQUEST, "a text in the body holds U+0000, which no database can keep");
    }
    match public.inbox.accept(&Inbound { name: name.clone(), id, received_at: now, body }).await {
        Ok(new) => {
            metrics::counter!("nudged_inbound_total", "name" => name, "outcome" => if new { "kept" } else { "again" })
                .increment(1);
            if new {
                (public.arrived)();
            }
            StatusCode::ACCEPTED.into_response()
        }
        Err(error) => {
            tracing::error!(%error, event = %name, "an event could not be kept");
            let again = [(header::RETRY_AFTER, "30")];
            (StatusCode::SERVICE_UNAVAILABLE, again, "it could not be kept; send it again later").into_response()
        }
    }
}

fn refuse(name: &str, status: StatusCode, why: &str) -> Response {
    tracing::debug!(event = %name, %status, why, "an event was refused");
    metrics::counter!("nudged_inbound_refused_total", "status" => status.as_u16().to_string()).increment(1);
    (status, format!("{why}\n")).into_response()
}

fn holds_nul(body: &serde_json::Value) -> bool {
    match body {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(items) => items.iter().any(holds_nul),
        serde_json::Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
