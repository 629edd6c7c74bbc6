use super::StoreError;
use crate::model::{DeliveryId, RecordId};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json};

/// Answers to surveys. They are kept with the enrollment whose mail asked, so that they are handed out and erased with it,
/// until the source has them.
#[async_trait]
pub trait Answers: Send + Sync {
    /// What is known of a question. `None`: it was never asked, or has been forgotten since.
    async fn asked(&self, enrollment: i64, delivery: DeliveryId) -> Result<Option<Asked>, StoreError>;

    /// Keeps an answer for good, and that the source has to hear of it.
    async fn answer(&self, answer: &NewAnswer) -> Result<Answered, StoreError>;

    /// Answers that the source should be told of by now, oldest first.
    async fn take_answers(&self, now: Timestamp, limit: usize) -> Result<Vec<DueAnswer>, StoreError>;

    /// The source has these; one that was changed meanwhile stays due.
    async fn answers_told(&self, told: &[AnswerId], now: Timestamp) -> Result<(), StoreError>;

    /// The source couldn't be told of these: again from then on.
    async fn put_off_answers(&self, left: &[AnswerId], now: Timestamp, until: Timestamp) -> Result<(), StoreError>;
}

/// A question that was asked by a mail.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// A survey of the catalog.
    pub survey: String,
    /// Of the record, for the row of the answer.
    pub fields: Map<String, Json>,
    pub given: Option<Given>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub score: i64,
    pub comment: Option<String>,
    /// When it was given first.
    pub at: Timestamp,
}

/// What somebody answers.
#[derive(Debug, Clone)]
pub struct NewAnswer {
    pub enrollment: i64,
    pub delivery: DeliveryId,
    pub score: i64,
    pub comment: Option<String>,
    pub at: Timestamp,
    /// How long after the first answer another one counts.
    pub change_within: SignedDuration,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    New,
    Changed,
    /// It had been given already, just so.
    Same,
    /// Another one was given too long ago.
    TooLate,
    /// Nobody knows of the question any more.
    Gone,
}

/// Which answer: to the question of a mail, and as it was last given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerId {
    pub delivery: DeliveryId,
    pub enrollment: i64,
    pub version: i64,
}

/// An answer on its way to the source.
#[derive(Debug, Clone, PartialEq)]
pub struct DueAnswer {
    pub id: AnswerId,
    /// `None`: the person was erased meanwhile.
    pub of: Option<(RecordId, Asked)>,
}
