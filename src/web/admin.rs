//! The routes.

use super::gauges::set_from_state;
use super::guard::guard_posts;
use super::report::{rulebook_report, state_report};
use crate::engine::port::{Overview, RuleState, Store, StoreError};
use crate::model::{Clock, RuleId};
use crate::rulebook::Handle;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use jiff::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

/// No request has more to say than a flag.
const BODY: usize = 16 * 1024;

/// A reload settles and checks everything before it answers.
const DEADLINE: Duration = Duration::from_mins(2);

/// How the process is, as its wiring keeps it up to date.
pub trait Vitals: Send + Sync {
    /// Why it is not healthy; `None` when it is.
    fn illness(&self) -> Option<String>;
    /// For how long the source has not answered, and why; `None` while it does. No illness of this process.
    fn source_trouble(&self) -> Option<String>;
    /// Whether it still takes work: false while starting and while draining.
    fn is_ready(&self) -> bool;
}

/// What the routes work with.
#[derive(Clone)]
pub struct Admin {
    pub store: Arc<dyn Store>,
    pub rulebook: Handle,
    pub vitals: Arc<dyn Vitals>,
    pub metrics: PrometheusHandle,
    pub clock: Arc<dyn Clock>,
    pub started_at: Timestamp,
    /// Where all mails go, whoever they are meant for.
    pub redirected: Option<String>,
    /// Told after a pause or resume, so that the engine reads them anew.
    pub nudge: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

/// All routes, with limits on body and time.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/reload", post(reload))
        .route("/api/rules/{rule}/pause", post(pause))
        .route("/api/rules/{rule}/resume", post(resume))
        .layer(middleware::from_fn(guard_posts))
        .layer(RequestBodyLimitLayer::new(BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, DEADLINE))
        .with_state(admin)
}

async fn healthy(State(admin): State<Admin>) -> Response {
    match admin.vitals.illness() {
        None => "healthy\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.vitals.is_ready() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n").into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let now = admin.clock.now();
    // The counters are worth showing even while the state doesn't answer.
    match gather(&admin, now).await {
        Ok((overview, rules)) => set_from_state(&overview, &rules, now),
        Err(error) => tracing::warn!(%error, "metrics are without the state's counts"),
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, admin.metrics.render()).into_response()
}

async fn gather(admin: &Admin, now: Timestamp) -> Result<(Overview, Vec<RuleState>), StoreError> {
    Ok((admin.store.overview(now).await?, admin.store.rule_states().await?))
}

async fn status(State(admin): State<Admin>) -> Result<Response, Refusal> {
    let now = admin.clock.now();
    let state = state_report(&*admin.store, now).await?;
    let standing = admin.rulebook.standing();
    Ok(Json(json!({
        "daemon": {
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "started_at": admin.started_at,
            "now": now,
            "ready": admin.vitals.is_ready(),
            "illness": admin.vitals.illness(),
            "source": admin.vitals.source_trouble(),
            "redirect_all_to": admin.redirected,
            "rulebook": rulebook_report(&standing),
        },
        "state": state,
    }))
    .into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReloadBody {
    confirm: bool,
}

/// Answers once the files have been judged: 200 when they run, 409 when they don't.
async fn reload(State(admin): State<Admin>, Json(body): Json<ReloadBody>) -> Response {
    let Some(standing) = admin.rulebook.reload(body.confirm).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the rulebook has stopped").into_response();
    };
    let status = if standing.is_good() { StatusCode::OK } else { StatusCode::CONFLICT };
    (status, Json(rulebook_report(&standing))).into_response()
}

async fn pause(State(admin): State<Admin>, Path(rule): Path<String>) -> Result<Response, Refusal> {
    set_paused(&admin, &rule, true).await
}

async fn resume(State(admin): State<Admin>, Path(rule): Path<String>) -> Result<Response, Refusal> {
    set_paused(&admin, &rule, false).await
}

async fn set_paused(admin: &Admin, rule: &str, paused: bool) -> Result<Response, Refusal> {
    let rule = RuleId::from(rule);
    if !admin.store.set_paused(&rule, paused).await? {
        return Ok(
            (StatusCode::NOT_FOUND, Json(json!({"error": format!("there is no rule `{rule}`")}))).into_response()
        );
    }
    (admin.nudge)();
    tracing::info!(%rule, paused, "an operator {} the rule", if paused { "paused" } else { "resumed" });
    Ok(Json(json!({"rule": rule, "paused": paused})).into_response())
}

/// The state did not answer.
struct Refusal(StoreError);

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "the state failed a request of the admin API");
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": self.0.to_string()}))).into_response()
    }
}
