//! `date`, `time` and `datetime`: instants in the recipient's zone, everything in the recipient's language.

use super::custom::{self, Length};
use super::{is_missing, missing, problem, reader};
use crate::model::Locale;
use crate::rule::message::reader::Reader;
use jiff::{Timestamp, Zoned, civil, tz::TimeZone};
use minijinja::{Error, State, Value};
use std::borrow::Cow;
use std::str::FromStr;

/// What `date` takes beside patterns.
pub(in crate::rule::message) const STYLES: [&str; 5] = ["short", "medium", "long", "full", "iso"];

/// A value that is a date, with a time where it has one.
enum When {
    Instant(Zoned),
    Wall(civil::DateTime),
    Day(civil::Date),
}

impl When {
    fn read(value: &Value, zone: &TimeZone) -> Option<Self> {
        let text = value.as_str()?;
        if let Ok(instant) = Timestamp::from_str(text) {
            return Some(Self::Instant(instant.to_zoned(zone.clone())));
        }
        if text.len() <= 10 {
            return civil::Date::from_str(text).ok().map(Self::Day);
        }
        civil::DateTime::from_str(text).ok().map(Self::Wall)
    }

    fn date(&self) -> civil::Date {
        match self {
            Self::Instant(zoned) => zoned.date(),
            Self::Wall(wall) => wall.date(),
            Self::Day(date) => *date,
        }
    }

    fn time(&self) -> Option<civil::Time> {
        match self {
            Self::Instant(zoned) => Some(zoned.time()),
            Self::Wall(wall) => Some(wall.time()),
            Self::Day(_) => None,
        }
    }
}

fn read(filter: &str, value: &Value, reader: &Reader) -> Result<When, Error> {
    When::read(value, &reader.zone)
        .ok_or_else(|| problem(format!("`{filter}` needs a date or an instant, and this is neither")))
}

fn time_of(filter: &str, when: &When) -> Result<civil::Time, Error> {
    when.time().ok_or_else(|| problem(format!("`{filter}` needs a time of day, and this is a date alone")))
}

fn beyond(filter: &str) -> Error {
    problem(format!("`{filter}` can't write this year"))
}

/// `{{ record.renews_on | date }}`, `| date("full")`, `| date("%d.%m.%Y")`.
pub(super) fn date(state: &State<'_, '_>, value: &Value, style: Option<&str>) -> Result<Value, Error> {
    const NAME: &str = "date";
    if is_missing(value)? {
        return Ok(missing());
    }
    let reader = reader(state);
    let when = read(NAME, value, &reader)?;
    let shown = match style.unwrap_or("long") {
        "iso" => patterned(NAME, &when, "%Y-%m-%d", &reader.locale)?,
        pattern if pattern.contains('%') => patterned(NAME, &when, pattern, &reader.locale)?,
        style => custom::date(&reader.locale, when.date(), length(NAME, style)?).ok_or_else(|| beyond(NAME))?,
    };
    Ok(Value::from(shown))
}

fn length(filter: &str, style: &str) -> Result<Length, Error> {
    Ok(match style {
        "short" => Length::Short,
        "medium" => Length::Medium,
        "long" => Length::Long,
        "full" => Length::Full,
        _ => {
            let styles = "short, medium, long, full, iso, or a pattern such as `%d.%m.%Y`";
            return Err(problem(format!("`{filter}` takes {styles}")));
        }
    })
}

/// `{{ occasion.at | time }}`: hours and minutes.
pub(super) fn time(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    const NAME: &str = "time";
    if is_missing(value)? {
        return Ok(missing());
    }
    let reader = reader(state);
    let time = time_of(NAME, &read(NAME, value, &reader)?)?;
    custom::time(&reader.locale, time).map(Value::from).ok_or_else(|| beyond(NAME))
}

/// `{{ occasion.at | datetime }}`: the date in a style, a comma, hours and minutes.
pub(super) fn datetime(state: &State<'_, '_>, value: &Value, style: Option<&str>) -> Result<Value, Error> {
    const NAME: &str = "datetime";
    if is_missing(value)? {
        return Ok(missing());
    }
    let reader = reader(state);
    let when = read(NAME, value, &reader)?;
    let time = time_of(NAME, &when)?;
    let shown = match style.unwrap_or("long") {
        "iso" => patterned(NAME, &when, "%Y-%m-%d %H:%M", &reader.locale)?,
        pattern if pattern.contains('%') => patterned(NAME, &when, pattern, &reader.locale)?,
        style => {
            let date = custom::date(&reader.locale, when.date(), length(NAME, style)?);
            let both = date.zip(custom::time(&reader.locale, time)).ok_or_else(|| beyond(NAME))?;
            format!("{}, {}", both.0, both.1)
        }
    };
    Ok(Value::from(shown))
}

/// By a pattern of strftime, names of months and days in the reader's language.
fn patterned(filter: &str, when: &When, pattern: &str, locale: &Locale) -> Result<String, Error> {
    let pattern = with_names(pattern, when.date(), locale);
    let shown = match when {
        When::Instant(zoned) => jiff::fmt::strtime::format(&*pattern, zoned),
        When::Wall(wall) => jiff::fmt::strtime::format(&*pattern, *wall),
        When::Day(date) => jiff::fmt::strtime::format(&*pattern, *date),
    };
    shown.map_err(|_| problem(format!("`{filter}` does not know this pattern")))
}

/// Whether strftime knows the pattern. Those for times of day are tried on an instant: a date has none.
pub(in crate::rule::message) fn is_pattern(pattern: &str) -> bool {
    jiff::fmt::strtime::format(pattern, &Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC)).is_ok()
}

fn with_names<'p>(pattern: &'p str, date: civil::Date, locale: &Locale) -> Cow<'p, str> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        let (before, directive) = rest.split_at(at);
        out.push_str(before);
        let name = match directive.as_bytes().get(1) {
            Some(b'B') => custom::month(locale, date, false),
            Some(b'b' | b'h') => custom::month(locale, date, true),
            Some(b'A') => custom::weekday(locale, date, false),
            Some(b'a') => custom::weekday(locale, date, true),
            _ => None,
        };
        let taken = directive.chars().take(2).map(char::len_utf8).sum();
        match name {
            Some(name) => out.push_str(&name.replace('%', "%%")),
            None => out.push_str(&directive[..taken]),
        }
        rest = &directive[taken..];
    }
    if out.is_empty() {
        return Cow::Borrowed(pattern);
    }
    out.push_str(rest);
    Cow::Owned(out)
}
