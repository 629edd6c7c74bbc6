//! What the engine runs: a checked rule together with its SQL for one dialect.
//!
//! A rule asks the source two questions, and every face of nudged (live, preview, explain, test) asks the
//! same two:
//!
//! 1. **crossings**: which records crossed the trigger's edge in a window? Bounded by what is new.
//! 2. **facts**: for these records, as of now: does each condition hold, who is the recipient, which
//!    fields do messages need? One statement for a whole batch, and one for each list of the source's own of who must not
//!    be written to.

use super::checked::{CheckedRule, Event};
use super::definition;
use super::inbound::{Told, Unread};
use super::message::Regional;
use super::score::Score;
use super::script::Script;
use super::sql::read::Cells;
use super::sql::{
    CoursePlan, CrossingPlan, FactsPlan, Fill, Fragment, Hole, Lists, Open, Parts, RECORD, RenderError, Renderer,
    key_value, roles,
};
pub use super::sql::{Unsaid, Unwanted};
use super::statement::{Dialect, Row, Statement};
use super::tide::When;
use crate::catalog::{Catalog, Entity};
use crate::diagnostic::Finding;
use crate::model::{Country, FieldName, Key, Occasion, RoleName, Value, VersionHash, is_same_number};
use jiff::{Timestamp, civil, tz::TimeZone};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A rule ready to run against one dialect.
#[derive(Debug, Clone)]
pub struct CompiledRule {
    pub rule: Arc<CheckedRule>,
    /// The text of its file, kept with the version so that a pinned enrollment can be compiled again.
    pub text: Arc<str>,
    /// Of all that an enrollment pins.
    pub version: VersionHash,
    /// Of trigger, `where`, script and entity mapping: a change sets the baseline anew.
    pub definition: VersionHash,
    pub script: Option<Script>,
    /// How its messages write dates and amounts.
    pub regional: Arc<Regional>,
    /// The SQL of both questions.
    pub queries: Queries,
}

/// The rule's SQL, rendered once with holes for window, keys and now.
#[derive(Debug, Clone)]
pub struct Queries {
    crossing: CrossingPlan,
    facts: FactsPlan,
    lists: Lists,
    records: Records,
    /// For triggers over the course of related rows.
    course: Option<CoursePlan>,
}

/// The rows that are records of the rule's entity.
#[derive(Debug, Clone)]
struct Records {
    parts: Parts,
    from: Fragment,
    key: Fragment,
    /// The base filter.
    tests: Vec<Fragment>,
}

/// Which crossings to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach<'a> {
    /// What crossed in the window, by bounded ranges: the sweep, the recheck, the preview.
    Crossed(Window),
    /// The same before any term is asked, which a schedule's own query does: a backtest counts each of them.
    Untested(Window),
    /// Crossings in the window of records that the catalog's `updated_at` says changed after the instant.
    Changed(Window, Timestamp),
    /// Crossings in the window of the records with `after < key ≤ upto` in the source's key order: the
    /// reconcile. `None` is an open end; [`CompiledRule::chunk_end`] finds `upto`.
    Chunk { window: Window, after: Option<&'a Key>, upto: Option<&'a Key> },
    /// Crossings in the window of these records: explain, and the re-check of an occasion.
    Of(Window, &'a [Key]),
}

impl CompiledRule {
    /// The roles that it writes to or assigns.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<RoleName> {
        roles(&self.rule)
    }

    /// Renders the rule's SQL. A finding here means that the check stage let something through.
    pub fn compile(
        rule: Arc<CheckedRule>,
        text: Arc<str>,
        catalog: &Catalog,
        dialect: Dialect,
    ) -> Result<Self, Vec<Finding>> {
        let queries = Queries::render(&rule, catalog, dialect)
            .map_err(|problem| vec![Finding::error("rule.sql", format!("rule `{}`: {problem}", rule.id))])?;
        let version = definition::version(&rule, &text);
        let definition = definition::definition(&rule, &text, catalog);
        let regional = Arc::new(Regional::of(catalog, &rule));
        Ok(Self { rule, text, version, definition, script: None, regional, queries })
    }

    /// The statements that answer `reach`; their rows go to [`CompiledRule::read_crossing`] with the
    /// statement's index. For triggers that keep episodes they are mere candidates, for
    /// [`CompiledRule::read_key`]. None at all when the catalog maps no `updated_at` for [`Reach::Changed`].
    pub fn crossings(&self, reach: Reach<'_>) -> Vec<Statement> {
        self.queries.crossing.statements(reach)
    }

    /// Whether [`Reach::Changed`] can be asked: of the entity itself, or of the relation its trigger reads.
    #[must_use]
    pub fn tracks_changes(&self) -> bool {
        self.queries.crossing.tracks_changes()
    }

    /// Filters a row exactly (bounds on wall times and zone envelopes are wider than the window) and reads it.
    pub fn read_crossing(&self, statement: usize, row: &Row, window: Window) -> Result<Option<Crossing>, ReadError> {
        self.queries.crossing.read(statement, row, window)
    }

    /// Reads an event that another system sent to this rule.
    pub fn read_event(&self, event: &Event, told: Told<'_>) -> Result<Crossing, Unread> {
        event.crossing(&self.queries.records.parts.key, told)
    }

    /// Asks for the key of the `limit`th record after `after`. No row: fewer are left (with `None` and 1:
    /// the entity has no records at all).
    pub fn chunk_end(&self, after: Option<&Key>, limit: usize) -> Statement {
        let records = &self.queries.records;
        let mut tests = records.tests.clone();
        if after.is_some() {
            tests.push(Fragment::of("{} > {}", &[&records.key, &Fragment::hole(Hole::AfterKey)]));
        }
        let sql = Fragment::of(
            "SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT 1 OFFSET {}",
            &[&records.key, &records.from, &Fragment::all(&tests), &records.key, &Fragment::hole(Hole::Offset)],
        );
        let after_key = after.map(|key| key_value(&records.parts.key, key));
        let fill = Fill { after_key, limit, ..Fill::at(Timestamp::UNIX_EPOCH, &records.parts.zone) };
        sql.fill(records.parts.dialect, &fill)
    }

    /// Reads the row of [`CompiledRule::chunk_end`], [`CompiledRule::inside`], or a candidate.
    pub fn read_key(&self, row: &Row) -> Result<Key, ReadError> {
        let parts = &self.queries.records.parts;
        Cells::new(row, parts.entity.as_str()).key(&parts.key)
    }

    /// Reads a candidate of a rule that watches a field: the record and its value.
    pub fn read_value(&self, row: &Row) -> Result<(Key, Value), ReadError> {
        self.queries.crossing.read_value(row)
    }

    /// Asks for those whose rows hold them inside at that instant (by months, within days of it). `None` for
    /// triggers that don't count rows over time.
    pub fn inside(&self, at: Timestamp) -> Option<Statement> {
        self.queries.course.as_ref().map(|course| course.members(Window { after: at, until: at, now: at }))
    }

    /// Asks for the rows of these records that count at the start of the window or come later.
    pub fn course(&self, keys: &[Key], window: Window) -> Option<Statement> {
        self.queries.course.as_ref().map(|course| course.rows(keys, window))
    }

    /// Reads a row of [`CompiledRule::course`]: the record, and when its row happened.
    pub fn read_course(&self, row: &Row) -> Result<(Key, Option<When>), ReadError> {
        match &self.queries.course {
            Some(course) => course.read(row),
            None => Err(Cells::new(row, self.rule.for_each.as_str()).error("row", "answers no question of this rule")),
        }
    }

    /// The catalog's zone.
    #[must_use]
    pub const fn zone(&self) -> &TimeZone {
        &self.queries.records.parts.zone
    }

    /// How many crossed at or before `until`, ever: what a baseline leaves out. `None`: reading them tells.
    pub fn count_until(&self, until: Timestamp) -> Option<Statement> {
        self.queries.crossing.count_until(until)
    }

    /// Asks the facts of a batch, as of `now`. Records that are gone return no row.
    pub fn facts(&self, subjects: &[Subject], now: Timestamp) -> Statement {
        self.queries.facts.statement(subjects, now)
    }

    /// Reads a record's facts and lets the script's score decide what SQL has left open. A record that can't match
    /// any more by what SQL said is not worth a call before it has entered.
    pub fn read_facts(&self, row: &Row, now: Timestamp, calls: Calls) -> Result<Facts, ReadError> {
        let plan = &self.queries.facts;
        let (mut facts, open) = plan.read(row)?;
        let needless = calls == Calls::WhereItCounts && plan.has_failed(&facts, &open);
        if !open.is_empty() && !needless {
            self.settle(&mut facts, &open, now);
        }
        Ok(facts)
    }

    /// Asks the catalog's own suppression tables about everybody in these facts, at once. Each statement's rows go to
    /// [`CompiledRule::read_unwanted`] with its number.
    #[must_use]
    pub fn unwanted(&self, facts: &[Facts]) -> Vec<(usize, Statement)> {
        self.queries.lists.statements(facts)
    }

    /// The same about nobody.
    #[must_use]
    pub fn unwanted_probes(&self) -> Vec<Statement> {
        self.queries.lists.probes()
    }

    pub fn read_unwanted(&self, statement: usize, row: &Row, unwanted: &mut Unwanted) {
        self.queries.lists.read(statement, row, unwanted);
    }

    fn settle(&self, facts: &mut Facts, open: &Open, now: Timestamp) {
        let script = self.script.as_ref().filter(|script| script.has_score());
        match script.map(|script| script.score(facts, now)) {
            Some(Ok(score)) => {
                facts.score = Score::Is(score);
                self.queries.facts.settle(facts, open, score);
            }
            Some(Err(error)) => facts.score = Score::Failed(error.to_string()),
            // The build lets no such rule through.
            None => facts.score = Score::Failed("the rule has no `score`".to_owned()),
        }
    }

    /// All rows are records; how many there are, for the guard's percentage.
    pub fn count_records(&self) -> Statement {
        let records = &self.queries.records;
        let sql = Fragment::of("SELECT COUNT(*) FROM {} WHERE {}", &[&records.from, &Fragment::all(&records.tests)]);
        sql.fill(records.parts.dialect, &Fill::at(Timestamp::UNIX_EPOCH, &records.parts.zone))
    }
}

/// Asks for any row of an entity's table, whatever its filter. `None` for unions and queries, which are told by the
/// tables they read or may take long.
#[must_use]
pub fn any_row(catalog: &Catalog, dialect: Dialect, entity: &Entity) -> Option<Statement> {
    let renderer = Renderer::new(dialect, catalog);
    let rows = renderer.table(entity.table()?);
    let sql = Fragment::of("SELECT 1 FROM {} LIMIT 1", &[&rows]);
    Some(sql.fill(dialect, &Fill::at(Timestamp::UNIX_EPOCH, &catalog.time_zone)))
}

/// Reads any row of an entity, whatever it is kept in, or one of its fields there.
#[must_use]
pub fn any_cell(catalog: &Catalog, dialect: Dialect, entity: &Entity, field: Option<&FieldName>) -> Option<Statement> {
    let renderer = Renderer::new(dialect, catalog);
    let cell = match field {
        Some(name) => renderer.operand(entity, RECORD, name).ok()?.raw,
        None => Fragment::text("1"),
    };
    let sql = Fragment::of("SELECT {} FROM {} LIMIT 1", &[&cell, &renderer.rows_of(entity, RECORD)]);
    Some(sql.fill(dialect, &Fill::at(Timestamp::UNIX_EPOCH, &catalog.time_zone)))
}

/// Asks for any record: a row that the entity's own filter doesn't leave out. `None` where nothing would be left out.
#[must_use]
pub fn any_record(catalog: &Catalog, dialect: Dialect, entity: &Entity) -> Option<Statement> {
    entity.table().filter(|_| !entity.only.is_empty())?;
    let renderer = Renderer::new(dialect, catalog);
    let (rows, tests) = (renderer.rows_of(entity, RECORD), Fragment::all(&renderer.base(entity, RECORD)));
    let sql = Fragment::of("SELECT 1 FROM {} WHERE {} LIMIT 1", &[&rows, &tests]);
    Some(sql.fill(dialect, &Fill::at(Timestamp::UNIX_EPOCH, &catalog.time_zone)))
}

impl Queries {
    fn render(rule: &CheckedRule, catalog: &Catalog, dialect: Dialect) -> Result<Self, RenderError> {
        let renderer = Renderer::new(dialect, catalog);
        let entity = renderer.entity(&rule.for_each)?;
        Ok(Self {
            crossing: CrossingPlan::render(&renderer, rule, entity)?,
            facts: FactsPlan::render(dialect, catalog, rule)?,
            lists: Lists::render(dialect, catalog),
            course: rule.trigger.tide().map(|tide| CoursePlan::render(&renderer, entity, &tide)).transpose()?,
            records: Records {
                parts: Parts::of(&renderer, entity),
                from: renderer.rows_of(entity, RECORD),
                key: renderer.key_of(entity, RECORD),
                tests: renderer.base(entity, RECORD),
            },
        })
    }
}

/// `after < crossing ≤ until`, seen at `now`. Facts dated after `now` are invisible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub after: Timestamp,
    pub until: Timestamp,
    pub now: Timestamp,
}

/// A record that crossed its rule's edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Crossing {
    pub key: Key,
    pub occasion: Occasion,
    /// When the edge was crossed; the basis of lateness.
    pub crossed_at: Timestamp,
    /// The instant of the fact itself: the last activity, the answer.
    pub occasion_at: Option<Timestamp>,
    /// `occasion.value` in templates: the date, the score.
    pub value: Value,
    /// `occasion.row.*` in templates.
    pub row: BTreeMap<String, Value>,
    /// Which of the rule's entries: its offset, or 0.
    pub entry: usize,
}

/// A record to ask facts of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub key: Key,
    /// For `since: entry`: facts newer than this count.
    pub since: Option<Timestamp>,
    /// When it entered, from which `goal.within` counts; `None` before entry.
    pub entered: Option<Timestamp>,
}

/// When the script's score is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Where it can still make a match.
    WhereItCounts,
    /// Wherever a condition waits for it: those who have entered, and people who want to know.
    Always,
}

/// What is true of one record now.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    pub key: Key,
    /// One per `where` term; `None` is SQL's unknown and doesn't match.
    pub conditions: Vec<Option<bool>>,
    pub only_at_entry: Vec<Option<bool>>,
    /// In its time, where it has one.
    pub goal: Option<bool>,
    /// Also after its time; `None`: it has none.
    pub goal_ever: Option<bool>,
    pub exit_when: Vec<Option<bool>>,
    /// By node index and case index.
    pub cases: BTreeMap<(usize, usize), Option<bool>>,
    /// Of the script; asked only where a condition waits for it.
    pub score: Score,
    /// Own fields by catalog name.
    pub record: BTreeMap<String, Value>,
    /// The calendar days of fields that the trigger or a wait is about, where they have one: of an instant in the
    /// record's zone.
    pub days: BTreeMap<FieldName, civil::Date>,
    pub recipients: BTreeMap<RoleName, PersonFacts>,
    /// The main recipient's zone, or the catalog's.
    pub zone: TimeZone,
    /// Conditions that wait for what steps have kept.
    pub unsaid: Unsaid,
}

/// The person a role leads to. All empty: the role leads to nobody.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PersonFacts {
    pub key: Option<Key>,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub zone: Option<String>,
    pub locale: Option<String>,
    /// Consent to email on the rule's topic. `None`: the catalog maps none, which counts as no.
    pub email_consent: Option<bool>,
    pub phone_consent: Option<bool>,
    /// Consent to having it noted how mails are read. `None`: the catalog maps none, which counts as no.
    pub tracking_consent: Option<bool>,
    pub staff: bool,
    /// On one of the catalog's own suppression tables, with the reason.
    pub suppressed: Option<String>,
    /// Numbers on those tables that may be theirs: see [`PersonFacts::number_suppressed`].
    pub listed_numbers: Vec<Listed>,
    /// How they would like to be reached, in the catalog's words: `email`, `sms`, `task`.
    pub channel: Option<String>,
}

/// An address on one of the catalog's own suppression tables, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub address: String,
    pub reason: String,
}

impl PersonFacts {
    /// The reason why their number must not be written to. `country` is whose numbers are meant that name none.
    #[must_use]
    pub fn number_suppressed(&self, country: Option<Country>) -> Option<&str> {
        let number = self.phone.as_deref()?;
        let listed = self.listed_numbers.iter().find(|listed| is_same_number(number, &listed.address, country))?;
        Some(&listed.reason)
    }
}

/// Why a row of the source could not be read as the catalog says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entity}.{field} of record {key}: {problem}")]
pub struct ReadError {
    pub entity: String,
    pub field: String,
    pub key: String,
    pub problem: String,
}
