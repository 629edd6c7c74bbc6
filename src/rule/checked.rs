//! A rule whose every name has been resolved against the catalog and whose every value has its type.

pub use super::flow::{Arm, Case, Node, Split, Step, Until, UntilDate, UntilWhen, Wait};

pub use super::write::{Assign, Claim, Update};

use super::condition::{Condition, Term};
use crate::model::{
    BusinessCalendar, EntityName, FieldName, Period, RelationName, RoleName, RuleId, SendWindow, TemplateName, Topic,
    Tracking, Value,
};
use jiff::civil::{Date, Time};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub struct CheckedRule {
    pub id: RuleId,
    /// Former ids: their ledger is ours.
    pub was: Vec<RuleId>,
    /// Path of the file, relative to the rules directory.
    pub file: String,
    pub description: String,
    /// The address of who answers for the rule.
    pub owner: Option<String>,
    pub mode: Mode,
    pub purpose: Purpose,
    pub for_each: EntityName,
    pub to: Option<RoleName>,
    /// Who its mails are from, by a name of the configuration.
    pub sender: Option<String>,
    /// All that may be noted of how its mails are read; `None`: whatever the configuration says.
    pub track: Option<BTreeSet<Tracking>>,
    pub trigger: Trigger,
    pub conditions: Vec<Term>,
    pub only_at_entry: Vec<Term>,
    pub script: Option<String>,
    pub goal: Option<Goal>,
    pub exit_when: Vec<Term>,
    pub cadence: Cadence,
    pub backfill: Backfill,
    pub on_rematch: OnRematch,
    /// `None`: the trigger's default.
    pub late: Option<Period>,
    pub keep_trying: Option<Period>,
    pub recheck: Period,
    pub guard: Guard,
    /// How many matches a week are usual.
    pub expect: Option<Expect>,
    /// Whose business days count.
    pub calendar: Arc<BusinessCalendar>,
    pub spread: Option<Period>,
    /// Within that of the configuration.
    pub window: Option<SendWindow>,
    /// Of 0 to 100; the greater goes first.
    pub priority: u8,
    /// What matches of the same person would get at the same moment is one message.
    pub combine: bool,
    /// The entity's fields whose latest says when the record was last heard of; none: nobody knows.
    pub last_activity: Vec<FieldName>,
    pub on_change: OnChange,
    pub on_delete: OnDelete,
    /// Mails, chat and text messages of which nobody knows whether they left are sent again, under the same id.
    pub resends_unknown: bool,
    /// Entry points into `nodes`: one, or one per offset of a date rule.
    pub entries: Vec<Entry>,
    /// The steps, flattened. A node names its successor by index, so a pinned enrollment needs one number.
    pub nodes: Vec<Node>,
}

impl CheckedRule {
    /// Whether of several occasions of a record the first in time keeps later ones from something: from matching, or
    /// from beginning the steps.
    #[must_use]
    pub fn takes_in_time(&self) -> bool {
        let Trigger::Survey(survey) = &self.trigger else { return false };
        survey.cooldown.is_some() || self.on_rematch != OnRematch::Parallel
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    Shadow,
    Live,
    Paused,
}

/// Why we write, which decides what protects the reader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Marketing on a topic: consent, caps and windows hold.
    Topic(Topic),
    /// Part of a service they asked for: never past a suppression.
    Service,
    /// To our own people: only bounces matter.
    Staff,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    Inactivity(Inactivity),
    Survey(Survey),
    Date(DateTrigger),
    Schedule(Schedule),
    Created(Created),
    Abandoned(Box<Abandoned>),
    Yearly(Yearly),
    Query(Query),
    Event(Event),
    Count(Count),
    Segment(Segment),
    Decline(Decline),
    Changed(Changed),
    /// Only `enroll` steps of other rules start it.
    Enrolled,
}

impl Trigger {
    /// How long something must have been so before a record matches, where that is one length of time.
    #[must_use]
    pub const fn length(&self) -> Option<Period> {
        match self {
            Self::Inactivity(inactivity) => Some(inactivity.silent_for),
            Self::Survey(survey) => Some(survey.settle),
            Self::Created(created) => Some(created.settle),
            Self::Abandoned(abandoned) => Some(abandoned.idle),
            _ => None,
        }
    }

    /// Whether its occasions are episodes of a record, which the state keeps.
    #[must_use]
    pub const fn keeps_episodes(&self) -> bool {
        matches!(self, Self::Count(_) | Self::Segment(_) | Self::Decline(_) | Self::Changed(_))
    }
}

/// Fires when now ≥ last activity + `silent_for`.
#[derive(Debug, Clone, PartialEq)]
pub struct Inactivity {
    pub of: RelationName,
    pub silent_for: Period,
    /// A field of the record that counts as activity for those who never had any.
    pub fallback: Option<FieldName>,
}

/// Fires when a new answered response has a score in range, after `settle`.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    pub of: RelationName,
    pub kind: Option<String>,
    pub score: Option<ScoreRange>,
    pub settle: Period,
    /// Answers within this time of one that matched are not asked about again.
    pub cooldown: Option<Period>,
}

/// Both ends included; `None`: open.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRange {
    pub low: Option<Value>,
    pub high: Option<Value>,
}

/// Fires when local date + offset is reached at a local time.
#[derive(Debug, Clone, PartialEq)]
pub struct DateTrigger {
    pub field: FieldName,
    pub at: Time,
}

/// Fires at planned instants for every matching record.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub cron: Cron,
}

/// Fires when a record has been there for `settle`.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    pub at: FieldName,
    pub settle: Period,
}

/// Fires when a cart is open and was not touched for `idle`.
#[derive(Debug, Clone, PartialEq)]
pub struct Abandoned {
    /// `None`: the record is the cart.
    pub of: Option<RelationName>,
    /// Over the cart; all must hold.
    pub open: Vec<Term>,
    pub idle: Period,
    /// Of the cart.
    pub changed_at: FieldName,
    /// Of the record: a row not older than the cart's last change is the order that came of it.
    pub unless: Option<RelationName>,
}

/// Fires when the day of a date comes again, in every year after the date's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anniversary {
    pub at: Time,
    pub offset: Offset,
    pub feb29: Feb29,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Yearly {
    pub field: FieldName,
    pub when: Anniversary,
}

/// What 29 February is in a year without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feb29 {
    Feb28,
    Mar1,
    Skip,
}

impl Feb29 {
    /// The anniversary in that year, if it has one.
    #[must_use]
    pub fn day(self, since: Date, year: i16) -> Option<Date> {
        if let Ok(day) = Date::new(year, since.month(), since.day()) {
            return Some(day);
        }
        match self {
            Self::Feb28 => Date::new(year, 2, 28).ok(),
            Self::Mar1 => Date::new(year, 3, 1).ok(),
            Self::Skip => None,
        }
    }
}

/// Fires for each key and occasion that SQL of the rule's own returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// In the source's dialect.
    pub sql: Vec<SqlPart>,
    /// Columns that it returns.
    pub key: String,
    pub occasion: String,
    pub at: Option<String>,
    pub row: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlPart {
    Text(String),
    Param(SqlParam),
}

/// A bound of the window, `utc` where wall time is meant in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlParam {
    After { utc: bool },
    Until { utc: bool },
    Now { utc: bool },
}

impl Query {
    /// Its SQL in PostgreSQL's dialect with no instant for its bounds: to ask what it returns, not to run it.
    #[must_use]
    pub fn without_bounds(&self) -> String {
        let part = |part: &SqlPart| match part {
            SqlPart::Text(text) => text.clone(),
            SqlPart::Param(SqlParam::After { utc } | SqlParam::Until { utc } | SqlParam::Now { utc }) => {
                format!("CAST(NULL AS {})", if *utc { "timestamp" } else { "timestamptz" })
            }
        };
        self.sql.iter().map(part).collect()
    }

    /// It asks only for what is new since some instant.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.at.is_some() || self.sql.iter().any(|part| matches!(part, SqlPart::Param(SqlParam::After { .. })))
    }
}

impl Trigger {
    /// Nothing tells what was there before the rule from what came after, so what its first look finds is left out.
    #[must_use]
    pub fn leaves_out_its_first_look(&self) -> bool {
        matches!(self, Self::Query(query) if !query.is_bounded())
    }

    /// Nothing but its own looks tells who was inside before, or what a field held.
    #[must_use]
    pub const fn remembers_who_was_there(&self) -> bool {
        matches!(self, Self::Segment(_) | Self::Changed(_))
    }
}

/// Fires when `at_least` related rows happened `within` some time.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    pub of: RelationName,
    pub only: Vec<Condition>,
    pub at_least: u64,
    pub within: Period,
}

/// Fires when a condition turns true, or has ceased to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// All must hold.
    pub when: Vec<Term>,
    pub leaves: bool,
    /// Outside for less than this is not outside.
    pub min_out: Period,
}

/// Fires when the number of related rows in `window` has fallen by `by` percent.
#[derive(Debug, Clone, PartialEq)]
pub struct Decline {
    pub of: RelationName,
    pub only: Vec<Condition>,
    pub by: u32,
    pub from_at_least: u64,
    pub window: Period,
    pub compared_with: Compared,
}

/// Fires when a field's value changes. A missing value is null.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    pub field: FieldName,
    /// `None`: from anything.
    pub from: Option<Vec<Value>>,
    pub to: Option<Vec<Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compared {
    /// With the time of the same length just before.
    Before,
    /// With the same time one year earlier.
    LastYear,
}

/// Fires when another system says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    /// Where its body names the record.
    pub key: JsonPath,
    /// `None`: the event's own id makes it unique.
    pub id: Option<JsonPath>,
    pub tenant: Option<JsonPath>,
}

/// The names on the way into a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(pub Vec<String>);

/// A checked cron line in the catalog's zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pub text: String,
}

/// Signed distance from a date: −60 days, +1 day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offset {
    pub before: bool,
    pub period: Period,
}

impl Offset {
    pub const ON_THE_DAY: Self = Self { before: false, period: Period::days(0) };

    #[must_use]
    pub fn moves(self, date: Date) -> Date {
        if self.before { self.period.before_date(date) } else { self.period.after_date(date) }
    }

    /// As [`Offset::moves`], business days by this calendar.
    #[must_use]
    pub fn moves_in(self, date: Date, calendar: &BusinessCalendar) -> Date {
        if self.before { calendar.before_date(self.period, date) } else { calendar.after_date(self.period, date) }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `None` for rules with plain `steps:`.
    pub offset: Option<Offset>,
    /// Index of the first node; `None`: no steps at all.
    pub first: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    pub name: String,
    pub when: Condition,
    pub within: Option<Period>,
    pub text: String,
}

/// How often the rule is swept.
#[derive(Debug, Clone, PartialEq)]
pub enum Cadence {
    Every(Period),
    Cron(Cron),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backfill {
    None,
    Since(Period),
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnRematch {
    Ignore,
    Restart,
    Queue,
    Parallel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnChange {
    Pin,
    Migrate,
    Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnDelete {
    Drain,
    Cancel,
}

/// Limits on how many people one sweep may reach before somebody looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    pub per_day: Option<u32>,
    pub percent_per_day: Option<f64>,
    /// How many times an ordinary day of the last four weeks.
    pub growth: Option<f64>,
    /// Below this many neither percentage nor growth count.
    pub floor: u32,
}

/// How many matches a week are usual, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    pub at_least: Option<u32>,
    pub at_most: Option<u32>,
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |end: Option<u32>| end.map_or_else(String::new, |count| count.to_string());
        write!(f, "{}..{}", end(self.at_least), end(self.at_most))
    }
}

/// An effect on the world outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Email(Email),
    Webhook(Webhook),
    Chat(Chat),
    Task(Task),
    Update(Update),
    Assign(Assign),
    Claim(Claim),
    Sms(Sms),
    /// One of several, by the reader's choice.
    Preferred(Preferred),
}

impl Action {
    /// Work of our own people, which no reader sees: never too late.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Task(_) | Self::Update(_) | Self::Assign(_) | Self::Claim(_))
    }

    /// Under which name its answer is kept for later steps.
    #[must_use]
    pub fn saves(&self) -> Option<&str> {
        match self {
            Self::Webhook(webhook) => webhook.save.as_deref(),
            Self::Assign(_) => Some(super::write::ASSIGNED),
            Self::Claim(claim) => Some(&claim.save),
            _ => None,
        }
    }

    /// Itself, or those that it chooses among.
    #[must_use]
    pub fn ways(&self) -> &[Self] {
        match self {
            Self::Preferred(preferred) => &preferred.ways,
            one => std::slice::from_ref(one),
        }
    }

    /// The role that it names itself: whom it writes to, or assigns.
    #[must_use]
    pub const fn role(&self) -> Option<&RoleName> {
        match self {
            Self::Email(email) => email.to.as_ref(),
            Self::Sms(sms) => sms.to.as_ref(),
            Self::Task(task) => task.assign_to.as_ref(),
            Self::Assign(_)
            | Self::Update(_)
            | Self::Claim(_)
            | Self::Webhook(_)
            | Self::Chat(_)
            | Self::Preferred(_) => None,
        }
    }

    /// The mail that it sends, or may send.
    #[must_use]
    pub fn email(&self) -> Option<&Email> {
        self.ways().iter().find_map(|way| if let Self::Email(email) = way { Some(email) } else { None })
    }

    /// The text message that it sends, or may send.
    #[must_use]
    pub fn sms(&self) -> Option<&Sms> {
        self.ways().iter().find_map(|way| if let Self::Sms(sms) = way { Some(sms) } else { None })
    }

    /// The task that it makes, or may make.
    #[must_use]
    pub fn task(&self) -> Option<&Task> {
        self.ways().iter().find_map(|way| if let Self::Task(task) = way { Some(task) } else { None })
    }
}

/// A text message to a phone.
#[derive(Debug, Clone, PartialEq)]
pub struct Sms {
    /// A template of one or more lines.
    pub text: String,
    /// Overrides the rule's `to`.
    pub to: Option<RoleName>,
    /// A gateway named in the configuration; `None`: the only one.
    pub via: Option<String>,
}

/// What would be sent on each channel, in the order in which they are tried after the one that the reader prefers.
#[derive(Debug, Clone, PartialEq)]
pub struct Preferred {
    pub ways: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Email {
    pub template: TemplateName,
    /// Overrides the rule's `to`.
    pub to: Option<RoleName>,
    /// The topic that it asks for a yes to.
    pub confirms: Option<Topic>,
    /// A survey of the catalog that it asks.
    pub asks: Option<String>,
    /// One mail tells of all matches that stand at this step for the same person.
    pub digest: Option<Digest>,
}

/// How a digest lists its matches.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest {
    /// More are only counted.
    pub rows: usize,
    /// Fields of the record, each with whether the greatest comes first.
    pub order: Vec<(FieldName, bool)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// A destination named in the configuration; rules hold no URLs.
    pub to: String,
    /// Extra JSON for the body; strings in it are templates.
    pub body: Option<serde_json::Value>,
    /// Keeps the answer for later steps as `saved.NAME`.
    pub save: Option<String>,
}

/// A message to colleagues.
#[derive(Debug, Clone, PartialEq)]
pub struct Chat {
    /// A chat named in the configuration.
    pub to: String,
    /// A template of one or more lines.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// A template.
    pub title: String,
    /// A template.
    pub body: Option<String>,
    pub assign_to: Option<RoleName>,
    pub due: Option<Period>,
    /// Leave it out when an open task is there already.
    pub unless_open: Option<UnlessOpen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnlessOpen {
    /// Any open task of this record.
    Any,
    /// An open task that this rule made.
    Same,
}
