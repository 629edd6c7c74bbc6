//! Rules whose steps start other rules: that these are there, fit, and don't go round in a circle.

use crate::diagnostic::yaml;
use crate::diagnostic::{Finding, Place, SourceFile, suggest};
use crate::model::{RuleId, StepId};
use crate::rule::check::Outcome;
use crate::rule::checked::{CheckedRule, Step, Trigger};
use crate::rule::written::{RuleFile, StepEntry};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Checked<'a> = (&'a Arc<SourceFile>, Outcome);

/// What is wrong between rules that enroll into each other.
pub(super) fn enrolls(outcomes: &[Checked<'_>]) -> Vec<Finding> {
    let ids: Vec<&RuleId> = outcomes.iter().filter_map(|(_, outcome)| Some(&outcome.id.as_ref()?.0)).collect();
    let rules: BTreeMap<&RuleId, &CheckedRule> =
        outcomes.iter().filter_map(|(_, outcome)| outcome.rule.as_deref()).map(|rule| (&rule.id, rule)).collect();
    let mut findings = Vec::new();
    for (file, outcome) in outcomes {
        for (target, step, range) in &outcome.enrolls {
            let place = Place { file: Arc::clone(file), range: range.clone() };
            let finding = if ids.contains(&target) {
                // A target that is wrong itself has been reported.
                let Some((rule, target)) = outcome.rule.as_deref().zip(rules.get(target)) else { continue };
                misfit(rule, target).or_else(|| circle((rule, step), target, &rules))
            } else {
                let finding = Finding::error("rule.unknown-rule", format!("unknown rule `{target}`"));
                let help = suggest::help(target.as_str(), ids.iter().map(|id| id.as_str()));
                Some(match help {
                    Some(help) => finding.help(help),
                    None => finding,
                })
            };
            findings.extend(finding.map(|finding| finding.at(place)));
        }
    }
    findings
}

fn misfit(rule: &CheckedRule, target: &CheckedRule) -> Option<Finding> {
    if target.for_each != rule.for_each {
        let message = format!("`{}` is for each {}, this rule for each {}", target.id, target.for_each, rule.for_each);
        return Some(Finding::error("rule.enroll", message).help("enroll into a rule for the same entity"));
    }
    if matches!(target.trigger, Trigger::Date(_)) {
        let message = format!("the steps of `{}` belong to its dates", target.id);
        let help = "move the shared steps to a rule with `trigger: {enrolled: {}}`";
        return Some(Finding::error("rule.enroll", message).help(help));
    }
    None
}

/// A record would go round for ever, as fast as it can.
fn circle(
    (rule, step): (&CheckedRule, &StepId),
    target: &CheckedRule,
    rules: &BTreeMap<&RuleId, &CheckedRule>,
) -> Option<Finding> {
    let at_once = enrolled_at_once(rule).iter().any(|(at, _)| *at == step);
    let mut ahead = vec![&target.id];
    let mut seen = BTreeSet::new();
    while let Some(id) = ahead.pop().filter(|_| at_once) {
        if *id == rule.id {
            let message = format!("by way of `{}` this rule enrolls into itself without a wait", target.id);
            return Some(Finding::error("rule.enroll", message).help("put a wait before the `enroll`, or remove it"));
        }
        if let Some(next) = rules.get(id).filter(|_| seen.insert(id)) {
            ahead.extend(enrolled_at_once(next).into_iter().map(|(_, target)| target));
        }
    }
    None
}

/// The steps by which a rule enrolls into others before any wait, and those others.
fn enrolled_at_once(rule: &CheckedRule) -> BTreeSet<(&StepId, &RuleId)> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut ahead: Vec<usize> = rule.entries.iter().filter_map(|entry| entry.first).collect();
    while let Some(place) = ahead.pop() {
        let Some(node) = rule.nodes.get(place).filter(|_| seen.insert(place)) else { continue };
        match &node.step {
            Step::Wait(_) => continue,
            Step::Enroll(target) => drop(found.insert((&node.id, target))),
            _ => {}
        }
        ahead.extend(node.step.inner());
        ahead.extend(node.next);
    }
    found
}

/// Paths of a rule's own file and of those it enrolls into, and they in turn.
pub(super) fn reached(files: &[Arc<SourceFile>], rule: &SourceFile) -> BTreeSet<String> {
    let mut paths = BTreeSet::from([rule.path.clone()]);
    let mut ahead = targets_in(rule);
    if ahead.is_empty() {
        return paths;
    }
    let read = |file: &Arc<SourceFile>| Some((yaml::read::<RuleFile>(file).ok()?.id?.value, Arc::clone(file)));
    let by_id: BTreeMap<String, Arc<SourceFile>> = files.iter().filter_map(read).collect();
    while let Some(id) = ahead.pop() {
        if let Some(file) = by_id.get(&id).filter(|file| paths.insert(file.path.clone())) {
            ahead.extend(targets_in(file));
        }
    }
    paths
}

fn targets_in(file: &SourceFile) -> Vec<String> {
    // Most rules enroll nobody, and a text without the word needn't be parsed for it.
    if !file.text.contains("enroll") {
        return Vec::new();
    }
    let Ok(written) = yaml::read::<RuleFile>(&Arc::new(file.clone())) else { return Vec::new() };
    let mut found = Vec::new();
    let lists = written.steps.iter().map(|steps| &steps.value);
    let offsets = written.offsets.iter().flat_map(|offsets| offsets.iter().map(|(_, steps)| &steps.value));
    lists.chain(offsets).for_each(|steps| in_steps(steps, &mut found));
    found
}

fn in_steps(steps: &[yaml::At<StepEntry>], found: &mut Vec<String>) {
    for step in steps {
        match &step.value {
            StepEntry::Enroll(enroll) => found.push(enroll.rule.value.clone()),
            StepEntry::Branch(branch) => {
                branch.cases.iter().for_each(|case| in_steps(&case.steps, found));
                branch.otherwise.iter().for_each(|steps| in_steps(steps, found));
            }
            StepEntry::Split(split) => {
                split.arms.iter().flat_map(|arm| &arm.steps).for_each(|steps| in_steps(steps, found));
            }
            StepEntry::Wait(wait) => {
                let otherwise = wait.until.iter().flat_map(|until| &until.otherwise);
                otherwise.for_each(|steps| in_steps(steps, found));
            }
            StepEntry::Email(_)
            | StepEntry::Webhook(_)
            | StepEntry::Chat(_)
            | StepEntry::Task(_)
            | StepEntry::Stop(_)
            | StepEntry::Update(_)
            | StepEntry::Assign(_)
            | StepEntry::Claim(_)
            | StepEntry::Sms(_)
            | StepEntry::Message(_)
            | StepEntry::Digest(_) => {}
        }
    }
}
