//! Twilio's Messages resource: <https://www.twilio.com/docs/messaging/api/message-resource>.

use super::GatewayOptions;
use crate::action::webhook::destination::Destination;
use crate::action::{came_to, permanent, quoted, transient, unknown};
use crate::engine::port::{Sent, SmsMessage};
use crate::model::{Outcome, said};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Deserialize;

/// What a refusal says; Twilio's own words may hold the number.
#[derive(Deserialize)]
struct Problem {
    code: Option<u32>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Taken {
    sid: Option<String>,
    error_code: Option<u32>,
}

pub(super) async fn send(
    destination: &Destination,
    options: &GatewayOptions,
    message: &SmsMessage,
    now: Timestamp,
) -> Sent {
    let mut fields = vec![("To", message.to.as_str()), ("Body", message.text.as_str())];
    match (&options.messaging_service, &options.from) {
        (Some(service), _) => fields.push(("MessagingServiceSid", service)),
        (None, Some(from)) => fields.push(("From", from)),
        (None, None) => {}
    }
    let account = options.account.as_deref().unwrap_or_default();
    let token = options.token.as_ref().map(ExposeSecret::expose_secret);
    let asked =
        destination.exchange(now, |client, url| client.post(url).basic_auth(account, token).form(&fields)).await;
    let answered = match asked {
        Ok(answered) => answered.without_key(),
        Err(sent) => return sent,
    };
    let body = answered.body.unwrap_or_default();
    match answered.refused {
        None => taken(answered.status.as_u16(), &body),
        Some(refused) => refusal(refused, answered.status.as_u16(), &body, message),
    }
}

fn taken(status: u16, body: &[u8]) -> Sent {
    let taken: Taken = serde_json::from_slice(body).unwrap_or(Taken { sid: None, error_code: None });
    let sid = quoted(&taken.sid.unwrap_or_default());
    match taken.error_code {
        Some(code) => permanent(format!("{status} {code}: taken and failed at once")),
        None => came_to(Outcome::Sent { reply: format!("{status} {sid}").trim_end().to_owned() }),
    }
}

fn refusal(refused: Sent, status: u16, body: &[u8], message: &SmsMessage) -> Sent {
    let Ok(Problem { code: Some(code), message: problem }) = serde_json::from_slice(body) else { return refused };
    let theirs = said(&quoted(&problem.unwrap_or_default()).replace(message.to.as_str(), "…"));
    let words = words(code).map_or(theirs, str::to_owned);
    let reason = format!("{status} {code}: {words}");
    match refused.outcome {
        Outcome::Transient { retry_after, .. } => came_to(Outcome::Transient { reason, retry_after }),
        Outcome::Unknown { .. } => unknown(reason),
        // Queues of theirs that are full for now, whatever the status says.
        _ if matches!(code, 14_107 | 20_429 | 20_503 | 21_611) => transient(reason),
        _ => permanent(reason),
    }
}

/// In our words, without the number.
const fn words(code: u32) -> Option<&'static str> {
    Some(match code {
        20_003 => "the account or its token is wrong",
        21_211 | 21_217 => "there is no such number",
        21_408 => "the account may not send to this country",
        21_610 => "the recipient has opted out",
        21_611 => "too many messages wait at the sender",
        21_612 => "no way from this sender to that number",
        21_614 | 21_635 => "the number can't take text messages",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeliveryId;

    fn refused(status: u16, body: &str) -> Outcome {
        let message =
            SmsMessage { delivery: DeliveryId([1; 16]), to: "+436641234567".into(), via: None, text: "Hi".into() };
        let plain = match status {
            429 => transient("slow down"),
            500 => unknown("who knows"),
            _ => permanent("no"),
        };
        refusal(plain, status, body.as_bytes(), &message).outcome
    }

    #[test]
    fn refusals_say_why_and_never_to_whom() {
        let opted_out = refused(400, r#"{"code": 21610, "message": "Attempt to send to unsubscribed recipient"}"#);
        assert_eq!(opted_out, Outcome::Permanent { reason: "400 21610: the recipient has opted out".into() });
        let other = refused(400, r#"{"code": 21999, "message": "The 'To' number +436641234567 is odd"}"#);
        assert_eq!(other, Outcome::Permanent { reason: "400 21999: “The 'To' number … is odd”".into() });
        let busy = refused(429, r#"{"code": 20429, "message": "Too Many Requests"}"#);
        assert!(matches!(&busy, Outcome::Transient { reason, .. } if reason.starts_with("429 20429")), "{busy:?}");
        assert!(matches!(refused(400, r#"{"code": 21611}"#), Outcome::Transient { .. }));
        let broken = refused(500, r#"{"code": 20500, "message": "Internal Server Error"}"#);
        assert_eq!(broken, Outcome::Unknown { reason: "500 20500: “Internal Server Error”".into() });
        assert_eq!(refused(404, "not JSON"), Outcome::Permanent { reason: "no".into() });
    }

    #[test]
    fn what_was_taken_is_named_by_its_id() {
        let outcome = taken(201, br#"{"sid": "SM1", "status": "queued", "error_code": null}"#).outcome;
        assert_eq!(outcome, Outcome::Sent { reply: "201 SM1".into() });
        assert!(matches!(taken(201, br#"{"sid": "SM1", "error_code": 30005}"#).outcome, Outcome::Permanent { .. }));
    }
}
