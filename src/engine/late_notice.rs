//! What came too late to act on is told to the rule's owner: at once, and then once a day with how many there were.

use super::alert;
use super::context::Context;
use crate::model::RuleId;
use crate::rule::CheckedRule;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Between two mails about one rule.
const QUIET: SignedDuration = SignedDuration::from_hours(24);

/// Per rule, when its owner was told last and what has come since. A restart forgets it and tells again.
#[derive(Debug, Default)]
pub(super) struct LateNotices(Mutex<HashMap<RuleId, Told>>);

#[derive(Debug, Default)]
struct Told {
    at: Option<Timestamp>,
    since: u64,
}

impl LateNotices {
    /// How many to tell of now.
    fn add(&self, rule: &RuleId, count: u64, now: Timestamp) -> Option<u64> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = rules.entry(rule.clone()).or_default();
        told.since += count;
        if told.at.is_some_and(|at| now.duration_since(at) < QUIET) {
            return None;
        }
        told.at = Some(now);
        Some(std::mem::take(&mut told.since))
    }
}

/// Notes matches or messages of a rule that were skipped for their lateness.
pub(super) async fn note(context: &Context, rule: &CheckedRule, count: u64) {
    if count == 0 {
        return;
    }
    let Some(count) = context.lates.add(&rule.id, count, context.clock.now()) else { return };
    let id = &rule.id;
    let text = format!(
        "The rule {id} found {count} of its messages or matches later than its `late` allows, so nothing was sent for \
         them. This happens after an outage, or where facts reach the CRM late.\n\n\
         `nudged deliveries list --rule {id} --state skipped` and `nudged enrollments list --rule {id}` show them; tasks are never \
         skipped. You hear of further ones once a day.\n"
    );
    alert::tell_owner(context, rule, &format!("The rule {id} came too late"), &text).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_hears_at_once_and_then_once_a_day() {
        let notices = LateNotices::default();
        let rule = RuleId::from("win-back");
        let at = |hours| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        assert_eq!(notices.add(&rule, 3, at(0)), Some(3));
        assert_eq!(notices.add(&rule, 2, at(1)), None);
        assert_eq!(notices.add(&rule, 1, at(23)), None);
        assert_eq!(notices.add(&RuleId::from("renewal"), 1, at(23)), Some(1));
        assert_eq!(notices.add(&rule, 4, at(25)), Some(7));
    }
}
