use super::{AttemptView, Claimed, DeliveryView, StoreError};
use crate::model::DeliveryId;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value as Json;

/// One delivery, from its first try to what was kept of it.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Deliveries whose ids lie between these two, each with its enrollment; at most `limit`. The log isn't indexed by
    /// them, so this reads all of it, beside the writer.
    async fn deliveries_between(
        &self,
        first: DeliveryId,
        last: DeliveryId,
        limit: usize,
    ) -> Result<Vec<(i64, DeliveryId)>, StoreError>;

    /// Where an enrollment under way stands, as a row that could be claimed; `None`: it has ended, or the person was
    /// erased.
    async fn place(&self, enrollment: i64) -> Result<Option<Claimed>, StoreError>;

    /// All that is known of a delivery of this enrollment; `None`: nothing.
    async fn delivery(&self, enrollment: i64, id: DeliveryId) -> Result<Option<DeliveryStory>, StoreError>;
}

/// What is known of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryStory {
    /// Where it stands.
    pub view: DeliveryView,
    /// Its attempts, oldest first.
    pub tries: Vec<AttemptView>,
    /// What was kept of its message, oldest first: more than once, where it left more than once.
    pub kept: Vec<KeptMessage>,
    /// Its enrollment as a row that could be claimed, to render the message from; `None`: the person was erased.
    pub row: Option<Claimed>,
}

/// A message as it left, without the tokens of its signed links.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptMessage {
    pub delivery: DeliveryId,
    pub kind: String,
    pub sent_at: Timestamp,
    pub content: Content,
}

/// What is kept of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// An address, a phone number, or a name of the configuration.
    pub to: String,
    /// Of a webhook its body, of all else its parts by name.
    pub body: Json,
}

/// What a completion adds to the messages that are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Keeping {
    /// The message, which is another delivery's where several matches became one.
    pub delivery: DeliveryId,
    /// `None`: the completion of that other delivery brings it.
    pub content: Option<Content>,
}
