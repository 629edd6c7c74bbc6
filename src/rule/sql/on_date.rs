//! Records whose date plus an offset is reached at a local time within the window.
//!
//! One query per offset over the envelope of local days on earth; each row is then tested exactly in its
//! record's own zone.

use super::fragment::Fragment;
use super::hole::{Day, DayBase, Point, PointBase};
use super::operand::Operand;
use super::people::{Detail, People};
use super::plan::{Parts, Query, Reader};
use super::read::{Cells, Meaning};
use super::{RECORD, RenderError, Renderer};
use crate::catalog::{ColumnType, Entity};
use crate::model::{Occasion, RoleName, Value, at_local};
use crate::rule::checked::{CheckedRule, DateTrigger, Offset};
use crate::rule::compiled::{Crossing, ReadError, Window};
use jiff::civil;
use std::collections::BTreeMap;

/// A row: the key, the date, and what tells the record's zone.
#[derive(Debug, Clone)]
pub(super) struct DateReader {
    entry: usize,
    offset: Offset,
    at: civil::Time,
    date: Meaning,
    people: People,
    role: Option<RoleName>,
}

/// One query per entry, and the count of all dates reached until now.
pub(super) fn render(
    renderer: &Renderer<'_>,
    rule: &CheckedRule,
    entity: &Entity,
    trigger: &DateTrigger,
    people: &People,
) -> Result<(Vec<Query>, Fragment), RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let column = Renderer::column(entity, &trigger.field)?;
    let date = renderer.column_operand(RECORD, &column);
    let mut queries = Vec::new();
    let mut counts = Vec::new();
    for (number, entry) in rule.entries.iter().enumerate() {
        let offset = entry.offset.unwrap_or(Offset::ON_THE_DAY);
        let sql = people.sql(renderer, entity, Detail::Zone)?;
        let mut tests = envelope(renderer, &date, offset);
        tests.extend(renderer.base(entity, RECORD));
        let (cell, meaning) = renderer.selected(&date);
        let mut selected = vec![renderer.key_of(entity, RECORD), cell];
        selected.extend(sql.cells);
        let reader = DateReader {
            entry: number,
            offset,
            at: trigger.at,
            date: meaning,
            people: people.clone(),
            role: rule.to.clone(),
        };
        let text = with_people(renderer, entity, &selected, &sql.picks, &sql.joins, &tests);
        queries.push(Query { text, driven: false, reader: Reader::Date(reader) });
        counts.push(reached(renderer, entity, &date, offset));
    }
    Ok((queries, Fragment::of("SELECT {}", &[&Fragment::join(&counts, " + ")])))
}

/// The query, with persons joined by the keys that an inner query picks.
pub(super) fn with_people(
    renderer: &Renderer<'_>,
    entity: &Entity,
    selected: &[Fragment],
    picks: &[Fragment],
    joins: &[Fragment],
    tests: &[Fragment],
) -> Fragment {
    let selected = Fragment::join(selected, ", ");
    let tests = Fragment::all(tests);
    if picks.is_empty() {
        return Fragment::of(
            "SELECT {} FROM {}{} WHERE {}",
            &[&selected, &Fragment::splice_point(), &Fragment::join(joins, ""), &tests],
        );
    }
    let key = renderer.key_of(entity, RECORD);
    Fragment::of(
        "SELECT {} FROM (SELECT {} AS rk, {} FROM {} WHERE {}) AS b JOIN {} ON {} = b.rk{}",
        &[
            &selected,
            &key,
            &Fragment::join(picks, ", "),
            &Fragment::splice_point(),
            &tests,
            &renderer.rows_of(entity, RECORD),
            &key,
            &Fragment::join(joins, ""),
        ],
    )
}

/// Every date that can have been reached in the window, anywhere on earth.
fn envelope(renderer: &Renderer<'_>, date: &Operand, offset: Offset) -> Vec<Fragment> {
    let first = Day::new(DayBase::First(offset.before, offset.period));
    let last = Day::new(DayBase::Last(offset.before, offset.period));
    let mut tests = if matches!(date.ty, ColumnType::Date(_)) {
        renderer.day_range(&date.raw, &date.ty, first.plus(-1), last)
    } else {
        let start = |day: Day| Point::new(PointBase::StartOf(day));
        renderer.range(&date.raw, &date.ty, start(first.plus(-1)), start(last.plus(2)))
    };
    tests.extend(renderer.not_placeholder(date));
    tests
}

/// How many were reached by now, in whole days of the catalog's zone.
fn reached(renderer: &Renderer<'_>, entity: &Entity, date: &Operand, offset: Offset) -> Fragment {
    let base = if offset.before { DayBase::Ahead(offset.period) } else { DayBase::Ago(offset.period) };
    let dated = matches!(date.ty, ColumnType::Date(_));
    let (_, last) = super::operand::day_edges(dated, Day::new(base));
    let mut tests = renderer.base(entity, RECORD);
    tests.push(renderer.at_most(&renderer.shown(date), &date.ty, last));
    Fragment::of("(SELECT COUNT(*) FROM {} WHERE {})", &[&renderer.rows_of(entity, RECORD), &Fragment::all(&tests)])
}

impl DateReader {
    pub fn read(&self, parts: &Parts, cells: &mut Cells<'_>, window: Window) -> Result<Option<Crossing>, ReadError> {
        let key = cells.key(&parts.key)?;
        let date = cells.next()?;
        let zone = self.people.read_zone(cells, self.role.as_ref(), &parts.zone)?;
        let Some(date) = self.date.day(date, &zone) else { return Ok(None) };
        let Offset { before, period } = self.offset;
        let crossed_at = at_local(self.offset.moves(date).to_datetime(self.at), &zone);
        Ok(window.holds(crossed_at).then(|| Crossing {
            key,
            occasion: Occasion::new(format!("{date}/{}{period}", if before { '-' } else { '+' })),
            crossed_at,
            occasion_at: Some(at_local(date.at(0, 0, 0, 0), &zone)),
            value: Value::Date(date),
            row: BTreeMap::new(),
            entry: self.entry,
        }))
    }
}
