//! A mail to who answers for a rule, by the sender that its messages go by. It is about the rule, names no
//! record, and is no delivery: the state doesn't know of it, and it is tried once.

use super::context::Context;
use super::event::Event;
use super::port::{Email, Message, Sender};
use crate::model::{DeliveryId, Outcome};
use crate::rule::CheckedRule;

/// Tells the owner, if the rule names one. What hinders it is announced; false where it may be tried again.
pub(super) async fn tell_owner(context: &Context, rule: &CheckedRule, subject: &str, text: &str) -> bool {
    if !context.gate.is_open(context).await.unwrap_or(false) {
        // The clone of a state tells nobody.
        return false;
    }
    match tell(&*context.senders.email, rule, subject, text).await {
        Ok(()) => true,
        Err(reason) => {
            context.announce(|| Event::OwnerNotTold { rule: rule.id.clone(), reason });
            false
        }
    }
}

/// The same for who has no more than a sender; what hindered it.
pub(super) async fn tell(sender: &dyn Sender, rule: &CheckedRule, subject: &str, text: &str) -> Result<(), String> {
    let Some(owner) = &rule.owner else { return Ok(()) };
    let email = Email {
        tracked_html: None,
        delivery: DeliveryId(*uuid::Uuid::new_v4().as_bytes()),
        to_address: owner.clone(),
        to_name: None,
        subject: format!("[nudged] {subject}"),
        html: format!("<pre style=\"white-space: pre-wrap\">{}</pre>\n", escaped(text)),
        text: text.to_owned(),
        sender: None,
        from: None,
        reply_to: None,
        images: Vec::new(),
        return_tag: None,
        signed: Vec::new(),
        headers: vec![("Auto-Submitted".to_owned(), "auto-generated".to_owned())],
    };
    match sender.send(Message::Email(email)).await.outcome {
        Outcome::Transient { reason, .. } | Outcome::Permanent { reason } | Outcome::Unknown { reason } => Err(reason),
        _ => Ok(()),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
