//! The forms in which a source may keep time, and what each keeps of an instant.

use crate::world::{wall, wall_again};
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use nudged::model::Period;
use nudged::rule::statement::Dialect;
use proptest::prelude::*;

pub const FORMS: [Form; 7] =
    [Form::Native, Form::Naive, Form::LocalText, Form::UtcText, Form::Seconds, Form::Millis, Form::Day];
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Native,
    Naive,
    LocalText,
    UtcText,
    Seconds,
    Millis,
    Day,
}

impl Form {
    /// As [`Form::literal`], or `NULL`.
    pub fn cell(self, at: Option<Timestamp>, dialect: Dialect) -> String {
        at.map_or_else(|| "NULL".to_owned(), |at| self.literal(at, dialect))
    }

    /// Both instants that what is kept of this one can mean; a whole day counts once it is over.
    pub fn readings(self, at: Timestamp) -> [Timestamp; 2] {
        let zone = vienna();
        match self.reading(at) {
            Reading::Day(day) => [wall(day.tomorrow().unwrap().at(0, 0, 0, 0), &zone); 2],
            Reading::Instant(first) if matches!(self, Self::Naive | Self::LocalText) => {
                [first, wall_again(zone.to_datetime(first), &zone)]
            }
            Reading::Instant(first) => [first; 2],
        }
    }

    pub const fn column(self) -> &'static str {
        match self {
            Self::Native => "at_native",
            Self::Naive => "at_naive",
            Self::LocalText => "at_local",
            Self::UtcText => "at_utc",
            Self::Seconds => "at_seconds",
            Self::Millis => "at_millis",
            Self::Day => "at_day",
        }
    }

    pub const fn ty(self) -> &'static str {
        match self {
            Self::Native => "{type: instant, zone: UTC}",
            Self::Naive => "{type: instant}",
            Self::LocalText => "{type: instant_text}",
            Self::UtcText => "{type: instant_text, zone: UTC}",
            Self::Seconds => "{type: epoch_seconds}",
            Self::Millis => "{type: epoch_millis}",
            Self::Day => "{type: date}",
        }
    }

    /// What this form keeps of an instant, read back.
    pub fn reading(self, at: Timestamp) -> Reading {
        let zone = vienna();
        match self {
            Self::Native | Self::UtcText => Reading::Instant(at),
            Self::Naive | Self::LocalText => Reading::Instant(wall(zone.to_datetime(at), &zone)),
            Self::Seconds => Reading::Instant(floor(at, 1_000_000)),
            Self::Millis => Reading::Instant(floor(at, 1_000)),
            Self::Day => Reading::Day(zone.to_datetime(at).date()),
        }
    }

    pub fn literal(self, at: Timestamp, dialect: Dialect) -> String {
        let utc = TimeZone::UTC.to_datetime(at);
        let local = vienna().to_datetime(at);
        match self {
            Self::Native if dialect == Dialect::MySql => format!("'{}'", utc.strftime("%Y-%m-%d %H:%M:%S%.6f")),
            Self::Native => format!("'{}'", utc.strftime("%Y-%m-%d %H:%M:%S%.6fZ")),
            Self::Naive => format!("'{}'", local.strftime("%Y-%m-%d %H:%M:%S%.6f")),
            Self::LocalText => format!("'{}'", local.strftime("%Y-%m-%dT%H:%M:%S%.6f")),
            Self::UtcText => format!("'{}'", utc.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")),
            Self::Seconds => at.as_second().to_string(),
            Self::Millis => at.as_millisecond().to_string(),
            Self::Day => format!("'{}'", local.date()),
        }
    }
}

pub fn floor(at: Timestamp, unit: i64) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond().div_euclid(unit) * unit).unwrap()
}

pub fn vienna() -> TimeZone {
    TimeZone::get("Europe/Vienna").unwrap()
}

#[derive(Debug, Clone, Copy)]
pub enum Reading {
    Instant(Timestamp),
    Day(civil::Date),
}

impl Reading {
    pub fn start(self) -> Timestamp {
        match self {
            Self::Instant(at) => at,
            Self::Day(day) => wall(day.at(0, 0, 0, 0), &vienna()),
        }
    }

    pub fn crosses(self, period: Period) -> Timestamp {
        match self {
            Self::Instant(at) => period.after(at, &vienna()),
            Self::Day(day) => wall(period.after_date(day).at(0, 0, 0, 0), &vienna()),
        }
    }
}

/// Instants around clock changes, the ends of months, and a plain day; many of them equal.
pub fn instants() -> impl Strategy<Value = Timestamp> {
    let around = |base: &str, step: i64| {
        let base: Timestamp = base.parse().unwrap();
        (0..24_i64, prop_oneof![Just(0_i64), Just(1), Just(500_123)]).prop_map(move |(n, micros)| {
            base + SignedDuration::from_secs(n * step) + SignedDuration::from_micros(micros)
        })
    };
    prop_oneof![
        3 => around("2026-10-24T22:00:00Z", 900),
        2 => around("2026-03-28T22:30:00Z", 900),
        2 => around("2026-01-28T10:00:00Z", 21_600),
        1 => around("2025-06-01T00:00:00Z", 864_000),
    ]
}
