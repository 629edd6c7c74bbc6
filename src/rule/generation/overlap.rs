//! Rules that write to the same person for the same reason at the same moment: often a copy that was forgotten.

use crate::diagnostic::{Finding, Place, SourceFile};
use crate::model::{RoleName, RuleId, Value};
use crate::rule::CheckedRule;
use crate::rule::check::Rounds;
use crate::rule::checked::{Abandoned, Action, Changed, Mode, Offset, ScoreRange, Survey, Trigger};
use crate::rule::condition::{Condition, Test};
use crate::rule::contradiction::clash;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// A rule and its file.
type Placed = (Arc<CheckedRule>, Arc<SourceFile>);

/// A warning at every rule that an earlier one overlaps: same entity and purpose, a mail to the same role at an
/// occasion that both can have, and nothing in their conditions that keeps them apart.
pub(super) fn overlaps(rules: &[Placed], ids: &BTreeMap<RuleId, Range<usize>>) -> Vec<Finding> {
    let mut groups: BTreeMap<String, Vec<(&Placed, Vec<Mail>)>> = BTreeMap::new();
    for entry in rules.iter().filter(|(rule, _)| rule.mode != Mode::Paused) {
        let (rule, _) = entry;
        let mails = mails(rule);
        if !mails.is_empty() {
            let group = format!("{} {:?}", rule.for_each, rule.purpose);
            groups.entry(group).or_default().push((entry, mails));
        }
    }
    let mut schedules = Schedules::default();
    let mut findings = Vec::new();
    for group in groups.into_values() {
        for (place, ((rule, file), mails)) in group.iter().enumerate() {
            let other = group[..place].iter().find_map(|((other, _), others)| {
                let shared = mails.iter().find(|mail| others.contains(mail))?;
                let meet = other.id != rule.id && schedules.coincide(&rule.trigger, &other.trigger);
                (meet && !apart(rule, other)).then_some((other, shared))
            });
            let Some((other, (role, _))) = other else { continue };
            let message = format!("this rule and `{}` write to the same `{role}` at the same occasion", other.id);
            let range = ids.get(&rule.id).cloned().unwrap_or(0..0);
            let help = "if both are wanted, give them conditions that keep them apart; else remove one";
            let place = Place { file: Arc::clone(file), range };
            findings.push(Finding::warning("rule.overlap", message).at(place).help(help));
        }
    }
    findings
}

type Mail = (RoleName, Option<Offset>);

/// Who gets mails, by the entry that sends them.
fn mails(rule: &CheckedRule) -> Vec<Mail> {
    let mut mails = Vec::new();
    for entry in &rule.entries {
        let mut ahead: Vec<usize> = entry.first.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(place) = ahead.pop() {
            let Some(node) = rule.nodes.get(place).filter(|_| seen.insert(place)) else { continue };
            ahead.extend(node.next);
            ahead.extend(node.step.inner());
            if let Some(email) = node.step.action().and_then(Action::email) {
                mails.extend(email.to.clone().or_else(|| rule.to.clone()).map(|role| (role, entry.offset)));
            }
        }
    }
    mails
}

fn apart(one: &CheckedRule, other: &CheckedRule) -> bool {
    let conditions = |rule: &'_ CheckedRule| -> Vec<Condition> {
        rule.conditions.iter().chain(&rule.only_at_entry).map(|term| term.condition.clone()).collect()
    };
    clash(conditions(one).iter().chain(&conditions(other))).is_some()
}

/// When the schedules come round, by their cron lines.
#[derive(Default)]
struct Schedules<'a>(BTreeMap<&'a str, Option<Rounds>>);

impl<'a> Schedules<'a> {
    /// Whether one fact can be the occasion of both, at the same moment.
    fn coincide(&mut self, one: &'a Trigger, other: &'a Trigger) -> bool {
        match (one, other) {
            (Trigger::Schedule(one), Trigger::Schedule(other)) => self.meet(&one.cron.text, &other.cron.text),
            (Trigger::Survey(one), Trigger::Survey(other)) => same_response(one, other),
            (Trigger::Abandoned(one), Trigger::Abandoned(other)) => same_cart(one, other),
            (Trigger::Changed(one), Trigger::Changed(other)) => same_change(one, other),
            // Whoever had any activity has it for both, whatever counts for those who never had any.
            (Trigger::Inactivity(one), Trigger::Inactivity(other)) => {
                (&one.of, one.silent_for) == (&other.of, other.silent_for)
            }
            _ => one == other,
        }
    }

    fn meet(&mut self, one: &'a str, other: &'a str) -> bool {
        for line in [one, other] {
            self.0.entry(line).or_insert_with(|| Rounds::of(line));
        }
        let rounds = |line| self.0.get(line).and_then(Option::as_ref);
        one == other || rounds(one).zip(rounds(other)).is_some_and(|(one, other)| one.meet(other))
    }
}

fn same_response(one: &Survey, other: &Survey) -> bool {
    let scores: Vec<Condition> = [one, other].iter().filter_map(|survey| survey.score.as_ref().map(within)).collect();
    (&one.of, one.settle) == (&other.of, other.settle)
        && (one.kind.is_none() || other.kind.is_none() || one.kind == other.kind)
        && clash(&scores).is_none()
}

fn within(range: &ScoreRange) -> Condition {
    let low = range.low.clone().map(Test::AtLeast);
    Condition::Score(Test::Both(low.into_iter().chain(range.high.clone().map(Test::AtMost)).collect()))
}

fn same_cart(one: &Abandoned, other: &Abandoned) -> bool {
    let open = one.open.iter().chain(&other.open).map(|term| &term.condition);
    (&one.of, one.idle, &one.changed_at) == (&other.of, other.idle, &other.changed_at) && clash(open).is_none()
}

fn same_change(one: &Changed, other: &Changed) -> bool {
    let shared = |one: &Option<Vec<Value>>, other: &Option<Vec<Value>>| match (one, other) {
        (Some(one), Some(other)) => one.iter().any(|value| other.contains(value)),
        _ => true,
    };
    one.field == other.field && shared(&one.from, &other.from) && shared(&one.to, &other.to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Period, Unit};
    use crate::rule::checked::{Cron, Inactivity, Schedule};
    use crate::rule::condition::Term;

    fn survey(kind: Option<&str>, low: Option<i64>, high: Option<i64>, settle: u32) -> Trigger {
        Trigger::Survey(Survey {
            of: "responses".into(),
            kind: kind.map(str::to_owned),
            score: Some(ScoreRange { low: low.map(Value::Int), high: high.map(Value::Int) }),
            settle: Period::new(settle, Unit::Minute),
            cooldown: None,
        })
    }

    fn abandoned(state: &str, unless: Option<&str>, hours: u32) -> Trigger {
        let condition = Condition::Field { field: "state".into(), test: Test::Equals(Value::Text(state.to_owned())) };
        Trigger::Abandoned(Box::new(Abandoned {
            of: Some("carts".into()),
            open: vec![Term { text: String::new(), condition }],
            idle: Period::new(hours, Unit::Hour),
            changed_at: "changed".into(),
            unless: unless.map(Into::into),
        }))
    }

    fn schedule(line: &str) -> Trigger {
        Trigger::Schedule(Schedule { cron: Cron { text: line.to_owned() } })
    }

    fn silent(days: u32, fallback: Option<&str>) -> Trigger {
        let fallback = fallback.map(Into::into);
        Trigger::Inactivity(Inactivity { of: "orders".into(), silent_for: Period::days(days), fallback })
    }

    fn changed(from: Option<&str>, to: &[&str]) -> Trigger {
        let text = |text: &&str| Value::Text((*text).to_owned());
        let from = from.map(|from| vec![text(&from)]);
        Trigger::Changed(Changed { field: "tier".into(), from, to: Some(to.iter().map(text).collect()) })
    }

    #[test]
    fn triggers_meet_where_one_fact_is_the_occasion_of_both() {
        for (one, other, expected) in [
            (survey(None, None, Some(6), 5), survey(None, None, Some(3), 5), true),
            (survey(Some("nps"), None, Some(6), 5), survey(None, Some(5), Some(8), 5), true),
            (survey(None, None, Some(6), 5), survey(None, Some(9), None, 5), false),
            (survey(Some("nps"), None, Some(6), 5), survey(Some("csat"), None, Some(6), 5), false),
            (survey(None, None, Some(6), 5), survey(None, None, Some(6), 60), false),
            (abandoned("open", Some("orders"), 2), abandoned("open", None, 2), true),
            (abandoned("open", None, 2), abandoned("sent", None, 2), false),
            (abandoned("open", None, 2), abandoned("open", None, 48), false),
            (schedule("0 8 * * MON"), schedule("0 8 * * *"), true),
            (schedule("0 8 * * MON"), schedule("0 8 * * TUE"), false),
            (schedule("@daily"), schedule("@daily"), true),
            (silent(90, None), silent(90, Some("created_at")), true),
            (silent(90, None), silent(60, None), false),
            (changed(None, &["vip", "gold"]), changed(Some("new"), &["gold"]), true),
            (changed(None, &["vip"]), changed(None, &["gold"]), false),
            (changed(Some("new"), &["gold"]), changed(Some("old"), &["gold"]), false),
            (silent(90, None), schedule("@daily"), false),
        ] {
            assert_eq!(Schedules::default().coincide(&one, &other), expected, "{one:?} and {other:?}");
        }
    }
}
