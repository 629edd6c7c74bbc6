//! Triggers whose occasions are episodes. Their crossing queries only name candidates: records with a row whose
//! coming or going lies in the window, or all that are in a segment. The rows behind a count are then asked for
//! by key, and the episodes follow from these.

use super::batch::Batch;
use super::fragment::Fragment;
use super::hole::{Day, DayBase, Fill, Point, PointBase};
use super::operand::{Bound, Operand};
use super::plan::{Parts, Query, Reader};
use super::read::{Cells, Meaning};
use super::relation::{Doubles, Rows};
use super::settled;
use super::{RECORD, RenderError, Renderer};
use crate::catalog::{ColumnType, Entity};
use crate::model::{Key, Period, Value};
use crate::rule::checked::{Changed, Segment};
use crate::rule::compiled::{ReadError, Window};
use crate::rule::statement::{Dialect, Row, Statement};
use crate::rule::tide::{Mark, Tide, When};

/// Those in the segment now, and how many they are.
pub(super) fn segment(
    renderer: &Renderer<'_>,
    entity: &Entity,
    segment: &Segment,
) -> Result<(Query, Fragment), RenderError> {
    let entity = renderer.entity(&entity.name)?;
    if segment.when.iter().any(|term| term.condition.counts_since_entry()) {
        return Err(RenderError::SinceOutside("segment".to_owned()));
    }
    let mut tests = renderer.base(entity, RECORD);
    for term in &segment.when {
        tests.push(renderer.condition(entity, RECORD, &term.condition, false)?);
    }
    let tests = Fragment::all(&tests);
    let key = renderer.key_of(entity, RECORD);
    let text = Fragment::of("SELECT {} FROM {} WHERE {}", &[&key, &Fragment::splice_point(), &tests]);
    let count = Fragment::of("SELECT COUNT(*) FROM {} WHERE {}", &[&renderer.rows_of(entity, RECORD), &tests]);
    Ok((Query { text, driven: false, reader: Reader::Candidate }, count))
}

/// Every record with the value that is watched.
pub(super) fn changed(renderer: &Renderer<'_>, entity: &Entity, changed: &Changed) -> Result<Query, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let (cell, meaning) = renderer.selected(&renderer.operand(entity, RECORD, &changed.field)?);
    let text = Fragment::of(
        "SELECT {}, {} FROM {} WHERE {}",
        &[
            &renderer.key_of(entity, RECORD),
            &cell,
            &Fragment::splice_point(),
            &Fragment::all(&renderer.base(entity, RECORD)),
        ],
    );
    Ok(Query { text, driven: false, reader: Reader::Value(meaning) })
}

/// The rows of a tide that count, and when each happened.
fn rows<'a>(renderer: &Renderer<'a>, entity: &'a Entity, tide: &Tide<'_>) -> Result<(Rows<'a>, Operand), RenderError> {
    let mut rows = renderer.related(entity, RECORD, tide.of, Doubles::Harmless)?;
    for condition in tide.only {
        if condition.counts_since_entry() {
            return Err(RenderError::SinceOutside("only".to_owned()));
        }
        let test = renderer.condition(rows.entity, &rows.alias.clone(), condition, false)?;
        rows.conditions.push(test);
    }
    rows.conditions.extend(renderer.base(entity, RECORD));
    let at = renderer.column_operand(&rows.alias, &Renderer::time_of(rows.entity)?);
    Ok((rows, at))
}

/// Records with a row whose coming or going in the window may bring them inside or make them leave.
pub(super) fn candidates(renderer: &Renderer<'_>, entity: &Entity, tide: &Tide<'_>) -> Result<Query, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let (rows, at) = rows(renderer, entity, tide)?;
    let crossing = tide.shifts.iter().filter(|shift| shift.crosses);
    let singly = crossing.filter_map(|shift| match shift.after.as_slice() {
        [period] => Some(*period),
        _ => None,
    });
    let shifted: Vec<Fragment> = singly.map(|period| Fragment::all(&settled::within(renderer, &at, period))).collect();
    let mut tests = vec![Fragment::any(&shifted)];
    tests.extend(rows.conditions.iter().cloned());
    let text = Fragment::of(
        "SELECT DISTINCT {} FROM {}{} WHERE {}",
        &[&renderer.key_of(entity, RECORD), &rows.from, &Fragment::splice_point(), &Fragment::all(&tests)],
    );
    Ok(Query { text, driven: true, reader: Reader::Candidate })
}

/// `low < at ≤ high`, as parts of a WHERE or of a CASE.
fn between(renderer: &Renderer<'_>, at: &Operand, low: Edge, high: Edge) -> Fragment {
    Fragment::all(&renderer.between(at, low.bound(&at.ty), high.bound(&at.ty)))
}

/// A period before the end of the window; by months, within days of it.
#[derive(Clone, Copy)]
struct Edge(Period);

const HERE: Edge = Edge(Period::days(0));

impl Edge {
    fn bound(self, ty: &ColumnType) -> Bound {
        if matches!(ty, ColumnType::Date(_)) {
            return Bound::Day(Day::new(DayBase::ReachingUntil(self.0)));
        }
        Bound::Point(Point::new(PointBase::Before(self.0)))
    }
}

/// The keys of those inside at the window's end. Where a window is counted in months, within days of it.
fn members(renderer: &Renderer<'_>, entity: &Entity, tide: &Tide<'_>) -> Result<Fragment, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let (rows, at) = rows(renderer, entity, tide)?;
    let row = renderer.key_of(rows.entity, &rows.alias);
    let counted =
        |spans: &[Fragment]| Fragment::of("COUNT(DISTINCT CASE WHEN {} THEN {} END)", &[&Fragment::any(spans), &row]);
    let window = tide.shifts.get(1).and_then(|shift| shift.after.first()).copied().unwrap_or(Period::days(0));
    let now = between(renderer, &at, Edge(window), HERE);
    let number = |number: i64| Fragment::hole(super::Hole::Constant(Value::Int(number)));
    let (within, having) = match tide.mark {
        Mark::AtLeast(count) => {
            let count = number(i64::try_from(count).unwrap_or(i64::MAX));
            (now, Fragment::of("COUNT(DISTINCT {}) >= {}", &[&row, &count]))
        }
        Mark::Fallen { by, from } => {
            let before = spans_before(renderer, &at, tide, window);
            let any = Fragment::any(&[now.clone(), before.clone()]);
            let (now, before) = (counted(&[now]), counted(&[before]));
            let left = number(100 - i64::from(by));
            let from = number(i64::try_from(from).unwrap_or(i64::MAX));
            let having = Fragment::of("{} >= {} AND {} * 100 <= {} * {}", &[&before, &from, &now, &before, &left]);
            (any, having)
        }
    };
    let mut tests = vec![within];
    tests.extend(rows.conditions.iter().cloned());
    let key = renderer.key_of(entity, RECORD);
    let records = renderer.rows_of(entity, RECORD);
    Ok(Fragment::of(
        "SELECT {} FROM {} JOIN {} ON TRUE WHERE {} GROUP BY {} HAVING {}",
        &[&key, &rows.from, &records, &Fragment::all(&tests), &key, &having],
    ))
}

/// The time that a decline compares with.
fn spans_before(renderer: &Renderer<'_>, at: &Operand, tide: &Tide<'_>, window: Period) -> Fragment {
    let entering = tide.shifts.iter().find(|shift| shift.level.before > 0).and_then(|shift| shift.after.first());
    match entering {
        Some(year) if *year != window => {
            let days = i64::from(year.count) * 366 + window.max_seconds() / 86_400;
            let long = Period::days(u32::try_from(days).unwrap_or(u32::MAX));
            between(renderer, at, Edge(long), Edge(*year))
        }
        _ => {
            let double = Period::new(window.count.saturating_mul(2), window.unit);
            between(renderer, at, Edge(double), Edge(window))
        }
    }
}

pub(super) fn count_members(
    renderer: &Renderer<'_>,
    entity: &Entity,
    tide: &Tide<'_>,
) -> Result<Fragment, RenderError> {
    Ok(Fragment::of("SELECT COUNT(*) FROM ({}) AS m", &[&members(renderer, entity, tide)?]))
}

/// The questions that only triggers over the course of rows ask.
#[derive(Debug, Clone)]
pub(crate) struct CoursePlan {
    parts: Parts,
    members: Fragment,
    /// With a splice point where the batch and the records stand.
    rows: Fragment,
    records: Fragment,
    key: Fragment,
    batch: Batch,
    at: Meaning,
}

impl CoursePlan {
    pub fn render(renderer: &Renderer<'_>, entity: &Entity, tide: &Tide<'_>) -> Result<Self, RenderError> {
        let entity = renderer.entity(&entity.name)?;
        let (rows, at) = rows(renderer, entity, tide)?;
        let reach = tide.reach();
        let (low, high) = if matches!(at.ty, ColumnType::Date(_)) {
            (Bound::Day(Day::new(DayBase::ReachingAfter(reach))), Bound::Day(Day::new(DayBase::Today)))
        } else {
            let low = Point::new(PointBase::ReachingAfter(reach, 0));
            (Bound::Point(low), Bound::Point(Point::new(PointBase::Now)))
        };
        let mut tests = renderer.between(&at, low, high);
        tests.extend(rows.conditions.iter().cloned());
        let (cell, meaning) = renderer.selected(&at);
        let key = renderer.key_of(entity, RECORD);
        let joined = match renderer.dialect {
            Dialect::MySql => " STRAIGHT_JOIN ",
            Dialect::Postgres | Dialect::Sqlite => " CROSS JOIN ",
        };
        let text = Fragment::of(
            &format!("SELECT DISTINCT {{}}, {{}}, {{}} FROM {{}}{joined}{{}} WHERE {{}}"),
            &[
                &key,
                &renderer.key_of(rows.entity, &rows.alias),
                &cell,
                &Fragment::splice_point(),
                &rows.from,
                &Fragment::all(&tests),
            ],
        );
        Ok(Self {
            parts: Parts::of(renderer, entity),
            members: members(renderer, entity, tide)?,
            rows: text,
            records: renderer.rows_of(entity, RECORD),
            key,
            batch: Batch::new(renderer.dialect, entity.key_type.clone(), Vec::new(), None),
            at: meaning,
        })
    }

    /// Those inside at this instant.
    pub fn members(&self, window: Window) -> Statement {
        self.members.fill(self.parts.dialect, &Fill::over(window, &self.parts.zone))
    }

    /// The rows of these records that count at the start of the window or come later.
    pub fn rows(&self, keys: &[Key], window: Window) -> Statement {
        let plain = self.batch.plain(keys.iter());
        let batch = self.batch.from(plain);
        let is_key = self.batch.is_key(&self.key, plain);
        let from = match self.parts.dialect {
            Dialect::Sqlite => Fragment::of("{} CROSS JOIN {} ON {}", &[&batch, &self.records, &is_key]),
            Dialect::MySql => Fragment::of("{} STRAIGHT_JOIN {} ON {}", &[&batch, &self.records, &is_key]),
            Dialect::Postgres => Fragment::of("{} JOIN {} ON {}", &[&batch, &self.records, &is_key]),
        };
        let fill = Fill { keys: Some(self.batch.keys_json(keys)), ..Fill::over(window, &self.parts.zone) };
        self.rows.splice(&from).fill(self.parts.dialect, &fill)
    }

    /// The record, and when its row happened; `None` where that can't be told.
    pub fn read(&self, row: &Row) -> Result<(Key, Option<When>), ReadError> {
        let mut cells = Cells::new(row, self.parts.entity.as_str());
        let key = cells.key(&self.parts.key)?;
        cells.next()?;
        let when = match self.at.read(cells.next()?) {
            Value::Instant(at) => Some(When::Instant(at)),
            Value::Date(day) => Some(When::Day(day)),
            _ => None,
        };
        Ok((key, when))
    }
}
