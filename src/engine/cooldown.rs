//! What the ledger doesn't show yet: of the answers of one look, which are within the cooldown of another that matches.

use crate::engine::port::Standing;
use crate::model::Key;
use crate::rule::CheckedRule;
use crate::rule::checked::Trigger;
use crate::rule::compiled::Crossing;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// Of one rule and tenant. Whoever crosses must come in the order of time.
#[derive(Debug, Default)]
pub(super) struct Cooldown {
    /// `None`: the rule has none, and nothing is kept.
    lasts: Option<SignedDuration>,
    /// The last answer of each record that matches.
    last: HashMap<Key, Timestamp>,
}

impl Cooldown {
    pub fn of(rule: &CheckedRule) -> Self {
        Self { lasts: cooldown(rule), last: HashMap::new() }
    }

    /// The match within whose cooldown it is.
    pub fn covers(&self, crossing: &Crossing) -> Option<Timestamp> {
        let (lasts, at) = self.lasts.zip(crossing.occasion_at)?;
        let last = *self.last.get(&crossing.key)?;
        (at <= last.saturating_add(lasts).unwrap_or(Timestamp::MAX)).then_some(last)
    }

    /// It matches.
    pub fn begin(&mut self, crossing: &Crossing) {
        if let (Some(_), Some(at)) = (self.lasts, crossing.occasion_at) {
            self.last.insert(crossing.key.clone(), at);
        }
    }

    /// The match within whose cooldown it is; if there is none it matches itself.
    pub fn take(&mut self, crossing: &Crossing) -> Option<Timestamp> {
        let within = self.covers(crossing);
        if within.is_none() {
            self.begin(crossing);
        }
        within
    }

    /// What the ledger says of it, with the match that it is too close to: one before it, which is in the ledger or
    /// would be entered by the next sweep.
    pub fn beside(&mut self, crossing: &Crossing, standing: Standing, enters: bool) -> Standing {
        match standing {
            Standing::Known => {
                self.begin(crossing);
                Standing::Known
            }
            Standing::TooClose { to } => Standing::TooClose { to: self.covers(crossing).unwrap_or(to) },
            open if enters => self.take(crossing).map_or(open, |to| Standing::TooClose { to }),
            open => open,
        }
    }
}

/// How long the rule asks about no other answer of a record that matched.
pub(super) fn cooldown(rule: &CheckedRule) -> Option<SignedDuration> {
    let Trigger::Survey(survey) = &rule.trigger else { return None };
    survey.cooldown.map(|cooldown| SignedDuration::from_secs(cooldown.max_seconds()))
}

/// How an occasion stands to the one it is too close to.
pub(super) fn too_close(rule: &CheckedRule) -> &'static str {
    if cooldown(rule).is_some() { "within the cooldown of" } else { "too close to" }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::dispatch::decide_tests::rule;
    use crate::model::{Occasion, Period, Value};
    use crate::rule::checked::Survey;
    use std::collections::BTreeMap;

    pub fn answer(key: &str, day: i64) -> Crossing {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day);
        Crossing {
            key: key.into(),
            occasion: Occasion::from("a"),
            crossed_at: at,
            occasion_at: Some(at),
            value: Value::Int(3),
            row: BTreeMap::new(),
            entry: 0,
        }
    }

    pub fn surveyed(cooldown: Option<Period>) -> CheckedRule {
        let survey = Survey { of: "responses".into(), kind: None, score: None, settle: Period::days(0), cooldown };
        CheckedRule { trigger: Trigger::Survey(survey), ..rule() }
    }

    #[test]
    fn an_answer_counts_from_the_last_that_matched_and_each_record_has_its_own() {
        let mut cooling = Cooldown::of(&surveyed(Some(Period::days(5))));
        let mut take = |key, day| cooling.take(&answer(key, day)).is_none();
        assert_eq!([take("1", 1), take("1", 6), take("1", 7), take("1", 11)], [true, false, true, false]);
        assert!(take("2", 8));
    }
}
