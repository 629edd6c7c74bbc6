//! Who may call. The unix socket is guarded by its file mode; TCP by a token where one is set.
//!
//! A browser on this machine is kept out as well: a page can't send JSON to us without asking first, and
//! a host name that somebody points at 127.0.0.1 isn't ours.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use std::net::IpAddr;
use std::sync::Arc;

/// Checks requests that came over TCP.
pub async fn guard_tcp(State(token): State<Option<Arc<SecretString>>>, request: Request, next: Next) -> Response {
    // Whether the process lives is no secret, and probes carry no token.
    if request.uri().path().starts_with("/-/") {
        return next.run(request).await;
    }
    let refusal = match &token {
        Some(token) if !has_token(&request, token) => Some((StatusCode::UNAUTHORIZED, "a bearer token is needed")),
        None if !names_us(&request) => Some((StatusCode::MISDIRECTED_REQUEST, "call by address, or as localhost")),
        _ => None,
    };
    match refusal {
        Some((status, why)) => (status, why).into_response(),
        None => next.run(request).await,
    }
}

/// Whatever changes something must say that it sends JSON.
pub async fn guard_posts(request: Request, next: Next) -> Response {
    let is_json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json"));
    if request.method() == Method::POST && !is_json {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/json`").into_response();
    }
    next.run(request).await
}

fn has_token(request: &Request, token: &SecretString) -> bool {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|given| same(given, token.expose_secret()))
}

/// Compares MACs, so that the time it takes says nothing about where the two differ.
pub(super) fn same(given: &str, wanted: &str) -> bool {
    let key: [u8; 32] = rand::random();
    let mac = |text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
        mac.update(text.as_bytes());
        Some(mac)
    };
    let (Some(given), Some(wanted)) = (mac(given), mac(wanted)) else { return false };
    given.verify(&wanted.finalize().into_bytes()).is_ok()
}

fn names_us(request: &Request) -> bool {
    let Some(host) = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(name: header::HeaderName, value: &str) -> Request {
        Request::builder().uri("/api/status").header(name, value).body(Body::empty()).unwrap()
    }

    #[test]
    fn only_the_token_itself_opens() {
        let token = SecretString::from("correct horse");
        assert!(has_token(&request(header::AUTHORIZATION, "Bearer correct horse"), &token));
        for wrong in ["Bearer correct", "Bearer correct horse ", "correct horse", "Basic correct horse"] {
            assert!(!has_token(&request(header::AUTHORIZATION, wrong), &token), "{wrong}");
        }
    }

    #[test]
    fn a_foreign_name_for_our_address_is_not_us() {
        for ours in ["localhost:9464", "127.0.0.1:9464", "[::1]:9464", "localhost"] {
            assert!(names_us(&request(header::HOST, ours)), "{ours}");
        }
        assert!(!names_us(&request(header::HOST, "evil.example:9464")));
    }
}
