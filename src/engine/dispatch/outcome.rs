//! What a try's outcome means for its outbox row.
//!
//! A permanent failure waits for an operator as `dead`: `nudged deliveries retry` sends it again,
//! `nudged deliveries discard` gives it up and lets the sequence go on. The same holds for a mail whose
//! outcome is unknown, since sending it again could send it twice, unless its rule says to risk that. A webhook or a
//! task is repeated under the same key, which the other side knows to be the same.

use super::walk::{Walked, Way};
use crate::engine::port::Then;
use crate::model::{AttemptNumber, DeliveryState, Outcome, backoff};
use jiff::Timestamp;

/// A reader gets at most so many of a message of which nobody knows whether it left, whatever its rule says: a server
/// that always hangs up at the end takes each of them.
const MOST_IN_DOUBT: AttemptNumber = 3;

/// The try that came to an end.
#[derive(Debug, Clone, Copy)]
pub struct Try<'a> {
    pub way: Way<'a>,
    pub node: usize,
    pub number: AttemptNumber,
    pub max_attempts: AttemptNumber,
    /// Safe to repeat with the same key, or its rule says to risk it.
    pub repeatable: bool,
    /// People read it, and no key keeps a second one from them.
    pub read: bool,
    /// For when its step was planned.
    pub planned_at: Timestamp,
    pub at: Timestamp,
    /// In 0..1.
    pub jitter: f64,
}

pub fn after(tried: Try<'_>, outcome: &Outcome) -> Walked {
    let plain = |then| Walked { then, notes: Vec::new() };
    match outcome {
        Outcome::Sent { .. } | Outcome::Recorded { .. } | Outcome::Skipped { .. } => {
            let next = tried.way.rule.nodes.get(tried.node).and_then(|node| node.next);
            tried.way.walk_on(next, tried.planned_at, tried.at)
        }
        Outcome::Transient { retry_after, .. } => plain(again(tried, *retry_after, DeliveryState::Dead)),
        Outcome::Unknown { .. } if tried.read && tried.number >= MOST_IN_DOUBT => {
            plain(Then::Park { state: DeliveryState::Unknown })
        }
        Outcome::Unknown { .. } if tried.repeatable => plain(again(tried, None, DeliveryState::Unknown)),
        Outcome::Unknown { .. } => plain(Then::Park { state: DeliveryState::Unknown }),
        Outcome::Permanent { .. } => plain(Then::Park { state: DeliveryState::Dead }),
        Outcome::Postponed { until, .. } => plain(Then::Again { due_at: *until, counts: false }),
        Outcome::Ended { reason, .. } => plain(Then::End { reason: *reason, at: tried.at }),
    }
}

fn again(tried: Try<'_>, asked: Option<Timestamp>, last: DeliveryState) -> Then {
    if tried.number >= tried.max_attempts {
        return Then::Park { state: last };
    }
    let ours = tried.at.saturating_add(backoff(tried.number, tried.jitter)).unwrap_or(Timestamp::MAX);
    Then::Again { due_at: asked.map_or(ours, |asked| asked.max(ours)), counts: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::dispatch::decide_tests::rule;
    use crate::model::RecordId;
    use crate::rule::CheckedRule;
    use jiff::tz::TimeZone;
    use std::sync::LazyLock;

    static UTC: TimeZone = TimeZone::UTC;
    static RECORD: LazyLock<RecordId> =
        LazyLock::new(|| RecordId { tenant: "".into(), entity: "customer".into(), key: "1".into() });

    fn tried(rule: &CheckedRule, number: AttemptNumber, repeatable: bool) -> Try<'_> {
        let at = "2026-11-20T10:00:00Z".parse().unwrap();
        let way = Way { rule, zone: &UTC, entered_at: at, record: &RECORD };
        Try { way, node: 0, number, max_attempts: 12, repeatable, read: false, planned_at: at, at, jitter: 0.0 }
    }

    fn transient(retry_after: Option<&str>) -> Outcome {
        let retry_after = retry_after.map(|text| text.parse().unwrap());
        Outcome::Transient { reason: "451".into(), retry_after }
    }

    #[test]
    fn a_transient_failure_comes_again_until_the_last_try() {
        let rule = rule();
        let Then::Again { due_at, counts: true } = after(tried(&rule, 1, false), &transient(None)).then else {
            panic!("a first failure is tried again")
        };
        assert_eq!(due_at, "2026-11-20T10:00:15Z".parse().unwrap());
        let last = after(tried(&rule, 12, false), &transient(None)).then;
        assert_eq!(last, Then::Park { state: DeliveryState::Dead });
    }

    #[test]
    fn the_other_side_may_ask_for_more_time_but_not_for_less() {
        let rule = rule();
        let asked = |text| after(tried(&rule, 1, true), &transient(Some(text))).then;
        let due = |text: &str| Then::Again { due_at: text.parse().unwrap(), counts: true };
        assert_eq!(asked("2026-11-20T11:00:00Z"), due("2026-11-20T11:00:00Z"));
        assert_eq!(asked("2026-11-20T10:00:01Z"), due("2026-11-20T10:00:15Z"));
    }

    #[test]
    fn only_what_carries_a_key_is_repeated_in_doubt() {
        let rule = rule();
        let doubt = Outcome::Unknown { reason: "timeout after DATA".into() };
        assert!(matches!(after(tried(&rule, 1, true), &doubt).then, Then::Again { counts: true, .. }));
        let mail = after(tried(&rule, 1, false), &doubt).then;
        assert_eq!(mail, Then::Park { state: DeliveryState::Unknown });
        assert!(matches!(after(tried(&rule, 11, true), &doubt).then, Then::Again { counts: true, .. }));
    }

    #[test]
    fn nobody_gets_more_than_three_of_a_mail_in_doubt() {
        let rule = rule();
        let doubt = Outcome::Unknown { reason: "timeout after DATA".into() };
        let mail = |number| after(Try { read: true, ..tried(&rule, number, true) }, &doubt).then;
        assert!(matches!((mail(1), mail(2)), (Then::Again { .. }, Then::Again { .. })));
        assert_eq!(mail(3), Then::Park { state: DeliveryState::Unknown });
    }
}
