//! Whether a time can be after one moment and before another.

use crate::model::Period;
use crate::rule::condition::{Moment, Test};
use std::cmp::Ordering;

/// An end of a stretch of time, and whether the moment itself is part of it.
struct End {
    moment: Moment,
    included: bool,
}

/// The stretches that the tests name have nothing in common.
pub(super) fn apart(tests: &[&Test]) -> bool {
    let ends: Vec<End> = tests.iter().filter_map(|test| end(test)).collect();
    let past_ends = tests.iter().filter_map(|test| match test {
        Test::WithinLast(_) => Some(End { moment: Moment::Now, included: true }),
        _ => None,
    });
    let ends: Vec<End> = ends.into_iter().chain(past_ends).collect();
    tests.iter().filter_map(|test| begin(test)).any(|begin| {
        ends.iter().any(|end| match order(begin.moment, end.moment) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => !(begin.included && end.included),
            _ => false,
        })
    })
}

fn begin(test: &Test) -> Option<End> {
    Some(match test {
        Test::After(moment) => End { moment: *moment, included: false },
        Test::WithinLast(period) => End { moment: Moment::Ago(*period), included: true },
        Test::WithinNext(_) => End { moment: Moment::Now, included: true },
        _ => return None,
    })
}

fn end(test: &Test) -> Option<End> {
    Some(match test {
        Test::Before(moment) => End { moment: *moment, included: false },
        Test::OlderThan(period) => End { moment: Moment::Ago(*period), included: false },
        Test::WithinNext(period) => End { moment: Moment::Ahead(*period), included: true },
        _ => return None,
    })
}

/// Which moment certainly comes first; `None` where that depends on the day.
fn order(one: Moment, other: Moment) -> Option<Ordering> {
    match (one, other) {
        (Moment::At(one), Moment::At(other)) => Some(one.cmp(&other)),
        (Moment::On(one), Moment::On(other)) => Some(one.cmp(&other)),
        (Moment::Now, Moment::Now) | (Moment::Today, Moment::Today) => Some(Ordering::Equal),
        (Moment::Ago(one), Moment::Ago(other)) => lengths(other, one),
        (Moment::Ahead(one), Moment::Ahead(other)) => lengths(one, other),
        (Moment::Ago(_), Moment::Now | Moment::Ahead(_)) | (Moment::Now, Moment::Ahead(_)) => Some(Ordering::Less),
        (Moment::Now | Moment::Ahead(_), Moment::Ago(_)) | (Moment::Ahead(_), Moment::Now) => Some(Ordering::Greater),
        _ => None,
    }
}

/// Which period is certainly the longer one.
pub(super) fn lengths(one: Period, other: Period) -> Option<Ordering> {
    if one.unit == other.unit {
        return Some(one.count.cmp(&other.count));
    }
    if !one.is_calendar() && !other.is_calendar() {
        return Some(one.max_seconds().cmp(&other.max_seconds()));
    }
    if one.max_seconds() < other.min_seconds() {
        return Some(Ordering::Less);
    }
    (one.min_seconds() > other.max_seconds()).then_some(Ordering::Greater)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Unit;
    use jiff::civil::date;

    #[test]
    fn stretches_of_time_that_never_meet_are_told() {
        let (days, months) = (Period::days, |count| Period::new(count, Unit::Month));
        let year = Period::new(1, Unit::Year);
        let (new_year, next) = (Moment::On(date(2020, 1, 1)), Moment::On(date(2021, 1, 1)));
        for (tests, expected) in [
            ([Test::Before(new_year), Test::After(next)], true),
            ([Test::Before(next), Test::After(new_year)], false),
            ([Test::OlderThan(year), Test::WithinLast(days(30))], true),
            ([Test::OlderThan(days(30)), Test::WithinLast(year)], false),
            ([Test::OlderThan(months(1)), Test::WithinLast(days(30))], false),
            ([Test::OlderThan(months(1)), Test::WithinLast(days(27))], true),
            ([Test::OlderThan(days(1)), Test::WithinNext(days(1))], true),
            ([Test::WithinLast(days(1)), Test::WithinNext(days(1))], false),
            ([Test::Before(Moment::Now), Test::After(Moment::Ahead(days(1)))], true),
            ([Test::Before(Moment::Today), Test::After(Moment::Ago(days(1)))], false),
            ([Test::After(Moment::Ago(days(3))), Test::Before(Moment::Ago(days(7)))], true),
            ([Test::After(Moment::Ago(days(7))), Test::Before(Moment::Ago(days(3)))], false),
        ] {
            assert_eq!(apart(&tests.iter().collect::<Vec<_>>()), expected, "{tests:?}");
        }
    }
}
