//! What a receiver's answer means.

use crate::action::{permanent, transient};
use crate::engine::port::Sent;
use crate::model::Outcome;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

/// Longer answers are not kept, and not read to their end.
const MOST_BYTES: usize = 64 * 1024;
/// A receiver may ask for a pause, but not for an endless one.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// By the status alone; `None` for success.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Sent> {
    if status.is_success() {
        return None;
    }
    let reason = format!("the receiver answered {status}");
    let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    if passing {
        let outcome = Outcome::Transient { reason, retry_after: retry_after(headers, now) };
        return Some(Sent { outcome, answer: None });
    }
    if status.is_redirection() {
        return Some(permanent(format!("{reason}; redirects are not followed: name the new URL in the configuration")));
    }
    if status.is_informational() {
        return Some(transient(reason));
    }
    Some(permanent(reason))
}

/// `Retry-After: 120` or an HTTP date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse::<u32>() {
        Ok(seconds) => now.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok()?,
        Err(_) => jiff::fmt::rfc2822::parse(text).ok()?.timestamp(),
    };
    let latest = now.checked_add(LONGEST_PAUSE).unwrap_or(Timestamp::MAX);
    Some(asked.clamp(now, latest))
}

/// Reads the body, so that the connection can be used again; `None` when it is too long or breaks off,
/// which changes nothing about the call having arrived.
pub(super) async fn body(mut response: Response) -> Option<Vec<u8>> {
    if response.content_length().is_some_and(|length| length > MOST_BYTES as u64) {
        return None;
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > MOST_BYTES {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Option<Timestamp> {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        match refusal(StatusCode::TOO_MANY_REQUESTS, &headers, now).unwrap().outcome {
            Outcome::Transient { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn retry_after_comes_in_seconds_or_as_a_date_and_is_bounded() {
        assert_eq!(asked("120"), Some("2026-11-21T10:02:00Z".parse().unwrap()));
        assert_eq!(asked("Sat, 21 Nov 2026 10:05:00 GMT"), Some("2026-11-21T10:05:00Z".parse().unwrap()));
        assert_eq!(asked("Fri, 20 Nov 2026 10:05:00 GMT"), Some("2026-11-21T10:00:00Z".parse().unwrap()));
        assert_eq!(asked("4000000000"), Some("2026-11-22T10:00:00Z".parse().unwrap()));
        assert_eq!(asked("soon"), None);
    }

    #[test]
    fn statuses_are_told_apart() {
        let now = Timestamp::UNIX_EPOCH;
        let outcome = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            refusal(status, &HeaderMap::new(), now).map_or("sent", |sent| sent.outcome.as_str())
        };
        for status in [200, 201, 202, 204] {
            assert_eq!(outcome(status), "sent", "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(outcome(status), "transient", "{status}");
        }
        for status in [301, 302, 307, 308, 400, 401, 403, 404, 410, 413, 422] {
            assert_eq!(outcome(status), "permanent", "{status}");
        }
    }
}
