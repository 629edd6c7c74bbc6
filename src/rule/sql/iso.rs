//! Days and points in time kept as ISO 8601 text: one grammar, in the SQL of three dialects and here.
//!
//! A day is `2026-12-31`, alone or with a blank or `T` and anything after it. A time is a day, or a day with
//! `10:00`, `10:00:00` or `10:00:00.5` after a blank or `T`, and then nothing, `Z`, `+02` or `+02:00`. What is
//! anything else, or names a day that no calendar has, is null, and so neither before nor after anything.
//!
//! Text with an offset is compared in UTC, text without one in the column's zone; both against bounds with six
//! decimals, of which a shorter text is a prefix, so that byte order is time order.

use super::dialect;
use super::fragment::Fragment;
use crate::model::at_local;
use crate::rule::statement::Dialect;
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

/// Days that a calendar has. SQLite is asked for its own instead, by adding nothing: only a day that it has stays.
macro_rules! day {
    () => {
        "([0-9][0-9][0-9][0-9]-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])\
         |(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))\
         |([0-9][0-9](0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
    };
}

/// With the `T` as a blank. Offsets reach as far as SQLite reads them.
const TIME: &str = concat!(
    "^",
    day!(),
    "( ([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?(Z|[-+](0[0-9]|1[0-4])(:[0-5][0-9])?)?)?$"
);
const DAY: &str = concat!("^", day!(), "$");

/// The day that a text begins with, as text that sorts by time; null where it begins with none.
pub(super) fn day(dialect: Dialect, raw: &Fragment) -> Fragment {
    let text = dialect::text(dialect, raw);
    let day = Fragment::of("substr({}, 1, 10)", &[&text]);
    let real = match dialect {
        Dialect::Sqlite => {
            Fragment::of("date({}, '+0 days') = {} AND substr({}, 1, 4) <> '0000'", &[&day, &day, &text])
        }
        Dialect::Postgres => Fragment::of(&format!("{{}} ~ '{DAY}' AND left({{}}, 4) <> '0000'"), &[&day, &text]),
        Dialect::MySql => Fragment::of(
            &format!("LEFT(CONVERT({{}} USING utf8mb4), 10) REGEXP '{DAY}' AND LEFT({{}}, 4) <> '0000'"),
            &[raw, &text],
        ),
    };
    let shown = match dialect {
        Dialect::MySql => Fragment::of("LEFT(CONVERT({} USING utf8mb4), 10)", &[raw]),
        Dialect::Postgres | Dialect::Sqlite => day,
    };
    Fragment::of("(CASE WHEN {} AND substr({}, 11, 1) IN ('', 'T', ' ') THEN {} END)", &[&real, &text, &shown])
}

/// The text with its `T` as a blank.
fn plain(dialect: Dialect, raw: &Fragment) -> Fragment {
    match dialect {
        Dialect::MySql => Fragment::of("REPLACE(CONVERT({} USING utf8mb4), 'T', ' ')", &[raw]),
        Dialect::Postgres | Dialect::Sqlite => Fragment::of("replace({}, 'T', ' ')", &[&dialect::text(dialect, raw)]),
    }
}

/// Whether a [`plain`] text is a time.
fn is_time(dialect: Dialect, plain: &Fragment) -> Fragment {
    match dialect {
        Dialect::Postgres => Fragment::of(&format!("{{}} ~ '{TIME}' AND left({{}}, 4) <> '0000'"), &[plain, plain]),
        // `$` stands before a line's end as well.
        Dialect::MySql => Fragment::of(
            &format!("{{}} REGEXP '{TIME}' AND LEFT({{}}, 4) <> '0000' AND LOCATE(CHAR(10), {{}}) = 0"),
            &[plain, plain, plain],
        ),
        // Its own reader knows the whole grammar but `+02`, and forgives more: days that roll over, an hour of 24,
        // more blanks, a small `z`.
        Dialect::Sqlite => Fragment::of(
            "date(substr({}, 1, 10), '+0 days') = substr({}, 1, 10) AND substr({}, 1, 4) <> '0000' \
             AND (length({}) = 10 OR substr({}, 11, 6) GLOB ' [0-2][0-9]:[0-5][0-9]' AND substr({}, 12, 2) < '24' \
             AND {} NOT GLOB '* * *' AND {} NOT GLOB '*[^0-9Z: .+-]*' \
             AND (julianday({}) IS NOT NULL \
             OR substr({}, -3) GLOB '[-+][01][0-9]' AND julianday({} || ':00') IS NOT NULL))",
            &[plain, plain, plain, plain, plain, plain, plain, plain, plain, plain, plain],
        ),
    }
}

/// A value that is a time, as it is; null otherwise.
pub(super) fn time(dialect: Dialect, raw: &Fragment) -> Fragment {
    Fragment::of("(CASE WHEN {} THEN {} END)", &[&is_time(dialect, &plain(dialect, raw)), raw])
}

/// Whether the text reads as at most the bound, given in UTC and as wall time. Null where it is no time.
pub(super) fn at_most(dialect: Dialect, raw: &Fragment, utc: &Fragment, wall: &Fragment) -> Fragment {
    let plain = plain(dialect, raw);
    let below = |text: &Fragment, bound: &Fragment| {
        let text = match dialect {
            Dialect::MySql => Fragment::of("CAST({} AS BINARY)", &[text]),
            Dialect::Postgres | Dialect::Sqlite => dialect::ordered_text(dialect, text),
        };
        Fragment::of("{} <= {}", &[&text, &dialect::bound_text(dialect, bound)])
    };
    let zulu = below(&Fragment::of("substr({}, 1, 26)", &[&without_zulu(dialect, &plain)]), utc);
    let hours = below(&in_utc(dialect, &plain, Offset::Hours), utc);
    let minutes = below(&in_utc(dialect, &plain, Offset::Minutes), utc);
    let local = below(&Fragment::of("substr({}, 1, 26)", &[&plain]), wall);
    // A day alone ends like an offset of hours.
    let pattern = match dialect {
        Dialect::Sqlite => {
            "(CASE WHEN NOT ({}) THEN NULL WHEN substr({}, -1) = 'Z' THEN {} \
             WHEN length({}) > 16 AND substr({}, -3, 1) IN ('+', '-') THEN {} \
             WHEN length({}) > 16 AND substr({}, -6, 1) IN ('+', '-') THEN {} ELSE {} END)"
        }
        Dialect::Postgres | Dialect::MySql => {
            "(CASE WHEN NOT ({}) THEN NULL WHEN right({}, 1) = 'Z' THEN {} \
             WHEN char_length({}) > 16 AND left(right({}, 3), 1) IN ('+', '-') THEN {} \
             WHEN char_length({}) > 16 AND left(right({}, 6), 1) IN ('+', '-') THEN {} ELSE {} END)"
        }
    };
    let valid = is_time(dialect, &plain);
    Fragment::of(pattern, &[&valid, &plain, &zulu, &plain, &plain, &hours, &plain, &plain, &minutes, &local])
}

fn without_zulu(dialect: Dialect, plain: &Fragment) -> Fragment {
    match dialect {
        Dialect::MySql => Fragment::of("TRIM(TRAILING 'Z' FROM {})", &[plain]),
        Dialect::Postgres | Dialect::Sqlite => Fragment::of("rtrim({}, 'Z')", &[plain]),
    }
}

#[derive(Clone, Copy)]
enum Offset {
    /// `+02`
    Hours,
    /// `+02:00`
    Minutes,
}

/// A time that ends in an offset, as UTC wall time. The fraction of a second is the same there.
fn in_utc(dialect: Dialect, plain: &Fragment, offset: Offset) -> Fragment {
    let (length, rest) = match offset {
        Offset::Hours => (3, ":00"),
        Offset::Minutes => (6, ""),
    };
    match dialect {
        Dialect::Sqlite => {
            let wall = Fragment::of(&format!("substr({{}}, 1, length({{}}) - {length})"), &[plain, plain]);
            Fragment::of(
                &format!(
                    "strftime('%Y-%m-%d %H:%M:%S', substr({{}}, 1, 19) || substr({{}}, -{length}) || '{rest}') \
                     || substr({{}}, 20, 7)"
                ),
                &[&wall, plain, &wall],
            )
        }
        Dialect::MySql => {
            let wall = Fragment::of(&format!("LEFT({{}}, CHAR_LENGTH({{}}) - {length})"), &[plain, plain]);
            Fragment::of(
                &format!(
                    "CONCAT(DATE_FORMAT(DATE_SUB(CAST(LEFT({{}}, 19) AS DATETIME), \
                     INTERVAL CONCAT(RIGHT({{}}, {length}), '{rest}') HOUR_MINUTE), '%Y-%m-%d %H:%i:%s'), \
                     SUBSTR({{}}, 20, 7))"
                ),
                &[&wall, plain, &wall],
            )
        }
        Dialect::Postgres => {
            let wall = Fragment::of(&format!("left({{}}, -{length})"), &[plain]);
            Fragment::of(
                &format!(
                    "(to_char(CAST(left({{}}, 19) AS timestamp) - CAST(right({{}}, {length}) || '{rest}' AS interval), \
                     'YYYY-MM-DD HH24:MI:SS') || substr({{}}, 20, 7))"
                ),
                &[&wall, plain, &wall],
            )
        }
    }
}

/// The same text in a form whose byte order is time order as long as a column keeps one form, or null: for MAX.
pub(super) fn sortable(dialect: Dialect, raw: &Fragment) -> Fragment {
    let time = time(dialect, raw);
    match dialect {
        Dialect::MySql => Fragment::of("REPLACE(REPLACE({}, ' ', 'T'), 'Z', '+00:00')", &[&time]),
        Dialect::Postgres | Dialect::Sqlite => dialect::ordered_text(
            dialect,
            &Fragment::of("replace(replace(CAST({} AS text), ' ', 'T'), 'Z', '+00:00')", &[&time]),
        ),
    }
}

/// What a text of the grammar says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// A wall time, of the column's zone.
    Wall(civil::DateTime),
    At(Timestamp),
}

impl Told {
    /// `None` beyond what a timestamp can hold.
    pub fn instant(self, zone: &TimeZone) -> Option<Timestamp> {
        let at = match self {
            Self::Wall(wall) => at_local(wall, zone),
            Self::At(at) => at,
        };
        Timestamp::from_microsecond(at.as_microsecond()).ok()
    }
}

/// The day that a text begins with.
pub(super) fn read_day(text: &str) -> Option<civil::Date> {
    let (day, rest) = text.split_at_checked(10)?;
    let alone = matches!(rest.as_bytes().first(), None | Some(b'T' | b' '));
    let shaped = day.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !alone || !shaped {
        return None;
    }
    day.parse().ok().filter(|day: &civil::Date| day.year() > 0)
}

/// The time that a text is.
pub(super) fn read_time(text: &str) -> Option<Told> {
    let day = read_day(text)?;
    let Some(rest) = text.get(11..) else {
        return (text.len() == 10).then(|| Told::Wall(day.at(0, 0, 0, 0)));
    };
    let zone = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at_checked(zone)?;
    let wall = day.to_datetime(read_clock(clock)?);
    if zone.is_empty() {
        return Some(Told::Wall(wall));
    }
    let utc = wall.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Told::At(utc.checked_sub(read_offset(zone)?).ok()?))
}

fn read_clock(text: &str) -> Option<civil::Time> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if whole.len() == 8 => (whole, Some(fraction)),
        Some(_) => return None,
        None => (text, None),
    };
    let parts: Vec<i8> = whole.split(':').map(|part| two(part, 59)).collect::<Option<_>>()?;
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (*hour, *minute, 0),
        [hour, minute, second] => (*hour, *minute, *second),
        _ => return None,
    };
    let nanos = match fraction {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let micros: String = digits.chars().chain("000000".chars()).take(6).collect();
            micros.parse::<i32>().ok()? * 1_000
        }
        Some(_) => return None,
        None => 0,
    };
    civil::Time::new(hour, minute, second, nanos).ok()
}

fn read_offset(text: &str) -> Option<SignedDuration> {
    if text == "Z" {
        return Some(SignedDuration::ZERO);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':').map_or((rest, "00"), |(hours, minutes)| (hours, minutes));
    let ahead = SignedDuration::from_mins(i64::from(two(hours, 14)?) * 60 + i64::from(two(minutes, 59)?));
    Some(if sign == "-" { -ahead } else { ahead })
}

/// Two digits, up to a limit.
fn two(text: &str, limit: i8) -> Option<i8> {
    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_one_that_a_calendar_has_and_ends_there() {
        let day = |text| read_day(text).map(|day| day.to_string());
        for text in ["2026-12-31", "2026-12-31T25", "2026-12-31 x"] {
            assert_eq!(day(text).as_deref(), Some("2026-12-31"), "{text}");
        }
        for text in ["2026-02-29", "2026-13-01", "0000-01-01", "2026-12-311", "20261231T0", " 2026-12-31", "soon", ""] {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_read_to_the_microsecond_and_with_its_offset() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let read = |text| read_time(text).and_then(|told| told.instant(&vienna)).map(|at| at.to_string());
        for (text, at) in [
            ("2026-07-01", "2026-06-30T22:00:00Z"),
            ("2026-07-01 10:00", "2026-07-01T08:00:00Z"),
            ("2026-07-01T10:00:00.1234567", "2026-07-01T08:00:00.123456Z"),
            ("2026-07-01T10:00Z", "2026-07-01T10:00:00Z"),
            ("2026-07-01 10:00:00+02", "2026-07-01T08:00:00Z"),
            ("2026-07-01T00:00:00-05:30", "2026-07-01T05:30:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(at), "{text}");
        }
        for text in [
            "2026-02-31T10:00:00Z",
            "2026-07-01T24:00:00Z",
            "2026-07-01T10",
            "2026-07-01T10:00:60",
            "2026-07-01 ",
            "2026-07-01T10:00:00.",
            "2026-07-01T10:00.5",
            "2026-07-01T10:00:00z",
            "2026-07-01Z",
            "2026-07-01+02:00",
            "2026-07-01T10:00:00+15:00",
            "2026-07-01T10:00:00+0200",
            "2026-07-01T10:00:00ZZ",
            "2026-07-01\n",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
