//! Rows whose time plus a while falls into the window: answers that have settled, new records, idle carts.

use super::Renderer;
use super::fragment::Fragment;
use super::hole::{Day, DayBase, Hole, Point, PointBase};
use super::operand::{Bound, Operand, coarse_range};
use super::read::Meaning;
use super::wire::Form;
use crate::catalog::ColumnType;
use crate::model::{Period, Value, at_local};
use crate::rule::compiled::Window;
use jiff::{Timestamp, tz::TimeZone};

/// From when a column of whole days counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WholeDay {
    FromItsStart,
    /// A row of today may have been written after a sweep of today; once the day is over there are no more.
    FromItsEnd,
}

/// How a time is read, and when its row crosses.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub after: Period,
    pub at: Meaning,
    pub whole_day: WholeDay,
}

/// What a time came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Happened {
    /// The first instant that the stored time can mean: the same one whenever it is read.
    pub first: Timestamp,
    /// The reading that crosses in the window.
    pub at: Timestamp,
    pub crossed_at: Timestamp,
}

impl Settled {
    /// A wall time in an overlap is looked at in both of its readings.
    pub fn read(&self, value: &Value, zone: &TimeZone, window: Window) -> Option<Happened> {
        let readings = self.readings(value, zone)?;
        let happened = |at| Happened { first: readings.0, at, crossed_at: self.after.after(at, zone) };
        [readings.0, readings.1].map(happened).into_iter().find(|happened| window.holds(happened.crossed_at))
    }

    /// Both instants that a stored time can mean.
    pub fn readings(&self, value: &Value, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        if let Some(readings) = self.at.readings(value) {
            return Some(readings);
        }
        let mut day = self.at.day(value, zone)?;
        if self.whole_day == WholeDay::FromItsEnd {
            day = day.tomorrow().ok()?;
        }
        let start = at_local(day.at(0, 0, 0, 0), zone);
        Some((start, start))
    }
}

/// `after < time + settle ≤ until`, with bare columns and bound constants; days, and text of more than one
/// form, a little wider. A wall time in an overlap may be younger by an hour than it looks, and must not fall
/// behind the watermark.
pub(super) fn within(renderer: &Renderer<'_>, at: &Operand, settle: Period) -> Vec<Fragment> {
    let after = Point::new(PointBase::ReachingAfter(settle, 0));
    let until = Point::new(PointBase::ReachingUntil(settle, 0));
    let mut tests = match renderer.form(&at.ty) {
        Form::Wall(zone) => vec![
            Fragment::of("{} > {}", &[&at.raw, &Fragment::hole(Hole::Time(after, Form::LateWall(zone.clone())))]),
            Fragment::of("{} <= {}", &[&at.raw, &Fragment::hole(Hole::Time(until, Form::Wall(zone)))]),
        ],
        Form::Day => renderer.range(&at.raw, &at.ty, Point::new(PointBase::ReachingAfter(settle, 2)), until),
        Form::DayText => coarse_range(&at.raw, after, until),
        Form::WallText(zone) => {
            let mut tests = coarse_range(&at.raw, after, until);
            let bound = |point, form| Fragment::hole(Hole::Time(point, form));
            let late = bound(after, Form::LateWallText(zone));
            let behind = super::iso::at_most(renderer.dialect, &at.raw, &bound(after, Form::UtcText), &late);
            tests.push(behind.negated());
            tests.push(renderer.at_most(&at.raw, &at.ty, Bound::Point(until)));
            tests
        }
        _ => renderer.range(&at.raw, &at.ty, after, until),
    };
    tests.extend(renderer.not_placeholder(at));
    tests
}

/// Whether the time crossed by the window's end, ever: for counting. Whole days by the day.
pub(super) fn reached(renderer: &Renderer<'_>, at: &Operand, settle: Period) -> Fragment {
    let until = if matches!(at.ty, ColumnType::Date(_)) {
        Bound::Day(Day::new(DayBase::ReachingUntil(settle)).plus(-1))
    } else {
        Bound::Point(Point::new(PointBase::ReachingUntil(settle, 0)))
    };
    renderer.at_most(&renderer.shown(at), &at.ty, until)
}
