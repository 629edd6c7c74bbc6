//! Webhooks: one signed POST to a destination that the configuration names.
//!
//! Rules hold no URLs. A destination inside our own network, or the address where clouds hand out
//! credentials, is refused unless its configuration says otherwise, whether the URL spells it as a number
//! or a name leads there. Redirects are not followed: they would lead around both.

mod answer;
pub(super) mod destination;
mod guard;
mod options;
mod signature;

pub use guard::is_public;
pub use options::DestinationOptions;
pub use signature::{key as signing_key, sign};

use super::{SetupError, permanent};
use crate::engine::port::{Message, Sender, Sent};
use crate::model::Clock;
use async_trait::async_trait;
use destination::Destination;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sends webhooks to the destinations of the configuration.
pub struct WebhookSender {
    destinations: BTreeMap<String, Destination>,
    sessions: usize,
    clock: Arc<dyn Clock>,
}

impl WebhookSender {
    pub fn new(options: &BTreeMap<String, DestinationOptions>, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let destinations = options
            .iter()
            .map(|(name, options)| Ok((name.clone(), Destination::new(&format!("webhooks.{name}"), options)?)));
        let destinations = destinations.collect::<Result<BTreeMap<_, _>, SetupError>>()?;
        let sessions = options.values().map(|options| options.sessions).sum::<usize>().clamp(1, 256);
        Ok(Self { destinations, sessions, clock })
    }
}

#[async_trait]
impl Sender for WebhookSender {
    fn sessions(&self) -> usize {
        self.sessions
    }

    async fn send(&self, message: Message) -> Sent {
        let Message::Webhook(call) = message else { return permanent("the webhook sender takes webhooks only") };
        match self.destinations.get(&call.destination) {
            Some(destination) => destination.call(&call, self.clock.now()).await,
            None => permanent(format!("no destination `{}` in the configuration", call.destination)),
        }
    }
}
