use super::StoreError;
use crate::model::DeliveryId;
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::HashMap;

/// How readers' mail was read, as lines of the timelines of their enrollments: erased, handed out and forgotten with them.
#[async_trait]
pub trait Reactions: Send + Sync {
    /// When these mails left, by the number of their enrollment. Absent: nobody knows that they did, or any more.
    async fn sent_mails(&self, mails: &[(i64, DeliveryId)]) -> Result<HashMap<DeliveryId, Timestamp>, StoreError>;

    /// Notes each reaction to a link of a mail once, unless the person was erased. Returns what is new.
    async fn note_reactions(&self, reactions: &[Reaction]) -> Result<Vec<Reacted>, StoreError>;
}

/// What was done with a link of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    pub enrollment: i64,
    pub delivery: DeliveryId,
    /// Which link; 0 is the picture that tells of an opening.
    pub number: u16,
    pub at: Timestamp,
    pub what: Reacted,
    /// The page it leads to, and why it was taken for a machine's doing.
    pub detail: String,
}

/// Whether somebody read, or something did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reacted {
    Opened,
    Clicked,
    OpenedByMachine,
    ClickedByMachine,
}

impl Reacted {
    pub const ALL: [Self; 4] = [Self::Opened, Self::Clicked, Self::OpenedByMachine, Self::ClickedByMachine];

    #[must_use]
    pub const fn of(clicked: bool, by_machine: bool) -> Self {
        match (clicked, by_machine) {
            (false, false) => Self::Opened,
            (true, false) => Self::Clicked,
            (false, true) => Self::OpenedByMachine,
            (true, true) => Self::ClickedByMachine,
        }
    }

    /// The name in the timeline.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Clicked => "clicked",
            Self::OpenedByMachine => "opened_by_machine",
            Self::ClickedByMachine => "clicked_by_machine",
        }
    }
}
