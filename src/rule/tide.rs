//! How the number of a record's related rows rises and falls with time, and when that is what a rule watches for.
//!
//! A row counts from the instant it happened until it has left the window; for a comparison it then counts as
//! past. So the whole course follows from the instants of the rows, whenever somebody looks.

use super::checked::{Compared, Trigger};
use super::condition::Condition;
use crate::model::{Period, RelationName, Unit, at_local};
use jiff::{Timestamp, civil, tz::TimeZone};

/// What a trigger that counts rows over time watches.
#[derive(Debug, Clone, PartialEq)]
pub struct Tide<'a> {
    pub of: &'a RelationName,
    /// Which rows count.
    pub only: &'a [Condition],
    pub shifts: Vec<Shift>,
    pub mark: Mark,
    /// An episode lasts at least this long.
    pub least: Option<Period>,
}

/// What a row adds, from some time after it happened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shift {
    /// One after the other.
    pub after: Vec<Period>,
    pub level: Level,
    /// Whether this shift alone may bring a record inside, or make it leave.
    pub crosses: bool,
}

/// How many rows count now, and how many counted before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    pub now: i64,
    pub before: i64,
}

/// Where inside begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    AtLeast(u64),
    /// Fallen by so many percent from at least so many.
    Fallen {
        by: u32,
        from: u64,
    },
}

/// When a row happened, as its column keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Instant(Timestamp),
    Day(civil::Date),
}

const AT_ONCE: Period = Period::new(0, Unit::Second);
const YEAR: Period = Period::new(1, Unit::Year);

impl Trigger {
    /// `None` for triggers that don't count rows over time.
    #[must_use]
    pub fn tide(&self) -> Option<Tide<'_>> {
        let shift = |after: &[Period], now, before, crosses| Shift {
            after: after.to_vec(),
            level: Level { now, before },
            crosses,
        };
        match self {
            Self::Count(count) => Some(Tide {
                of: &count.of,
                only: &count.only,
                shifts: vec![shift(&[AT_ONCE], 1, 0, true), shift(&[count.within], -1, 0, false)],
                mark: Mark::AtLeast(count.at_least),
                least: Some(count.within),
            }),
            Self::Decline(decline) => {
                let window = decline.window;
                let shifts = match decline.compared_with {
                    Compared::Before => vec![
                        shift(&[AT_ONCE], 1, 0, true),
                        shift(&[window], -1, 1, true),
                        shift(&[window, window], 0, -1, false),
                    ],
                    Compared::LastYear => vec![
                        shift(&[AT_ONCE], 1, 0, true),
                        shift(&[window], -1, 0, true),
                        shift(&[YEAR], 0, 1, true),
                        shift(&[YEAR, window], 0, -1, false),
                    ],
                };
                let mark = Mark::Fallen { by: decline.by, from: decline.from_at_least };
                Some(Tide { of: &decline.of, only: &decline.only, shifts, mark, least: None })
            }
            _ => None,
        }
    }
}

impl Tide<'_> {
    #[must_use]
    pub fn holds(&self, level: Level) -> bool {
        match self.mark {
            Mark::AtLeast(count) => level.now >= i64::try_from(count).unwrap_or(i64::MAX),
            Mark::Fallen { by, from } => {
                level.before >= i64::try_from(from).unwrap_or(i64::MAX)
                    && level.now * 100 <= level.before * (100 - i64::from(by))
            }
        }
    }

    /// Whether a row that is new can end an episode: activity that is back.
    #[must_use]
    pub const fn rows_end_it(&self) -> bool {
        matches!(self.mark, Mark::Fallen { .. })
    }

    /// How far back rows still matter, in days and generously.
    #[must_use]
    pub fn reach(&self) -> Period {
        let seconds =
            self.shifts.iter().map(|shift| shift.after.iter().map(|period| period.max_seconds()).sum::<i64>());
        let days = seconds.max().unwrap_or(0) / 86_400 + 2;
        Period::days(u32::try_from(days).unwrap_or(u32::MAX))
    }
}

impl Level {
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { now: self.now + other.now, before: self.before + other.before }
    }
}

impl When {
    /// The instant some time after it. A day begins at its local start, and whole days after it are days of the
    /// calendar.
    #[must_use]
    pub fn after(self, periods: &[Period], zone: &TimeZone) -> Timestamp {
        let start = |day: civil::Date| at_local(day.at(0, 0, 0, 0), zone);
        let of_the_clock = |period: &Period| matches!(period.unit, Unit::Second | Unit::Minute | Unit::Hour);
        match self {
            Self::Day(day) if !periods.iter().any(of_the_clock) => {
                start(periods.iter().fold(day, |day, period| period.after_date(day)))
            }
            Self::Day(day) => Self::Instant(start(day)).after(periods, zone),
            Self::Instant(at) => periods.iter().fold(at, |at, period| period.after(at, zone)),
        }
    }
}
