//! How fast mails leave this process: in all, and to one domain.
//!
//! A message over the rate isn't slept on: it gets a slot and is put off to it. Slots are remembered, so that a
//! message which comes back for its own doesn't queue again, and a thousand messages are put off once each. A mail's
//! slot is one that its domain's rate and the channel's have free at the same instant. What would get its slot in more
//! than [`BOOKABLE`] gets none yet, only an estimate of when to ask again.
//!
//! Never more than `count` slots lie in any stretch of the rate's length. Of several nodes each takes its share of the
//! rate, and at least one.

use super::settings::Sending;
use crate::model::{DeliveryId, Rate};
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How far ahead slots are given.
const BOOKABLE: SignedDuration = SignedDuration::from_hours(1);
/// How many unused bookings and idle domains are worth a look for what is over.
const MANY: usize = 4_096;

#[derive(Default)]
pub(super) struct Pace {
    lines: Mutex<Lines>,
    /// Other nodes that are at work on the same state.
    others: AtomicU64,
}

#[derive(Default)]
struct Lines {
    all: Line,
    domains: HashMap<String, Line>,
    texts: Line,
    /// Slots that lie ahead, and what said so.
    booked: HashMap<DeliveryId, (Timestamp, String)>,
    /// The other nodes that the slots were given beside.
    others: u64,
}

/// One thing that has a rate.
struct Line {
    /// In their order: those of the last stretch, and those ahead.
    slots: VecDeque<Timestamp>,
    /// Nothing is free before.
    full_until: Timestamp,
    /// The last estimate beyond the bookable time.
    estimate: Option<Timestamp>,
}

impl Default for Line {
    fn default() -> Self {
        Self { slots: VecDeque::new(), full_until: Timestamp::MIN, estimate: None }
    }
}

/// A rate as this node takes it, and how it is told of.
struct Limit {
    part: Rate,
    says: String,
}

impl Pace {
    /// So many nodes share the rates from now on.
    pub fn share(&self, nodes: u64) {
        self.others.store(nodes.saturating_sub(1), Ordering::Relaxed);
    }

    /// `None`: it may leave now. Otherwise when, and which rate says so.
    pub fn ask(
        &self,
        sending: &Sending,
        delivery: DeliveryId,
        domain: &str,
        now: Timestamp,
    ) -> Option<(Timestamp, String)> {
        let of_domain = sending.per_domain.map(|rate| self.limit(rate, " to one domain"));
        let of_all = sending.rate.map(|rate| self.limit(rate, ""));
        if of_domain.is_none() && of_all.is_none() {
            return None;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.refresh(self.others.load(Ordering::Relaxed), now);
        if let Some(booking) = lines.booking(delivery, now) {
            return Some(booking).filter(|(slot, _)| *slot > now);
        }
        let Lines { all, domains, booked, .. } = &mut *lines;
        let mut asked = Vec::with_capacity(2);
        if let Some(limit) = &of_domain {
            forget_idle(domains, limit.part, now);
            asked.push((domains.entry(domain.to_ascii_lowercase()).or_default(), limit));
        }
        asked.extend(of_all.as_ref().map(|limit| (all, limit)));
        slot(asked, (delivery, booked), now)
    }

    /// The same for text messages, which have one rate.
    pub fn ask_text(&self, sending: &Sending, delivery: DeliveryId, now: Timestamp) -> Option<(Timestamp, String)> {
        let limit = self.limit(sending.texts.rate?, " of text messages");
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.refresh(self.others.load(Ordering::Relaxed), now);
        if let Some(booking) = lines.booking(delivery, now) {
            return Some(booking).filter(|(slot, _)| *slot > now);
        }
        let Lines { texts, booked, .. } = &mut *lines;
        slot(vec![(texts, &limit)], (delivery, booked), now)
    }

    fn limit(&self, rate: Rate, of: &str) -> Limit {
        let nodes = self.others.load(Ordering::Relaxed) + 1;
        let count = u64::from(rate.count) / nodes;
        let part = Rate { count: u32::try_from(count).unwrap_or(rate.count).max(1), ..rate };
        Limit { part, says: format!("the rate of {rate}{of} is reached") }
    }
}

impl Lines {
    /// Slots ahead were given for another share of the rates: whoever comes for one asks anew.
    fn refresh(&mut self, others: u64, now: Timestamp) {
        if self.others == others {
            return;
        }
        self.others = others;
        self.booked.clear();
        for line in self.domains.values_mut().chain([&mut self.all, &mut self.texts]) {
            line.slots.retain(|slot| *slot <= now);
            (line.full_until, line.estimate) = (Timestamp::MIN, None);
        }
    }

    /// What was given to this message, once more; no more once its slot has come.
    fn booking(&mut self, delivery: DeliveryId, now: Timestamp) -> Option<(Timestamp, String)> {
        let booking = self.booked.get(&delivery)?.clone();
        if booking.0 <= now {
            self.booked.remove(&delivery);
        }
        Some(booking)
    }
}

/// Forgets domains that nothing was sent to lately.
fn forget_idle(domains: &mut HashMap<String, Line>, rate: Rate, now: Timestamp) {
    if domains.len() >= MANY {
        let since = now.saturating_sub(rate.length()).unwrap_or(Timestamp::MIN);
        domains.retain(|_, line| line.slots.back().is_some_and(|last| *last > since));
    }
}

/// The first instant that all lines have free, taken in each of them.
fn slot(
    mut lines: Vec<(&mut Line, &Limit)>,
    (delivery, booked): (DeliveryId, &mut HashMap<DeliveryId, (Timestamp, String)>),
    now: Timestamp,
) -> Option<(Timestamp, String)> {
    for (line, limit) in &mut lines {
        line.forget(limit.part, now);
    }
    let horizon = now.saturating_add(BOOKABLE).unwrap_or(Timestamp::MAX);
    let (mut at, mut says) = (now, None);
    loop {
        let from = at;
        for (index, (line, limit)) in lines.iter_mut().enumerate() {
            let free = line.free(limit.part, at, now);
            if free > at {
                (at, says) = (free, says.or(Some(index)));
            }
        }
        if at == from || at > horizon {
            break;
        }
    }
    let Some((line, limit)) = says.and_then(|index| lines.get_mut(index)) else {
        for (line, _) in &mut lines {
            line.take(now);
        }
        return None;
    };
    if at > horizon {
        return Some((line.estimate(limit.part, horizon), limit.says.clone()));
    }
    let answer = (at, limit.says.clone());
    for (line, _) in &mut lines {
        line.take(at);
    }
    if booked.len() >= MANY {
        // Messages that ended before their slot came never ask for it.
        let over = now.saturating_sub(BOOKABLE).unwrap_or(Timestamp::MIN);
        booked.retain(|_, (slot, _)| *slot > over);
    }
    booked.insert(delivery, answer.clone());
    Some(answer)
}

impl Line {
    /// Drops what no stretch that begins now or later reaches back to.
    fn forget(&mut self, rate: Rate, now: Timestamp) {
        let since = now.saturating_sub(rate.length()).unwrap_or(Timestamp::MIN);
        while self.slots.front().is_some_and(|slot| *slot <= since) {
            self.slots.pop_front();
        }
    }

    /// The first instant, from `from` on, at which one more keeps every stretch within the rate.
    fn free(&mut self, rate: Rate, from: Timestamp, now: Timestamp) -> Timestamp {
        let begins_full = from <= self.full_until.max(now);
        let mut at = from.max(self.full_until);
        while let Some(later) = self.conflict(rate, at) {
            at = later;
        }
        if begins_full {
            self.full_until = at;
        }
        at
    }

    /// Where a slot at this instant would be one too many: the next instant that may do.
    fn conflict(&self, rate: Rate, at: Timestamp) -> Option<Timestamp> {
        let (count, length) = (rate.count as usize, rate.length());
        let place = self.slots.partition_point(|slot| *slot <= at);
        // With so many of those before it, and the rest of those behind it, it would make one more than `count`.
        let stretches = (0..=count.min(place)).filter(|before| place + count - before <= self.slots.len());
        let later = stretches.filter_map(|before| {
            let first = if before == 0 { at } else { self.slots[place - before] };
            let last = if before == count { at } else { self.slots[place + count - before - 1] };
            let crowded = last.duration_since(first) < length;
            let after =
                if before == 0 { self.slots[place] } else { first.saturating_add(length).unwrap_or(Timestamp::MAX) };
            crowded.then_some(after)
        });
        later.max()
    }

    fn take(&mut self, at: Timestamp) {
        let place = self.slots.partition_point(|slot| *slot <= at);
        self.slots.insert(place, at);
    }

    /// When to ask again for a slot beyond the horizon: one after the other, at the rate's pace.
    fn estimate(&mut self, rate: Rate, horizon: Timestamp) -> Timestamp {
        let step = rate.length() / i32::try_from(rate.count).unwrap_or(i32::MAX).max(1);
        let from = self.estimate.map_or(horizon, |last| last.max(horizon));
        let estimate = from.saturating_add(step).unwrap_or(Timestamp::MAX);
        self.estimate = Some(estimate);
        estimate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(rate: Option<&str>, per_domain: Option<&str>) -> Sending {
        let read = |text: &str| text.parse().unwrap();
        Sending { rate: rate.map(read), per_domain: per_domain.map(read), ..Sending::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + seconds).unwrap()
    }

    fn id(number: u32) -> DeliveryId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        DeliveryId(id)
    }

    #[test]
    fn nodes_share_a_rate_and_each_has_at_least_one() {
        let (pace, sending) = (Pace::default(), sending(Some("5/min"), None));
        let leave = |from: u32| {
            let now = at(i64::from(from));
            (from..from + 9).filter(|number| pace.ask(&sending, id(*number), "a", now).is_none()).count()
        };
        pace.share(2);
        assert_eq!(leave(0), 2);
        pace.share(1);
        assert_eq!(leave(1_000), 5, "the other one is gone");
        pace.share(9);
        assert_eq!(leave(10_000), 1);
    }

    /// Asks for each at its time until all have left, and tells when each did.
    fn departures(
        pace: &Pace,
        sending: &Sending,
        mails: &[(Timestamp, &'static str)],
    ) -> Vec<(Timestamp, &'static str)> {
        let mut due: Vec<_> = mails.iter().zip(0..).map(|((at, domain), number)| (*at, number, *domain)).collect();
        let mut left = Vec::new();
        while !due.is_empty() {
            due.sort_unstable();
            let (now, number, domain) = due.remove(0);
            match pace.ask(sending, id(number), domain, now) {
                None => left.push((now, domain)),
                Some((until, _)) => due.push((until, number, domain)),
            }
        }
        left
    }

    fn most_within(left: &[Timestamp], length: SignedDuration) -> usize {
        let within =
            |from: &Timestamp| left.iter().filter(|at| *at >= from && at.duration_since(*from) < length).count();
        left.iter().map(within).max().unwrap_or(0)
    }

    #[test]
    fn a_domain_keeps_its_rate_behind_a_queue_and_holds_nobody_else_up() {
        let (pace, sending) = (Pace::default(), sending(Some("5/s"), Some("30/min")));
        // A queue of 200 seconds to many domains, and 120 mails to one that come in between.
        let many: Vec<&'static str> = (0..100).map(|number| &*format!("d{number}.example").leak()).collect();
        let mut mails: Vec<_> = (0..1_000).map(|number| (at(0), many[number % 100])).collect();
        mails.extend((0..120).map(|number| (at(number / 30 * 60), "one.example")));
        let left = departures(&pace, &sending, &mails);
        let all: Vec<_> = left.iter().map(|(at, _)| *at).collect();
        assert!(most_within(&all, SignedDuration::from_secs(1)) <= 5);
        let one: Vec<_> = left.iter().filter(|(_, domain)| *domain == "one.example").map(|(at, _)| *at).collect();
        assert_eq!((one.len(), most_within(&one, SignedDuration::from_mins(1))), (120, 30));
        let others = left.iter().filter(|(_, domain)| *domain != "one.example").map(|(at, _)| *at);
        assert!(others.max().unwrap() <= at(224), "1,120 mails at 5 a second");
    }

    #[test]
    fn a_share_that_shrinks_gives_new_slots_and_one_that_comes_back_remembers_what_left() {
        let (pace, sending) = (Pace::default(), sending(Some("10/hour"), None));
        for number in 0..20 {
            pace.ask(&sending, id(number), "a", at(0));
        }
        pace.share(2);
        // Whoever asks next finds that slots were given for the whole rate.
        assert!(pace.ask(&sending, id(10), "a", at(1)).is_some());
        let back = (10..20).filter(|number| pace.ask(&sending, id(*number), "a", at(3_600)).is_none()).count();
        assert_eq!(back, 5);
        pace.share(1);
        let more = (30..50).filter(|number| pace.ask(&sending, id(*number), "a", at(3_601)).is_none()).count();
        assert_eq!(more, 5, "five have left within the hour");
    }

    #[test]
    fn never_more_than_the_rate_in_any_stretch_and_everybody_is_put_off_once() {
        let (pace, sending) = (Pace::default(), sending(Some("5/min"), None));
        let mut due: Vec<(Timestamp, u32)> = (0..100).map(|number| (at(0), number)).collect();
        let (mut sent, mut asked) = (Vec::new(), 0);
        while !due.is_empty() {
            due.sort();
            let (now, number) = due.remove(0);
            asked += 1;
            match pace.ask(&sending, id(number), "example.org", now) {
                None => sent.push(now),
                Some((until, _)) => due.push((until, number)),
            }
        }
        assert_eq!(asked, 195, "five at once, the others twice");
        for (index, now) in sent.iter().enumerate() {
            let within = sent[..=index]
                .iter()
                .filter(|before| now.duration_since(**before) < SignedDuration::from_mins(1))
                .count();
            assert!(within <= 5, "{within} in the minute before {now}");
        }
        assert_eq!(*sent.last().unwrap(), at(19 * 60));
    }

    #[test]
    fn a_slow_domain_is_in_nobody_elses_way() {
        let (pace, sending) = (Pace::default(), sending(Some("100/s"), Some("1/min")));
        assert_eq!(pace.ask(&sending, id(1), "slow.example", at(0)), None);
        let (until, reason) = pace.ask(&sending, id(2), "Slow.example", at(0)).unwrap();
        assert_eq!((until, reason.as_str()), (at(60), "the rate of 1/minute to one domain is reached"));
        assert_eq!(pace.ask(&sending, id(3), "other.example", at(0)), None);
        assert_eq!(pace.ask(&sending, id(2), "slow.example", at(59)).map(|(until, _)| until), Some(at(60)));
        assert_eq!(pace.ask(&sending, id(2), "slow.example", at(60)), None);
        assert!(pace.ask(&sending, id(4), "slow.example", at(61)).is_some(), "its slot was used");
    }

    #[test]
    fn what_is_far_off_is_estimated_and_keeps_no_slot() {
        let (pace, sending) = (Pace::default(), sending(Some("1/min"), None));
        let until = |number| pace.ask(&sending, id(number), "example.org", at(0)).map_or(at(0), |(until, _)| until);
        let slots: Vec<Timestamp> = (0..64).map(until).collect();
        assert_eq!(slots[60], at(3_600));
        assert_eq!(slots[61..], [at(3_660), at(3_720), at(3_780)]);
        assert_eq!(pace.ask(&sending, id(61), "example.org", at(3_660)), None, "the queue is short by then");
    }

    #[test]
    fn without_rates_nothing_waits() {
        let (pace, sending) = (Pace::default(), Sending::default());
        assert!((0..1_000).all(|number| pace.ask(&sending, id(number), "example.org", at(0)).is_none()));
    }
}
