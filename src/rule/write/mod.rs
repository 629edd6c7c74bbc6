//! Steps that write into the CRM: what they say once they are checked, and the SQL they become.
//!
//! Written is only what the catalog allows by name, and every write sets to a value, so that a repeat changes nothing.

mod claim;
mod list;
mod probe;
mod staff;
mod standing;
mod update;

pub use super::sql::{Addressee, Addressees};
pub use claim::{Claiming, Others, claim, claimed_code, count_free};
pub use probe::{any_key, consent_probes, explained, probes};
pub use staff::{members, read_member};
pub use standing::{Standing, read_standing, standing};
pub use update::{Decided, NewCell, UnfitValue, Update as Updating, consent, locks, update};

use super::condition::Condition;
use crate::model::{EntityName, FieldName, Key, Value};
use serde::{Deserialize, Serialize};

/// The recipient role that an `assign` step gives a meaning, and the name under which its answer is kept.
pub const ASSIGNED: &str = "assigned";

/// Sets fields of the record, adds tags and takes them away.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Update {
    pub set: Vec<(FieldName, NewValue)>,
    /// Templates.
    pub add_tags: Vec<String>,
    /// Templates.
    pub remove_tags: Vec<String>,
}

/// What a field is set to.
#[derive(Debug, Clone, PartialEq)]
pub enum NewValue {
    Null,
    /// The instant at which the step was first due to run.
    Now,
    /// Of the field's type; a word of the catalog where it has `means`.
    Constant(Value),
    /// Read by the field's type once it is rendered.
    Template(String),
}

/// Chooses a colleague.
#[derive(Debug, Clone, PartialEq)]
pub struct Assign {
    pub among: Among,
    pub by: Balance,
    /// Gets the colleague's key, or the address.
    pub set: Option<FieldName>,
    /// Steps of the same rotation take turns together; `None`: this step alone.
    pub rotation: Option<String>,
}

/// Whom an `assign` step chooses from.
#[derive(Debug, Clone, PartialEq)]
pub enum Among {
    Addresses(Vec<String>),
    Records { entity: EntityName, only: Vec<Condition> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Balance {
    RoundRobin,
    LeastLoaded,
}

/// Takes a code from a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub pool: String,
    pub save: String,
    pub when_empty: WhenEmpty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhenEmpty {
    Hold,
    Skip,
}

/// A colleague, as later steps see them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    pub key: Option<Key>,
    pub email: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
}

impl Member {
    /// What tells one colleague from another.
    #[must_use]
    pub fn id(&self) -> &str {
        self.key.as_ref().map(Key::as_str).or(self.email.as_deref()).unwrap_or_default()
    }
}
