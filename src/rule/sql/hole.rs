//! What is bound into a statement only when it runs: instants, days, keys and limits.

use super::wire::{Form, day_of};
use crate::model::{Period, Unit, Value, at_local};
use crate::rule::compiled::Window;
use jiff::{SignedDuration, Timestamp, ToSpan, civil, tz::TimeZone};

/// A value to bind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Hole {
    Constant(Value),
    /// The greatest stored value of this form that reads as at most the point.
    Time(Point, Form),
    /// A day in this form.
    Day(Day, Form),
    /// The day of a point, moved: a coarse bound that an index over text can use.
    Prefix(Point, i32),
    /// The batch of keys as JSON.
    Keys,
    /// The key a chunk starts after.
    AfterKey,
    /// How many rows to pass over before the one that ends a chunk.
    Offset,
}

/// An instant, known when the statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub base: PointBase,
    /// One microsecond earlier, which turns "at most" into "below".
    pub below: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PointBase {
    Fixed(Timestamp),
    Now,
    Ago(Period),
    Ahead(Period),
    /// The start of a local day.
    StartOf(Day),
    /// Nothing up to here can cross after the window's start; nothing after it can cross by the window's
    /// end. Exact but where [`unclear`] says otherwise: there, and with days of slack, rows are tested once more.
    ReachingAfter(Period, u8),
    ReachingUntil(Period, u8),
    /// A period before the window's end.
    Before(Period),
    /// Records that changed after this.
    Changed,
}

/// A local day of the catalog's zone, known when the statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day {
    pub base: DayBase,
    /// Days added.
    pub plus: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DayBase {
    Fixed(civil::Date),
    Today,
    Ago(Period),
    Ahead(Period),
    /// The latest day that reaches the day of the window's start, or end, after a period.
    ReachingAfter(Period),
    ReachingUntil(Period),
    /// The first and last day that can have crossed anywhere on earth, moved back by a signed offset.
    First(bool, Period),
    Last(bool, Period),
    /// The first and last day, so many years earlier, whose anniversary is among these.
    FirstYearsAgo(i16, bool, Period),
    LastYearsAgo(i16, bool, Period),
}

/// What the holes are filled from.
#[derive(Debug, Clone)]
pub(crate) struct Fill<'a> {
    /// The catalog's.
    pub zone: &'a TimeZone,
    pub window: Window,
    pub changed: Timestamp,
    pub keys: Option<String>,
    pub after_key: Option<Value>,
    pub limit: usize,
}

impl<'a> Fill<'a> {
    /// For statements that only know "now".
    pub fn at(now: Timestamp, zone: &'a TimeZone) -> Self {
        Self::over(Window { after: now, until: now, now }, zone)
    }

    pub fn over(window: Window, zone: &'a TimeZone) -> Self {
        Self { zone, window, changed: Timestamp::MIN, keys: None, after_key: None, limit: 0 }
    }

    fn instant(&self, point: Point) -> Timestamp {
        let instant = match point.base {
            PointBase::Fixed(instant) => instant,
            PointBase::Now => self.window.now,
            PointBase::Ago(period) => period.before(self.window.now, self.zone),
            PointBase::Ahead(period) => period.after(self.window.now, self.zone),
            PointBase::StartOf(day) => at_local(self.day(day).at(0, 0, 0, 0), self.zone),
            PointBase::ReachingAfter(period, slack) => {
                let edge = period.before(self.window.after, self.zone);
                let slack = days(slack).max(unclear(period, self.window.after, edge, self.zone));
                edge.checked_sub(slack).unwrap_or(Timestamp::MIN)
            }
            PointBase::ReachingUntil(period, slack) => {
                let edge = period.before(self.window.until, self.zone);
                let slack = days(slack).max(unclear(period, self.window.until, edge, self.zone));
                edge.checked_add(slack).unwrap_or(Timestamp::MAX)
            }
            PointBase::Before(period) => period.before(self.window.until, self.zone),
            PointBase::Changed => self.changed,
        };
        if point.below { instant.checked_sub(SignedDuration::from_micros(1)).unwrap_or(instant) } else { instant }
    }

    fn day(&self, day: Day) -> civil::Date {
        let today = day_of(self.window.now, self.zone);
        let base = match day.base {
            DayBase::Fixed(date) => date,
            DayBase::Today => today,
            DayBase::Ago(period) => period.before_date(today),
            DayBase::Ahead(period) => period.after_date(today),
            DayBase::ReachingAfter(period) => latest_day_reaching(period, day_of(self.window.after, self.zone)),
            DayBase::ReachingUntil(period) => latest_day_reaching(period, day_of(self.window.until, self.zone)),
            DayBase::First(before, period) => {
                let first = day_of(self.window.after, &TimeZone::UTC).saturating_sub(2.days());
                unmoved(first, before, period).saturating_sub(slack(period).days())
            }
            DayBase::Last(before, period) => {
                let last = day_of(self.window.until, &TimeZone::UTC).saturating_add(1.days());
                unmoved(last, before, period).saturating_add(slack(period).days())
            }
            // A leap day has its anniversary on the day before or the day after.
            DayBase::FirstYearsAgo(years, before, period) => {
                let first = self.day(Day::new(DayBase::First(before, period)));
                let leap = i32::from((first.month(), first.day()) == (3, 1));
                first.saturating_sub(years.years()).saturating_sub(leap.days())
            }
            DayBase::LastYearsAgo(years, before, period) => {
                let last = self.day(Day::new(DayBase::Last(before, period)));
                let leap = i32::from((last.month(), last.day()) == (2, 28));
                last.saturating_sub(years.years()).saturating_add(leap.days())
            }
        };
        base.saturating_add(day.plus.days())
    }
}

fn days(count: u8) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(count))
}

/// How far from `back` an instant may lie that reaches `edge` after the period, where `back` is the edge less the period. By
/// months several days end on the last one of a month, and not in order: 29 January 16:00 reaches February's end later
/// than 31 January 10:00. Business days reach one Monday from three days, and a change of clocks at either end moves what
/// is reached by as much.
fn unclear(period: Period, edge: Timestamp, back: Timestamp, zone: &TimeZone) -> SignedDuration {
    let date = edge.to_zoned(zone.clone()).date();
    let ends_a_month = match period.unit {
        Unit::Year => (date.month() == 2 && date.day() > 26) || (date.month() == 3 && date.day() < 3),
        Unit::Month => !(3..=26).contains(&date.day()),
        Unit::BusinessDay => true,
        Unit::Second | Unit::Minute | Unit::Hour | Unit::Day | Unit::Week => return SignedDuration::ZERO,
    };
    let around = SignedDuration::from_hours(6);
    let changes = |at: Timestamp| {
        let offset = |at: Result<Timestamp, _>| at.ok().map(|at: Timestamp| zone.to_offset(at));
        offset(at.checked_sub(around)) != offset(at.checked_add(around))
    };
    if ends_a_month {
        days(4)
    } else if changes(edge) || changes(back) {
        around
    } else {
        SignedDuration::ZERO
    }
}

/// Undoes an offset: the date whose `before`/`after` offset lands on `moved`, within [`slack`].
fn unmoved(moved: civil::Date, before: bool, period: Period) -> civil::Date {
    if before { period.after_date(moved) } else { period.before_date(moved) }
}

/// Moving by months is not one to one: up to four dates land on the end of February.
fn slack(period: Period) -> i32 {
    if period.is_calendar() { 4 } else { 0 }
}

/// The latest `d` with `d + period ≤ day`.
pub(crate) fn latest_day_reaching(period: Period, day: civil::Date) -> civil::Date {
    let guess = period.before_date(day);
    let mut latest = guess;
    for step in -4..=4 {
        let candidate = guess.saturating_add(step.days());
        if period.after_date(candidate) <= day {
            latest = candidate;
        }
    }
    latest
}

impl Hole {
    pub fn value(&self, fill: &Fill<'_>) -> Value {
        match self {
            Self::Constant(value) => value.clone(),
            Self::Time(point, form) => form.at_most(fill.instant(*point), fill.zone),
            Self::Day(day, form) => form.day(fill.day(*day)),
            Self::Prefix(point, plus) => {
                let day = day_of(super::wire::clamped(fill.instant(*point)), fill.zone);
                Form::DayText.day(day.saturating_add(plus.days()))
            }
            Self::Keys => Value::Text(fill.keys.clone().unwrap_or_else(|| "[]".to_owned())),
            Self::AfterKey => fill.after_key.clone().unwrap_or(Value::Null),
            Self::Offset => Value::Int(fill.limit.saturating_sub(1) as i64),
        }
    }
}

impl Point {
    pub const fn new(base: PointBase) -> Self {
        Self { base, below: false }
    }

    #[must_use]
    pub const fn just_below(self) -> Self {
        Self { base: self.base, below: true }
    }
}

impl Day {
    pub const fn new(base: DayBase) -> Self {
        Self { base, plus: 0 }
    }

    #[must_use]
    pub const fn plus(self, days: i32) -> Self {
        Self { base: self.base, plus: self.plus + days }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bounds of a window of a quarter of an hour.
    fn bounds(period: Period, until: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
        let after = until - SignedDuration::from_mins(15);
        let fill = Fill::over(Window { after, until, now: until }, zone);
        let at = |base| fill.instant(Point::new(base));
        (at(PointBase::ReachingAfter(period, 0)), at(PointBase::ReachingUntil(period, 0)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Near where going back leads, and at the ends of months, also when clocks change.
        #[test]
        fn whatever_crosses_lies_between_the_bounds(
            zone in prop::sample::select(vec!["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "UTC"]),
            unit in prop::sample::select(vec![Unit::Month, Unit::Year, Unit::BusinessDay, Unit::Day]),
            count in 1..8_u32,
            until in 1_700_000_000..1_900_000_000_i64,
            near in prop::option::of((0..5_i32, -3..4_i32)),
            off in (prop_oneof![Just(0), -4..5_i64], -7_200..7_200_i64),
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let mut until = Timestamp::from_second(until).unwrap();
            // Beside the first of a month, or beside a change of clocks, as often as not.
            if let Some((month, day)) = near {
                let local = until.to_zoned(zone.clone());
                let first = local.first_of_month().unwrap().saturating_add(month.months()).saturating_add(day.days());
                let change = zone.following(until).next().map(|change| change.timestamp());
                until = match change {
                    Some(change) if day > 0 => change + SignedDuration::from_mins(i64::from(month * 20)),
                    _ => first.timestamp(),
                };
            }
            let period = Period::new(count, unit);
            let off = SignedDuration::from_hours(24 * off.0) + SignedDuration::from_secs(off.1);
            let happened = period.before(until, &zone) + off;
            let crossed = period.after(happened, &zone);
            let (low, high) = bounds(period, until, &zone);
            if crossed > until - SignedDuration::from_mins(15) && crossed <= until {
                prop_assert!(low < happened && happened <= high, "{happened} by {low} to {high}");
            }
        }
    }

    #[test]
    fn a_window_by_months_reads_as_much_as_one_by_days_but_at_the_ends_of_months() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let wide = |period, until: &str| {
            let (low, high) = bounds(period, until.parse().unwrap(), &vienna);
            high.duration_since(low).as_mins()
        };
        for period in [Period::days(90), Period::new(3, Unit::Month), Period::new(1, Unit::Year)] {
            assert_eq!(wide(period, "2026-11-20T10:00:00Z"), 15, "{period}");
        }
        assert!(wide(Period::new(3, Unit::Month), "2026-11-30T10:00:00Z") > 4 * 24 * 60);
        assert_eq!(wide(Period::new(1, Unit::Year), "2026-11-30T10:00:00Z"), 15);
    }

    #[test]
    fn the_latest_day_that_reaches_the_end_of_february_is_the_last_of_january() {
        let month = Period::new(1, Unit::Month);
        assert_eq!(latest_day_reaching(month, civil::date(2026, 2, 28)), civil::date(2026, 1, 31));
        assert_eq!(latest_day_reaching(month, civil::date(2026, 2, 27)), civil::date(2026, 1, 27));
        assert_eq!(latest_day_reaching(Period::days(90), civil::date(2026, 4, 1)), civil::date(2026, 1, 1));
    }
}
