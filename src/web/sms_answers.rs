//! Answers to text messages, as Twilio passes them on: who writes STOP is written to no more.
//!
//! Twilio signs what it sends: <https://www.twilio.com/docs/usage/security#validating-requests>. It keeps a list of its
//! own as well; ours is what the other channels and gateways go by.

use crate::action::sms::{GatewayFormat, SmsOptions};
use crate::engine::port::Store;
use crate::model::{Channel, Clock, Suppression, SuppressionReason, e164};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nothing is answered: the network's own confirmation is enough.
const SILENCE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response></Response>";

/// What the route works with.
#[derive(Clone)]
pub struct SmsAnswers {
    /// Of those gateways that sign their answers.
    tokens: Arc<BTreeMap<String, SecretString>>,
    stop_words: Arc<[String]>,
    /// What the addresses begin with that Twilio calls, which it signs.
    base: Option<String>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl SmsAnswers {
    pub fn new(options: &SmsOptions, base: Option<String>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let signing = options.gateways.iter().filter(|(_, gateway)| gateway.format == GatewayFormat::Twilio);
        let tokens = signing.filter_map(|(name, gateway)| Some((name.clone(), gateway.token.clone()?)));
        let stop_words = options.stop_words.iter().map(|word| folded(word)).collect();
        Self { tokens: Arc::new(tokens.collect()), stop_words, base, store, clock }
    }

    /// The route, for the public listener.
    pub fn router(self) -> Router {
        Router::new().route("/sms/{name}", post(answer)).with_state(self)
    }

    fn stops(&self, fields: &BTreeMap<String, String>) -> bool {
        // Twilio says it itself where its own list has taken notice.
        let told = fields.get("OptOutType").is_some_and(|kind| kind == "STOP");
        let said = fields.get("Body").map(|body| folded(body)).unwrap_or_default();
        told || self.stop_words.contains(&said)
    }
}

/// `Stop!` is meant as STOP.
fn folded(text: &str) -> String {
    text.trim_matches(|c: char| !c.is_alphanumeric()).to_uppercase()
}

/// 200 once what was said is kept; Twilio reports everything else to its account's owner.
async fn answer(
    State(texts): State<SmsAnswers>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(token) = texts.tokens.get(&name) else {
        return refuse(&name, StatusCode::NOT_FOUND, "nobody passes answers on here");
    };
    let Some(base) = &texts.base else {
        return refuse(&name, StatusCode::SERVICE_UNAVAILABLE, "`web.public_url` is not set, which Twilio signs");
    };
    let Ok(fields) = serde_urlencoded::from_bytes::<BTreeMap<String, String>>(&body) else {
        return refuse(&name, StatusCode::BAD_REQUEST, "this is not a form");
    };
    let given = headers.get("x-twilio-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_signed(token.expose_secret(), &format!("{base}/sms/{name}"), &fields, given) {
        return refuse(&name, StatusCode::UNAUTHORIZED, "the signature is missing or wrong");
    }
    if texts.stops(&fields) {
        let Some(number) = fields.get("From").and_then(|from| e164(from, None)) else {
            return refuse(&name, StatusCode::BAD_REQUEST, "`From` is no phone number");
        };
        let entry = Suppression {
            channel: Channel::Sms,
            hash: texts.store.secret().address_hash(Channel::Sms, &number),
            address: Some(number),
            reason: SuppressionReason::Unsubscribed,
            since: texts.clock.now(),
        };
        match texts.store.suppress(&[entry]).await {
            Ok(added) if added > 0 => tracing::info!(gateway = %name, "a number was put on the suppression list"),
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, gateway = %name, "an answer to a text message could not be kept");
                let again = [(header::RETRY_AFTER, "30")];
                return (StatusCode::SERVICE_UNAVAILABLE, again, "it could not be kept; send it again later")
                    .into_response();
            }
        }
        metrics::counter!("nudged_sms_answers_total", "said" => "stop").increment(1);
    } else {
        metrics::counter!("nudged_sms_answers_total", "said" => "other").increment(1);
    }
    ([(header::CONTENT_TYPE, "text/xml")], SILENCE).into_response()
}

fn refuse(name: &str, status: StatusCode, why: &str) -> Response {
    tracing::debug!(gateway = %name, %status, why, "an answer was refused");
    metrics::counter!("nudged_inbound_refused_total", "status" => status.as_u16().to_string()).increment(1);
    (status, format!("{why}\n")).into_response()
}

/// HMAC-SHA1 over the address and all fields in the order of their names. Takes the same time wherever the two differ.
fn is_signed(token: &str, url: &str, fields: &BTreeMap<String, String>, given: &str) -> bool {
    let Ok(given) = STANDARD.decode(given.trim()) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    hmac::verify(&key, signed_text(url, fields).as_bytes(), &given).is_ok()
}

fn signed_text(url: &str, fields: &BTreeMap<String, String>) -> String {
    fields.iter().fold(url.to_owned(), |text, (name, value)| text + name.as_str() + value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_documentation() {
        // The example of Twilio's own documentation.
        let fields: BTreeMap<String, String> = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert!(is_signed("12345", url, &fields, "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
        assert!(!is_signed("12346", url, &fields, "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
        assert!(!is_signed("12345", "https://mycompany.com/", &fields, "RSOYDt4T1cUTdK1PDd93/VVr8B8="));
        assert!(!is_signed("12345", url, &fields, ""));
    }
}
