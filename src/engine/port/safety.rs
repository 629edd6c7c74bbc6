use super::{Owner, StoreError};
use crate::model::RuleId;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

/// How long a reserved block of sends is good for. What left after the witness last wrote, left within it.
pub const BLOCK_LIFE: SignedDuration = SignedDuration::from_secs(1);

/// What the state knows of its sends and of where it is at work, against restores and copies.
#[async_trait]
pub trait Safety: Send + Sync {
    /// How the state stands, seen from a place.
    async fn bearing(&self, here: &Whereabouts) -> Result<Bearing, StoreError>;

    /// The state is at work here, by right. A state with one node is at work nowhere else.
    async fn admit(&self, here: &Whereabouts) -> Result<(), StoreError>;

    /// Nothing may be sent from here, until an operator confirms; after a restore, from nowhere.
    async fn object(&self, here: &Whereabouts, objection: &Objection, now: Timestamp) -> Result<(), StoreError>;

    /// What is objected to, with the place that found it.
    async fn objections(&self) -> Result<Vec<(Whereabouts, Objection)>, StoreError>;

    /// An operator's word on all that is objected to. What was planned up to `doubtful` is given up.
    async fn confirm_objections(&self, doubtful: Option<Timestamp>) -> Result<(), StoreError>;

    /// Reserves so many sends; the number of the last one. `None`: sending is halted.
    async fn reserve_sends(&self, count: u64) -> Result<Option<u64>, StoreError>;

    /// Tells other nodes that this one is alive; how many are, this one included.
    async fn beat(&self, here: &Whereabouts) -> Result<u64, StoreError>;

    /// Ends the leases of owners that are known to be dead, so that the next rescue takes back what they held.
    async fn bury(&self, dead: &[Owner]) -> Result<(), StoreError>;

    /// Looks at up to `limit` matches, in the order of their ids from behind `after` on, and drops those of these rules
    /// that are older than `before` and than the rule's watermark by its reach. How many, and where to go on; `None`: that
    /// was all.
    async fn prune_ledger(
        &self,
        rules: &[(RuleId, SignedDuration)],
        before: Timestamp,
        after: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<(u64, Option<[u8; 16]>), StoreError>;

    /// Brings the state in line with the journal beside it, where it keeps one: how many of its entries had been forgotten.
    async fn recall(&self) -> Result<u64, StoreError>;

    /// What the ledger takes up.
    async fn ledger_size(&self) -> Result<LedgerSize, StoreError>;
}

/// Names the place that a state is at work at: a machine, and the very file beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Whereabouts(pub String);

/// How the state stands, seen from one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four answers to four questions, in any combination")]
pub struct Bearing {
    /// Sends reserved so far.
    pub reserved: u64,
    /// Somebody found that the state was restored.
    pub halted: bool,
    /// It is at work here by right.
    pub admitted: bool,
    /// An operator has just confirmed so.
    pub confirmed: bool,
    /// It is, or was, at work somewhere else.
    pub elsewhere: bool,
    /// When another node was last heard of, where there can be others.
    pub others_seen: Option<Timestamp>,
}

/// What speaks against sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// The witness knows of more sends than the state: it was restored from a copy.
    Restored {
        /// The last send that the witness knows of.
        known: u64,
        /// How many messages left at most, after the copy was made.
        lost: u64,
        /// When the last of them left, at the latest.
        until: Timestamp,
    },
    /// The witness is that of another state, which lay here before.
    Replaced,
    /// The state was at work elsewhere: it was moved or copied, or its witness was lost.
    Moved,
}

impl Objection {
    /// The name in the state.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Restored { .. } => "restored",
            Self::Replaced => "replaced",
            Self::Moved => "moved",
        }
    }

    /// What was found, and what to do.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Self::Restored { lost, until, .. } => format!(
                "the state was restored from an older copy: at most {lost} messages left after that copy was made, the \
                 last before {until}, and the state doesn't know which. `nudged confirm --restored --skip` gives up what \
                 was planned until then, `nudged confirm --restored --send` sends it, perhaps once more"
            ),
            Self::Replaced => "another state lay here before: this one is new or comes from elsewhere, and doesn't know \
                 what that one sent, nor who unsubscribed. `nudged confirm --moved` if that is meant; `nudged confirm \
                 --restored --skip` (or --send) if it is an older copy"
                .to_owned(),
            Self::Moved => "this state was at work at another place (another machine, another disk, or the original of \
                 a copied directory), or its witness was lost. `nudged confirm --moved` if nothing sends there any more; \
                 `nudged confirm --restored --skip` (or --send) if this is an older copy; and nothing if it is a clone: \
                 it stays silent"
                .to_owned(),
        }
    }
}

/// What the ledger of matches takes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerSize {
    pub rows: u64,
    pub bytes: u64,
}

/// Remembers, apart from the state, how many sends were reserved: what a restored state has forgotten.
#[async_trait]
pub trait Witness: Send + Sync {
    /// Where we are.
    fn here(&self) -> &Whereabouts;

    /// What it last wrote down; `None`: nothing, or nothing that can be read.
    async fn testimony(&self) -> Result<Option<Testimony>, WitnessError>;

    /// Writes it down for good: it is on the disk when this returns.
    async fn testify(&self, testimony: &Testimony) -> Result<(), WitnessError>;
}

/// What a witness says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Testimony {
    /// Which state it is about: a hash of its secret.
    pub state: String,
    /// The last send that was reserved.
    pub sequence: u64,
    pub at: Timestamp,
}

/// The witness can't be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the witness {place} failed: {reason}")]
pub struct WitnessError {
    pub place: String,
    pub reason: String,
}

impl From<WitnessError> for StoreError {
    /// Nothing is sent without it, as without the state.
    fn from(error: WitnessError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// How much room is left on the disk that the state is on.
pub trait Room: Send + Sync {
    /// In bytes; `None` where nobody can tell.
    fn free(&self) -> Option<u64>;

    /// With less than this, sweeps stop.
    fn least(&self) -> u64;
}
