//! A rule's own examples (`tests:`): what is in the CRM, what happens to it, and what the rule should then do.
//!
//! The checker turns the written form into these; the test bench plays them on the engine. What a cell of a
//! row means is decided here, by the catalog, for both.

mod cell;

pub use cell::{Misplaced, Put, RowClock, default_for, names_column, person_column, read_cell, stored};

use crate::diagnostic::yaml::{At, Node};
use crate::model::EntityName;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::ops::Range;

/// One test of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    pub name: At<String>,
    /// When the first sweep runs that is looked at.
    pub at: Timestamp,
    /// Of local times in the example.
    pub zone: TimeZone,
    pub given: Vec<GivenRow>,
    /// What webhook destinations answer.
    pub answers: BTreeMap<String, Json>,
    /// In the order of time.
    pub lines: Vec<Line>,
}

/// A row with catalog names.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenRow {
    pub entity: EntityName,
    pub range: Range<usize>,
    pub cells: Vec<(At<String>, Node)>,
}

/// A moment: first what changes, then what must have happened since the last moment that expected anything.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub at: Timestamp,
    pub range: Range<usize>,
    pub changes: Vec<(Change, GivenRow)>,
    pub event: Option<Incoming>,
    pub expect: Option<Expected>,
    /// Words that the reason must contain.
    pub because: Option<At<String>>,
    /// How the sequence has ended by now.
    pub ended: Option<At<String>>,
}

/// What another system tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    pub name: String,
    /// `None`: like no other.
    pub id: Option<String>,
    pub body: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Insert,
    Update,
    Delete,
}

/// Everything that was sent; nothing else may have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    pub range: Range<usize>,
    /// None at all: `nothing`.
    pub messages: Vec<ExpectedMessage>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedMessage {
    /// `email`, `webhook`, `chat`, `task`, `sms`, `update`, `assign` or `claim`.
    pub kind: String,
    pub range: Range<usize>,
    pub wants: Vec<Want>,
}

/// Something that must be so about a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Want {
    pub detail: Detail,
    pub text: String,
}

/// What a test can say about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The template of an email, the destination of a webhook or chat, the title of a task, or the step's id.
    Name,
    /// The key of the record.
    Record,
    /// The address of an email or of a task's assignee.
    To,
    /// Part of a mail's subject.
    Subject,
    /// Part of a mail's text, of a chat, of a task's body, or of a webhook's JSON.
    Contains,
    /// The day a task is due.
    Due,
}

impl Detail {
    /// By the key that a test writes.
    #[must_use]
    pub fn of_key(kind: &str, key: &str) -> Option<Self> {
        Some(match (kind, key) {
            ("email", "template")
            | ("webhook", "destination")
            | ("chat", "to")
            | ("task", "title")
            | ("claim", "pool")
            | (_, "step") => Self::Name,
            (_, "record") => Self::Record,
            ("email" | "sms", "to") | ("task", "assigned_to") => Self::To,
            ("email", "subject") => Self::Subject,
            (_, "contains") => Self::Contains,
            ("task", "due") => Self::Due,
            _ => return None,
        })
    }

    /// The keys that [`Detail::of_key`] knows.
    #[must_use]
    pub const fn keys(kind: &str) -> &'static [&'static str] {
        match kind.as_bytes() {
            b"email" => &["template", "step", "record", "to", "subject", "contains"],
            b"webhook" => &["destination", "step", "record", "contains"],
            b"chat" => &["to", "step", "record", "contains"],
            b"update" | b"assign" => &["step", "record", "contains"],
            b"claim" => &["pool", "step", "record"],
            b"sms" => &["step", "record", "to", "contains"],
            _ => &["title", "step", "record", "assigned_to", "due", "contains"],
        }
    }
}

impl std::fmt::Display for ExpectedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.kind)?;
        for want in &self.wants {
            match want.detail {
                Detail::Name => write!(f, " {}", want.text)?,
                Detail::Record => write!(f, " about {}", want.text)?,
                Detail::To => write!(f, " to {}", want.text)?,
                Detail::Subject => write!(f, " with subject \"…{}…\"", want.text)?,
                Detail::Contains => write!(f, " containing \"{}\"", want.text)?,
                Detail::Due => write!(f, " due {}", want.text)?,
            }
        }
        Ok(())
    }
}
