//! The one evaluator: asks the facts of a batch of records and says whether each matches. Sweep, preview
//! and dispatch all come through here, so a rehearsal can't disagree with reality.

use super::port::{Source, SourceError};
use crate::model::{Key, Tenant, locale_or_default, zone_or_default};
use crate::rule::checked::Trigger;
use crate::rule::compiled::{Calls, Crossing, Facts, ReadError, Subject, Unwanted};
use crate::rule::condition::Term;
use crate::rule::{CompiledRule, Score};
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
/// Answers come in the order of the subjects. The script's score is asked where it can still make a match, and of
/// all that have entered.
pub(super) async fn ask(
    source: &dyn Source,
    rule: &CompiledRule,
    tenant: &Tenant,
    subjects: &[Subject],
    now: Timestamp,
) -> Result<Vec<Answer>, SourceError> {
    let entered = subjects.iter().any(|subject| subject.entered.is_some());
    let calls = if entered { Calls::Always } else { Calls::WhereItCounts };
    ask_with(source, rule, tenant, subjects, now, calls).await
}

/// As [`ask`], with the score wherever a condition waits for it.
pub(super) async fn ask_all(
    source: &dyn Source,
    rule: &CompiledRule,
    tenant: &Tenant,
    subjects: &[Subject],
    now: Timestamp,
) -> Result<Vec<Answer>, SourceError> {
    ask_with(source, rule, tenant, subjects, now, Calls::Always).await
}

async fn ask_with(
    source: &dyn Source,
    rule: &CompiledRule,
    tenant: &Tenant,
    subjects: &[Subject],
    now: Timestamp,
    calls: Calls,
) -> Result<Vec<Answer>, SourceError> {
    let mut answers = vec![Answer::Gone; subjects.len()];
    for round in rounds(subjects) {
        let asked: Vec<Subject> = round.values().map(|places| subjects[places[0]].clone()).collect();
        let (mut stray, mut found) = (None, Vec::new());
        let mut rows = source.rows(tenant, rule.facts(&asked, now));
        while let Some(row) = rows.try_next().await? {
            match rule.read_facts(&row, now, calls) {
                Ok(facts) => found.push(facts),
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
        drop(rows);
        unwanted(source, rule, tenant, &mut found).await?;
        for facts in found.into_iter().map(Arc::new) {
            for place in round.get(&facts.key).into_iter().flatten() {
                answers[*place] = Answer::Facts(Arc::clone(&facts));
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

/// Asks the source's own lists who of these must not be written to: once for all, and after their facts, so that
/// nobody's list is older than what else is known of them.
async fn unwanted(
    source: &dyn Source,
    rule: &CompiledRule,
    tenant: &Tenant,
    facts: &mut [Facts],
) -> Result<(), SourceError> {
    let mut unwanted = Unwanted::default();
    for (number, statement) in rule.unwanted(facts) {
        let mut rows = source.rows(tenant, statement);
        while let Some(row) = rows.try_next().await? {
            rule.read_unwanted(number, &row, &mut unwanted);
        }
    }
    unwanted.tell(facts);
    Ok(())
}

/// Whether there is no record of the rule's kind at all: a restore, a truncated table or a lost permission.
pub(super) async fn is_emptied(source: &dyn Source, rule: &CompiledRule, tenant: &Tenant) -> Result<bool, SourceError> {
    Ok(source.rows(tenant, rule.chunk_end(None, 1)).try_next().await?.is_none())
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

/// From when on facts are "since entry": the last activity for inactivity, the last change of an abandoned cart, the
/// answer to a survey, and when a created row was, so that what came before the entry was committed counts; the entry
/// itself for all others.
pub(super) fn since_entry(rule: &CompiledRule, occasion_at: Option<Timestamp>, entered: Timestamp) -> Timestamp {
    match rule.rule.trigger {
        Trigger::Inactivity(_) | Trigger::Abandoned(_) | Trigger::Survey(_) | Trigger::Created(_) => {
            occasion_at.unwrap_or(entered)
        }
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

impl Eligibility {
    /// Whether the script had a say in it. SQL goes first, so that whoever fails there is not its business.
    pub(super) fn is_scripted(&self, rule: &CompiledRule, facts: &Facts) -> bool {
        let decides = rule.script.as_ref().is_some_and(crate::rule::script::Script::has_eligible);
        match self {
            Self::ScriptFailed(_) => true,
            Self::Match => decides || facts.score != Score::NotAsked,
            Self::Miss(reason) => facts.score != Score::NotAsked || reason == REFUSED,
        }
    }
}

/// Why a record is no match that `eligible` refused.
const REFUSED: &str = "script: eligible said no";

pub(super) fn eligibility(rule: &CompiledRule, facts: &Facts, now: Timestamp) -> Eligibility {
    let checked = &rule.rule;
    let failing = first_failing(&checked.conditions, &facts.conditions, &facts.score)
        .or_else(|| first_failing(&checked.only_at_entry, &facts.only_at_entry, &facts.score));
    match failing {
        Some(Failing::Term(reason)) => return Eligibility::Miss(reason),
        Some(Failing::Script(error)) => return Eligibility::ScriptFailed(format!("script failed: {error}")),
        None => {}
    }
    match rule.script.as_ref().map(|script| script.eligible(facts, now)) {
        None | Some(Ok(true)) => Eligibility::Match,
        Some(Ok(false)) => Eligibility::Miss(REFUSED.to_owned()),
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

/// Why conditions don't hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failing {
    /// A term, as written, with the score where it tests one.
    Term(String),
    /// All else holds, and the script failed to give a score.
    Script(String),
}

/// The first term that is not true. Unknown is not true, and neither is a missing answer. What SQL says goes before
/// what a script failed to say.
pub(super) fn first_failing(terms: &[Term], answers: &[Option<bool>], score: &Score) -> Option<Failing> {
    let paired = terms.iter().zip(answers.iter().copied().chain(std::iter::repeat(None)));
    let failing: Vec<(&Term, Option<bool>)> = paired.filter(|(_, answer)| *answer != Some(true)).collect();
    let first = failing.first()?;
    let of_sql = failing.iter().find(|(term, _)| !term.condition.asks_score());
    match (of_sql.or_else(|| failing.iter().find(|(_, answer)| answer.is_some())), score) {
        (None, Score::Failed(error)) => Some(Failing::Script(error.clone())),
        (told, _) => Some(Failing::Term(reason(told.unwrap_or(first).0, score))),
    }
}

/// `score: {at_least: 0.7} (score was 0.4)`
fn reason(term: &Term, score: &Score) -> String {
    match score {
        Score::Is(number) if term.condition.asks_score() => format!("{}{WAS}{number})", term.text),
        _ => term.text.clone(),
    }
}

/// Between a term and its score.
const WAS: &str = " (score was ";

/// A reason's term, and what the score was, in the words that follow "was not true".
pub(super) fn term_and_score(reason: &str) -> (&str, &str) {
    reason.find(WAS).map_or((reason, ""), |at| reason.split_at(at))
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
        let failing = |answers: &[Option<bool>]| first_failing(&terms, answers, &Score::NotAsked);
        let term = |text: &str| Some(Failing::Term(text.to_owned()));
        assert_eq!(failing(&[Some(true), Some(true)]), None);
        assert_eq!(failing(&[Some(true), None]), term("b"));
        assert_eq!(failing(&[Some(false), Some(true)]), term("a"));
        assert_eq!(failing(&[Some(true)]), term("b"));
    }

    #[test]
    fn what_sql_says_goes_before_what_a_script_failed_to_say() {
        let score = Condition::Score(crate::rule::condition::Test::AtLeast(crate::model::Value::Int(1)));
        let terms = [Term { text: "score: {at_least: 1}".into(), condition: score }, term("b")];
        let failed = Score::Failed("scripts/a.rhai:3: it threw an error".to_owned());
        let told = |answers: &[Option<bool>], score: &Score| first_failing(&terms, answers, score);
        let text = |text: &str| Some(Failing::Term(text.to_owned()));
        assert_eq!(told(&[None, Some(false)], &failed), text("b"));
        assert_eq!(
            told(&[None, Some(true)], &failed),
            Some(Failing::Script("scripts/a.rhai:3: it threw an error".into()))
        );
        let low = Score::Is("0.4".parse().unwrap());
        assert_eq!(told(&[Some(false), Some(true)], &low), text("score: {at_least: 1} (score was 0.4)"));
        assert_eq!(
            term_and_score("score: {at_least: 1} (score was 0.4)"),
            ("score: {at_least: 1}", " (score was 0.4)")
        );
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
