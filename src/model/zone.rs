//! Local times and daylight saving: a gap moves to the next valid instant, an overlap fires once (the
//! earlier reading).

use jiff::{Timestamp, civil, tz::AmbiguousOffset, tz::TimeZone};

/// The instant at which the wall clock of `zone` first shows `local` or, where daylight saving skips it,
/// the first instant after the gap.
#[must_use]
pub fn at_local(local: civil::DateTime, zone: &TimeZone) -> Timestamp {
    match zone.to_ambiguous_timestamp(local).offset() {
        // The gap ends where the offset changes: `local` read with the old offset lies inside or at the
        // end of the new one, and the transition itself is the next valid instant.
        AmbiguousOffset::Gap { before, .. } => {
            let inside = before.to_timestamp(local).unwrap_or(Timestamp::MAX);
            let probe = inside.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX);
            zone.preceding(probe).next().map_or(inside, |transition| transition.timestamp())
        }
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).unwrap_or(Timestamp::MAX),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).unwrap_or(Timestamp::MAX),
    }
}

/// The earliest instant a naive wall time can mean in `zone`; the lower bound for reading naive columns.
#[must_use]
pub fn earlier(local: civil::DateTime, zone: &TimeZone) -> Timestamp {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    ambiguous.earlier().unwrap_or(Timestamp::MIN)
}

/// The latest instant a naive wall time can mean in `zone`; the upper bound for reading naive columns.
#[must_use]
pub fn later(local: civil::DateTime, zone: &TimeZone) -> Timestamp {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    ambiguous.later().unwrap_or(Timestamp::MAX)
}

/// The zone of that name, or `default` when it is unknown; the flag says that it was unknown, to be
/// reported.
#[must_use]
pub fn zone_or_default(name: Option<&str>, default: &TimeZone) -> (TimeZone, bool) {
    match name.map(str::trim).filter(|name| !name.is_empty()) {
        None => (default.clone(), false),
        Some(name) => TimeZone::get(name).map_or_else(|_| (default.clone(), true), |zone| (zone, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_moves_to_the_next_valid_instant_and_an_overlap_fires_at_the_first() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let gap = at_local(civil::date(2026, 3, 29).at(2, 30, 0, 0), &vienna);
        assert_eq!(gap, "2026-03-29T01:00:00Z".parse().unwrap());
        let fold = at_local(civil::date(2026, 10, 25).at(2, 30, 0, 0), &vienna);
        assert_eq!(fold, "2026-10-25T00:30:00Z".parse().unwrap());
        assert_eq!(later(civil::date(2026, 10, 25).at(2, 30, 0, 0), &vienna), "2026-10-25T01:30:00Z".parse().unwrap());
    }

    #[test]
    fn an_unknown_zone_uses_the_default_and_says_so() {
        let utc = TimeZone::UTC;
        assert!(zone_or_default(Some("Mars/Olympus"), &utc).1);
        assert!(!zone_or_default(None, &utc).1);
    }
}
