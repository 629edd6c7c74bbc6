//! Messages to colleagues by the incoming webhooks of their chat: Slack, Teams, Discord, Mattermost.
//!
//! The text is plain: what a record holds never becomes a mention, a link with another text, or markup. Addresses
//! in it are links all the same. Timeouts, private addresses, redirects and `Retry-After` are those of webhooks.

mod format;
mod options;

pub use format::body;
pub use options::{ChatFormat, ChatOptions};

use super::webhook::destination::Destination;
use super::{SetupError, permanent};
use crate::engine::port::{Message, Sender, Sent};
use crate::model::Clock;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Writes to the chats of the configuration.
pub struct ChatSender {
    chats: BTreeMap<String, (ChatFormat, Destination)>,
    clock: Arc<dyn Clock>,
}

impl ChatSender {
    pub fn new(options: &BTreeMap<String, ChatOptions>, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let chat = |(name, options): (&String, &ChatOptions)| {
            let destination = Destination::new(&format!("chats.{name}"), &options.destination())?;
            Ok((name.clone(), (options.format, destination)))
        };
        Ok(Self { chats: options.iter().map(chat).collect::<Result<_, SetupError>>()?, clock })
    }
}

#[async_trait]
impl Sender for ChatSender {
    fn sessions(&self) -> usize {
        (self.chats.len() * options::SESSIONS).clamp(1, 16)
    }

    async fn send(&self, message: Message) -> Sent {
        let Message::Chat(message) = message else { return permanent("the chat sender takes chat messages only") };
        if message.text.trim().is_empty() {
            return permanent("there is no text: chats refuse empty messages");
        }
        match self.chats.get(&message.to) {
            Some((format, destination)) => destination.post_json(&body(*format, &message.text), self.clock.now()).await,
            None => permanent(format!("no chat `{}` in the configuration", message.to)),
        }
    }
}
