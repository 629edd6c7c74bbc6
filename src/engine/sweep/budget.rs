//! How often a rule's script may fail before the rule is held: for a few records that are odd, never for many.
//!
//! A sweep with many crossers shows it at once. A rule that meets a record or two a sweep shows it only over a day, in
//! which each record counts once, however often it was asked. What is asked before messages has a day of its own: beside
//! the many that a sweep asks about, a script that fails for every message would be lost. Kept in memory: a restart begins
//! a new day.

use super::SweepReport;
use crate::model::{Lane, MatchId, RuleId, Tenant};
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Of those that the script had a say in.
const PERCENT: u64 = 5;
/// Fewer than these are odd records, unless they are half of all.
const FLOOR: u64 = 5;
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Answers of less than this apart are one line of the day.
const TOGETHER: SignedDuration = SignedDuration::from_mins(1);
/// Records that failed, remembered by rule; more than these are too many anyway.
pub const REMEMBERED: usize = 1_000;

/// What was asked of a script, and how much of it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Records.
    pub failed: u64,
    pub of: u64,
    /// Each failure, also of the same record.
    pub tries: u64,
    /// Within a day, or else within one sweep.
    pub day: bool,
}

/// The day of every rule with a script.
#[derive(Debug, Default)]
pub struct Budgets(Mutex<HashMap<(RuleId, Lane, Tenant), Days>>);

#[derive(Debug, Default)]
struct Days {
    sweeps: Day,
    messages: Day,
    /// What a message failed with since the last sweep.
    error: Option<String>,
}

#[derive(Debug, Default)]
struct Day {
    /// When each record failed last.
    failed: HashMap<MatchId, Timestamp>,
    /// How many answers, and how many failures, there were at a time.
    asked: VecDeque<(Timestamp, u64, u64)>,
}

impl Budgets {
    /// Adds a sweep to its rule's day; tells what was asked, and an error, if it is too much. The day is then over.
    pub fn spend(
        &self,
        report: &SweepReport,
        (failing, error): (&[MatchId], Option<&str>),
        now: Timestamp,
    ) -> Option<(Asked, String)> {
        let key = (report.rule.clone(), report.lane, report.tenant.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let days = all.entry(key.clone()).or_default();
        days.forget(now.checked_sub(DAY).unwrap_or(Timestamp::MIN));
        if report.scripted > 0 {
            days.sweeps.add(now, report.scripted - report.script_failed, report.script_failed);
        }
        for id in failing {
            days.sweeps.failed(*id, now);
        }
        let at_once = Asked { failed: report.script_failed, of: report.scripted, tries: FLOOR, day: false };
        let by_messages = days.error.take().map(|error| (days.messages.asked(), error));
        let by_sweeps = error.into_iter().flat_map(|error| [at_once, days.sweeps.asked()].map(|asked| (asked, error)));
        let mut by_sweeps = by_sweeps.map(|(asked, error)| (asked, error.to_owned()));
        let too_much = by_sweeps.find(|(asked, _)| asked.is_too_much());
        let too_much = too_much.or_else(|| by_messages.filter(|(asked, _)| asked.is_too_much()));
        if too_much.is_some() || (days.sweeps.asked.is_empty() && days.messages.asked.is_empty()) {
            all.remove(&key);
        }
        too_much
    }

    /// Adds what a script said, or failed with, before a message. The rule's next sweep tells whether that is too much.
    pub fn note(
        &self,
        (rule, lane, tenant): (&RuleId, Lane, &Tenant),
        id: MatchId,
        said: Result<(), String>,
        now: Timestamp,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let days = all.entry((rule.clone(), lane, tenant.clone())).or_default();
        days.messages.add(now, u64::from(said.is_ok()), u64::from(said.is_err()));
        if let Err(error) = said {
            days.messages.failed(id, now);
            days.error.get_or_insert(error);
        }
    }
}

impl Days {
    fn forget(&mut self, before: Timestamp) {
        self.sweeps.forget(before);
        self.messages.forget(before);
    }
}

impl Day {
    fn forget(&mut self, before: Timestamp) {
        while self.asked.front().is_some_and(|(at, ..)| *at < before) {
            self.asked.pop_front();
        }
        self.failed.retain(|_, at| *at >= before);
    }

    fn add(&mut self, now: Timestamp, answered: u64, failed: u64) {
        match self.asked.back_mut() {
            Some(line) if now.duration_since(line.0) < TOGETHER => {
                line.1 += answered;
                line.2 += failed;
            }
            _ => self.asked.push_back((now, answered, failed)),
        }
    }

    fn failed(&mut self, id: MatchId, now: Timestamp) {
        if self.failed.len() < REMEMBERED || self.failed.contains_key(&id) {
            self.failed.insert(id, now);
        }
    }

    fn asked(&self) -> Asked {
        let failed = self.failed.len() as u64;
        let answered: u64 = self.asked.iter().map(|(_, answered, _)| answered).sum();
        let tries = self.asked.iter().map(|(.., failed)| failed).sum();
        Asked { failed, of: failed + answered, tries, day: true }
    }
}

impl Asked {
    /// A sweep's record is tried once; over a day a single one may be all that there is, and is then tried a few times.
    const fn is_too_much(self) -> bool {
        let many = self.failed >= FLOOR;
        let half = self.day && self.failed * 2 >= self.of;
        self.tries >= FLOOR && (many || half) && self.failed * 100 > self.of * PERCENT
    }

    /// For the rule's status and its owner. `error` names file and line and no value.
    pub fn reason(self, error: &str) -> String {
        let Self { failed, of, day, .. } = self;
        let within = if day { " within a day" } else { "" };
        format!("its script failed for {failed} of {of} records{within}, more than {PERCENT} %; the first: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
    }

    /// A sweep with so many answers, and failures for these records.
    fn sweep(budgets: &Budgets, hour: i64, answered: u64, failing: &[u8]) -> Option<Asked> {
        let failing: Vec<MatchId> = failing.iter().map(|number| MatchId([*number; 16])).collect();
        let failed = failing.len() as u64;
        let begun = SweepReport::begun(("r".into(), Lane::Live, "".into()), (at(hour), at(hour)), false);
        let report = SweepReport { scripted: answered + failed, script_failed: failed, ..begun };
        let error = (failed > 0).then_some("a.rhai:1: it threw an error");
        budgets.spend(&report, (&failing, error), at(hour)).map(|(asked, _)| asked)
    }

    /// What the script said before one message.
    fn message(budgets: &Budgets, hour: i64, record: u8, said: Result<(), &str>) {
        let of = (&"r".into(), Lane::Live, &"".into());
        budgets.note(of, MatchId([record; 16]), said.map_err(str::to_owned), at(hour));
    }

    #[test]
    fn many_in_one_sweep_are_too_many_at_once() {
        let budgets = Budgets::default();
        assert_eq!(sweep(&budgets, 0, 100, &[1, 2, 3, 4, 5]), None, "less than 5 %");
        let budgets = Budgets::default();
        let asked = sweep(&budgets, 0, 20, &[1, 2, 3, 4, 5]).unwrap();
        assert_eq!((asked.failed, asked.of, asked.day), (5, 25, false));
    }

    #[test]
    fn a_rule_that_meets_one_record_a_sweep_is_found_out_within_a_day() {
        let budgets = Budgets::default();
        let each = (0..5).map(|hour| sweep(&budgets, hour * 4, 0, &[hour as u8]));
        let each: Vec<Option<Asked>> = each.collect();
        assert_eq!(each[..4], [None; 4]);
        assert_eq!(each[4].map(|asked| (asked.failed, asked.of, asked.day)), Some((5, 5, true)));
        assert_eq!(sweep(&budgets, 21, 0, &[9]), None, "a new day");
    }

    #[test]
    fn a_single_record_that_fails_again_and_again_counts_once() {
        let budgets = Budgets::default();
        for hour in 0..40 {
            assert_eq!(sweep(&budgets, hour, 3, &[1]), None, "one odd record among many");
        }
        let budgets = Budgets::default();
        let told: Vec<bool> = (0..5).map(|hour| sweep(&budgets, hour, 0, &[1]).is_some()).collect();
        assert_eq!(told, [false, false, false, false, true], "it is all there is");
    }

    #[test]
    fn what_is_older_than_a_day_no_longer_counts() {
        let budgets = Budgets::default();
        for hour in 0..20 {
            assert_eq!(sweep(&budgets, hour * 12, 0, &[hour as u8]), None);
        }
    }

    #[test]
    fn four_odd_records_among_many_hold_nothing() {
        let budgets = Budgets::default();
        for hour in 0..24 {
            assert_eq!(sweep(&budgets, hour, 10, &[1, 2, 3, 4]), None);
        }
    }

    #[test]
    fn messages_have_a_day_of_their_own_and_the_next_sweep_tells() {
        let budgets = Budgets::default();
        for record in 1..=5 {
            assert_eq!(sweep(&budgets, 1, 1_000, &[]), None, "each has an answer");
            message(&budgets, 1, record, Err("a.rhai:3: no"));
        }
        let asked = sweep(&budgets, 2, 1_000, &[]).unwrap();
        assert_eq!((asked.failed, asked.of, asked.day), (5, 5, true));
        assert_eq!(sweep(&budgets, 3, 1_000, &[]), None, "a new day");
    }

    #[test]
    fn a_few_messages_that_fail_among_many_hold_nothing() {
        let budgets = Budgets::default();
        (0..200).for_each(|record| message(&budgets, 1, record, Ok(())));
        (200..206).for_each(|record| message(&budgets, 1, record, Err("a.rhai:3: no")));
        assert_eq!(sweep(&budgets, 2, 0, &[]), None);
        assert_eq!(sweep(&budgets, 40, 0, &[]), None);
        assert!(budgets.0.lock().unwrap().is_empty(), "nothing is kept of a day that is over");
    }
}
