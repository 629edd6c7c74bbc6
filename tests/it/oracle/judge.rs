//! The oracle itself: which matches a sweep may enter, and which must be there after it.

use super::trigger::{Promise, Standing};
use crate::support::Seen;
use crate::world::{days, vienna};
use jiff::{SignedDuration, Timestamp, civil};
use std::collections::{BTreeMap, BTreeSet};

/// Record and occasion.
pub type Entry = (String, String);

/// When and where the nightly look for late and changed facts takes place, and how far back it goes.
const NIGHT: civil::Time = civil::time(3, 0, 0, 0);
const WEEK: i64 = 7;

/// The true history of one rule's occasions.
#[derive(Default)]
pub struct Judge {
    /// The rule's definition holds since then; what crossed before is left alone.
    baseline: Timestamp,
    swept: Timestamp,
    /// Since when each occasion has stood there without a break, and since when it could have matched.
    standing: BTreeMap<Entry, Timestamp>,
    ready: BTreeMap<Entry, Timestamp>,
    crosses: BTreeMap<Entry, Timestamp>,
    /// Occasions that a sweep met while `where` was false; true for those that it was bound to meet.
    refused: BTreeMap<Entry, bool>,
    /// Occasions that something later had made yesterday's news when a sweep may have met them: they may be in the ledger,
    /// too late to act, whatever an edit of the rule makes of them.
    spent: BTreeSet<Entry>,
    ledger: BTreeMap<Entry, Timestamp>,
    greatest: BTreeMap<String, Timestamp>,
    seen: Seen,
}

impl Judge {
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// The rule is loaded, or its definition edited: the ledger is kept, everything else begins anew, here or in the past.
    pub fn activate(&mut self, baseline: Timestamp) {
        (self.baseline, self.swept) = (baseline, baseline);
        self.standing.clear();
        self.ready.clear();
        self.refused.clear();
    }

    /// Notes what stands there now: after every change, and whenever time has passed.
    pub fn observe(&mut self, standing: &[Standing], now: Timestamp) {
        // An occasion whose time is edited stands there anew.
        let same = |one: &Standing| self.crosses.get(&entry(one)) == Some(&one.crosses);
        let keep = |since: &BTreeMap<Entry, Timestamp>, holds: &dyn Fn(&Standing) -> bool| {
            let those = standing.iter().filter(|one| holds(one));
            let kept = |one: &Standing| since.get(&entry(one)).copied().filter(|_| same(one)).unwrap_or(now);
            those.map(|one| (entry(one), kept(one))).collect()
        };
        let standing_since = keep(&self.standing, &|_| true);
        let ready = keep(&self.ready, &|one| one.holds && !one.overtaken);
        (self.standing, self.ready) = (standing_since, ready);
        self.crosses = standing.iter().map(|one| (entry(one), one.crosses)).collect();
    }

    /// Holds the ledger after a sweep at `now` against the history.
    pub fn sweep(
        &mut self,
        standing: &[Standing],
        promise: Promise,
        now: Timestamp,
        entered: &BTreeMap<Entry, Timestamp>,
    ) -> Result<(), String> {
        self.observe(standing, now);
        let stands: BTreeMap<Entry, &Standing> = standing.iter().map(|one| (entry(one), one)).collect();
        for (entry, at) in &self.ledger {
            if entered.get(entry) != Some(at) {
                return Err(format!("{entry:?} of {at} is no longer in the ledger, or twice: {entered:?}"));
            }
        }
        let value = |entry: &Entry| stands.get(entry).and_then(|one| one.exceeds).map(|(value, _)| value);
        self.first_goes_first(standing, promise, now, entered)?;
        let mut new: Vec<_> = entered.iter().filter(|(entry, _)| !self.ledger.contains_key(*entry)).collect();
        // Of two of the same sweep the later has to exceed the earlier.
        new.sort_by_key(|(entry, _)| value(entry));
        for (entry, at) in new {
            let allowed = stands.get(entry).is_some_and(|one| self.may(one, promise, now));
            if !allowed || *at != now {
                return Err(format!("{entry:?} was entered at {at}, but must not: {:?}", stands.get(entry)));
            }
            if let Some(value) = value(entry) {
                let greatest = self.greatest.entry(entry.0.clone()).or_insert(value);
                *greatest = value.max(*greatest);
            }
        }
        for one in standing.iter().filter(|one| self.may(one, promise, now) && self.must(one, promise, now)) {
            if !entered.contains_key(&entry(one)) {
                return Err(format!("{one:?} is lost, ready since {:?}", self.ready.get(&entry(one))));
            }
        }
        self.remember(standing, promise, now, entered);
        Ok(())
    }

    /// Of a record's occasions that crossed since the last sweep, the first in time is entered and keeps out those that
    /// are too close to it, whatever their order in the source.
    fn first_goes_first(
        &self,
        standing: &[Standing],
        promise: Promise,
        now: Timestamp,
        entered: &BTreeMap<Entry, Timestamp>,
    ) -> Result<(), String> {
        let measured = standing.iter().filter_map(|one| {
            let (value, by) = one.exceeds?;
            Some((value, by?, one))
        });
        let mut in_time: Vec<_> = measured.collect();
        in_time.sort_by_key(|(value, ..)| *value);
        let mut greatest = self.greatest.clone();
        for (value, by, one) in in_time {
            let last = greatest.get(&one.record).copied();
            let is_free = last.is_none_or(|last| value.duration_since(last) > by);
            if entered.contains_key(&entry(one)) {
                greatest.insert(one.record.clone(), last.map_or(value, |last| last.max(value)));
                continue;
            }
            let crossed = one.crosses > self.swept.max(self.baseline) && one.crosses <= now;
            if is_free && crossed && one.holds && !one.overtaken && self.must(one, promise, now) {
                return Err(format!("{one:?} crossed first, and another one was entered"));
            }
        }
        Ok(())
    }

    /// A match at this instant, by the definition: crossed since the baseline, everything holds, not used yet,
    /// and it has not had all its chances.
    fn may(&self, one: &Standing, promise: Promise, now: Timestamp) -> bool {
        let chances_over = self.refused.get(&entry(one)) == Some(&true) && over(one, promise, now);
        one.holds
            && !one.overtaken
            && one.crosses <= now
            && one.crosses > self.baseline
            && self.is_new(one)
            && !chances_over
            && (!promise.once || one.crosses > self.swept)
    }

    fn is_new(&self, one: &Standing) -> bool {
        let exceeds = |(value, by): (Timestamp, Option<SignedDuration>)| {
            let greatest = self.greatest.get(&one.record);
            by.zip(greatest).is_none_or(|(by, greatest)| value.duration_since(*greatest) > by)
        };
        self.ledger.contains_key(&entry(one)) || one.exceeds.is_none_or(exceeds)
    }

    /// Whatever was promised to find it has had its turn by now.
    fn must(&self, one: &Standing, promise: Promise, now: Timestamp) -> bool {
        let Some(ready) = self.ready.get(&entry(one)) else { return false };
        if self.spent.contains(&entry(one)) || (self.refused.contains_key(&entry(one)) && over(one, promise, now)) {
            return false;
        }
        let since = one.crosses.max(*ready);
        let age = now.duration_since(one.crosses);
        let each_day = now.duration_since(since) >= days(1) && age < promise.keep_trying;
        let each_night = promise.nightly && last_night(now) > since && age < days(WEEK);
        self.was_due(one, *ready, promise, now) || each_day || each_night
    }

    /// Crossed since the last sweep, or not long before the fact appeared, or the record says that it has changed.
    fn was_due(&self, one: &Standing, since: Timestamp, promise: Promise, now: Timestamp) -> bool {
        let changed = since > self.swept && now.duration_since(one.crosses) < promise.tracked;
        one.crosses > self.swept || (!promise.once && since.duration_since(one.crosses) < promise.overlap) || changed
    }

    fn remember(
        &mut self,
        standing: &[Standing],
        promise: Promise,
        now: Timestamp,
        entered: &BTreeMap<Entry, Timestamp>,
    ) {
        for one in standing.iter().filter(|one| one.crosses <= now && one.crosses > self.baseline && !one.holds) {
            let since = self.standing.get(&entry(one)).copied().unwrap_or(now);
            let surely = self.was_due(one, since, promise, now) && self.is_new(one);
            self.seen.refused += usize::from(surely && !self.refused.contains_key(&entry(one)));
            *self.refused.entry(entry(one)).or_default() |= surely;
        }
        let spent = standing.iter().filter(|one| one.overtaken && one.crosses <= now && one.crosses > self.baseline);
        self.spent.extend(spent.map(entry));
        for one in
            standing.iter().filter(|one| entered.contains_key(&entry(one)) && !self.ledger.contains_key(&entry(one)))
        {
            self.seen.entered += 1;
            self.seen.late += usize::from(one.crosses <= self.swept);
        }
        self.ledger.clone_from(entered);
        self.swept = now;
    }
}

/// The time for more chances is over.
fn over(one: &Standing, promise: Promise, now: Timestamp) -> bool {
    now.duration_since(one.crosses) >= promise.keep_trying
}

fn entry(one: &Standing) -> Entry {
    (one.record.clone(), one.occasion.clone())
}

/// The last three o'clock in Vienna at or before `now`.
fn last_night(now: Timestamp) -> Timestamp {
    let today = now.to_zoned(vienna()).date();
    let night = |day: civil::Date| day.to_datetime(NIGHT).to_zoned(vienna()).unwrap().timestamp();
    let this = night(today);
    if this <= now { this } else { night(today.yesterday().unwrap()) }
}
