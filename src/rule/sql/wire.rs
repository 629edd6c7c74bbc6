//! How each kind of column keeps a point in time, and the greatest stored value that is at most an instant.
//!
//! Reading a stored wall time is monotone: a gap reads as its end, an overlap as its first pass (or, for
//! [`Form::LateWall`], its second). So "reads as at most t" is always one comparison with one bound, and a
//! range over an index stays a range.

use crate::catalog::{ColumnType, DateStorage, InstantStorage};
use crate::model::Value;
use jiff::{SignedDuration, Timestamp, civil, tz::AmbiguousOffset, tz::TimeZone};

/// The form of a bound on the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    Instant,
    /// Wall time; an overlap is read as its first pass.
    Wall(TimeZone),
    /// Wall time; an overlap is read as its second pass.
    LateWall(TimeZone),
    /// `2026-01-31 10:00:00.000000`, for text that names its offset.
    UtcText,
    /// The same for text without an offset.
    WallText(TimeZone),
    /// As text, what [`Form::LateWall`] is as a timestamp.
    LateWallText(TimeZone),
    Seconds,
    Millis,
    Day,
    DayText,
}

impl Form {
    /// The form in which a column keeps time, if it does.
    pub fn of(ty: &ColumnType) -> Self {
        match ty {
            ColumnType::Date(DateStorage::Native) => Self::Day,
            ColumnType::Date(DateStorage::Text) => Self::DayText,
            ColumnType::Instant(InstantStorage::Naive(zone)) => Self::Wall(zone.clone()),
            ColumnType::Instant(InstantStorage::Text(zone)) => Self::WallText(zone.clone()),
            ColumnType::Instant(InstantStorage::EpochSeconds) => Self::Seconds,
            ColumnType::Instant(InstantStorage::EpochMillis) => Self::Millis,
            _ => Self::Instant,
        }
    }

    /// The greatest stored value that reads as at most `instant`; `zone` turns instants into days.
    pub fn at_most(&self, instant: Timestamp, zone: &TimeZone) -> Value {
        let instant = clamped(instant);
        match self {
            Self::Instant => Value::Instant(instant),
            Self::Wall(zone) => Value::Naive(wall(instant, zone, false)),
            Self::LateWall(zone) => Value::Naive(wall(instant, zone, true)),
            Self::UtcText => Value::Text(iso(wall(instant, &TimeZone::UTC, false))),
            Self::WallText(zone) => Value::Text(iso(wall(instant, zone, false))),
            Self::LateWallText(zone) => Value::Text(iso(wall(instant, zone, true))),
            Self::Seconds => Value::Int(instant.as_microsecond().div_euclid(1_000_000)),
            Self::Millis => Value::Int(instant.as_microsecond().div_euclid(1_000)),
            Self::Day | Self::DayText => self.day(day_of(instant, zone)),
        }
    }

    /// A day in this form.
    pub fn day(&self, day: civil::Date) -> Value {
        let day = day.clamp(civil::date(1000, 1, 1), civil::date(9999, 12, 30));
        if *self == Self::DayText { Value::Text(day.to_string()) } else { Value::Date(day) }
    }
}

/// The local day of an instant.
pub(crate) fn day_of(instant: Timestamp, zone: &TimeZone) -> civil::Date {
    zone.to_datetime(instant).date()
}

/// Within what every database can hold; nothing that a CRM records lies outside.
pub(crate) fn clamped(instant: Timestamp) -> Timestamp {
    let low = civil::date(1000, 1, 2).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).map_or(Timestamp::MIN, |t| t.timestamp());
    let micros = instant.clamp(low, Timestamp::MAX).as_microsecond();
    Timestamp::from_microsecond(micros).unwrap_or(low)
}

fn iso(wall: civil::DateTime) -> String {
    wall.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// The greatest wall time, in microseconds, that reads as at most `instant`.
fn wall(instant: Timestamp, zone: &TimeZone, late: bool) -> civil::DateTime {
    let local = zone.to_datetime(instant);
    let AmbiguousOffset::Fold { before, after } = zone.to_ambiguous_timestamp(local).offset() else { return local };
    let first_pass = zone.to_offset(instant) == before;
    if first_pass != late {
        return local;
    }
    // In the pass that this reading doesn't know, the bound is an end of the overlap: all of it lies
    // below (first-pass readings seen in the second pass), or all of it above.
    let transition = if first_pass {
        zone.following(instant).next().map(|t| t.timestamp())
    } else {
        let probe = instant.checked_add(SignedDuration::from_nanos(1)).unwrap_or(instant);
        zone.preceding(probe).next().map(|t| t.timestamp())
    };
    let Some(transition) = transition else { return local };
    let end = if first_pass { after.to_datetime(transition) } else { before.to_datetime(transition) };
    end.checked_sub(SignedDuration::from_micros(1)).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{at_local, later};

    #[test]
    fn bounds_on_wall_times_are_exact_across_a_gap_and_an_overlap() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let starts: [Timestamp; 2] = ["2026-03-28T23:00:00Z".parse().unwrap(), "2026-10-24T22:00:00Z".parse().unwrap()];
        for start in starts {
            for step in 0..40 {
                let bound = start + SignedDuration::from_mins(15 * step);
                for form in [Form::Wall(vienna.clone()), Form::LateWall(vienna.clone())] {
                    let late = matches!(form, Form::LateWall(_));
                    let Value::Naive(greatest) = form.at_most(bound, &vienna) else { panic!("a wall time") };
                    let local_start = vienna.to_datetime(start);
                    for stored in (0..44).map(|n| local_start + SignedDuration::from_mins(15 * n)) {
                        let folded =
                            matches!(vienna.to_ambiguous_timestamp(stored).offset(), AmbiguousOffset::Fold { .. });
                        let read = if late && folded { later(stored, &vienna) } else { at_local(stored, &vienna) };
                        assert_eq!(stored <= greatest, read <= bound, "{stored} {bound} {form:?}");
                    }
                }
            }
        }
    }
}
