//! From the end of one step to the next: waits are passed at once, as the instant they end is known.

use crate::engine::port::Then;
use crate::model::{EndReason, StepId, Unit, at_local};
use crate::rule::CheckedRule;
use crate::rule::checked::{Step, Wait};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Where a walk ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Walked {
    pub then: Then,
    /// The last wait on the way and when it ends.
    pub waits: Option<(StepId, Timestamp)>,
}

/// Walks from `next` at the instant `at`, up to the next branch or action or to the end.
pub fn walk(rule: &CheckedRule, next: Option<usize>, at: Timestamp, zone: &TimeZone) -> Walked {
    let mut waits = None;
    let mut due = at;
    let mut place = next;
    // A rule has finitely many nodes and no way back; the bound only guards against a damaged version.
    for _ in 0..=rule.nodes.len() {
        let Some(node) = place.and_then(|index| rule.nodes.get(index)) else {
            return Walked { then: Then::End { reason: EndReason::Completed, at }, waits: None };
        };
        match &node.step {
            Step::Wait(wait) => {
                due = end_of(wait, due, zone);
                waits = Some((node.id.clone(), due));
                place = node.next;
            }
            Step::Stop => return Walked { then: Then::End { reason: EndReason::Stopped, at }, waits: None },
            Step::Branch { .. } | Step::Act(_) => {
                let node = place.unwrap_or_default();
                return Walked { then: Then::Advance { node, due_at: due, planned_at: due }, waits };
            }
        }
    }
    Walked { then: Then::End { reason: EndReason::Completed, at }, waits: None }
}

/// When a wait that begins at `from` ends. Whole days with a local time mean that time on that day (7 days
/// at 10:00 after a Monday is Monday at 10:00, whatever the hour it began); shorter waits, the next such
/// time after them.
pub fn end_of(wait: &Wait, from: Timestamp, zone: &TimeZone) -> Timestamp {
    let Some(at) = wait.at else {
        return wait.for_.map_or(from, |period| period.after(from, zone));
    };
    if let Some(period) = wait.for_.filter(|period| period.count > 0 && counts_days(period.unit)) {
        let day = period.after_date(from.to_zoned(zone.clone()).date());
        return at_local(day.to_datetime(at), zone);
    }
    let earliest = wait.for_.map_or(from, |period| period.after(from, zone));
    let day = earliest.to_zoned(zone.clone()).date();
    let today = at_local(day.to_datetime(at), zone);
    if today >= earliest {
        return today;
    }
    day.tomorrow().map_or(Timestamp::MAX, |day| at_local(day.to_datetime(at), zone))
}

const fn counts_days(unit: Unit) -> bool {
    matches!(unit, Unit::Day | Unit::BusinessDay | Unit::Week | Unit::Month | Unit::Year)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Period;
    use jiff::civil;

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn vienna() -> TimeZone {
        TimeZone::get("Europe/Vienna").unwrap()
    }

    fn wait(for_: Option<Period>, at: Option<civil::Time>) -> Wait {
        Wait { for_, at }
    }

    #[test]
    fn seven_days_at_ten_is_the_same_weekday_however_late_the_mail_went() {
        let week = wait(Some(Period::days(7)), Some(civil::time(10, 0, 0, 0)));
        let monday = instant("2026-11-16T09:00:03Z");
        assert_eq!(end_of(&week, monday, &vienna()), instant("2026-11-23T09:00:00Z"));
        // Ten o'clock stays ten o'clock when the clocks change in between.
        let october = instant("2026-10-20T08:00:00Z");
        assert_eq!(end_of(&week, october, &vienna()), instant("2026-10-27T09:00:00Z"));
    }

    #[test]
    fn a_short_wait_goes_on_to_the_next_such_time() {
        let at = Some(civil::time(10, 0, 0, 0));
        let hours = wait(Some(Period::new(2, Unit::Hour)), at);
        assert_eq!(end_of(&hours, instant("2026-11-16T08:30:00Z"), &vienna()), instant("2026-11-17T09:00:00Z"));
        assert_eq!(end_of(&hours, instant("2026-11-16T06:30:00Z"), &vienna()), instant("2026-11-16T09:00:00Z"));
        let none = wait(None, at);
        assert_eq!(end_of(&none, instant("2026-11-16T09:00:00Z"), &vienna()), instant("2026-11-16T09:00:00Z"));
    }

    #[test]
    fn days_without_a_time_are_24_hours() {
        let day = wait(Some(Period::days(1)), None);
        assert_eq!(end_of(&day, instant("2026-03-28T12:00:00Z"), &vienna()), instant("2026-03-29T12:00:00Z"));
    }
}
