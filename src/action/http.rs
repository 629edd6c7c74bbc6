//! What goes out over HTTP, whatever it is: one queue, one sender, as many sessions as all of it together.

use super::chat::ChatSender;
use super::permanent;
use super::webhook::WebhookSender;
use crate::engine::port::{Message, Sender, Sent};
use async_trait::async_trait;

/// Hands each message to the sender of its kind.
pub struct HttpSender {
    webhooks: WebhookSender,
    chats: ChatSender,
}

impl HttpSender {
    #[must_use]
    pub const fn new(webhooks: WebhookSender, chats: ChatSender) -> Self {
        Self { webhooks, chats }
    }
}

#[async_trait]
impl Sender for HttpSender {
    fn sessions(&self) -> usize {
        self.webhooks.sessions().max(self.chats.sessions())
    }

    async fn send(&self, message: Message) -> Sent {
        match message {
            Message::Webhook(_) => self.webhooks.send(message).await,
            Message::Chat(_) => self.chats.send(message).await,
            Message::Email(_) | Message::Task(_) | Message::Write(_) => permanent("this does not go over HTTP"),
        }
    }
}
