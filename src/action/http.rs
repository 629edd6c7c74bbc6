//! What goes out over HTTP, whatever it is: one queue, one sender, as many sessions as all of it together.

use super::chat::ChatSender;
use super::permanent;
use super::sms::SmsSender;
use super::webhook::WebhookSender;
use crate::engine::port::{Message, Sender, Sent};
use async_trait::async_trait;

/// Hands each message to the sender of its kind.
pub struct HttpSender {
    webhooks: WebhookSender,
    chats: ChatSender,
    sms: Option<SmsSender>,
}

impl HttpSender {
    #[must_use]
    pub const fn new(webhooks: WebhookSender, chats: ChatSender) -> Self {
        Self { webhooks, chats, sms: None }
    }

    /// With text messages as well.
    #[must_use]
    pub fn with_sms(self, sms: SmsSender) -> Self {
        Self { sms: Some(sms), ..self }
    }
}

#[async_trait]
impl Sender for HttpSender {
    fn sessions(&self) -> usize {
        let sms = self.sms.as_ref().map_or(0, Sender::sessions);
        self.webhooks.sessions().max(self.chats.sessions()).max(sms)
    }

    fn departing(&self, message: &Message) -> Option<Message> {
        match (message, &self.sms) {
            (Message::Sms(_), Some(sms)) => sms.departing(message),
            _ => Some(message.clone()),
        }
    }

    async fn send(&self, message: Message) -> Sent {
        match message {
            Message::Webhook(_) => self.webhooks.send(message).await,
            Message::Chat(_) => self.chats.send(message).await,
            Message::Sms(_) => match &self.sms {
                Some(sms) => sms.send(message).await,
                None => permanent("no gateway for text messages in the configuration"),
            },
            Message::Email(_) | Message::Task(_) | Message::Write(_) => permanent("this does not go over HTTP"),
        }
    }
}
