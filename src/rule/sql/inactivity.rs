//! Records whose last activity crossed "now ≥ activity + N" within the window.
//!
//! Bounded by what is new: activity that lies N before the window, and nothing newer up to now. A second
//! query finds those whose fallback (created at) crossed and who had no activity after it.

use super::fragment::Fragment;
use super::hole::{Day, DayBase, Point, PointBase};
use super::operand::{Bound, Operand};
use super::plan::{Parts, Query, Reader, instant_occasion};
use super::read::{Cells, Meaning};
use super::relation::{Doubles, Rows};
use super::wire::Form;
use super::{RECORD, RenderError, Renderer};
use crate::catalog::{AggregateFunction, ColumnType, Entity};
use crate::model::{Period, RelationName, Value, at_local};
use crate::rule::checked::Inactivity;
use crate::rule::compiled::{Crossing, ReadError, Window};
use jiff::{Timestamp, civil, tz::TimeZone};
use std::collections::BTreeMap;

/// How a row of either query is read: key, last activity (or null), fallback (if the rule names one).
#[derive(Debug, Clone)]
pub(super) struct InactivityReader {
    silent_for: Period,
    activity: Option<Meaning>,
    fallback: Option<Meaning>,
}

/// The parts of time that a column can be compared with.
struct Edges {
    after: Bound,
    until: Bound,
    now: Bound,
}

impl Edges {
    /// In instants, or in whole local days for a column of dates.
    fn of(ty: &ColumnType, silent_for: Period, slack: u8) -> Self {
        if matches!(ty, ColumnType::Date(_)) {
            let slack = i32::from(slack);
            return Self {
                after: Bound::Day(Day::new(DayBase::ReachingAfter(silent_for)).plus(-slack)),
                until: Bound::Day(Day::new(DayBase::ReachingUntil(silent_for)).plus(slack)),
                now: Bound::Day(Day::new(DayBase::Today)),
            };
        }
        Self {
            after: Bound::Point(Point::new(PointBase::ReachingAfter(silent_for, slack))),
            until: Bound::Point(Point::new(PointBase::ReachingUntil(silent_for, slack))),
            now: Bound::Point(Point::new(PointBase::Now)),
        }
    }
}

/// A rule's silence, with the columns that end it.
struct Silence<'r, 'a> {
    renderer: &'r Renderer<'a>,
    entity: &'a Entity,
    of: &'r RelationName,
    silent_for: Period,
    fallback: Option<Operand>,
    /// Days by which both queries look wider: whole days and instants cross at different hours.
    slack: u8,
}

impl Renderer<'_> {
    /// `low < operand ≤ high`, bare, without placeholders.
    pub(super) fn between(&self, operand: &Operand, low: Bound, high: Bound) -> Vec<Fragment> {
        let mut parts = match (low, high) {
            (Bound::Point(low), Bound::Point(high)) => self.range(&operand.raw, &operand.ty, low, high),
            (Bound::Day(low), Bound::Day(high)) => {
                let mut parts = self.day_range(&operand.raw, &operand.ty, low, high);
                if self.form(&operand.ty) == Form::DayText {
                    // In the range by its text, which may be no day.
                    parts.push(Fragment::of("{} IS NOT NULL", &[&self.dated(operand)]));
                }
                parts
            }
            _ => vec![
                self.at_most(&operand.raw, &operand.ty, low).negated(),
                self.at_most(&operand.raw, &operand.ty, high),
            ],
        };
        parts.extend(self.not_placeholder(operand));
        parts
    }
}

/// Renders both queries, and the count of all that crossed until now (by months, within days of it).
pub(super) fn render(
    renderer: &Renderer<'_>,
    entity: &Entity,
    inactivity: &Inactivity,
) -> Result<(Vec<Query>, Fragment), RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let fallback = inactivity
        .fallback
        .as_ref()
        .map(|field| Renderer::column(entity, field).map(|column| renderer.column_operand(RECORD, &column)))
        .transpose()?;
    let mut silence =
        Silence { renderer, entity, of: &inactivity.of, silent_for: inactivity.silent_for, fallback, slack: 0 };
    let (_, at) = silence.activity()?;
    let dated = |ty: &ColumnType| matches!(ty, ColumnType::Date(_));
    if silence.fallback.as_ref().is_some_and(|fallback| dated(&fallback.ty) != dated(&at.ty)) {
        silence.slack = 2;
    }
    let mut queries = vec![silence.by_activity()?];
    queries.extend(silence.by_fallback()?);
    Ok((queries, silence.count()?))
}

impl<'a> Silence<'_, 'a> {
    fn activity(&self) -> Result<(Rows<'a>, Operand), RenderError> {
        let rows = self.renderer.related(self.entity, RECORD, self.of, Doubles::Harmless)?;
        let at = self.renderer.column_operand(&rows.alias, &Renderer::time_of(rows.entity)?);
        Ok((rows, at))
    }

    fn edges(&self, operand: &Operand) -> Edges {
        Edges::of(&operand.ty, self.silent_for, self.slack)
    }

    /// Those with activity in the envelope of the window, and none after it.
    fn by_activity(&self) -> Result<Query, RenderError> {
        let renderer = self.renderer;
        let (rows, at) = self.activity()?;
        let edges = self.edges(&at);
        let mut tests = renderer.between(&at, edges.after, edges.until);
        tests.extend(rows.conditions.iter().cloned());
        tests.extend(renderer.base(self.entity, RECORD));
        tests.push(self.newer_activity(edges.until)?.negated());
        let key = renderer.key_of(self.entity, RECORD);
        let (newest, ty) = renderer.aggregated(AggregateFunction::Max, Some(&at));
        let (newest, activity) = renderer.selected(&Operand { raw: newest, ty, missing: Vec::new(), whole: false });
        let mut selected = vec![key.clone(), newest];
        let mut grouped = vec![key];
        let mut reader = InactivityReader { silent_for: self.silent_for, activity: Some(activity), fallback: None };
        if let Some(fallback) = &self.fallback {
            let edges = self.edges(fallback);
            tests.push(is_not_true(&renderer.between(fallback, edges.until, edges.now)));
            let (cell, meaning) = renderer.selected(&Operand { missing: Vec::new(), ..fallback.clone() });
            let visible = renderer.at_most(&renderer.shown(fallback), &fallback.ty, edges.now);
            selected.push(Fragment::of("(CASE WHEN {} THEN {} END)", &[&visible, &cell]));
            grouped.push(fallback.raw.clone());
            reader.fallback = Some(meaning);
        }
        let text = Fragment::of(
            "SELECT {} FROM {}{} WHERE {} GROUP BY {}",
            &[
                &Fragment::join(&selected, ", "),
                &rows.from,
                &Fragment::splice_point(),
                &Fragment::all(&tests),
                &Fragment::join(&grouped, ", "),
            ],
        );
        Ok(Query { text, driven: true, reader: Reader::Inactivity(reader) })
    }

    /// Those whose fallback lies in the envelope, without activity in it or after it.
    fn by_fallback(&self) -> Result<Option<Query>, RenderError> {
        let (renderer, Some(fallback)) = (self.renderer, &self.fallback) else { return Ok(None) };
        let edges = self.edges(fallback);
        let mut tests = renderer.between(fallback, edges.after, edges.until);
        tests.extend(renderer.base(self.entity, RECORD));
        let (_, at) = self.activity()?;
        tests.push(self.newer_activity(self.edges(&at).after)?.negated());
        let visible = renderer.at_most(&renderer.shown(fallback), &fallback.ty, edges.now);
        tests.push(visible);
        let (cell, meaning) = renderer.selected(fallback);
        let text = Fragment::of(
            "SELECT {}, {} FROM {} WHERE {}",
            &[&renderer.key_of(self.entity, RECORD), &cell, &Fragment::splice_point(), &Fragment::all(&tests)],
        );
        let reader = InactivityReader { silent_for: self.silent_for, activity: None, fallback: Some(meaning) };
        Ok(Some(Query { text, driven: false, reader: Reader::Inactivity(reader) }))
    }

    /// Whether there is activity after `low` and up to now.
    fn newer_activity(&self, low: Bound) -> Result<Fragment, RenderError> {
        let (rows, at) = self.activity()?;
        let tests = self.renderer.between(&at, low, self.edges(&at).now);
        Ok(exists(rows, tests))
    }

    fn count(&self) -> Result<Fragment, RenderError> {
        let renderer = self.renderer;
        let mut tests = renderer.base(self.entity, RECORD);
        let (rows, at) = self.activity()?;
        let until = Edges::of(&at.ty, self.silent_for, 0).until;
        let mut ever = vec![exists(rows, vec![renderer.at_most(&renderer.shown(&at), &at.ty, until)])];
        tests.push(self.newer_activity(until)?.negated());
        if let Some(fallback) = &self.fallback {
            let edges = Edges::of(&fallback.ty, self.silent_for, 0);
            ever.push(renderer.at_most(&renderer.shown(fallback), &fallback.ty, edges.until));
            tests.push(is_not_true(&renderer.between(fallback, edges.until, edges.now)));
        }
        tests.push(Fragment::any(&ever));
        let records = renderer.rows_of(self.entity, RECORD);
        Ok(Fragment::of("SELECT COUNT(*) FROM {} WHERE {}", &[&records, &Fragment::all(&tests)]))
    }
}

fn exists(rows: Rows<'_>, tests: Vec<Fragment>) -> Fragment {
    let mut all = rows.conditions;
    all.extend(tests);
    Fragment::of("EXISTS (SELECT 1 FROM {} WHERE {})", &[&rows.from, &Fragment::all(&all)])
}

fn is_not_true(parts: &[Fragment]) -> Fragment {
    Fragment::of("(({}) IS NOT TRUE)", &[&Fragment::all(parts)])
}

impl InactivityReader {
    pub fn read(&self, parts: &Parts, cells: &mut Cells<'_>, window: Window) -> Result<Option<Crossing>, ReadError> {
        let key = cells.key(&parts.key)?;
        let mut last: Option<Last> = None;
        for meaning in [&self.activity, &self.fallback].into_iter().flatten() {
            let found = match meaning.read(cells.next()?) {
                Value::Instant(at) => Some(Last { at, crossed_at: self.silent_for.after(at, &parts.zone) }),
                Value::Date(day) => Some(self.of_day(day, &parts.zone)),
                _ => None,
            };
            if found.is_some_and(|found| last.is_none_or(|last| found.at > last.at)) {
                last = found;
            }
        }
        Ok(last.filter(|last| window.holds(last.crossed_at)).map(|last| Crossing {
            key,
            occasion: instant_occasion(last.at),
            crossed_at: last.crossed_at,
            occasion_at: Some(last.at),
            value: Value::Instant(last.at),
            row: BTreeMap::new(),
            entry: 0,
        }))
    }

    /// A date counts from the start of its local day, and is silent from the start of the day N later.
    fn of_day(&self, day: civil::Date, zone: &TimeZone) -> Last {
        let start = |day: civil::Date| at_local(day.at(0, 0, 0, 0), zone);
        Last { at: start(day), crossed_at: start(self.silent_for.after_date(day)) }
    }
}

#[derive(Clone, Copy)]
struct Last {
    at: Timestamp,
    crossed_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::super::hole::latest_day_reaching;
    use super::super::wire::day_of;
    use super::*;

    #[test]
    fn whole_days_cross_at_the_start_of_a_local_day() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let reader = InactivityReader { silent_for: Period::days(90), activity: None, fallback: None };
        let last = reader.of_day(civil::date(2026, 1, 1), &vienna);
        assert_eq!(last.crossed_at, "2026-03-31T22:00:00Z".parse().unwrap());
        // The day that the query's bound names for any instant of that day is the same one.
        for instant in ["2026-03-31T22:00:00Z", "2026-04-01T21:59:59Z"] {
            let day = day_of(instant.parse().unwrap(), &vienna);
            assert_eq!(latest_day_reaching(Period::days(90), day), civil::date(2026, 1, 1));
        }
    }
}
