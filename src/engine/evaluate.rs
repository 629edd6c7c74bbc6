//! The one evaluator: asks the facts of a batch of records and says whether each matches. Sweep, preview
//! and dispatch all come through here, so a rehearsal can't disagree with reality.

use super::port::{Source, SourceError};
use crate::model::{Key, Tenant, locale_or_default, zone_or_default};
use crate::rule::CompiledRule;
use crate::rule::checked::Trigger;
use crate::rule::compiled::{Crossing, Facts, ReadError, Subject};
use crate::rule::condition::Term;
use futures::TryStreamExt;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// What the source said of one record.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Facts(Arc<Facts>),
    /// Deleted, merged, or outside the base filter.
    Gone,
    /// It is there, but not as the catalog says. Never taken for gone.
    Unreadable(ReadError),
}

/// Asks the facts of all subjects, in one statement unless a key is asked twice with different `since`.
/// Answers come in the order of the subjects.
pub(super) async fn ask(
    source: &dyn Source,
    rule: &CompiledRule,
    tenant: &Tenant,
    subjects: &[Subject],
    now: Timestamp,
) -> Result<Vec<Answer>, SourceError> {
    let mut answers = vec![Answer::Gone; subjects.len()];
    for round in rounds(subjects) {
        let asked: Vec<Subject> = round.values().map(|places| subjects[places[0]].clone()).collect();
        let mut stray = None;
        let mut rows = source.rows(tenant, rule.facts(&asked, now));
        while let Some(row) = rows.try_next().await? {
            match rule.read_facts(&row) {
                Ok(facts) => {
                    let facts = Arc::new(facts);
                    for place in round.get(&facts.key).into_iter().flatten() {
                        answers[*place] = Answer::Facts(Arc::clone(&facts));
                    }
                }
                Err(error) => match round.get(error.key.as_str()) {
                    Some(places) => {
                        for place in places {
                            answers[*place] = Answer::Unreadable(error.clone());
                        }
                    }
                    None => stray = Some(error),
                },
            }
        }
        // A row whose key can't be told: whoever got no answer may be it.
        if let Some(error) = stray {
            for place in round.values().flatten() {
                if matches!(answers[*place], Answer::Gone) {
                    answers[*place] = Answer::Unreadable(error.clone());
                }
            }
        }
    }
    Ok(answers)
}

/// Facts come back by key, so that each round holds a key once; the places that share key and `since`
/// share an answer.
fn rounds(subjects: &[Subject]) -> Vec<HashMap<Key, Vec<usize>>> {
    let mut rounds: Vec<HashMap<Key, Vec<usize>>> = Vec::new();
    for (place, subject) in subjects.iter().enumerate() {
        let fits = |round: &HashMap<Key, Vec<usize>>| {
            round.get(&subject.key).is_none_or(|places| subjects[places[0]] == *subject)
        };
        match rounds.iter_mut().find(|round| fits(round)) {
            Some(round) => round.entry(subject.key.clone()).or_default().push(place),
            None => rounds.push(HashMap::from([(subject.key.clone(), vec![place])])),
        }
    }
    rounds
}

/// From when on facts are "since entry": the last activity for inactivity, and the last change of an abandoned
/// cart, so that an order committed late still counts; the entry itself for all others.
pub(super) fn since_entry(rule: &CompiledRule, occasion_at: Option<Timestamp>, entered: Timestamp) -> Timestamp {
    match rule.rule.trigger {
        Trigger::Inactivity(_) | Trigger::Abandoned(_) => occasion_at.unwrap_or(entered),
        _ => entered,
    }
}

pub(super) fn subject(rule: &CompiledRule, crossing: &Crossing, now: Timestamp) -> Subject {
    Subject { key: crossing.key.clone(), since: Some(since_entry(rule, crossing.occasion_at, now)), entered: None }
}

/// Whether a crosser matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Eligibility {
    Match,
    /// The first term that failed, as written.
    Miss(String),
    /// The script failed: no match, counted, tried again.
    ScriptFailed(String),
}

pub(super) fn eligibility(rule: &CompiledRule, facts: &Facts, now: Timestamp) -> Eligibility {
    let checked = &rule.rule;
    let failing = first_failing(&checked.conditions, &facts.conditions)
        .or_else(|| first_failing(&checked.only_at_entry, &facts.only_at_entry));
    if let Some(term) = failing {
        return Eligibility::Miss(term.to_owned());
    }
    match rule.script.as_ref().map(|script| script.eligible(facts, now)) {
        None | Some(Ok(true)) => Eligibility::Match,
        Some(Ok(false)) => Eligibility::Miss("script: eligible said no".to_owned()),
        Some(Err(error)) => Eligibility::ScriptFailed(format!("script failed: {error}")),
    }
}

/// Whether the main recipient's zone is a name nobody knows, so that the catalog's zone stands in for it.
pub(super) fn zone_unknown(rule: &CompiledRule, facts: &Facts) -> bool {
    let person = rule.rule.to.as_ref().and_then(|role| facts.recipients.get(role));
    person.is_some_and(|person| zone_or_default(person.zone.as_deref(), &facts.zone).1)
}

/// Whether the main recipient's locale is one nobody knows, so that the catalog's stands in for it.
pub(super) fn locale_unknown(rule: &CompiledRule, facts: &Facts) -> bool {
    let person = rule.rule.to.as_ref().and_then(|role| facts.recipients.get(role));
    person.is_some_and(|person| locale_or_default(person.locale.as_deref(), &rule.regional.locale).1)
}

/// The first term that is not true. Unknown is not true, and neither is a missing answer.
pub(super) fn first_failing<'a>(terms: &'a [Term], answers: &[Option<bool>]) -> Option<&'a str> {
    let mut paired = terms.iter().zip(answers.iter().copied().chain(std::iter::repeat(None)));
    paired.find(|(_, answer)| *answer != Some(true)).map(|(term, _)| term.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::condition::Condition;

    fn term(text: &str) -> Term {
        Term { text: text.into(), condition: Condition::All(Vec::new()) }
    }

    #[test]
    fn unknown_is_not_true_and_neither_is_no_answer() {
        let terms = [term("a"), term("b")];
        assert_eq!(first_failing(&terms, &[Some(true), Some(true)]), None);
        assert_eq!(first_failing(&terms, &[Some(true), None]), Some("b"));
        assert_eq!(first_failing(&terms, &[Some(false), Some(true)]), Some("a"));
        assert_eq!(first_failing(&terms, &[Some(true)]), Some("b"));
    }

    #[test]
    fn a_key_asked_with_two_entries_is_asked_in_two_rounds() {
        let since = |second: i64| Some(Timestamp::from_second(second).unwrap());
        let subject = |key: &str, second| Subject { key: key.into(), since: since(second), entered: None };
        let subjects = [subject("1", 1), subject("1", 2), subject("2", 1), subject("1", 1)];
        let rounds = rounds(&subjects);
        assert_eq!(rounds.len(), 2);
        assert_eq!(rounds[0].get("1"), Some(&vec![0, 3]));
        assert_eq!(rounds[1].get("1"), Some(&vec![1]));
    }
}
