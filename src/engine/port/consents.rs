use super::StoreError;
use crate::model::{AddressHash, Preference};
use async_trait::async_trait;
use jiff::Timestamp;

/// What people said about topics, by a link in a mail.
#[async_trait]
pub trait Consents: Send + Sync {
    /// All that these addresses said.
    async fn preferences(&self, hashes: &[AddressHash]) -> Result<Vec<Preference>, StoreError>;

    /// Keeps what was said, one entry for each address and topic, in one transaction; the newest holds, and of two of
    /// the same instant the no. How many of them changed what holds.
    async fn prefer(&self, entries: &[Preference]) -> Result<u64, StoreError>;

    /// The second half of double opt-in. False, and nothing changes: since the question was `issued`, the address has
    /// said something about this topic or about all, so the link was used before or is outdated.
    async fn confirm(&self, entry: &Preference, issued: Timestamp) -> Result<bool, StoreError>;

    /// Newest first.
    async fn newest_preferences(&self, limit: usize) -> Result<Vec<Preference>, StoreError>;
}
