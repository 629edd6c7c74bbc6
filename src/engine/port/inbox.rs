use super::StoreError;
use async_trait::async_trait;
use jiff::Timestamp;

/// What other systems told us, kept before they are told that it was.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Keeps an event for good. False: one of this name and id is there already.
    async fn accept(&self, event: &Inbound) -> Result<bool, StoreError>;

    /// Events of a name that came in after one instant and up to another, by their number; `beyond` is the last
    /// number of the page before.
    async fn received(
        &self,
        name: &str,
        after: Timestamp,
        until: Timestamp,
        beyond: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Inbound)>, StoreError>;
}

/// A signed event, as it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbound {
    /// Which endpoint it came to.
    pub name: String,
    /// The sender's id of it: the same event sent twice has the same.
    pub id: String,
    pub received_at: Timestamp,
    pub body: serde_json::Value,
}
