//! Records whose anniversary, moved by an offset, is reached at a local time within the window.
//!
//! An anniversary is no range of dates but one range in each year. So the query asks for the days of the
//! window in each of the last 120 years, as bare ranges that a plain index over the date serves, and for all
//! dates before these; each row is then tested exactly in its record's own zone.

use super::fragment::Fragment;
use super::hole::{Day, DayBase, Point, PointBase};
use super::on_date::with_people;
use super::operand::{Operand, coarse_range};
use super::people::{Detail, People};
use super::plan::{Parts, Query, Reader};
use super::read::{Cells, Meaning};
use super::wire::Form;
use super::{RECORD, RenderError, Renderer};
use crate::catalog::{ColumnType, Entity};
use crate::model::{Occasion, RoleName, Value, at_local};
use crate::rule::checked::{Anniversary, CheckedRule, Offset, Yearly};
use crate::rule::compiled::{Crossing, ReadError, Window};
use jiff::civil::{self, Date};
use jiff::{Timestamp, tz::TimeZone};
use std::collections::BTreeMap;

/// Years that get a range of their own. Few people and companies are older.
const YEARS: i16 = 120;

/// A row: the key, the date, and what tells the record's zone.
#[derive(Debug, Clone)]
pub(super) struct YearlyReader {
    when: Anniversary,
    date: Meaning,
    people: People,
    role: Option<RoleName>,
}

pub(super) fn render(
    renderer: &Renderer<'_>,
    rule: &CheckedRule,
    entity: &Entity,
    yearly: &Yearly,
    people: &People,
) -> Result<Query, RenderError> {
    let entity = renderer.entity(&entity.name)?;
    let date = renderer.column_operand(RECORD, &Renderer::column(entity, &yearly.field)?);
    let sql = people.sql(renderer, entity, Detail::Zone)?;
    let mut tests = vec![envelope(renderer, &date, yearly.when.offset)];
    tests.extend(renderer.not_placeholder(&date));
    tests.extend(renderer.base(entity, RECORD));
    let (cell, meaning) = renderer.selected(&date);
    let mut selected = vec![renderer.key_of(entity, RECORD), cell];
    selected.extend(sql.cells);
    let text = with_people(renderer, entity, &selected, &sql.picks, &sql.joins, &tests);
    let reader = YearlyReader { when: yearly.when, date: meaning, people: people.clone(), role: rule.to.clone() };
    Ok(Query { text, driven: false, reader: Reader::Yearly(reader) })
}

/// Every date whose anniversary can have been reached in the window, anywhere on earth.
fn envelope(renderer: &Renderer<'_>, date: &Operand, Offset { before, period }: Offset) -> Fragment {
    let year = |years: i16| {
        let first = Day::new(DayBase::FirstYearsAgo(years, before, period));
        Fragment::all(&days(renderer, date, first, Day::new(DayBase::LastYearsAgo(years, before, period))))
    };
    let mut years: Vec<Fragment> = (1..=YEARS).map(year).collect();
    let ever = Day::new(DayBase::Fixed(civil::date(1000, 1, 2)));
    let last = Day::new(DayBase::LastYearsAgo(YEARS + 1, before, period));
    years.push(Fragment::all(&days(renderer, date, ever, last)));
    Fragment::any(&years)
}

/// From the first day to the last, or a little more.
fn days(renderer: &Renderer<'_>, date: &Operand, first: Day, last: Day) -> Vec<Fragment> {
    if matches!(date.ty, ColumnType::Date(_)) {
        return renderer.day_range(&date.raw, &date.ty, first.plus(-1), last);
    }
    let start = |day: Day| Point::new(PointBase::StartOf(day));
    let (after, until) = (start(first.plus(-1)), start(last.plus(2)));
    if matches!(renderer.form(&date.ty), Form::WallText(_)) {
        return coarse_range(&date.raw, after, until);
    }
    renderer.range(&date.raw, &date.ty, after, until)
}

impl YearlyReader {
    pub fn read(&self, parts: &Parts, cells: &mut Cells<'_>, window: Window) -> Result<Option<Crossing>, ReadError> {
        let key = cells.key(&parts.key)?;
        let date = cells.next()?;
        let zone = self.people.read_zone(cells, self.role.as_ref(), &parts.zone)?;
        let Some(since) = self.date.day(date, &zone) else { return Ok(None) };
        let latest = latest(self.when, since, &zone, window.until);
        Ok(latest.filter(|(_, crossed_at)| window.holds(*crossed_at)).map(|(day, crossed_at)| Crossing {
            key,
            occasion: Occasion::new(day.year().to_string()),
            crossed_at,
            occasion_at: Some(at_local(day.at(0, 0, 0, 0), &zone)),
            value: Value::Date(day),
            row: BTreeMap::from([
                ("years".to_owned(), Value::Int(i64::from(day.year() - since.year()))),
                ("since".to_owned(), Value::Date(since)),
            ]),
            entry: 0,
        }))
    }
}

/// The latest anniversary that was reached by `until`, and when that was. The day itself is none.
fn latest(when: Anniversary, since: Date, zone: &TimeZone, until: Timestamp) -> Option<(Date, Timestamp)> {
    let today = super::wire::day_of(until, zone);
    // With `10 days before` an anniversary of next January is reached in December.
    let reached = if when.offset.before { when.offset.period.after_date(today) } else { today };
    let years = since.year().saturating_add(1)..=reached.year();
    let days = years.rev().filter_map(|year| when.feb29.day(since, year));
    days.map(|day| (day, at_local(when.offset.moves(day).to_datetime(when.at), zone)))
        .find(|(_, crossed_at)| *crossed_at <= until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Period, Unit};
    use crate::rule::checked::Feb29;

    fn found(offset: Offset, feb29: Feb29, since: &str, until: &str) -> Option<String> {
        let when = Anniversary { at: civil::time(9, 0, 0, 0), offset, feb29 };
        latest(when, since.parse().unwrap(), &TimeZone::UTC, until.parse().unwrap()).map(|(day, _)| day.to_string())
    }

    #[test]
    fn a_leap_day_comes_again_as_the_rule_says() {
        let on = Offset::ON_THE_DAY;
        let born = "2000-02-29";
        let noon = |day: &str| format!("{day}T12:00:00Z");
        assert_eq!(found(on, Feb29::Feb28, born, &noon("2026-02-28")).as_deref(), Some("2026-02-28"));
        assert_eq!(found(on, Feb29::Mar1, born, &noon("2026-02-28")).as_deref(), Some("2025-03-01"));
        assert_eq!(found(on, Feb29::Mar1, born, &noon("2026-03-01")).as_deref(), Some("2026-03-01"));
        assert_eq!(found(on, Feb29::Skip, born, &noon("2027-12-31")).as_deref(), Some("2024-02-29"));
        assert_eq!(found(on, Feb29::Skip, born, &noon("2028-02-29")).as_deref(), Some("2028-02-29"));
    }

    #[test]
    fn the_day_itself_is_no_anniversary() {
        assert_eq!(found(Offset::ON_THE_DAY, Feb29::Feb28, "2026-05-01", "2027-04-30T12:00:00Z"), None);
        let first = found(Offset::ON_THE_DAY, Feb29::Feb28, "2026-05-01", "2027-05-01T09:00:00Z");
        assert_eq!(first.as_deref(), Some("2027-05-01"));
    }

    #[test]
    fn the_year_is_the_anniversarys_whenever_the_message_goes() {
        let before = Offset { before: true, period: Period::days(3) };
        let next = found(before, Feb29::Feb28, "1970-01-01", "2026-12-29T09:00:00Z");
        assert_eq!(next.as_deref(), Some("2027-01-01"));
        let after = Offset { before: false, period: Period::new(1, Unit::Month) };
        let last = found(after, Feb29::Feb28, "1990-12-20", "2027-01-20T09:00:00Z");
        assert_eq!(last.as_deref(), Some("2026-12-20"));
    }
}
