//! What came too late to act on is told to the rule's owner: at once, and then once a day with how many there were.

use super::alert;
use super::context::Context;
use super::versions::successor;
use crate::model::RuleId;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    pub fn add(&self, rule: &RuleId, count: u64) {
        if count > 0 {
            self.lock().entry(rule.clone()).or_default().since += count;
        }
    }

    /// Whose owner to tell now, and of how many.
    fn due(&self, now: Timestamp) -> Vec<(RuleId, u64)> {
        let rules = self.lock();
        let due =
            rules.iter().filter(|(_, told)| told.since > 0 && told.at.is_none_or(|at| now.duration_since(at) >= QUIET));
        due.map(|(rule, told)| (rule.clone(), told.since)).collect()
    }

    fn told(&self, rule: &RuleId, count: u64, now: Timestamp) {
        if let Some(told) = self.lock().get_mut(rule) {
            told.since = told.since.saturating_sub(count);
            told.at = Some(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RuleId, Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the owners of what has come together. A mail that can't be sent is tried again at the next look.
pub(super) async fn tell(context: &Context) {
    let now = context.clock.now();
    let Ok(generation) = context.generation() else { return };
    for (id, count) in context.lates.due(now) {
        let Some(rule) = successor(&generation, &id) else {
            context.lates.told(&id, count, now);
            continue;
        };
        let text = format!(
            "The rule {id} found {count} of its messages or matches later than its `late` allows, so nothing was sent \
             for them. This happens after an outage, or where facts reach the CRM late.\n\n\
             `nudged deliveries list --rule {id} --state skipped` and `nudged enrollments list --rule {id}` show them; \
             tasks are never skipped. You hear of further ones once a day.\n"
        );
        if alert::tell_owner(context, &rule.rule, &format!("The rule {id} came too late"), &text).await {
            context.lates.told(&id, count, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_hears_at_once_and_then_once_a_day() {
        let notices = LateNotices::default();
        let rule = RuleId::from("win-back");
        let at = |hours| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        let told = |hours| {
            let due = notices.due(at(hours));
            for (rule, count) in &due {
                notices.told(rule, *count, at(hours));
            }
            due.into_iter().map(|(_, count)| count).collect::<Vec<_>>()
        };
        notices.add(&rule, 3);
        assert_eq!(notices.due(at(0)), [(rule.clone(), 3)], "a mail that failed is tried again");
        assert_eq!(told(0), [3]);
        notices.add(&rule, 2);
        assert_eq!(told(1), [0; 0]);
        notices.add(&rule, 1);
        assert_eq!(told(23), [0; 0]);
        assert_eq!(told(25), [3], "and nobody is forgotten");
        assert_eq!(told(60), [0; 0]);
    }
}
