//! What is kept of a message that left, where `retention.messages` says so: what its reader saw, and no more.

use crate::engine::context::Context;
use crate::engine::port::{Content, Email, Keeping, Message, Sender};
use crate::model::{DeliveryId, InstanceSecret, Outcome};
use serde_json::json;
use std::sync::Arc;

/// What is kept of a message with its own delivery, and with those of other matches that it tells of.
#[derive(Debug)]
pub struct Kept {
    pub own: Arc<Keeping>,
    pub of_others: Arc<Keeping>,
}

/// Before it is sent: what would be kept. `None`: nothing.
pub fn before(context: &Context, sender: &dyn Sender, message: &Message) -> Option<Content> {
    if !context.settings.retention.keeps_messages() {
        return None;
    }
    content(&sender.departing(message)?, context.store.secret())
}

/// Afterwards: what is kept of it.
pub fn after(content: Option<Content>, delivery: DeliveryId, outcome: &Outcome) -> Option<Kept> {
    // In doubt it may have arrived.
    let content = content.filter(|_| matches!(outcome, Outcome::Sent { .. } | Outcome::Unknown { .. }))?;
    let of_others = Arc::new(Keeping { delivery, content: None });
    Some(Kept { own: Arc::new(Keeping { delivery, content: Some(content) }), of_others })
}

/// `None`: it is no message, and what it made is in the CRM.
fn content(message: &Message, secret: &InstanceSecret) -> Option<Content> {
    let (to, body) = match message {
        Message::Email(email) => (&email.to_address, mail(email, secret)),
        Message::Sms(sms) => (&sms.to, json!({"text": sms.text})),
        Message::Chat(chat) => (&chat.to, json!({"text": chat.text})),
        Message::Webhook(call) => (&call.destination, call.body.clone()),
        Message::Task(_) | Message::Write(_) => return None,
    };
    Some(Content { to: to.clone(), body })
}

/// Its HTML as it is without the links that note clicks: those name the page that a reader was led to.
fn mail(email: &Email, secret: &InstanceSecret) -> serde_json::Value {
    json!({
        "from": email.from,
        "subject": email.subject,
        "text": secret.without_tokens(&email.text),
        "html": secret.without_tokens(&email.html),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::port::{SmsMessage, TaskDraft, WebhookCall};
    use crate::model::{AddressHash, Link, LinkPurpose, RecordId};
    use std::collections::BTreeMap;

    const SECRET: InstanceSecret = InstanceSecret([7; 32]);
    const ID: DeliveryId = DeliveryId([1; 16]);

    fn email() -> Email {
        let token = SECRET.sign_link(&Link {
            purpose: LinkPurpose::Unsubscribe,
            address: AddressHash([2; 16]),
            delivery: Some(ID),
            topic: None,
            issued: None,
            expires: None,
        });
        Email {
            delivery: ID,
            to_address: "ada@example.org".into(),
            to_name: Some("Ada".into()),
            subject: "We miss you".into(),
            html: format!("<a href=\"https://mail.example/u/{token}\">no more</a>"),
            tracked_html: Some("<a href=\"https://mail.example/t/x\">".into()),
            text: format!("No more: https://mail.example/u/{token}"),
            sender: None,
            from: Some("hi@acme.example".into()),
            reply_to: None,
            images: Vec::new(),
            return_tag: Some("tag".into()),
            signed: Vec::new(),
            headers: vec![("List-Unsubscribe".into(), format!("<https://mail.example/u/{token}>"))],
        }
    }

    #[test]
    fn a_mail_is_kept_as_it_was_read_without_headers_and_without_links_that_work() {
        let kept = content(&Message::Email(email()), &SECRET).unwrap();
        assert_eq!(kept.to, "ada@example.org");
        let expected = json!({
            "from": "hi@acme.example",
            "subject": "We miss you",
            "text": "No more: https://mail.example/u/withheld",
            "html": "<a href=\"https://mail.example/u/withheld\">no more</a>",
        });
        assert_eq!(kept.body, expected);
    }

    #[test]
    fn what_else_leaves_is_kept_and_what_is_written_into_the_crm_is_not() {
        let call = WebhookCall {
            delivery: ID,
            attempt: 1,
            destination: "erp".into(),
            body: json!({"type": "a.b"}),
            keep_answer: false,
        };
        let kept = content(&Message::Webhook(call), &SECRET).unwrap();
        assert_eq!((kept.to.as_str(), kept.body), ("erp", json!({"type": "a.b"})));
        let sms = SmsMessage { delivery: ID, to: "+431".into(), via: None, text: "Hi".into() };
        assert_eq!(content(&Message::Sms(sms), &SECRET).unwrap().body, json!({"text": "Hi"}));
        let task = TaskDraft {
            delivery: ID,
            tenant: "".into(),
            record: RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() },
            fields: BTreeMap::new(),
            title: "Call".into(),
            body: None,
            due: None,
            assignee_key: None,
            assignee_email: None,
        };
        assert_eq!(content(&Message::Task(task), &SECRET), None);
    }

    #[test]
    fn only_what_left_or_may_have_left_is_kept() {
        let content = || Some(Content { to: "erp".into(), body: json!({}) });
        let kept = |outcome: Outcome| after(content(), ID, &outcome);
        let Kept { own, of_others } = kept(Outcome::Sent { reply: String::new() }).unwrap();
        assert_eq!((&own.content, &of_others.content), (&content(), &None));
        assert_eq!((own.delivery, of_others.delivery), (ID, ID));
        assert!(kept(Outcome::Unknown { reason: String::new() }).is_some());
        assert!(kept(Outcome::Permanent { reason: String::new() }).is_none());
        assert!(kept(Outcome::Transient { reason: String::new(), retry_after: None }).is_none());
        assert!(after(None, ID, &Outcome::Sent { reply: String::new() }).is_none());
    }
}
