//! What the state keeps of writes into the CRM: our own changes of watched values, whose turn it was, low pools, and
//! decisions that the CRM is still to learn.

use super::StoreError;
use crate::model::{AddressHash, DeliveryId, RecordId, RuleId, Topic};
use async_trait::async_trait;
use jiff::Timestamp;

#[async_trait]
pub trait Writes: Send + Sync {
    /// Notes, before the source is written to, that these watched values may be about to change by our own hand. Those
    /// that are in doubt since an earlier try stay as they were first noted. How many are new.
    async fn intend(&self, intended: &[OwnWrite]) -> Result<u64, StoreError>;

    /// What came of them: the values before and after. Where this try changed nothing, an earlier one had written; where
    /// that changed nothing either, it is forgotten.
    async fn confirm_writes(&self, delivery: DeliveryId, written: &[OwnWrite]) -> Result<(), StoreError>;

    /// Nothing was written, for certain.
    async fn withdraw(&self, delivery: DeliveryId) -> Result<(), StoreError>;

    /// Our own writes of each of these records (by [`crate::model::InstanceSecret::record_hash`]) that a rule watches, oldest
    /// first, with those intended after `since` and never confirmed.
    async fn own_writes(
        &self,
        rule: &RuleId,
        records: &[[u8; 16]],
        since: Timestamp,
    ) -> Result<Vec<Vec<OwnWrite>>, StoreError>;

    /// Whose turn it is: the same colleague for the same delivery, whoever asks and how often.
    async fn assign(&self, turn: &Turn) -> Result<Option<String>, StoreError>;

    /// Notes that a pool is low (`true`: nobody had noted it), or that it isn't any more.
    async fn note_pool(&self, pool: &str, low: bool, now: Timestamp) -> Result<bool, StoreError>;

    /// Takes decisions that the CRM is to learn and that are due, oldest first: no other node gets them for the length of
    /// a lease, nor what the same person decides meanwhile.
    async fn take_owed(&self, now: Timestamp, limit: usize) -> Result<Vec<Owed>, StoreError>;

    /// The records that mails which were sent tell of, by the place of each; none: nothing is known of it any more.
    async fn mails(&self, deliveries: &[DeliveryId]) -> Result<Vec<Vec<RecordId>>, StoreError>;

    /// Done with. Whose person has decided anew meanwhile is due again: what was written may lie over it.
    async fn paid(&self, owed: &[Owed], now: Timestamp) -> Result<(), StoreError>;

    /// Tried again at `due_at`.
    async fn owe_later(&self, owed: &[Owed], now: Timestamp, due_at: Timestamp) -> Result<(), StoreError>;
}

/// A value that a rule watches, and that our own write changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnWrite {
    /// 0 before it is kept.
    pub id: i64,
    pub delivery: DeliveryId,
    pub rule: RuleId,
    pub record: [u8; 16],
    /// HMACs of the values, as in [`super::Episode::value`].
    pub before: [u8; 16],
    /// `None`: not known to have been written.
    pub after: Option<[u8; 16]>,
    /// By the source's clock: before it was written,
    pub at: Timestamp,
    /// and after.
    pub settled_at: Option<Timestamp>,
}

/// The question whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub delivery: DeliveryId,
    pub enrollment: i64,
    pub rotation: String,
    /// In the order of their turns.
    pub members: Vec<String>,
    /// Whoever has the fewest running enrollments goes first.
    pub least_loaded: bool,
}

/// A decision about a topic that the CRM is to learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    pub hash: AddressHash,
    /// `None`: all of them.
    pub topic: Option<Topic>,
    /// The mail whose link was used: it leads to the person's row. [`DeliveryId::UNNAMED`]: none is known.
    pub delivery: DeliveryId,
    pub allowed: bool,
    /// When it was said.
    pub since: Timestamp,
    /// Tells it from what the same person decides later.
    pub version: Timestamp,
    pub tries: u32,
}
