//! When messages may leave: `09:00-20:00 MON-SAT`, by the clock on the reader's wall.

use super::at_local;
use jiff::civil::{Date, Time};
use jiff::{Span as Length, Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Hours of the week. Never empty: it opens again within eight days, whatever the zone does to its clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendWindow {
    parts: Vec<Part>,
    /// As it was written.
    text: String,
}

/// One stretch of hours, on the days it begins on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// Bit 0 is Monday.
    days: u8,
    /// Minutes of the day.
    from: u16,
    /// Above `from`; past 24:00 where it ends on the next day.
    until: u16,
}

/// Why a text is not a [`SendWindow`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a send window: {problem}")]
pub struct WindowError {
    text: String,
    problem: String,
}

const DAY: u16 = 24 * 60;
const EVERY_DAY: u8 = 0b111_1111;
const DAYS: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
/// A look so far ahead meets every weekday, also where a zone once skipped a day.
const AHEAD: i64 = 9;
/// More turns than windows that meet within a fortnight can take.
const TURNS: usize = 64;

impl SendWindow {
    /// The first instant from `at` on at which it is open: `at` itself where it is open then.
    #[must_use]
    pub fn opens(&self, at: Timestamp, zone: &TimeZone) -> Timestamp {
        let today = at.to_zoned(zone.clone()).date();
        // What began yesterday evening may still be open.
        for ahead in -1..=AHEAD {
            let Ok(day) = today.checked_add(Length::new().days(ahead)) else { continue };
            let begins = |part: &&Part| part.days & (1 << day.weekday().to_monday_zero_offset()) != 0;
            let parts = self.parts.iter().filter(begins).filter_map(|part| part.open_from(at, day, zone));
            // A later day's parts begin later.
            if let Some(opens) = parts.min() {
                return opens;
            }
        }
        at
    }

    /// The first instant from `at` on at which all of these are open; `None` where they never meet.
    #[must_use]
    pub fn all_open(windows: &[&Self], at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut open = at;
        for _ in 0..TURNS {
            let next = windows.iter().map(|window| window.opens(open, zone)).max().unwrap_or(open);
            if next == open {
                return Some(open);
            }
            open = next;
        }
        None
    }
}

impl Part {
    /// From when it is open, not before `at`, where it begins on that day.
    fn open_from(self, at: Timestamp, day: Date, zone: &TimeZone) -> Option<Timestamp> {
        let (opens, closes) = (instant(day, self.from, zone)?, instant(day, self.until, zone)?);
        // Clocks that jump over all of it leave nothing of it.
        (closes > at && closes > opens).then(|| opens.max(at))
    }
}

fn instant(day: Date, minutes: u16, zone: &TimeZone) -> Option<Timestamp> {
    let day = day.checked_add(Length::new().days(i64::from(minutes / DAY))).ok()?;
    let minutes = minutes % DAY;
    let time = Time::new((minutes / 60) as i8, (minutes % 60) as i8, 0, 0).ok()?;
    Some(at_local(day.to_datetime(time), zone))
}

impl FromStr for SendWindow {
    type Err = WindowError;

    /// Parts are separated by `;`. A part is one or more spans of hours, then days; none are all.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |problem: String| WindowError { text: text.to_owned(), problem };
        let mut parts = Vec::new();
        for part in text.split(';') {
            let spaced = part.replace(',', " ").replace(" - ", "-");
            let words: Vec<&str> = spaced.split_whitespace().collect();
            let hours = words.iter().take_while(|word| word.starts_with(|c: char| c.is_ascii_digit())).count();
            let (hours, named) = words.split_at(hours);
            if hours.is_empty() {
                return Err(wrong("hours are missing; write `09:00-20:00 MON-SAT`".to_owned()));
            }
            let mut days = if named.is_empty() { EVERY_DAY } else { 0 };
            for word in named {
                days |= days_of(word).ok_or_else(|| {
                    wrong(format!("`{word}` is no day of the week; write MON, TUE … SUN, or `MON-FRI`"))
                })?;
            }
            for span in hours {
                let (from, until) = span_of(span).map_err(&wrong)?;
                parts.push(Part { days, from, until });
            }
        }
        Ok(Self { parts, text: text.trim().to_owned() })
    }
}

/// `MON-FRI`, `SAT`; `FRI-MON` goes over the weekend.
fn days_of(word: &str) -> Option<u8> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (day_of(first)?, day_of(last)?);
    let count = (last + 7 - first) % 7;
    Some((0..=count).fold(0, |days, ahead| days | 1 << ((first + ahead) % 7)))
}

fn day_of(word: &str) -> Option<usize> {
    let word = word.to_ascii_uppercase();
    DAYS.iter().position(|day| *day == word)
}

/// `09:00-20:00`; `20:00-02:00` ends on the next day.
fn span_of(span: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("`{span}` is no span of hours; write `09:00-20:00`");
    let (from, until) = span.split_once('-').ok_or_else(wrong)?;
    let (from, until) = (minutes_of(from).ok_or_else(wrong)?, minutes_of(until).ok_or_else(wrong)?);
    if from == until || from == DAY {
        return Err(format!("`{span}` is never open; the whole day is `00:00-24:00`"));
    }
    Ok((from, if until < from { until + DAY } else { until }))
}

fn minutes_of(time: &str) -> Option<u16> {
    let (hour, minute) = time.split_once(':')?;
    let digits = |text: &str| (text.len() <= 2).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY).then_some(minutes)
}

impl fmt::Display for SendWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for SendWindow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SendWindow {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    /// The local time at which a window next opens.
    fn opens(window: &str, at: &str, name: &str) -> String {
        let window: SendWindow = window.parse().unwrap();
        let opens = window.opens(at.parse().unwrap(), &zone(name));
        opens.to_zoned(zone(name)).strftime("%a %F %H:%M%:z").to_string()
    }

    #[rstest]
    #[case::open("2026-11-20T10:00:00Z", "Fri 2026-11-20 11:00+01:00")]
    #[case::too_early("2026-11-20T03:00:00Z", "Fri 2026-11-20 09:00+01:00")]
    #[case::at_its_beginning("2026-11-20T08:00:00Z", "Fri 2026-11-20 09:00+01:00")]
    #[case::at_its_end("2026-11-20T19:00:00Z", "Sat 2026-11-21 09:00+01:00")]
    #[case::over_sunday("2026-11-21T19:00:00Z", "Mon 2026-11-23 09:00+01:00")]
    fn it_opens_by_the_clock_on_the_wall(#[case] at: &str, #[case] expected: &str) {
        assert_eq!(opens("09:00-20:00 MON-SAT", at, "Europe/Vienna"), expected);
    }

    #[rstest]
    // Spring: 02:00 to 03:00 is not there in Vienna; nine o'clock comes an hour sooner.
    #[case::spring_morning("09:00-20:00", "2026-03-29T00:30:00Z", "Europe/Vienna", "Sun 2026-03-29 09:00+02:00")]
    #[case::opens_in_the_gap("02:30-05:00", "2026-03-29T00:30:00Z", "Europe/Vienna", "Sun 2026-03-29 03:00+02:00")]
    #[case::lies_in_the_gap("02:10-02:50", "2026-03-29T00:30:00Z", "Europe/Vienna", "Mon 2026-03-30 02:10+02:00")]
    // Autumn: 02:00 to 03:00 comes twice; it opens at the first and stays open.
    #[case::autumn("02:30-05:00", "2026-10-25T00:00:00Z", "Europe/Vienna", "Sun 2026-10-25 02:30+02:00")]
    #[case::autumn_second_pass("02:30-05:00", "2026-10-25T01:10:00Z", "Europe/Vienna", "Sun 2026-10-25 02:10+01:00")]
    #[case::new_york("09:00-20:00 MON-SAT", "2026-11-01T23:59:00Z", "America/New_York", "Mon 2026-11-02 09:00-05:00")]
    #[case::lord_howe("02:15-09:00", "2026-10-03T15:00:00Z", "Australia/Lord_Howe", "Sun 2026-10-04 02:30+11:00")]
    fn clocks_that_change_are_followed(
        #[case] window: &str,
        #[case] at: &str,
        #[case] name: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(opens(window, at, name), expected);
    }

    #[rstest]
    #[case::still_open_after_midnight("2026-11-21T00:30:00Z", "Sat 2026-11-21 00:30+00:00")]
    #[case::over("2026-11-21T02:00:00Z", "Fri 2026-11-27 22:00+00:00")]
    fn a_night_belongs_to_the_day_it_begins_on(#[case] at: &str, #[case] expected: &str) {
        assert_eq!(opens("22:00-02:00 FRI", at, "UTC"), expected);
    }

    #[test]
    fn several_parts_and_spans_are_all_open() {
        let window = "09:00-12:00, 14:00-18:00 MON-FRI; 10:00-14:00 sat";
        assert_eq!(opens(window, "2026-11-20T12:30:00Z", "UTC"), "Fri 2026-11-20 14:00+00:00");
        assert_eq!(opens(window, "2026-11-20T18:00:00Z", "UTC"), "Sat 2026-11-21 10:00+00:00");
        assert_eq!(opens(window, "2026-11-21T14:00:00Z", "UTC"), "Mon 2026-11-23 09:00+00:00");
    }

    #[test]
    fn two_windows_are_open_where_both_are() {
        let read = |text: &str| text.parse::<SendWindow>().unwrap();
        let (house, rule, never) = (read("09:00-20:00 MON-SAT"), read("06:00-10:00"), read("21:00-22:00"));
        let all = |windows: &[&SendWindow], at: &str| {
            SendWindow::all_open(windows, at.parse().unwrap(), &TimeZone::UTC).map(|open| open.to_string())
        };
        assert_eq!(all(&[&house, &rule], "2026-11-21T10:00:00Z").as_deref(), Some("2026-11-23T09:00:00Z"));
        assert_eq!(all(&[&house, &never], "2026-11-21T10:00:00Z"), None);
        assert_eq!(all(&[], "2026-11-21T10:00:00Z").as_deref(), Some("2026-11-21T10:00:00Z"));
    }

    #[rstest]
    #[case("", "hours are missing")]
    #[case("MON-FRI", "hours are missing")]
    #[case("9-20", "`9-20` is no span of hours")]
    #[case("09:00-25:00", "no span of hours")]
    #[case("09:00-09:00", "never open")]
    #[case("09:00-20:00 MON-FRY", "`MON-FRY` is no day")]
    fn what_is_wrong_is_said(#[case] text: &str, #[case] expected: &str) {
        let problem = text.parse::<SendWindow>().unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
    }
}
