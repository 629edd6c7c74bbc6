//! Whether a rule matches about as many as its author expects, week by week; told once when it goes quiet or
//! wild, again each week that it lasts, and when it is as usual again.

use super::alert;
use super::context::{Context, lane_of, tenants_of};
use super::error::EngineError;
use super::event::Event;
use crate::model::{Lane, RuleId};
use crate::rule::CompiledRule;
use crate::rule::checked::Expect;
use crate::rule::generation::Generation;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How often a rule is asked at most.
const EVERY: SignedDuration = SignedDuration::from_hours(1);

/// How a rule's last week compares with what is expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Usual,
    Quiet,
    Wild,
}

impl Mood {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Quiet => "quiet",
            Self::Wild => "wild",
        }
    }
}

/// `whole_week`: the rule has been looking for a week, so few matches mean something.
fn mood(expect: Expect, matched: u64, whole_week: bool) -> Mood {
    if expect.at_most.is_some_and(|most| matched > u64::from(most)) {
        return Mood::Wild;
    }
    if whole_week && expect.at_least.is_some_and(|least| matched < u64::from(least)) {
        return Mood::Quiet;
    }
    Mood::Usual
}

/// What was told of each rule. Kept in memory: a restart may tell the same once more.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    told: Mutex<HashMap<(RuleId, Lane), Told>>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    asked_at: Timestamp,
    mood: Mood,
    since: Timestamp,
    /// Matches of it are held, which count once they are released.
    waits: bool,
}

const NOTHING: Told = Told { asked_at: Timestamp::MIN, mood: Mood::Usual, since: Timestamp::MIN, waits: false };

impl Expectations {
    /// Whether it is time to ask again; counts as asked.
    fn is_due(&self, rule: &RuleId, lane: Lane, now: Timestamp) -> bool {
        let mut told = self.lock();
        let entry = told.entry((rule.clone(), lane)).or_insert(NOTHING);
        let due = entry.asked_at == Timestamp::MIN || now.duration_since(entry.asked_at) >= EVERY;
        if due {
            entry.asked_at = now;
        }
        due
    }

    /// Whether this is news.
    fn note(&self, rule: &RuleId, lane: Lane, mood: Mood, now: Timestamp) -> bool {
        let mut told = self.lock();
        let Some(entry) = told.get_mut(&(rule.clone(), lane)) else { return false };
        if mood == Mood::Quiet && entry.waits {
            return false;
        }
        let lasts = mood != Mood::Usual && now.duration_since(entry.since) >= WEEK;
        if entry.mood == mood && !lasts {
            return false;
        }
        *entry = Told { mood, since: now, ..*entry };
        true
    }

    /// A sweep of it is held.
    pub fn wait(&self, rule: &RuleId, lane: Lane) {
        self.lock().entry((rule.clone(), lane)).or_insert(NOTHING).waits = true;
    }

    fn waiting(&self) -> Vec<(RuleId, Lane)> {
        self.lock().iter().filter(|(_, told)| told.waits).map(|(of, _)| of.clone()).collect()
    }

    /// It waits no longer, and is asked now.
    fn decided(&self, rule: &RuleId, lane: Lane, now: Timestamp) {
        if let Some(entry) = self.lock().get_mut(&(rule.clone(), lane)) {
            *entry = Told { asked_at: now, waits: false, ..*entry };
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(RuleId, Lane), Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks after a sweep, over all tenants together.
pub(super) async fn check(
    context: &Context,
    generation: &Generation,
    rule: &CompiledRule,
    now: Timestamp,
) -> Result<(), EngineError> {
    let (Some(expect), Some(lane)) = (rule.rule.expect, lane_of(rule)) else { return Ok(()) };
    if !context.expectations.is_due(&rule.rule.id, lane, now) {
        return Ok(());
    }
    ask(context, generation, (rule, expect, lane), now).await
}

/// Asks of the rules whose held sweeps somebody has released or dropped, at once: their next sweep may be far, and was
/// asked after a moment ago.
pub(super) async fn after_decisions(context: &Context) -> Result<(), EngineError> {
    let waiting = context.expectations.waiting();
    if waiting.is_empty() {
        return Ok(());
    }
    let held = context.store.held_sweeps().await?;
    let (generation, now) = (context.generation()?, context.clock.now());
    for (id, lane) in waiting {
        if held.iter().any(|sweep| sweep.rule == id && sweep.lane == lane) {
            continue;
        }
        context.expectations.decided(&id, lane, now);
        let rule = generation.rules.get(&id).filter(|rule| lane_of(rule) == Some(lane));
        if let Some((rule, expect)) = rule.and_then(|rule| Some((rule, rule.rule.expect?))) {
            ask(context, &generation, (rule, expect, lane), now).await?;
        }
    }
    Ok(())
}

async fn ask(
    context: &Context,
    generation: &Generation,
    (rule, expect, lane): (&CompiledRule, Expect, Lane),
    now: Timestamp,
) -> Result<(), EngineError> {
    let checked = &rule.rule;
    let week_ago = now.checked_sub(WEEK).unwrap_or(Timestamp::MIN);
    let mut matched = 0;
    for tenant in tenants_of(&generation.catalog) {
        matched += context.store.matched_since(&checked.id, lane, &tenant, week_ago).await?;
    }
    let states = context.store.rule_states().await?;
    let ours = states.iter().filter(|state| state.rule == checked.id && state.lane == lane);
    let whole_week = ours.map(|state| state.looking_since).max().is_some_and(|since| since <= week_ago);
    let mood = mood(expect, matched, whole_week);
    if !context.expectations.note(&checked.id, lane, mood, now) {
        return Ok(());
    }
    let (id, expected) = (checked.id.clone(), expect.to_string());
    context.announce(|| Event::Expectation { rule: id, lane, mood, matched, expected });
    if mood != Mood::Usual {
        let subject = format!("The rule {} is {}", checked.id, mood.as_str());
        let text = format!(
            "The rule {} matched {matched} times in the last 7 days; expected are {expect} a week.\n\n\
             `nudged preview {}` shows who matches now, `nudged rules` how the rule stands.\n",
            checked.id, checked.id
        );
        alert::tell_owner(context, checked, &subject, &text).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const EXPECT: Expect = Expect { at_least: Some(20), at_most: Some(60) };

    #[test]
    fn few_matches_mean_something_only_after_a_week() {
        assert_eq!(mood(EXPECT, 0, false), Mood::Usual);
        assert_eq!(mood(EXPECT, 19, true), Mood::Quiet);
        assert_eq!(mood(EXPECT, 20, true), Mood::Usual);
        assert_eq!(mood(EXPECT, 60, true), Mood::Usual);
        assert_eq!(mood(EXPECT, 61, false), Mood::Wild);
        assert_eq!(mood(Expect { at_least: None, ..EXPECT }, 0, true), Mood::Usual);
    }

    #[test]
    fn it_is_told_when_it_changes_and_once_a_week_while_it_lasts() {
        let (expectations, rule) = (Expectations::default(), RuleId::from("a"));
        let at = |day: u8| instant(&format!("2026-11-{day:02}T00:00:00Z"));
        let ask = |mood, day| {
            assert!(expectations.is_due(&rule, Lane::Live, at(day)));
            expectations.note(&rule, Lane::Live, mood, at(day))
        };
        assert!(!ask(Mood::Usual, 1), "as expected from the start is no news");
        assert!(ask(Mood::Quiet, 2));
        assert!(!ask(Mood::Quiet, 3));
        assert!(ask(Mood::Quiet, 9));
        assert!(ask(Mood::Usual, 10));
        assert!(!expectations.is_due(&rule, Lane::Live, at(10)), "asked a moment ago");
        expectations.wait(&rule, Lane::Live);
        assert!(!ask(Mood::Quiet, 11), "what is held may yet count");
        assert!(ask(Mood::Wild, 12));
        expectations.decided(&rule, Lane::Live, at(12));
        assert!(expectations.waiting().is_empty());
        assert!(ask(Mood::Quiet, 13));
    }
}
