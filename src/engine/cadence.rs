//! When a rule is due to be swept, as pure arithmetic over its last completed sweep.

use crate::model::{Period, at_local};
use crate::rule::CheckedRule;
use crate::rule::checked::{Cadence, Trigger};
use cron::Cron;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};
use std::ops::Range;
use std::str::FromStr;

/// The planned instants of one rule.
#[derive(Debug)]
pub(super) enum Plan {
    /// Counted from the last sweep.
    Every(SignedDuration),
    /// By a cron line in the catalog's zone; boxed, as its tables are large.
    Cron(Box<Cron>, TimeZone),
}

impl Plan {
    /// A schedule rule is swept at its planned instants, whatever its cadence says.
    pub fn of(rule: &CheckedRule, zone: &TimeZone) -> Self {
        let line = match (&rule.trigger, &rule.cadence) {
            (Trigger::Schedule(schedule), _) => &schedule.cron,
            (_, Cadence::Cron(cron)) => cron,
            (_, Cadence::Every(period)) => return Self::every(*period),
        };
        // The line was parsed when the rule was checked; an hourly sweep is the harmless reading of a
        // line that this version of the parser no longer takes.
        Cron::from_str(&line.text)
            .map_or(Self::Every(SignedDuration::from_hours(1)), |cron| Self::Cron(Box::new(cron), zone.clone()))
    }

    fn every(period: Period) -> Self {
        Self::Every(SignedDuration::from_secs(period.max_seconds().max(1)))
    }

    /// The first planned instant after a sweep that completed at `last`. A missed one is due at once, and
    /// only once, since the next is counted from the sweep that made up for it.
    pub fn next(&self, last: Timestamp) -> Timestamp {
        match self {
            Self::Every(every) => last.saturating_add(*every).unwrap_or(Timestamp::MAX),
            Self::Cron(cron, zone) => occurrence(cron, zone, last, false),
        }
    }

    /// The earliest planned instant that follows both the crossing and the last completed sweep: from here
    /// lateness counts.
    pub fn planned(&self, crossed: Timestamp, last: Timestamp) -> Timestamp {
        let next = self.next(last);
        if crossed <= next {
            return next;
        }
        match self {
            Self::Every(every) => {
                let every = every.as_micros().max(1);
                let behind = crossed.duration_since(last).as_micros();
                let steps = behind / every + i128::from(behind % every != 0);
                let micros = i64::try_from(steps * every).unwrap_or(i64::MAX);
                last.saturating_add(SignedDuration::from_micros(micros)).unwrap_or(Timestamp::MAX)
            }
            Self::Cron(cron, zone) => occurrence(cron, zone, crossed, true),
        }
    }

    /// The last planned instant at or before `now`; `None` for plans without fixed instants.
    pub fn latest(&self, now: Timestamp) -> Option<Timestamp> {
        let Self::Cron(cron, zone) = self else { return None };
        let found = cron.find_previous_occurrence(&now.to_zoned(zone.clone()), true).ok()?;
        Some(found.timestamp())
    }

    /// The last planned instant at or before `until`, counted from a sweep that completed at `last`; the next one
    /// where there is none.
    pub fn last_within(&self, last: Timestamp, until: Timestamp) -> Timestamp {
        let next = self.next(last);
        match self {
            Self::Every(every) if next <= until => {
                let every = every.as_micros().max(1);
                let micros = until.duration_since(last).as_micros() / every * every;
                let ahead = SignedDuration::from_micros(i64::try_from(micros).unwrap_or(i64::MAX));
                last.saturating_add(ahead).unwrap_or(Timestamp::MAX)
            }
            Self::Every(_) => next,
            Self::Cron(..) => self.latest(until).map_or(next, |latest| latest.max(next)),
        }
    }

    /// How many planned instants follow a sweep at the start of the span, up to its end; no more than `most`.
    pub fn count(&self, span: Range<Timestamp>, most: u32) -> u32 {
        match self {
            Self::Every(every) => {
                let count = span.end.duration_since(span.start).as_micros() / every.as_micros().max(1);
                u32::try_from(count.max(0)).unwrap_or(u32::MAX).min(most)
            }
            Self::Cron(..) => {
                let following = |last: &Timestamp| Some(self.next(*last)).filter(|next| *next <= span.end);
                let planned = std::iter::successors(following(&span.start), following).take(most as usize);
                u32::try_from(planned.count()).unwrap_or(most)
            }
        }
    }

    /// How many days of ordinary sweeps lie between two instants, at least one: the guard's scale.
    pub fn days_covered(last: Timestamp, now: Timestamp) -> f64 {
        (now.duration_since(last).as_secs_f64() / 86_400.0).max(1.0)
    }
}

fn occurrence(cron: &Cron, zone: &TimeZone, from: Timestamp, inclusive: bool) -> Timestamp {
    let found = cron.find_next_occurrence(&from.to_zoned(zone.clone()), inclusive);
    found.map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

/// The first instant after `last` at which the wall clock of `zone` shows `at`.
pub(super) fn nightly(last: Timestamp, at: civil::Time, zone: &TimeZone) -> Timestamp {
    let mut date = last.to_zoned(zone.clone()).date();
    loop {
        let candidate = at_local(date.to_datetime(at), zone);
        if candidate > last || date == civil::Date::MAX {
            return candidate;
        }
        date = date.tomorrow().unwrap_or(civil::Date::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn weekdays() -> Plan {
        Plan::Cron(Box::new(Cron::from_str("0 9 * * MON-FRI").unwrap()), TimeZone::get("Europe/Vienna").unwrap())
    }

    #[test]
    fn a_monday_sweep_is_not_late_for_the_weekend() {
        let friday = instant("2026-11-20T08:00:00Z");
        let saturday = instant("2026-11-21T15:00:00Z");
        assert_eq!(weekdays().planned(saturday, friday), instant("2026-11-23T08:00:00Z"));
    }

    #[test]
    fn an_outage_counts_from_the_sweep_that_should_have_been() {
        let plan = Plan::Every(SignedDuration::from_mins(15));
        let last = instant("2026-11-01T00:00:00Z");
        assert_eq!(plan.planned(instant("2026-11-01T00:20:00Z"), last), instant("2026-11-01T00:30:00Z"));
        assert_eq!(plan.planned(instant("2026-11-01T00:30:00Z"), last), instant("2026-11-01T00:30:00Z"));
        // Discovered late: the crossing is old, the sweep that finds it is on time.
        assert_eq!(plan.planned(instant("2026-10-01T00:00:00Z"), last), instant("2026-11-01T00:15:00Z"));
    }

    #[test]
    fn the_last_instant_of_a_span_is_one_that_is_planned() {
        let plan = Plan::Every(SignedDuration::from_mins(15));
        let last = instant("2026-11-01T00:00:00Z");
        assert_eq!(plan.last_within(last, instant("2026-11-01T01:10:00Z")), instant("2026-11-01T01:00:00Z"));
        assert_eq!(plan.last_within(last, instant("2026-11-01T00:10:00Z")), instant("2026-11-01T00:15:00Z"));
        let friday = instant("2026-11-20T08:00:00Z");
        assert_eq!(weekdays().last_within(friday, instant("2026-11-25T12:00:00Z")), instant("2026-11-25T08:00:00Z"));
        assert_eq!(weekdays().last_within(friday, instant("2026-11-22T12:00:00Z")), instant("2026-11-23T08:00:00Z"));
    }

    #[test]
    fn the_instants_of_a_span_are_counted_no_further_than_asked() {
        let friday = instant("2026-11-20T08:00:00Z");
        let count = |plan: &Plan, until, most| plan.count(friday..instant(until), most);
        let quarterly = Plan::Every(SignedDuration::from_mins(15));
        assert_eq!(count(&quarterly, "2026-11-20T09:10:00Z", 10), 4);
        assert_eq!(count(&quarterly, "3026-11-20T09:10:00Z", 10), 10);
        assert_eq!(count(&quarterly, "2026-11-19T08:00:00Z", 10), 0);
        assert_eq!(count(&weekdays(), "2026-11-27T08:00:00Z", 10), 5);
        assert_eq!(count(&weekdays(), "2026-11-27T08:00:00Z", 3), 3);
        assert_eq!(count(&weekdays(), "2026-11-19T08:00:00Z", 3), 0);
    }

    #[test]
    fn a_missed_cron_instant_is_due_once() {
        let plan = weekdays();
        let next = plan.next(instant("2026-11-17T08:00:00Z"));
        assert_eq!(next, instant("2026-11-18T08:00:00Z"));
        let made_up = instant("2026-11-20T10:00:00Z");
        assert_eq!(plan.latest(made_up), Some(instant("2026-11-20T08:00:00Z")));
        assert_eq!(plan.next(made_up), instant("2026-11-23T08:00:00Z"));
    }

    #[test]
    fn the_night_comes_once_a_day_also_when_the_clock_changes() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let at = civil::time(2, 30, 0, 0);
        let first = nightly(instant("2026-03-28T12:00:00Z"), at, &vienna);
        assert_eq!(first, instant("2026-03-29T01:00:00Z"));
        assert_eq!(nightly(first, at, &vienna), instant("2026-03-30T00:30:00Z"));
    }

    #[test]
    fn a_short_pause_still_counts_as_a_day() {
        let now = instant("2026-11-20T10:00:00Z");
        assert!((Plan::days_covered(instant("2026-11-20T09:00:00Z"), now) - 1.0).abs() < 1e-9);
        assert!((Plan::days_covered(instant("2026-11-17T10:00:00Z"), now) - 3.0).abs() < 1e-9);
    }
}
