//! Rules that write to the same person for the same reason at the same moment: often a copy that was forgotten.

use crate::diagnostic::{Finding, Place, SourceFile};
use crate::model::{RoleName, RuleId};
use crate::rule::CheckedRule;
use crate::rule::checked::{Action, Mode, Offset};
use crate::rule::condition::Condition;
use crate::rule::contradiction::clash;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// A rule and its file.
type Placed = (Arc<CheckedRule>, Arc<SourceFile>);

/// A warning at every rule that an earlier one overlaps: same entity, trigger and purpose, a mail to the same role
/// at the same occasion, and nothing in their conditions that keeps them apart.
pub(super) fn overlaps(rules: &[Placed], ids: &BTreeMap<RuleId, Range<usize>>) -> Vec<Finding> {
    let mut groups: BTreeMap<String, Vec<(&Placed, Vec<Mail>)>> = BTreeMap::new();
    for entry in rules.iter().filter(|(rule, _)| rule.mode != Mode::Paused) {
        let (rule, _) = entry;
        let mails = mails(rule);
        if !mails.is_empty() {
            let group = format!("{} {:?} {:?}", rule.for_each, rule.trigger, rule.purpose);
            groups.entry(group).or_default().push((entry, mails));
        }
    }
    let mut findings = Vec::new();
    for group in groups.into_values() {
        for (place, ((rule, file), mails)) in group.iter().enumerate() {
            let other = group[..place].iter().find_map(|((other, _), others)| {
                let shared = mails.iter().find(|mail| others.contains(mail))?;
                (other.id != rule.id && !apart(rule, other)).then_some((other, shared))
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
