//! What each service calls a bounce. Whatever a service adds or renames is no report, never an error: an answer other
//! than 200 would have it repeat the same for days.

use crate::action::email::returned::Verdict;
use crate::model::is_gone;
use serde_json::Value as Json;

/// What one call says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Reports(Vec<(String, Verdict)>),
    /// SNS wants to know whether it was meant for us.
    Confirm(String),
}

fn text<'j>(json: &'j Json, path: &str) -> &'j str {
    json.pointer(path).and_then(Json::as_str).unwrap_or_default()
}

fn about(mailbox: &str, verdict: Verdict) -> Vec<(String, Verdict)> {
    address_in(mailbox).map(|address| (address.to_owned(), verdict)).into_iter().collect()
}

/// The address of `Ada <ada@x.example>`, or of itself: mails go to addresses, and another text on the list stops none.
fn address_in(mailbox: &str) -> Option<&str> {
    let bare = match mailbox.rsplit_once('<') {
        Some((_, rest)) => rest.split_once('>')?.0,
        None => mailbox,
    };
    let bare = bare.trim();
    let (name, host) = bare.rsplit_once('@')?;
    let strange = |letter: char| letter.is_whitespace() || letter.is_control() || ",;<>".contains(letter);
    (!name.is_empty() && !host.is_empty() && !bare.contains(strange)).then_some(bare)
}

/// A status that was given outranks what the service makes of it.
fn gone_unless(status: &str) -> Verdict {
    if status.is_empty() || is_gone(status) { Verdict::Gone } else { Verdict::Soft }
}

/// <https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html>, in SNS's envelope or without.
pub(super) fn ses(body: &Json) -> Result<Said, &'static str> {
    let inner = match text(body, "/Type") {
        "SubscriptionConfirmation" => {
            let url = text(body, "/SubscribeURL");
            let host = url.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
            let amazons = host.starts_with("sns.") && host.ends_with(".amazonaws.com") && !host.contains('@');
            return if amazons { Ok(Said::Confirm(url.to_owned())) } else { Err("the SubscribeURL is not Amazon's") };
        }
        "Notification" => serde_json::from_str(text(body, "/Message")).map_err(|_| "the Message is not JSON")?,
        _ => body.clone(),
    };
    let kind = [text(&inner, "/eventType"), text(&inner, "/notificationType")].concat();
    let recipients = |path: &str| inner.pointer(path).and_then(Json::as_array).cloned().unwrap_or_default();
    let reports = match kind.as_str() {
        "Bounce" => {
            let hard = text(&inner, "/bounce/bounceType") == "Permanent";
            let verdict = |of: &Json| if hard { gone_unless(text(of, "/status")) } else { Verdict::Soft };
            let of = recipients("/bounce/bouncedRecipients");
            of.iter().flat_map(|of| about(text(of, "/emailAddress"), verdict(of))).collect()
        }
        "Complaint" if text(&inner, "/complaint/complaintFeedbackType") != "not-spam" => {
            let of = recipients("/complaint/complainedRecipients");
            of.iter().flat_map(|of| about(text(of, "/emailAddress"), Verdict::Complaint)).collect()
        }
        _ => Vec::new(),
    };
    Ok(Said::Reports(reports))
}

/// <https://postmarkapp.com/developer/webhooks/bounce-webhook>.
pub(super) fn postmark(body: &Json) -> Said {
    let address = text(body, "/Email");
    let reports = match (text(body, "/RecordType"), text(body, "/Type")) {
        ("SpamComplaint", _) | ("Bounce", "SpamComplaint") => about(address, Verdict::Complaint),
        ("Bounce", "HardBounce" | "BadEmailAddress") => about(address, Verdict::Gone),
        ("Bounce", _) => about(address, Verdict::Soft),
        _ => Vec::new(),
    };
    Said::Reports(reports)
}

/// <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhooks>.
pub(super) mod mailgun {
    use super::{Said, about, gone_unless, text};
    use crate::action::email::returned::Verdict;
    use hmac::{Hmac, KeyInit, Mac};
    use jiff::{SignedDuration, Timestamp};
    use serde_json::Value as Json;
    use sha2::Sha256;

    /// Mailgun repeats a call for eight hours.
    const OLDEST: SignedDuration = SignedDuration::from_hours(12);

    pub(in super::super) fn is_signed(body: &Json, key: &str, now: Timestamp) -> bool {
        let part = |name: &str| text(body, &format!("/signature/{name}"));
        let (time, token) = (part("timestamp"), part("token"));
        let sent = time.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
        let lately = sent.is_some_and(|sent| now.duration_since(sent).abs() <= OLDEST);
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return false };
        mac.update(time.as_bytes());
        mac.update(token.as_bytes());
        let given = from_hex(part("signature"));
        lately && !key.is_empty() && given.is_some_and(|given| mac.verify_slice(&given).is_ok())
    }

    fn from_hex(text: &str) -> Option<Vec<u8>> {
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
        pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
    }

    pub(in super::super) fn read(body: &Json) -> Said {
        let of = |path: &str| text(body, &format!("/event-data{path}"));
        let address = of("/recipient");
        let reports = match (of("/event"), of("/severity"), of("/reason")) {
            ("complained", ..) => about(address, Verdict::Complaint),
            ("failed", "permanent", "bounce" | "suppress-bounce") => {
                about(address, gone_unless(of("/delivery-status/enhanced-code")))
            }
            ("failed", ..) => about(address, Verdict::Soft),
            _ => Vec::new(),
        };
        Said::Reports(reports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit, Mac};
    use jiff::Timestamp;
    use serde_json::json;
    use std::fmt::Write;

    fn reports(said: Said) -> Vec<(String, Verdict)> {
        match said {
            Said::Reports(reports) => reports,
            Said::Confirm(url) => panic!("{url}"),
        }
    }

    fn in_sns(message: &Json) -> Json {
        json!({"Type": "Notification", "MessageId": "1", "Message": message.to_string()})
    }

    #[test]
    fn an_address_is_taken_out_of_its_mailbox_and_no_other_text_is_one() {
        for mailbox in ["ada@x.example", " <ada@x.example>", "Ada <ada@x.example>", "\"Ada <3\" <ada@x.example> (home)"]
        {
            assert_eq!(address_in(mailbox), Some("ada@x.example"), "{mailbox}");
        }
        for text in [
            "",
            "ada",
            "@",
            "@x.example",
            "ada@",
            "Ada ada@x.example",
            "a@x.example, b@x.example",
            "Ada <ada@x.example",
        ] {
            assert_eq!(address_in(text), None, "{text}");
        }
    }

    #[test]
    fn amazon_ses() {
        let bounce = |kind: &str, status: &str| {
            json!({"notificationType": "Bounce", "bounce": {"bounceType": kind, "bounceSubType": "General",
                "bouncedRecipients": [{"emailAddress": "ada@x.example", "action": "failed", "status": status}]}})
        };
        let read = |body: &Json| reports(ses(body).unwrap());
        let ada = |verdict| vec![("ada@x.example".to_owned(), verdict)];
        assert_eq!(read(&in_sns(&bounce("Permanent", "5.1.1"))), ada(Verdict::Gone));
        assert_eq!(read(&bounce("Permanent", "")), ada(Verdict::Gone), "without the envelope, without a status");
        assert_eq!(read(&bounce("Permanent", "5.7.1")), ada(Verdict::Soft));
        assert_eq!(read(&bounce("Transient", "5.1.1")), ada(Verdict::Soft));
        let complaint = |kind: &str| {
            json!({"eventType": "Complaint", "complaint": {"complaintFeedbackType": kind,
                "complainedRecipients": [{"emailAddress": "ada@x.example"}]}})
        };
        assert_eq!(read(&in_sns(&complaint("abuse"))), ada(Verdict::Complaint));
        assert_eq!(read(&complaint("not-spam")), vec![]);
        assert_eq!(read(&json!({"eventType": "Delivery"})), vec![]);
        assert!(ses(&json!({"Type": "Notification", "Message": "hello"})).is_err());
    }

    #[test]
    fn a_subscription_is_confirmed_at_amazon_only() {
        let ask = |url: &str| ses(&json!({"Type": "SubscriptionConfirmation", "SubscribeURL": url}));
        let url = "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=x";
        assert_eq!(ask(url), Ok(Said::Confirm(url.to_owned())));
        for wrong in [
            "http://sns.eu-central-1.amazonaws.com/",
            "https://evil.example/",
            "https://sns.x@evil.amazonaws.com.example/",
            "",
        ] {
            assert!(ask(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn postmarks() {
        let read = |record: &str, kind: &str| {
            let body = json!({"RecordType": record, "Type": kind, "Email": "ada@x.example", "Inactive": true});
            reports(postmark(&body)).into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>()
        };
        assert_eq!(read("Bounce", "HardBounce"), [Verdict::Gone]);
        assert_eq!(read("Bounce", "SoftBounce"), [Verdict::Soft]);
        assert_eq!(read("Bounce", "SpamNotification"), [Verdict::Soft]);
        assert_eq!(read("SpamComplaint", "SpamComplaint"), [Verdict::Complaint]);
        assert_eq!(read("Delivery", ""), []);
        assert_eq!(reports(postmark(&json!([1]))), []);
    }

    #[test]
    fn mailguns() {
        let read = |event: &str, severity: &str, reason: &str, status: &str| {
            let body = json!({"event-data": {"event": event, "severity": severity, "reason": reason,
                "recipient": "ada@x.example", "delivery-status": {"code": 550, "enhanced-code": status}}});
            reports(mailgun::read(&body)).into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>()
        };
        assert_eq!(read("failed", "permanent", "bounce", "5.1.1"), [Verdict::Gone]);
        assert_eq!(read("failed", "permanent", "suppress-bounce", ""), [Verdict::Gone]);
        assert_eq!(read("failed", "permanent", "bounce", "5.7.1"), [Verdict::Soft]);
        assert_eq!(read("failed", "permanent", "generic", ""), [Verdict::Soft]);
        assert_eq!(read("failed", "temporary", "bounce", "4.2.2"), [Verdict::Soft]);
        assert_eq!(read("complained", "", "", ""), [Verdict::Complaint]);
        assert_eq!(read("opened", "", "", ""), []);
    }

    #[test]
    fn mailgun_signs_time_and_token() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let signed = |time: &str, token: &str, key: &str| {
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
            mac.update(format!("{time}{token}").as_bytes());
            let mut hex = String::new();
            for byte in mac.finalize().into_bytes() {
                let _ = write!(hex, "{byte:02x}");
            }
            json!({"signature": {"timestamp": time, "token": token, "signature": hex}})
        };
        let time = now.as_second().to_string();
        assert!(mailgun::is_signed(&signed(&time, "t", "key"), "key", now));
        assert!(!mailgun::is_signed(&signed(&time, "t", "other"), "key", now));
        assert!(!mailgun::is_signed(&signed(&time, "t", ""), "", now));
        assert!(!mailgun::is_signed(&json!({}), "key", now));
        let old = (now.as_second() - 13 * 3_600).to_string();
        assert!(!mailgun::is_signed(&signed(&old, "t", "key"), "key", now));
        let mut changed = signed(&time, "t", "key");
        changed["signature"]["token"] = json!("u");
        assert!(!mailgun::is_signed(&changed, "key", now));
    }
}
