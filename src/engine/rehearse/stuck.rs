//! Enrollments that stand still until somebody decides: their message failed for good, nobody knows whether it
//! arrived, or their step can't run.

use crate::engine::port::{DeliveryView, EnrollmentView};
use crate::model::{DeliveryId, EnrollmentState, RuleId};
use crate::rule::message;
use std::fmt;

/// Where it stands, why, and by what it can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// `dead`, `unknown` or `held`.
    pub state: &'static str,
    pub step: Option<String>,
    /// What the other side said, or why it is held.
    pub why: String,
    pub delivery: Option<DeliveryId>,
    pub enrollment: i64,
    pub rule: RuleId,
}

impl Stuck {
    /// `None` for one that goes on by itself, or has ended. `deliveries` are those of its rule, lane and record.
    #[must_use]
    pub fn of(enrollment: &EnrollmentView, deliveries: &[DeliveryView]) -> Option<Self> {
        let (id, rule) = (enrollment.id, enrollment.rule.clone());
        if enrollment.state == EnrollmentState::Held {
            let why = enrollment.hold.clone().unwrap_or_default();
            return Some(Self { state: "held", step: None, why, delivery: None, enrollment: id, rule });
        }
        let state = Self::state_of(enrollment)?;
        let found = deliveries.iter().find(|delivery| delivery.state == state);
        Some(Self {
            state,
            step: found.map(|delivery| delivery.step.clone()),
            why: found.map(|delivery| delivery.detail.clone()).unwrap_or_default(),
            delivery: found.and_then(|delivery| delivery.delivery),
            enrollment: id,
            rule,
        })
    }

    /// How its message stands, if that is what it waits at.
    #[must_use]
    pub fn state_of(enrollment: &EnrollmentView) -> Option<&'static str> {
        let standing = enrollment.standing.as_deref().filter(|_| enrollment.state == EnrollmentState::Active)?;
        ["dead", "unknown"].into_iter().find(|state| *state == standing)
    }
}

/// What lets a held step run. Templates are always the current ones; texts of a rule are pinned with its steps.
#[must_use]
pub fn freed_by(why: &str, rule: &RuleId) -> String {
    if message::is_of_rule(why) {
        return format!("until its rule is repaired and, after the reload, `nudged enrollments migrate --rule {rule}`");
    }
    "until a reload repairs it".to_owned()
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.step.as_deref().unwrap_or("its step");
        let why = if self.why.is_empty() { String::new() } else { format!(" ({})", self.why) };
        if self.state == "held" {
            write!(f, "stopped: held{why}, {}; ", freed_by(&self.why, &self.rule))?;
            return write!(f, "`nudged enrollments cancel {}` ends it", self.enrollment);
        }
        let what = if self.state == "dead" { "which failed for good" } else { "which may or may not have arrived" };
        let id = self.delivery.map_or_else(|| "DELIVERY".to_owned(), |id| id.to_string().chars().take(12).collect());
        write!(f, "stopped at {step}, {what}{why}: `nudged deliveries retry {id}` sends it again, ")?;
        write!(f, "`nudged deliveries discard {id}` goes on without it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_rule_is_freed_by_migrating_and_a_template_by_the_reload() {
        let rule = RuleId::from("renewal");
        let own = freed_by("inline template:1: `record.gift` is empty for this record", &rule);
        assert!(own.ends_with("after the reload, `nudged enrollments migrate --rule renewal`"), "{own}");
        assert_eq!(freed_by("templates/hello.md:4: `record.gift` is empty", &rule), "until a reload repairs it");
    }
}
