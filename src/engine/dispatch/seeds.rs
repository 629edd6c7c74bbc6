//! Copies for our own eyes: the first mail of each version of a template also goes to the seed addresses.
//!
//! They leave once the first real one has, beside the outbox: nothing waits for them, and one that fails is not
//! tried again. They say what a real reader was told, name and all, but nobody can act for that reader by their links.

use crate::engine::context::Context;
use crate::engine::port::{Email, Message, Sender, SmsMessage};
use crate::model::{DeliveryId, RuleId, StepId, TemplateName};
use crate::rule::generation::Generation;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

/// Which version of a template this is, by the text of its files and of all layouts and partials.
pub fn version(generation: &Generation, template: &TemplateName) -> Arc<str> {
    let stem = format!("templates/{template}.");
    let mut digest = Sha256::new();
    for file in &generation.tree.files {
        let around = ["templates/layouts/", "templates/partials/"].iter().any(|folder| file.path.starts_with(folder));
        if around || file.path.starts_with(&stem) {
            digest.update(file.path.as_bytes());
            digest.update([0]);
            digest.update(file.text.as_bytes());
        }
    }
    hexadecimal(&digest.finalize())
}

/// The same of a text message, which stands in the rule itself.
pub fn version_of_text(rule: &RuleId, step: &StepId, text: &str) -> (TemplateName, Arc<str>) {
    (TemplateName::new(format!("{rule}/{step}")), hexadecimal(&Sha256::digest(text.as_bytes())))
}

fn hexadecimal(digest: &[u8]) -> Arc<str> {
    let mut hex = String::with_capacity(64);
    for byte in digest {
        let _ = write!(hex, "{byte:02x}");
    }
    hex.into()
}

/// Versions that were worked out for one batch.
pub type Versions = HashMap<TemplateName, Arc<str>>;

/// Sends the copies, if this message was the first of its version.
pub async fn copy(context: &Context, sender: &dyn Sender, message: &Message, template: &(TemplateName, Arc<str>)) {
    let now = context.clock.now();
    // A state that can't tell has no first copy; the next mail asks again.
    if !context.store.is_first_copy(&template.0, &template.1, now).await.unwrap_or(false) {
        return;
    }
    let sending = &context.settings.sending;
    match message {
        Message::Email(email) => {
            for (number, seed) in sending.seeds.iter().enumerate() {
                sender.send(Message::Email(of_mail(email, number, seed))).await;
            }
        }
        Message::Sms(sms) => {
            for (number, seed) in sending.texts.seeds.iter().enumerate() {
                let (delivery, text) = (of(sms.delivery, number), format!("[seed] {}", sms.text));
                let copy = SmsMessage { delivery, to: seed.clone(), text, via: sms.via.clone() };
                sender.send(Message::Sms(copy)).await;
            }
        }
        Message::Webhook(_) | Message::Chat(_) | Message::Task(_) | Message::Write(_) => {}
    }
}

fn of_mail(email: &Email, number: usize, seed: &str) -> Email {
    let copy = email.clone().copied_to(seed);
    Email { delivery: of(email.delivery, number), subject: format!("[seed] {}", copy.subject), ..copy }
}

/// An id of its own, so that no mailbox takes the copy for the original.
fn of(delivery: DeliveryId, number: usize) -> DeliveryId {
    let digest =
        Sha256::new().chain_update(b"seed").chain_update(delivery.0).chain_update(number.to_be_bytes()).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    DeliveryId(id)
}
