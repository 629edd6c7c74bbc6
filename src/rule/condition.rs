//! The checked form of `where`, `only_at_entry`, `goal`, `exit_when` and branch cases.
//!
//! Three-valued like SQL: null never matches, also not under `not`; `missing` does.

use super::saved::SavedTest;
use crate::model::{FieldName, Period, RelationName, Value};
use jiff::Timestamp;

/// A condition over one record of a known entity.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a rule has a handful of conditions, and boxes would blur every match")]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// An own field.
    Field {
        field: FieldName,
        test: Test,
    },
    /// Rows reached over a relation.
    Related(Related),
    /// The number that the rule's script gives the record.
    Score(Test),
    /// An answer that an earlier step has kept.
    Saved(SavedTest),
}

impl Condition {
    /// Whether the script's score has a part in it.
    #[must_use]
    pub fn asks_score(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::asks_score),
            Self::Not(inner) => inner.asks_score(),
            Self::Score(_) => true,
            Self::Field { .. } | Self::Related(_) | Self::Saved(_) => false,
        }
    }

    /// Whether an answer that a step has kept has a part in it.
    #[must_use]
    pub fn asks_saved(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::asks_saved),
            Self::Not(inner) => inner.asks_saved(),
            Self::Saved(_) => true,
            Self::Field { .. } | Self::Related(_) | Self::Score(_) => false,
        }
    }

    /// Whether it counts rows `since: entry`.
    #[must_use]
    pub fn counts_since_entry(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::counts_since_entry),
            Self::Not(inner) => inner.counts_since_entry(),
            Self::Field { .. } | Self::Score(_) | Self::Saved(_) => false,
            Self::Related(related) => related.since_entry || related.filter.iter().any(Self::counts_since_entry),
        }
    }
}

/// A top-level term with the words it was written in, for `why`, `explain` and the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    pub text: String,
    pub condition: Condition,
}

/// `tickets: {none: {status: open}, within_last: 30 days}`
#[derive(Debug, Clone, PartialEq)]
pub struct Related {
    pub relation: RelationName,
    /// Must hold for a row to count.
    pub filter: Vec<Condition>,
    /// The rows' `at` must pass this as well.
    pub at: Option<Test>,
    /// Only rows newer than what made the record enter.
    pub since_entry: bool,
    pub quantity: Quantity,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Quantity {
    Some,
    None,
    Count(Test),
    Sum { field: FieldName, test: Test },
    Min { field: FieldName, test: Test },
    Max { field: FieldName, test: Test },
}

/// A test of one value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Equals(Value),
    NotEquals(Value),
    In(Vec<Value>),
    NotIn(Vec<Value>),
    AtLeast(Value),
    AtMost(Value),
    Above(Value),
    Below(Value),
    Between(Value, Value),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
    Missing,
    Present,
    Before(Moment),
    After(Moment),
    /// More than this long ago.
    OlderThan(Period),
    /// Between this long ago and now.
    WithinLast(Period),
    /// Between now and this far ahead.
    WithinNext(Period),
    /// Several tests of the same value; all must hold.
    Both(Vec<Test>),
}

impl Test {
    /// Whether time alone may turn it, as the value stays what it is.
    #[must_use]
    pub fn goes_by_time(&self) -> bool {
        match self {
            Self::OlderThan(_) | Self::WithinLast(_) | Self::WithinNext(_) => true,
            Self::Before(moment) | Self::After(moment) => !matches!(moment, Moment::At(_) | Moment::On(_)),
            Self::Both(tests) => tests.iter().any(Self::goes_by_time),
            Self::Equals(_)
            | Self::NotEquals(_)
            | Self::In(_)
            | Self::NotIn(_)
            | Self::AtLeast(_)
            | Self::AtMost(_)
            | Self::Above(_)
            | Self::Below(_)
            | Self::Between(..)
            | Self::Contains(_)
            | Self::StartsWith(_)
            | Self::EndsWith(_)
            | Self::Missing
            | Self::Present => false,
        }
    }
}

/// A fixed or relative point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    At(Timestamp),
    On(jiff::civil::Date),
    Now,
    Today,
    Ago(Period),
    Ahead(Period),
}
