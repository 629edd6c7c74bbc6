//! One record going through one rule's steps because of one match.
//!
//! ```text
//!   active ──steps run──▶ ended(reason)
//!     │ ▲
//!     ▼ │ an operator, or a reload that repairs its rule
//!    held
//! ```

use serde::{Deserialize, Serialize};

/// Where an enrollment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrollmentState {
    /// Has a due or waiting step in the outbox.
    Active,
    /// Its step can't run (its pinned version no longer compiles); an operator or a reload frees it.
    Held,
    /// Nothing more will happen; [`EndReason`] says why.
    Ended,
}

/// Why an enrollment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// All steps ran.
    Completed,
    /// The rule's goal was reached: the good end.
    Goal,
    /// `exit_when` turned true.
    Exit,
    /// `where` no longer holds.
    WhereFalse,
    /// The record left the entity (deleted, merged, or outside its base filter).
    RecordGone,
    /// The date it was about changed.
    OccasionGone,
    /// A `stop` step.
    Stopped,
    /// Too late to be of use; see the rule's `late`.
    Late,
    /// By an operator, or because its rule was deleted with `on_delete: cancel`.
    Cancelled,
    /// It was there when the rule looked for the first time.
    LeftOut,
    /// A split kept it out, to compare with those who went on.
    Holdout,
}

impl EndReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Goal => "goal",
            Self::Exit => "exit",
            Self::WhereFalse => "where_false",
            Self::RecordGone => "record_gone",
            Self::OccasionGone => "occasion_gone",
            Self::Stopped => "stopped",
            Self::Late => "late",
            Self::Cancelled => "cancelled",
            Self::LeftOut => "left_out",
            Self::Holdout => "holdout",
        }
    }
}
