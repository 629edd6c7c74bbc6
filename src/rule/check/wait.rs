//! Waits: exactly one of how long and until when, and what belongs to it.

use super::Checker;
use super::steps::Flow;
use crate::catalog::Entity;
use crate::diagnostic::yaml::At;
use crate::model::{Period, RoleName, Unit};
use crate::rule::checked::{Offset, Step, Until, UntilDate, UntilWhen, Wait};
use crate::rule::written::{Conditions, DayWord, UntilEntry, WaitEntry};
use jiff::civil::Weekday;
use std::ops::Range;

/// How often a condition is asked when its wait doesn't say.
const ASKED: Period = Period::new(1, Unit::Hour);

impl<'a> Checker<'a> {
    pub(super) fn wait(
        &mut self,
        flow: &mut Flow,
        entity: &'a Entity,
        to: Option<&RoleName>,
        (written, range): (&WaitEntry, &Range<usize>),
        next: Option<usize>,
    ) -> Option<Step> {
        let until = match (&written.for_, &written.until) {
            (Some(_), Some(until)) => {
                let help = "keep one: `for` counts from here, `until` names the moment";
                self.wrong(&until.range, "rule.wait", "this wait says how long and until when", help);
                None
            }
            (Some(period), None) => self.period(period, &period.range).map(|period| Until::For(Some(period))),
            (None, Some(until)) => self.until(flow, entity, to, until, next),
            (None, None) if written.at.is_none() && written.days.is_empty() => {
                let message = "this wait says neither how long nor until when";
                self.wrong(range, "rule.wait", message, "write `wait: {for: 7 days}`");
                None
            }
            (None, None) => Some(Until::For(None)),
        };
        let at = match &written.at {
            Some(at) => Some(self.local_time(at)?),
            None => None,
        };
        let until = until?;
        if let (Until::When(_), Some(range)) = (&until, place_of_time(written)) {
            let help = "let a second wait follow: `wait: {at: \"10:00\"}`";
            self.wrong(range, "rule.wait", "a condition comes true at no planned time", help);
        }
        let mut days: Vec<Weekday> = written.days.iter().map(|day| weekday(day.value)).collect();
        days.dedup();
        Some(Step::Wait(Wait { until, at, days }))
    }

    fn until(
        &mut self,
        flow: &mut Flow,
        entity: &'a Entity,
        to: Option<&RoleName>,
        written: &At<UntilEntry>,
        next: Option<usize>,
    ) -> Option<Until> {
        self.only_what_belongs(written);
        match (&written.after_entry, &written.date, &written.when) {
            (Some(period), None, None) => self.period(period, &period.range).map(Until::AfterEntry),
            (None, Some(field), None) => {
                let field = self.time_field(entity, field);
                let offset = match &written.offset {
                    Some(offset) => self.offset(offset)?,
                    None => Offset::ON_THE_DAY,
                };
                let without =
                    written.otherwise.as_ref().map(|steps| self.sequence(flow, entity, to, steps, next).or(next));
                Some(Until::Date(UntilDate { field: field?, offset, without }))
            }
            (None, None, Some(when)) => self.until_when(flow, entity, to, (written, when), next),
            _ => {
                let message = "a wait ends at one thing: `after_entry`, `date` or `when`";
                self.wrong(&written.range, "rule.wait", message, "write `until: {after_entry: 10 days}`");
                None
            }
        }
    }

    fn until_when(
        &mut self,
        flow: &mut Flow,
        entity: &'a Entity,
        to: Option<&RoleName>,
        (written, when): (&At<UntilEntry>, &Conditions),
        next: Option<usize>,
    ) -> Option<Until> {
        let text = when.0.entries_line(self.report.source());
        let condition = self.later_condition(entity, when);
        let check_every = self.clock_period(written.check_every.as_ref());
        let otherwise = written.otherwise.as_ref().and_then(|steps| self.sequence(flow, entity, to, steps, next));
        let Some(at_most) = &written.at_most else {
            let help = "say what the longest is: `until: {when: …, at_most: 14 days}`";
            self.wrong(&written.range, "rule.wait", "this wait could last for ever", help);
            return None;
        };
        let at_most = self.period(at_most, &at_most.range)?;
        let check_every = if written.check_every.is_some() { check_every? } else { ASKED };
        Some(Until::When(Box::new(UntilWhen {
            when: condition?,
            text,
            at_most,
            check_every,
            otherwise: otherwise.or(next),
        })))
    }

    /// Keys that say nothing beside what the wait ends at.
    fn only_what_belongs(&mut self, written: &UntilEntry) {
        let strays = [
            ("offset", written.offset.as_ref().filter(|_| written.date.is_none()), "date"),
            ("at_most", written.at_most.as_ref().filter(|_| written.when.is_none()), "when"),
            ("check_every", written.check_every.as_ref().filter(|_| written.when.is_none()), "when"),
        ];
        for (key, value, owner) in strays {
            if let Some(value) = value {
                let message = format!("`{key}` means nothing without `{owner}`");
                self.wrong(&value.range, "rule.wait", message, "remove it");
            }
        }
        let first = written.otherwise.as_ref().and_then(|steps| steps.first());
        if let (Some(step), None, None) = (first, &written.date, &written.when) {
            let message = "`otherwise` is never taken: this time always comes";
            self.wrong(&step.range, "rule.wait", message, "write these steps after the wait");
        }
    }
}

fn place_of_time(written: &WaitEntry) -> Option<&Range<usize>> {
    let day = written.days.first().map(|day| &day.range);
    written.at.as_ref().map(|at| &at.range).or(day)
}

const fn weekday(word: DayWord) -> Weekday {
    match word {
        DayWord::Mon => Weekday::Monday,
        DayWord::Tue => Weekday::Tuesday,
        DayWord::Wed => Weekday::Wednesday,
        DayWord::Thu => Weekday::Thursday,
        DayWord::Fri => Weekday::Friday,
        DayWord::Sat => Weekday::Saturday,
        DayWord::Sun => Weekday::Sunday,
    }
}
