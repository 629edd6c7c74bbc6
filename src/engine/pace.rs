//! How fast mails leave this process: in all, and to one domain.
//!
//! A message over the rate isn't slept on: it gets a slot and is put off to it. Slots are remembered, so that a
//! message which comes back for its own doesn't queue again, and a thousand messages are put off once each. What
//! would get its slot in more than [`BOOKABLE`] gets none yet, only an estimate of when to ask again.
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
}

/// One thing that has a rate.
#[derive(Default)]
struct Line {
    /// The last slots, as many as the rate counts.
    slots: VecDeque<Timestamp>,
    booked: HashMap<DeliveryId, Timestamp>,
    /// The last estimate beyond the bookable time.
    estimate: Option<Timestamp>,
}

impl Pace {
    /// So many nodes share the rates from now on.
    pub fn share(&self, nodes: u64) {
        self.others.store(nodes.saturating_sub(1), Ordering::Relaxed);
    }

    /// What this node may take of a rate.
    fn part(&self, rate: Rate) -> Rate {
        let nodes = self.others.load(Ordering::Relaxed) + 1;
        let count = u64::from(rate.count) / nodes;
        Rate { count: u32::try_from(count).unwrap_or(rate.count).max(1), ..rate }
    }

    /// `None`: it may leave now. Otherwise when, and which rate says so.
    pub fn ask(
        &self,
        sending: &Sending,
        delivery: DeliveryId,
        domain: &str,
        now: Timestamp,
    ) -> Option<(Timestamp, String)> {
        if sending.rate.is_none() && sending.per_domain.is_none() {
            return None;
        }
        let domain = domain.to_ascii_lowercase();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rate) = sending.per_domain {
            lines.sweep(rate, now);
            let line = lines.domains.entry(domain.clone()).or_default();
            if let Some(until) = line.slot(self.part(rate), delivery, now) {
                return Some((until, format!("the rate of {rate} to one domain is reached")));
            }
        }
        if let Some(rate) = sending.rate
            && let Some(until) = lines.all.slot(self.part(rate), delivery, now)
        {
            return Some((until, format!("the rate of {rate} is reached")));
        }
        lines.all.booked.remove(&delivery);
        if let Some(line) = lines.domains.get_mut(&domain) {
            line.booked.remove(&delivery);
        }
        None
    }
}

impl Pace {
    /// The same for text messages, which have one rate.
    pub fn ask_text(&self, sending: &Sending, delivery: DeliveryId, now: Timestamp) -> Option<(Timestamp, String)> {
        let rate = sending.texts.rate?;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let until = lines.texts.slot(self.part(rate), delivery, now);
        if until.is_none() {
            lines.texts.booked.remove(&delivery);
        }
        until.map(|until| (until, format!("the rate of {rate} of text messages is reached")))
    }
}

impl Lines {
    /// Forgets domains that nothing was sent to lately.
    fn sweep(&mut self, rate: Rate, now: Timestamp) {
        if self.domains.len() >= MANY {
            let since = now.saturating_sub(rate.length()).unwrap_or(Timestamp::MIN);
            self.domains.retain(|_, line| line.slots.back().is_some_and(|last| *last > since));
        }
    }
}

impl Line {
    /// `None`: its slot is now, and is kept until the message is on its way.
    fn slot(&mut self, rate: Rate, delivery: DeliveryId, now: Timestamp) -> Option<Timestamp> {
        if let Some(slot) = self.booked.get(&delivery) {
            return Some(*slot).filter(|slot| *slot > now);
        }
        let count = rate.count as usize;
        let after = self.slots.len().checked_sub(count).and_then(|index| self.slots.get(index));
        let next = after.map_or(now, |slot| slot.saturating_add(rate.length()).unwrap_or(Timestamp::MAX).max(now));
        let horizon = now.saturating_add(BOOKABLE).unwrap_or(Timestamp::MAX);
        if next > horizon {
            let step = rate.length() / i32::try_from(rate.count).unwrap_or(i32::MAX).max(1);
            let from = self.estimate.map_or(horizon, |last| last.max(horizon));
            let estimate = from.saturating_add(step).unwrap_or(Timestamp::MAX);
            self.estimate = Some(estimate);
            return Some(estimate);
        }
        self.slots.push_back(next);
        while self.slots.len() > count {
            self.slots.pop_front();
        }
        if self.booked.len() >= MANY {
            // Messages that ended before their slot came never ask for it.
            let over = now.saturating_sub(BOOKABLE).unwrap_or(Timestamp::MIN);
            self.booked.retain(|_, slot| *slot > over);
        }
        self.booked.insert(delivery, next);
        (next > now).then_some(next)
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
            let left = (from..from + 9).filter(|n| pace.ask(&sending, id(*n), "a", at(i64::from(from))).is_none());
            left.count()
        };
        pace.share(2);
        assert_eq!(leave(0), 2);
        pace.share(1);
        assert_eq!(leave(1_000), 5, "the other one is gone");
        pace.share(9);
        assert_eq!(leave(10_000), 1);
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
