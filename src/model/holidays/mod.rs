//! Business days: which days people work, by weekday, by country and by the company's own list.
//!
//! The public holidays come from a data set (decision 0023) and are part of the program, so that a rule never waits
//! for somebody else's server. Years outside the data have weekends only.

use super::{Period, Unit, at_local};
use jiff::civil::{Date, Weekday};
use jiff::{Timestamp, tz::TimeZone};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

const DATES: &str = include_str!("dates.txt");

/// The years that the data tells of.
pub const YEARS: (i16, i16) = (2024, 2045);

/// By calendar: `AT`, `DE-BY`.
static BUNDLED: LazyLock<BTreeMap<&'static str, Arc<BTreeSet<Date>>>> = LazyLock::new(read_bundled);

/// More days in a row on which nobody works are taken for a mistake in the calendar, and end the search.
const LONGEST_BREAK: usize = 370;

/// Which days are worked.
#[derive(Clone, PartialEq, Eq)]
pub struct BusinessCalendar {
    weekdays: [bool; 7],
    countries: Vec<Arc<BTreeSet<Date>>>,
    own: BTreeSet<Date>,
}

impl Default for BusinessCalendar {
    /// Monday to Friday.
    fn default() -> Self {
        let weekdays = [true, true, true, true, true, false, false];
        Self { weekdays, countries: Vec::new(), own: BTreeSet::new() }
    }
}

impl fmt::Debug for BusinessCalendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holidays: usize = self.countries.iter().map(|dates| dates.len()).sum();
        write!(f, "BusinessCalendar({:?}, {holidays} holidays, {:?})", self.weekdays, self.own)
    }
}

impl BusinessCalendar {
    /// The bundled calendar of that name: `AT`, `DE-BY`, `GB-SCT`.
    #[must_use]
    pub fn bundled(name: &str) -> Option<Self> {
        let mut calendar = Self::default();
        calendar.add_country(name).then_some(calendar)
    }

    /// The names that [`BusinessCalendar::bundled`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        BUNDLED.keys().copied()
    }

    /// Adds the holidays of a country or region; false where none goes by this name.
    pub fn add_country(&mut self, name: &str) -> bool {
        let Some(dates) = BUNDLED.get(name) else { return false };
        self.countries.push(Arc::clone(dates));
        true
    }

    pub fn add_holiday(&mut self, date: Date) {
        self.own.insert(date);
    }

    /// Only these weekdays are worked.
    pub fn set_weekdays(&mut self, days: impl IntoIterator<Item = Weekday>) {
        self.weekdays = [false; 7];
        for day in days {
            self.weekdays[day.to_monday_zero_offset() as usize] = true;
        }
    }

    #[must_use]
    pub fn is_worked(&self, date: Date) -> bool {
        self.weekdays[date.weekday().to_monday_zero_offset() as usize]
            && !self.own.contains(&date)
            && !self.countries.iter().any(|dates| dates.contains(&date))
    }

    /// `date + period` in whole calendar units, business days by this calendar.
    #[must_use]
    pub fn after_date(&self, period: Period, date: Date) -> Date {
        match period.unit {
            Unit::BusinessDay => self.count(period.count, date, Date::tomorrow),
            _ => period.after_date(date),
        }
    }

    /// `date − period`, as [`BusinessCalendar::after_date`].
    #[must_use]
    pub fn before_date(&self, period: Period, date: Date) -> Date {
        match period.unit {
            Unit::BusinessDay => self.count(period.count, date, Date::yesterday),
            _ => period.before_date(date),
        }
    }

    /// `instant + period`, as [`Period::after`], business days by this calendar.
    #[must_use]
    pub fn after(&self, period: Period, instant: Timestamp, zone: &TimeZone) -> Timestamp {
        if period.unit != Unit::BusinessDay {
            return period.after(instant, zone);
        }
        let local = instant.to_zoned(zone.clone()).datetime();
        at_local(self.after_date(period, local.date()).to_datetime(local.time()), zone)
    }

    /// The `count`th worked day from `date`, not counting `date` itself.
    fn count(&self, count: u32, date: Date, step: fn(Date) -> Result<Date, jiff::Error>) -> Date {
        let (mut date, mut left, mut idle) = (date, count, 0);
        while left > 0 && idle < LONGEST_BREAK {
            let Ok(next) = step(date) else { return date };
            date = next;
            if self.is_worked(date) {
                left -= 1;
                idle = 0;
            } else {
                idle += 1;
            }
        }
        date
    }
}

/// See the head of `dates.txt`.
fn read_bundled() -> BTreeMap<&'static str, Arc<BTreeSet<Date>>> {
    let mut found: BTreeMap<&'static str, BTreeSet<Date>> = BTreeMap::new();
    let mut aliases = Vec::new();
    for line in DATES.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (Some(name), Some(years)) = (words.next(), words.next()) else { continue };
        if years == "=" {
            aliases.extend(words.next().map(|of| (name, of)));
            continue;
        }
        let years = years.parse().map_or(YEARS, |year: i16| (year, year));
        let dates = found.entry(name).or_default();
        for word in words {
            let (Ok(month), Ok(day)) = (word[..2].parse(), word[2..].parse()) else { continue };
            dates.extend((years.0..=years.1).filter_map(|year| Date::new(year, month, day).ok()));
        }
    }
    let mut all: BTreeMap<_, _> = found.into_iter().map(|(name, dates)| (name, Arc::new(dates))).collect();
    for (name, of) in aliases {
        if let Some(dates) = all.get(of).map(Arc::clone) {
            all.insert(name, dates);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn days(count: u32) -> Period {
        Period::new(count, Unit::BusinessDay)
    }

    #[test]
    fn every_line_of_the_data_is_read() {
        let lines = DATES.lines().filter(|line| !line.starts_with('#'));
        for line in lines.filter(|line| !line.contains('=')) {
            let words: Vec<&str> = line.split(' ').collect();
            let calendar = BusinessCalendar::bundled(words[0]).unwrap();
            let year = words[1].parse().unwrap_or(YEARS.0);
            assert!(YEARS.0 <= year && year <= YEARS.1, "{line}");
            for word in words[2..].iter().filter(|word| **word != "0229") {
                let day = date(year, word[..2].parse().unwrap(), word[2..].parse().unwrap());
                assert!(!calendar.is_worked(day), "{line}: {day}");
            }
        }
        assert!(BusinessCalendar::names().count() > 100);
    }

    #[test]
    fn christmas_and_easter_are_passed_over_where_they_are_holidays() {
        let austria = BusinessCalendar::bundled("AT").unwrap();
        // Good Friday is worked in Austria, Easter Monday isn't.
        assert_eq!(austria.after_date(days(2), date(2026, 4, 2)), date(2026, 4, 7));
        let germany = BusinessCalendar::bundled("DE").unwrap();
        assert_eq!(germany.after_date(days(2), date(2026, 4, 2)), date(2026, 4, 8));
        assert_eq!(austria.before_date(days(1), date(2026, 12, 28)), date(2026, 12, 24));
        assert_eq!(BusinessCalendar::bundled("DE-BY").unwrap().after_date(days(1), date(2026, 1, 5)), date(2026, 1, 7));
        assert_eq!(germany.after_date(days(1), date(2026, 1, 5)), date(2026, 1, 6));
        let england = BusinessCalendar::bundled("GB-ENG").unwrap();
        assert!(!england.is_worked(date(2026, 12, 28)), "Boxing Day is on a Saturday");
        assert!(BusinessCalendar::bundled("XX").is_none());
    }

    #[test]
    fn own_days_and_weekdays_count_and_a_calendar_without_work_ends_the_search() {
        let mut own = BusinessCalendar::default();
        own.add_holiday(date(2026, 11, 23));
        assert_eq!(own.after_date(days(1), date(2026, 11, 20)), date(2026, 11, 24));
        own.set_weekdays([Weekday::Saturday]);
        assert_eq!(own.after_date(days(1), date(2026, 11, 23)), date(2026, 11, 28));
        own.set_weekdays([]);
        assert!(own.after_date(days(1), date(2026, 11, 23)) > date(2027, 11, 1));
    }

    #[test]
    fn a_business_day_later_is_the_same_wall_time_across_a_clock_change() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let friday = "2026-10-23T08:00:00Z".parse().unwrap();
        let monday = BusinessCalendar::bundled("AT").unwrap().after(days(1), friday, &vienna);
        assert_eq!(monday, "2026-10-27T09:00:00Z".parse().unwrap(), "26 October is a holiday");
    }
}
