//! Who may tell us something: the Standard Webhooks signature, verified.
//!
//! See <https://www.standardwebhooks.com>. A signature covers id, time and body, so that none of them can be
//! exchanged; a time too far from ours is a replay or a wrong clock.

use crate::action::webhook::signing_key;
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// How far a sender's clock, and a message's way, may be from ours.
const REPLAY: SignedDuration = SignedDuration::from_mins(5);
/// Enough for an exchange of keys; what is beyond is a try to keep us busy.
const SIGNATURES: usize = 8;
const LONGEST_ID: usize = 256;

/// Why a message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the headers webhook-id, webhook-timestamp and webhook-signature are needed")]
    Headers,
    #[error("webhook-timestamp is more than five minutes from now")]
    Time,
    #[error("no signature matches")]
    Signature,
}

/// The keys of one sender: the present one, and the one before while both are in use.
pub(super) struct Keys(Vec<Vec<u8>>);

impl Keys {
    /// `None`: one of the secrets is empty or not what its `whsec_` promises.
    pub fn of<'s>(secrets: impl IntoIterator<Item = &'s SecretString>) -> Option<Self> {
        let keys: Option<Vec<_>> = secrets.into_iter().map(|secret| signing_key(secret.expose_secret())).collect();
        keys.filter(|keys| !keys.is_empty()).map(Self)
    }

    /// The id of a message that was signed with one of the keys, lately.
    pub fn verify<'h>(&self, headers: &'h HeaderMap, body: &[u8], now: Timestamp) -> Result<&'h str, Refused> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (id, sent_at, signatures) =
            (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
        let (Some(id), Some(sent_at), Some(signatures)) = (id, sent_at, signatures) else {
            return Err(Refused::Headers);
        };
        let sent = sent_at.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let Some(sent) = sent.filter(|_| !id.is_empty() && id.len() <= LONGEST_ID) else {
            return Err(Refused::Headers);
        };
        if now.duration_since(sent).abs() > REPLAY {
            return Err(Refused::Time);
        }
        let given: Vec<Vec<u8>> = signatures
            .split(' ')
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .take(SIGNATURES)
            .filter_map(|encoded| STANDARD.decode(encoded).ok())
            .collect();
        let matches = |key: &Vec<u8>| given.iter().any(|given| is_signature(key, id, sent_at, body, given));
        if self.0.iter().any(matches) { Ok(id) } else { Err(Refused::Signature) }
    }
}

/// Takes the same time wherever the two differ.
fn is_signature(key: &[u8], id: &str, sent_at: &str, body: &[u8], given: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    for part in [id.as_bytes(), b".", sent_at.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac.verify_slice(given).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::webhook::sign;

    const BODY: &[u8] = b"{\"a\":1}";

    fn keys(secrets: &[&str]) -> Keys {
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        Keys::of(&secrets).unwrap()
    }

    fn headers(id: &str, at: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", at.parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn only_what_was_signed_lately_and_as_it_is_passes() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let at = now.as_second();
        let signed = sign(b"secret", "msg_1", at, BODY);
        let verify =
            |headers: &HeaderMap, body: &[u8], now| keys(&["secret"]).verify(headers, body, now).map(str::to_owned);
        let fine = headers("msg_1", &at.to_string(), &signed);
        assert_eq!(verify(&fine, BODY, now).as_deref(), Ok("msg_1"));
        let several = headers("msg_1", &at.to_string(), &format!("v1,AAAA v2,xyz {signed}"));
        assert_eq!(verify(&several, BODY, now).as_deref(), Ok("msg_1"));
        assert_eq!(verify(&fine, b"{\"a\":2}", now), Err(Refused::Signature));
        assert_eq!(verify(&headers("msg_2", &at.to_string(), &signed), BODY, now), Err(Refused::Signature));
        assert_eq!(verify(&headers("msg_1", &(at + 1).to_string(), &signed), BODY, now), Err(Refused::Signature));
        assert_eq!(verify(&headers("msg_1", &at.to_string(), ""), BODY, now), Err(Refused::Signature));
        assert_eq!(verify(&headers("msg_1", "soon", &signed), BODY, now), Err(Refused::Headers));
        assert_eq!(verify(&HeaderMap::new(), BODY, now), Err(Refused::Headers));
        let late = now + SignedDuration::from_secs(301);
        assert_eq!(verify(&fine, BODY, late), Err(Refused::Time));
        assert_eq!(verify(&fine, BODY, now - SignedDuration::from_secs(301)), Err(Refused::Time));
    }

    #[test]
    fn the_key_before_goes_on_while_it_is_named() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let signed = headers("m", &now.as_second().to_string(), &sign(b"old", "m", now.as_second(), BODY));
        assert!(keys(&["new", "old"]).verify(&signed, BODY, now).is_ok());
        assert_eq!(keys(&["new"]).verify(&signed, BODY, now), Err(Refused::Signature));
        assert!(Keys::of(&[SecretString::from("whsec_!")]).is_none());
    }
}
