//! The crossing queries of one rule: rendered once, filled for each reach, their rows read exactly.

use super::abandoned::AbandonedReader;
use super::created::CreatedReader;
use super::fragment::Fragment;
use super::hole::Fill;
use super::inactivity::InactivityReader;
use super::on_date::DateReader;
use super::people::People;
use super::query::QueryReader;
use super::read::{Cells, Meaning};
use super::scope::{Scope, Scopes};
use super::survey::SurveyReader;
use super::yearly::YearlyReader;
use super::{RECORD, RenderError, Renderer, key_value};
use crate::catalog::{Entity, KeyType};
use crate::model::{EntityName, Key, Occasion, Value};
use crate::rule::checked::{CheckedRule, Trigger};
use crate::rule::compiled::{Crossing, Reach, ReadError, Window};
use crate::rule::condition::Term;
use crate::rule::statement::{Dialect, Row, Statement};
use jiff::{Timestamp, tz::TimeZone};
use std::collections::BTreeMap;

/// What every query of a rule needs to know of its records.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub dialect: Dialect,
    /// The catalog's.
    pub zone: TimeZone,
    pub entity: EntityName,
    pub key: KeyType,
}

#[derive(Debug, Clone)]
pub(crate) struct CrossingPlan {
    parts: Parts,
    queries: Vec<Query>,
    /// Of a schedule: everybody, whatever `where` says; for [`Reach::Untested`].
    untested: Option<Query>,
    scopes: Scopes,
    /// `None`: only who reads its rows knows.
    count: Option<Fragment>,
}

/// One statement: its text has a splice point where the records stand in FROM.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub text: Fragment,
    /// Related rows stand before the records.
    pub driven: bool,
    pub reader: Reader,
}

#[derive(Debug, Clone)]
pub(super) enum Reader {
    Inactivity(InactivityReader),
    Survey(SurveyReader),
    Date(DateReader),
    Schedule,
    Created(CreatedReader),
    Abandoned(AbandonedReader),
    Yearly(YearlyReader),
    Query(QueryReader),
    /// A row only names a record whose episode may open or end.
    Candidate,
    /// A row is a record and its value, which the state's hash is held against.
    Value(Meaning),
}

impl Parts {
    pub fn of(renderer: &Renderer<'_>, entity: &Entity) -> Self {
        Self {
            dialect: renderer.dialect,
            zone: renderer.catalog.time_zone.clone(),
            entity: entity.name.clone(),
            key: entity.key_type.clone(),
        }
    }
}

impl CrossingPlan {
    pub fn render(renderer: &Renderer<'_>, rule: &CheckedRule, entity: &Entity) -> Result<Self, RenderError> {
        let entity = renderer.entity(&entity.name)?;
        let mut untested = None;
        let (queries, relation, count) = match &rule.trigger {
            Trigger::Inactivity(inactivity) => {
                let (queries, count) = super::inactivity::render(renderer, entity, inactivity)?;
                (queries, Some(&inactivity.of), Some(count))
            }
            Trigger::Survey(survey) => {
                let (query, count) = super::survey::render(renderer, entity, survey, rule.takes_in_time())?;
                (vec![query], Some(&survey.of), Some(count))
            }
            Trigger::Date(date) => {
                let roles = rule.to.iter().cloned().collect();
                let people = People::plan(renderer, entity, &roles)?;
                let (queries, count) = super::on_date::render(renderer, rule, entity, date, &people)?;
                (queries, None, Some(count))
            }
            Trigger::Schedule(_) => {
                untested = Some(schedule(renderer, entity, &[])?);
                (vec![schedule(renderer, entity, &rule.conditions)?], None, Some(nobody()))
            }
            Trigger::Created(created) => {
                let (query, count) = super::created::render(renderer, entity, created)?;
                (vec![query], None, Some(count))
            }
            Trigger::Abandoned(abandoned) => {
                let (query, count) = super::abandoned::render(renderer, entity, abandoned)?;
                (vec![query], abandoned.of.as_ref(), Some(count))
            }
            // What the listener kept is in the state, and who is enrolled is for other rules to say.
            Trigger::Event(_) | Trigger::Enrolled => (Vec::new(), None, Some(nobody())),
            Trigger::Query(query) => {
                let (query, count) = super::query::render(renderer, entity, query)?;
                (vec![query], None, count)
            }
            Trigger::Yearly(yearly) => {
                let roles = rule.to.iter().cloned().collect();
                let people = People::plan(renderer, entity, &roles)?;
                // Nobody is left out for good: the day comes again.
                (vec![super::yearly::render(renderer, rule, entity, yearly, &people)?], None, Some(nobody()))
            }
            Trigger::Segment(segment) => {
                let (query, count) = super::episodes::segment(renderer, entity, segment)?;
                (vec![query], None, Some(count))
            }
            Trigger::Changed(changed) => {
                (vec![super::episodes::changed(renderer, entity, changed)?], None, Some(nobody()))
            }
            Trigger::Count(_) | Trigger::Decline(_) => match rule.trigger.tide() {
                Some(tide) => {
                    let query = super::episodes::candidates(renderer, entity, &tide)?;
                    let count = super::episodes::count_members(renderer, entity, &tide)?;
                    (vec![query], Some(tide.of), Some(count))
                }
                None => (Vec::new(), None, Some(nobody())),
            },
        };
        Ok(Self {
            parts: Parts::of(renderer, entity),
            queries,
            untested,
            scopes: Scopes::plan(renderer, entity, relation)?,
            count,
        })
    }

    pub fn tracks_changes(&self) -> bool {
        self.scopes.knows_changes()
    }

    pub fn statements(&self, reach: Reach<'_>) -> Vec<Statement> {
        let (window, scope, changed) = match reach {
            Reach::Crossed(window) | Reach::Untested(window) => (window, Scope::All, Timestamp::MIN),
            Reach::Changed(window, since) => (window, Scope::Changed, since),
            Reach::Chunk { window, after, upto } => (window, Scope::Chunk { after, upto }, Timestamp::MIN),
            Reach::Of(window, keys) => (window, Scope::Of(keys), Timestamp::MIN),
        };
        if matches!(scope, Scope::Changed) && !self.scopes.knows_changes() {
            return Vec::new();
        }
        let fill = self.scopes.fill(scope, Fill { changed, ..Fill::over(window, &self.parts.zone) });
        let statement = |query: &Query| {
            let from = self.scopes.from(scope, query.driven, |key| key_value(&self.parts.key, key));
            query.text.splice(&from).fill(self.parts.dialect, &fill)
        };
        match (reach, &self.untested) {
            (Reach::Untested(_), Some(query)) => vec![statement(query)],
            _ => self.queries.iter().map(statement).collect(),
        }
    }

    pub fn count_until(&self, until: Timestamp) -> Option<Statement> {
        let window = Window { after: Timestamp::MIN, until, now: until };
        Some(self.count.as_ref()?.fill(self.parts.dialect, &Fill::over(window, &self.parts.zone)))
    }

    pub fn read(&self, statement: usize, row: &Row, window: Window) -> Result<Option<Crossing>, ReadError> {
        let mut cells = Cells::new(row, self.parts.entity.as_str());
        let Some(query) = self.queries.get(statement) else {
            return Err(cells.error("row", "answers a statement that this rule doesn't have"));
        };
        match &query.reader {
            Reader::Inactivity(reader) => reader.read(&self.parts, &mut cells, window),
            Reader::Survey(reader) => reader.read(&self.parts, &mut cells, window),
            Reader::Date(reader) => reader.read(&self.parts, &mut cells, window),
            Reader::Created(reader) => reader.read(&self.parts, &mut cells, window),
            Reader::Abandoned(reader) => reader.read(&self.parts, &mut cells, window),
            Reader::Query(reader) => reader.read(&self.parts, &mut cells, window),
            Reader::Yearly(reader) => reader.read(&self.parts, &mut cells, window),
            Reader::Schedule => {
                let key = cells.key(&self.parts.key)?;
                Ok(Some(Crossing {
                    key,
                    occasion: instant_occasion(window.until),
                    crossed_at: window.until,
                    occasion_at: Some(window.until),
                    value: Value::Instant(window.until),
                    row: BTreeMap::new(),
                    entry: 0,
                }))
            }
            Reader::Candidate | Reader::Value(_) => Ok(None),
        }
    }
}

impl CrossingPlan {
    pub fn read_value(&self, row: &Row) -> Result<(Key, Value), ReadError> {
        let mut cells = Cells::new(row, self.parts.entity.as_str());
        let key = cells.key(&self.parts.key)?;
        match self.queries.first().map(|query| &query.reader) {
            Some(Reader::Value(meaning)) => Ok((key, meaning.read(cells.next()?))),
            _ => Err(cells.error("row", "answers no question of this rule")),
        }
    }
}

impl Window {
    pub(super) fn holds(&self, instant: Timestamp) -> bool {
        self.after < instant && instant <= self.until
    }
}

/// RFC 3339 in UTC with microseconds.
pub(super) fn instant_occasion(instant: Timestamp) -> Occasion {
    Occasion::new(format!("{instant:.6}"))
}

/// A count of those that a baseline leaves out, where it leaves out nobody.
fn nobody() -> Fragment {
    Fragment::text("SELECT 0")
}

/// Every record for which the terms hold, at the planned instant: the only trigger whose `where` is in its crossing
/// query. What is no question to the database is left to the evaluation, which asks every term again.
fn schedule(renderer: &Renderer<'_>, entity: &Entity, terms: &[Term]) -> Result<Query, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let mut tests = renderer.base(entity, RECORD);
    for term in terms.iter().filter(|term| !term.condition.asks_score() && !term.condition.asks_saved()) {
        if term.condition.counts_since_entry() {
            return Err(RenderError::SinceOutside(term.text.clone()));
        }
        tests.push(renderer.condition(entity, RECORD, &term.condition, false)?);
    }
    let text = Fragment::of(
        "SELECT {} FROM {} WHERE {}",
        &[&renderer.key_of(entity, RECORD), &Fragment::splice_point(), &Fragment::all(&tests)],
    );
    Ok(Query { text, driven: false, reader: Reader::Schedule })
}
