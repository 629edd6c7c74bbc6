//! From the end of one step to the next. Waits whose end is known and can't change are passed at once; at the
//! others the enrollment stands, and they are looked at again on fresh facts.

use crate::engine::lateness::MOMENT;
use crate::engine::port::{Claimed, Noted, Then};
use crate::model::{EndReason, Period, RecordId, StepId, Unit, at_local};
use crate::rule::CheckedRule;
use crate::rule::checked::{Step, Until, Wait};
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

/// Where a walk ended, and what happened on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Walked {
    pub then: Then,
    pub notes: Vec<(StepId, Noted)>,
}

/// When a wait was planned to end, and when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub planned: Timestamp,
    pub at: Timestamp,
}

impl Ends {
    /// The step before came so late that the instant is over.
    pub fn is_overdue(self) -> bool {
        self.planned < self.at
    }
}

/// What a walk depends on, beside the steps.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    pub rule: &'a CheckedRule,
    /// Of the person.
    pub zone: &'a TimeZone,
    pub entered_at: Timestamp,
    /// Draws the arms of splits.
    pub record: &'a RecordId,
}

impl<'a> Way<'a> {
    pub const fn of(rule: &'a CheckedRule, claimed: &'a Claimed, zone: &'a TimeZone) -> Self {
        Self { rule, zone, entered_at: claimed.entered_at, record: &claimed.record }
    }

    /// Walks on from a step that was planned for `planned` and is done at `at`. What follows without a wait was planned for
    /// the same instant: it is as late as the step before it, however quickly that was done. So is what follows a wait for
    /// an instant that is over only since the step before it came late.
    pub fn walk_on(&self, next: Option<usize>, planned: Timestamp, at: Timestamp) -> Walked {
        self.walk_as_planned(next, planned.min(at), at)
    }

    /// Walks from `next` at the instant `at`, which is as planned, up to the next step that needs facts or does something,
    /// or to the end.
    pub fn walk(&self, next: Option<usize>, at: Timestamp) -> Walked {
        self.walk_as_planned(next, at, at)
    }

    fn walk_as_planned(&self, next: Option<usize>, mut planned: Timestamp, at: Timestamp) -> Walked {
        let mut notes: Vec<(StepId, Noted)> = Vec::new();
        let mut due = at;
        let mut place = next;
        let mut last_wait = None;
        let end = |reason, notes: Vec<(StepId, Noted)>| Walked { then: Then::End { reason, at }, notes };
        // A rule has finitely many nodes and no way back; the bound only guards against a damaged version.
        for _ in 0..=self.rule.nodes.len() {
            let Some((node, index)) = place.and_then(|index| Some((self.rule.nodes.get(index)?, index))) else {
                return match last_wait {
                    // As long as it waits it is under way: in the way of another match, and its goal can be reached.
                    Some((node, since)) if due > at => {
                        Walked { then: Then::Wait { node, due_at: due, planned_at: planned, since }, notes }
                    }
                    _ => end(EndReason::Completed, notes),
                };
            };
            match &node.step {
                // Nobody is drawn, and nothing stops, before the wait ahead of it is over.
                Step::Split(_) | Step::Stop if due > at => {
                    return Walked { then: Then::Advance { node: index, due_at: due, planned_at: planned }, notes };
                }
                Step::Wait(wait) => {
                    let Some(ends) = self.ends(wait, planned, due) else {
                        // What depends on facts is asked at once.
                        let then = Then::Wait { node: index, due_at: due, planned_at: planned, since: due };
                        return Walked { then, notes };
                    };
                    notes.push((node.id.clone(), Noted::Waits(ends.at)));
                    if stands(wait) && !ends.is_overdue() {
                        let then = Then::Wait { node: index, due_at: ends.at, planned_at: ends.at, since: due };
                        return Walked { then, notes };
                    }
                    last_wait = Some((index, due));
                    (planned, due, place) = (ends.planned, ends.at, node.next);
                }
                Step::Split(split) => {
                    let Some(arm) = split.arm(self.record) else { return end(EndReason::Completed, notes) };
                    notes.push((node.id.clone(), Noted::Arm(arm.name.clone())));
                    if arm.holdout {
                        return end(EndReason::Holdout, notes);
                    }
                    place = arm.first;
                }
                Step::Stop => return end(EndReason::Stopped, notes),
                Step::Branch { .. } | Step::Enroll(_) | Step::Act(_) => {
                    return Walked { then: Then::Advance { node: index, due_at: due, planned_at: planned }, notes };
                }
            }
        }
        end(EndReason::Completed, notes)
    }

    /// When a wait ends that begins at `at` and was planned to begin at `planned`, as far as no facts are needed. A length
    /// of time counts from the beginning that there was; an instant stays where it was planned.
    pub fn ends(&self, wait: &Wait, planned: Timestamp, at: Timestamp) -> Option<Ends> {
        let end = wait_end(self, wait, at)?;
        let planned = match wait.until {
            Until::AfterEntry(_) => wait_end(self, wait, planned)?.min(end),
            _ => end,
        };
        Some(Ends { planned, at: end })
    }

    /// When a wait that began at `since` ends, as far as no facts are needed.
    pub fn end_of(&self, wait: &Wait, since: Timestamp) -> Option<Timestamp> {
        wait_end(self, wait, since)
    }

    /// The next time, not before `earliest`, at which the wait's local time and days allow going on. A local time that was
    /// reached a moment before is that time.
    pub fn allowed(&self, wait: &Wait, earliest: Timestamp) -> Timestamp {
        let local = earliest.to_zoned(self.zone.clone()).datetime();
        let mut day = local.date();
        let at = wait.at.unwrap_or(local.time());
        // Within a week every day of the week has come; one more for a time that has passed today.
        for _ in 0..9 {
            let candidate = at_local(day.to_datetime(at), self.zone);
            // The wall clock of `earliest` may come twice; it is `earliest` that is meant.
            let candidate = if wait.at.is_none() && day == local.date() { earliest } else { candidate };
            let is_over = candidate < earliest && earliest.duration_since(candidate) > MOMENT;
            if !is_over && allows(wait, day) {
                return candidate;
            }
            let Ok(tomorrow) = day.tomorrow() else { return earliest };
            day = tomorrow;
        }
        earliest
    }
}

/// Whether the enrollment stands at this wait, since its end may still change.
fn stands(wait: &Wait) -> bool {
    wait.is_local() || matches!(wait.until, Until::Date(_) | Until::When(_))
}

fn allows(wait: &Wait, day: civil::Date) -> bool {
    wait.days.is_empty() || wait.days.contains(&day.weekday())
}

/// When a wait that begins at `since` ends. Whole days with a local time mean that time on that day (7 days at 10:00
/// after a Monday is Monday at 10:00, whatever the hour it began); shorter waits, the next such time after them.
/// Never before it began. `None`: facts decide.
fn wait_end(way: &Way<'_>, wait: &Wait, since: Timestamp) -> Option<Timestamp> {
    let (from, period) = match &wait.until {
        Until::For(period) => (since, *period),
        Until::AfterEntry(period) => (way.entered_at, Some(*period)),
        Until::Date(_) | Until::When(_) => return None,
    };
    let counted = |period: Period| way.rule.calendar.after(period, from, way.zone);
    let Some(at) = wait.at else {
        let end = period.map_or(from, counted).max(since);
        return Some(way.allowed(wait, end));
    };
    if let Some(period) = period.filter(|period| period.count > 0 && counts_days(period.unit)) {
        let day = way.rule.calendar.after_date(period, from.to_zoned(way.zone.clone()).date());
        return Some(way.allowed(wait, at_local(day.to_datetime(at), way.zone).max(since)).max(since));
    }
    Some(way.allowed(wait, period.map_or(from, counted).max(since)).max(since))
}

const fn counts_days(unit: Unit) -> bool {
    matches!(unit, Unit::Day | Unit::BusinessDay | Unit::Week | Unit::Month | Unit::Year)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::dispatch::decide_tests::rule;
    use crate::model::BusinessCalendar;
    use rstest::rstest;
    use std::sync::Arc;

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn wait(until: Until, at: Option<&str>) -> Wait {
        Wait { until, at: at.map(|at| at.parse().unwrap()), days: Vec::new() }
    }

    fn lasting(period: &str, at: Option<&str>) -> Wait {
        wait(Until::For(Some(period.parse().unwrap())), at)
    }

    /// Entered on 1 November, in Austria.
    fn end_in(wait: &Wait, since: &str, zone: &TimeZone) -> Timestamp {
        let mut rule = rule();
        rule.calendar = Arc::new(BusinessCalendar::bundled("AT").unwrap());
        let record = RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() };
        let way = Way { rule: &rule, zone, entered_at: instant("2026-11-01T12:00:00Z"), record: &record };
        way.end_of(wait, instant(since)).unwrap()
    }

    fn end_of(wait: &Wait, since: &str) -> Timestamp {
        end_in(wait, since, &zone("Europe/Vienna"))
    }

    #[test]
    fn seven_days_at_ten_is_the_same_weekday_however_late_the_mail_went() {
        let week = lasting("7 days", Some("10:00"));
        assert_eq!(end_of(&week, "2026-11-16T09:00:03Z"), instant("2026-11-23T09:00:00Z"));
        // Ten o'clock stays ten o'clock when the clocks change in between.
        assert_eq!(end_of(&week, "2026-10-20T08:00:00Z"), instant("2026-10-27T09:00:00Z"));
    }

    #[test]
    fn a_short_wait_goes_on_to_the_next_such_time() {
        let hours = lasting("2 hours", Some("10:00"));
        assert_eq!(end_of(&hours, "2026-11-16T08:30:00Z"), instant("2026-11-17T09:00:00Z"));
        assert_eq!(end_of(&hours, "2026-11-16T06:30:00Z"), instant("2026-11-16T09:00:00Z"));
        let none = wait(Until::For(None), Some("10:00"));
        assert_eq!(end_of(&none, "2026-11-16T09:00:00Z"), instant("2026-11-16T09:00:00Z"));
    }

    #[test]
    fn days_without_a_time_are_24_hours() {
        assert_eq!(end_of(&lasting("1 day", None), "2026-03-28T12:00:00Z"), instant("2026-03-29T12:00:00Z"));
    }

    #[test]
    fn business_days_pass_over_weekends_and_holidays() {
        let three = lasting("3 business days", None);
        // Friday; Monday and Tuesday; Wednesday is 8 December's day after the holiday.
        assert_eq!(end_of(&three, "2026-12-04T09:00:00Z"), instant("2026-12-10T09:00:00Z"));
        let at_nine = lasting("1 business day", Some("09:00"));
        assert_eq!(end_of(&at_nine, "2026-12-07T16:00:00Z"), instant("2026-12-09T08:00:00Z"));
    }

    #[test]
    fn days_of_the_week_are_gone_on_to() {
        let mondays = Wait { days: vec![civil::Weekday::Monday], ..lasting("2 days", Some("10:00")) };
        assert_eq!(end_of(&mondays, "2026-11-18T12:00:00Z"), instant("2026-11-23T09:00:00Z"));
        let weekdays = Wait { days: vec![civil::Weekday::Tuesday], ..wait(Until::For(None), None) };
        assert_eq!(end_of(&weekdays, "2026-11-18T12:00:00Z"), instant("2026-11-24T12:00:00Z"));
        assert_eq!(end_of(&weekdays, "2026-11-24T12:00:00Z"), instant("2026-11-24T12:00:00Z"), "it is Tuesday");
        let today = Wait { days: vec![civil::Weekday::Tuesday], ..wait(Until::For(None), Some("10:00")) };
        assert_eq!(end_of(&today, "2026-11-24T12:00:00Z"), instant("2026-12-01T09:00:00Z"), "ten o'clock is over");
    }

    #[test]
    fn what_is_done_at_ten_is_done_a_moment_later_and_ten_is_still_that_ten() {
        let (ten, later) = (instant("2026-11-24T09:00:00Z"), instant("2026-11-24T09:00:00.3Z"));
        let tomorrow = instant("2026-11-25T09:00:00Z");
        let at_ten = |until| wait(until, Some("10:00"));
        let day = || Some("24 hours".parse().unwrap());
        let tuesdays = Wait { days: vec![civil::Weekday::Tuesday], ..at_ten(Until::For(None)) };
        for (wait, from, end) in [
            (&at_ten(Until::For(None)), ten, ten),
            (&at_ten(Until::For(None)), later, later),
            (&at_ten(Until::For(day())), ten, tomorrow),
            (&at_ten(Until::For(day())), later, tomorrow),
            (&at_ten(Until::AfterEntry("23 days".parse().unwrap())), later, later),
            (&tuesdays, later, later),
            (&at_ten(Until::For(None)), later + MOMENT, tomorrow),
        ] {
            assert_eq!(end_of(wait, &from.to_string()), end, "{wait:?} {from}");
        }
    }

    #[test]
    fn after_entry_counts_from_the_match_and_never_goes_back() {
        let ten = |at| wait(Until::AfterEntry(Period::days(10)), at);
        assert_eq!(end_of(&ten(None), "2026-11-05T09:00:00Z"), instant("2026-11-11T12:00:00Z"));
        assert_eq!(end_of(&ten(None), "2026-11-15T09:00:00Z"), instant("2026-11-15T09:00:00Z"));
        assert_eq!(end_of(&ten(Some("10:00")), "2026-11-05T09:00:00Z"), instant("2026-11-11T09:00:00Z"));
        assert_eq!(end_of(&ten(Some("10:00")), "2026-11-15T12:00:00Z"), instant("2026-11-16T09:00:00Z"));
    }

    /// The hour that is skipped ends at once after it; the hour that comes twice counts at its first pass.
    #[rstest]
    #[case::vienna_gap("Europe/Vienna", "2026-03-28T12:00:00Z", "02:30", "2026-03-29T01:00:00Z")]
    #[case::vienna_overlap("Europe/Vienna", "2026-10-24T12:00:00Z", "02:30", "2026-10-25T00:30:00Z")]
    #[case::new_york_gap("America/New_York", "2026-03-07T12:00:00Z", "02:30", "2026-03-08T07:00:00Z")]
    #[case::new_york_overlap("America/New_York", "2026-10-31T12:00:00Z", "01:30", "2026-11-01T05:30:00Z")]
    #[case::lord_howe_gap("Australia/Lord_Howe", "2026-10-03T02:00:00Z", "02:15", "2026-10-03T15:30:00Z")]
    #[case::lord_howe_overlap("Australia/Lord_Howe", "2026-04-04T02:00:00Z", "01:45", "2026-04-04T14:45:00Z")]
    fn a_wait_into_a_clock_change(#[case] name: &str, #[case] since: &str, #[case] at: &str, #[case] end: &str) {
        assert_eq!(end_in(&lasting("1 day", Some(at)), since, &zone(name)), instant(end));
    }

    #[rstest]
    #[case::end_of_month("1 month", "2027-01-31T09:00:00Z", "2027-02-28T09:00:00Z")]
    #[case::leap_month("1 month", "2028-01-31T09:00:00Z", "2028-02-29T09:00:00Z")]
    #[case::leap_year("1 year", "2028-02-29T09:00:00Z", "2029-02-28T09:00:00Z")]
    fn months_end_where_they_end(#[case] period: &str, #[case] since: &str, #[case] end: &str) {
        assert_eq!(end_of(&lasting(period, None), since), instant(end));
        assert_eq!(end_of(&lasting(period, Some("10:00")), since), instant(end));
    }
}
