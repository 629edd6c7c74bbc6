//! Lengths of time as people write them: `90 days`, `1 month`, `15 minutes`, `2 business days`.

use jiff::{Span, Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a [`Period`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    BusinessDay,
    Week,
    Month,
    Year,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::BusinessDay => "business day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// A whole number of one unit. Over instants a day is 24 hours and a month a calendar month in the
/// record's zone; over dates all units are calendar units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    pub count: u32,
    pub unit: Unit,
}

/// Why a text is not a [`Period`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    #[error(
        "`{0}` is not a length of time; write a whole number and a unit, such as `90 days`, `2 weeks`, `15 minutes`"
    )]
    Unclear(String),
    #[error("`{0}` is longer than a thousand years")]
    Long(String),
}

/// A thousand years, in seconds and generously. Much more, and no calendar reaches there.
const LONGEST: i64 = 1_000 * 366 * 86_400;

impl Period {
    #[must_use]
    pub const fn new(count: u32, unit: Unit) -> Self {
        Self { count, unit }
    }

    #[must_use]
    pub const fn days(count: u32) -> Self {
        Self::new(count, Unit::Day)
    }

    /// Calendar units can't be turned into seconds without a zone.
    #[must_use]
    pub const fn is_calendar(self) -> bool {
        matches!(self.unit, Unit::Month | Unit::Year | Unit::BusinessDay)
    }

    /// An upper bound in seconds, used to compare periods and to bound re-reads.
    #[must_use]
    pub fn max_seconds(self) -> i64 {
        let unit = match self.unit {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
            Unit::BusinessDay => 4 * 86_400,
            Unit::Week => 7 * 86_400,
            Unit::Month => 31 * 86_400,
            Unit::Year => 366 * 86_400,
        };
        i64::from(self.count) * unit
    }

    /// A lower bound in seconds.
    #[must_use]
    pub fn min_seconds(self) -> i64 {
        let unit = match self.unit {
            Unit::Month => 28 * 86_400,
            Unit::Year => 365 * 86_400,
            Unit::BusinessDay => 0,
            _ => return self.max_seconds(),
        };
        i64::from(self.count) * unit
    }

    fn span(self) -> Span {
        let n = i64::from(self.count);
        match self.unit {
            Unit::Second => Span::new().seconds(n),
            Unit::Minute => Span::new().minutes(n),
            Unit::Hour => Span::new().hours(n),
            Unit::Day | Unit::BusinessDay => Span::new().days(n),
            Unit::Week => Span::new().weeks(n),
            Unit::Month => Span::new().months(n),
            Unit::Year => Span::new().years(n),
        }
    }

    /// `instant + self`. Days and weeks are 24-hour days; months and years follow the calendar of `zone`
    /// (31 January + 1 month = the last of February). Saturates at the ends of time.
    #[must_use]
    pub fn after(self, instant: Timestamp, zone: &TimeZone) -> Timestamp {
        if self.unit == Unit::BusinessDay {
            let local = instant.to_zoned(zone.clone()).datetime();
            return super::at_local(self.after_date(local.date()).to_datetime(local.time()), zone);
        }
        if self.is_calendar() {
            let moved = instant.to_zoned(zone.clone()).checked_add(self.span());
            return moved.map_or(Timestamp::MAX, |zoned| zoned.timestamp());
        }
        instant.checked_add(jiff::SignedDuration::from_secs(self.max_seconds())).unwrap_or(Timestamp::MAX)
    }

    /// `instant − self`, by the same units as [`Period::after`].
    #[must_use]
    pub fn before(self, instant: Timestamp, zone: &TimeZone) -> Timestamp {
        if self.unit == Unit::BusinessDay {
            let local = instant.to_zoned(zone.clone()).datetime();
            return super::at_local(self.before_date(local.date()).to_datetime(local.time()), zone);
        }
        if self.is_calendar() {
            let moved = instant.to_zoned(zone.clone()).checked_sub(self.span());
            return moved.map_or(Timestamp::MIN, |zoned| zoned.timestamp());
        }
        instant.checked_sub(jiff::SignedDuration::from_secs(self.max_seconds())).unwrap_or(Timestamp::MIN)
    }

    /// `date + self` in whole calendar units; hours and below don't move a date.
    #[must_use]
    pub fn after_date(self, date: civil::Date) -> civil::Date {
        if matches!(self.unit, Unit::Second | Unit::Minute | Unit::Hour) {
            return date;
        }
        if self.unit == Unit::BusinessDay {
            return business_days(date, self.count, civil::Date::tomorrow);
        }
        date.checked_add(self.span()).unwrap_or(civil::Date::MAX)
    }

    /// `date − self`, as [`Period::after_date`].
    #[must_use]
    pub fn before_date(self, date: civil::Date) -> civil::Date {
        if matches!(self.unit, Unit::Second | Unit::Minute | Unit::Hour) {
            return date;
        }
        if self.unit == Unit::BusinessDay {
            return business_days(date, self.count, civil::Date::yesterday);
        }
        date.checked_sub(self.span()).unwrap_or(civil::Date::MIN)
    }
}

/// The `count`th Monday to Friday from `date`, not counting `date` itself.
fn business_days(
    date: civil::Date,
    count: u32,
    step: fn(civil::Date) -> Result<civil::Date, jiff::Error>,
) -> civil::Date {
    let mut date = date;
    let mut left = count;
    while left > 0 {
        let Ok(next) = step(date) else { return date };
        date = next;
        let weekend = matches!(date.weekday(), civil::Weekday::Saturday | civil::Weekday::Sunday);
        left -= u32::from(!weekend);
    }
    date
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.count, self.unit.name())
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || PeriodError::Unclear(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count = trimmed[..digits].parse().map_err(|_| wrong())?;
        let unit = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
            "s" | "sec" | "second" | "seconds" => Unit::Second,
            "m" | "min" | "minute" | "minutes" => Unit::Minute,
            "h" | "hour" | "hours" => Unit::Hour,
            "d" | "day" | "days" => Unit::Day,
            "business day" | "business days" => Unit::BusinessDay,
            "w" | "week" | "weeks" => Unit::Week,
            "month" | "months" => Unit::Month,
            "y" | "year" | "years" => Unit::Year,
            _ => return Err(wrong()),
        };
        let read = Self { count, unit };
        if read.max_seconds() > LONGEST { Err(PeriodError::Long(text.to_owned())) } else { Ok(read) }
    }
}

impl Serialize for Period {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_is_longer_than_a_thousand_years() {
        for text in ["999 years", "1000 years", "365000 days"] {
            let period: Period = text.parse().unwrap();
            let later = period.after(instant("2026-11-20T10:00:00Z"), &TimeZone::UTC);
            assert!(later > instant("2900-01-01T00:00:00Z"), "{text}: {later}");
        }
        for text in ["1001 years", "99999 years", "4294967295 business days", "4000000000 months", "99999999999 s"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!("90 days".parse(), Ok(Period::days(90)));
        assert_eq!("1 Year".parse(), Ok(Period::new(1, Unit::Year)));
        assert_eq!("2 business days".parse(), Ok(Period::new(2, Unit::BusinessDay)));
        assert!("soon".parse::<Period>().is_err());
        assert!("90".parse::<Period>().is_err());
        assert_eq!(Period::days(1).to_string(), "1 day");
    }

    #[test]
    fn days_over_instants_are_24_hours_across_a_clock_change() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let before = instant("2026-03-28T12:00:00Z");
        assert_eq!(Period::days(1).after(before, &vienna), instant("2026-03-29T12:00:00Z"));
    }

    #[test]
    fn business_days_pass_over_the_weekend() {
        let two = Period::new(2, Unit::BusinessDay);
        assert_eq!(two.after_date(civil::date(2026, 11, 19)), civil::date(2026, 11, 23));
        assert_eq!(two.before_date(civil::date(2026, 11, 23)), civil::date(2026, 11, 19));
        assert_eq!(Period::new(1, Unit::BusinessDay).after_date(civil::date(2026, 11, 21)), civil::date(2026, 11, 23));
        let friday = instant("2026-11-20T10:00:00Z");
        assert_eq!(two.after(friday, &TimeZone::UTC), instant("2026-11-24T10:00:00Z"));
    }

    #[test]
    fn months_end_where_the_month_ends() {
        assert_eq!(Period::new(1, Unit::Month).after_date(civil::date(2027, 1, 31)), civil::date(2027, 2, 28));
        assert_eq!(Period::new(5, Unit::Hour).after_date(civil::date(2027, 1, 31)), civil::date(2027, 1, 31));
    }
}
