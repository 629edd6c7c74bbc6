//! What the engine needs of the world, as traits. The adapters implement them; tests may too.

mod answers;
mod consents;
mod deliveries;
mod gathering;
mod inbox;
mod outbox;
mod personal;
mod reactions;
mod register;
mod safety;
mod sender;
mod source;
mod sweeps;
mod view;
mod writes;

pub use answers::{AnswerId, Answered, Answers, Asked, DueAnswer, Given, NewAnswer};
pub use consents::Consents;
pub use deliveries::{Content, Deliveries, DeliveryStory, Keeping, KeptMessage};
pub use gathering::{Gathered, Gathering};
pub use inbox::{Inbound, Inbox};
pub use outbox::{
    Attempt, BudgetDay, Claimed, Coming, Completion, ContactStanding, Contender, Enrolling, Mark, Note, Noted, Outbox,
    OutboxToken, Owner, Place, Reader, Refusal, Rescued, RuleVersion, Settled, Settlement, Spent, Then, Waiting,
};
pub use personal::{Aged, BuiltInTask, Dossier, Enrolled, Forgotten, Personal, Stay};
pub use reactions::{Reacted, Reaction, Reactions};
pub use register::{Adopted, Adoption, Register, RuleState, RuleStatus, StillHeld, StoredGeneration};
pub use safety::{
    BLOCK_LIFE, Bearing, LedgerSize, Objection, Room, Safety, Testimony, Whereabouts, Witness, WitnessError,
};
pub use sender::{ChatMessage, Email, Message, Sender, Sent, SmsMessage, TaskDraft, WebhookCall, Write, WriteDraft};
pub use source::{Deed, Done, Source, SourceError, live_schema};
pub use sweeps::{
    Candidate, Counted, Episode, EpisodeChange, EpisodePage, Found, Lease, Ledger, Miss, MissKind, NewMatch,
    OpenEpisode, Progress, Rematch, Running, Standing, SweepCommit, SweepCount, SweepId, Verdict,
};
pub use view::{
    AttemptView, DeliveryFilter, DeliveryView, EnrollmentFilter, EnrollmentView, Happening, HeldMatch, MissView,
    Overview, SweepView, View,
};
pub use writes::{Owed, OwnWrite, Turn, Writes};

/// Everything the engine keeps. One conformance suite holds for every implementation.
pub trait Store:
    Register + Ledger + Outbox + Consents + Reactions + Answers + Inbox + View + Deliveries + Personal + Writes + Safety
{
}
impl<
    T: Register
        + Ledger
        + Outbox
        + Consents
        + Reactions
        + Answers
        + Inbox
        + View
        + Deliveries
        + Personal
        + Writes
        + Safety,
> Store for T
{
}

/// Why the state database could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another node has taken over: the caller must drop what it was doing.
    #[error("the lease of {what} was lost to another node")]
    LeaseLost { what: String },
    /// Another node has entered matches of the rule since they were counted: count again.
    #[error("another node has entered matches of the rule {rule} meanwhile")]
    Overtaken { rule: String },
    /// Nothing has been kept there yet.
    #[error("there is no state at {place}; has `nudged run` ever run with this configuration?")]
    Absent { place: String },
    /// The database can't be reached or is busy beyond its timeout; trying again may help.
    #[error("the state database did not answer: {0}")]
    Unavailable(String),
    /// Two states that write into one journal would undo each other's.
    #[error(
        "the suppression journal {place} is that of another state: give each state its own by state.journal, or, if that \
         state is gone, move the file away"
    )]
    ForeignJournal { place: String },
    /// A newer nudged has been here. Running on it could lose what the newer version added.
    #[error(
        "the state has schema {found}, this version of nudged knows up to {known}: run the newer version, or restore \
         the copy it made before upgrading"
    )]
    NewerSchema { found: i64, known: i64 },
    /// Trying again won't help.
    #[error("the state database failed: {0}")]
    Broken(String),
}
