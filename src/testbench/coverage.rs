//! Which rules have no test, and which ways through the others were never taken.

use super::{RuleReport, Taken};
use crate::model::{RuleId, StepId, TemplateName};
use crate::rule::CheckedRule;
use crate::rule::checked::{Offset, Step};

/// How much of the rules their tests have seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    pub rules: Vec<RuleCover>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCover {
    pub rule: RuleId,
    pub file: String,
    pub tests: usize,
    pub branches: Vec<BranchCover>,
    /// Each with whether a mail was rendered from it.
    pub templates: Vec<(TemplateName, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchCover {
    pub step: StepId,
    /// The case's name, or `otherwise`; or the offset that begins with the step.
    pub case: String,
    pub taken: bool,
}

impl Coverage {
    /// Seen and all: rules, branch cases and templates.
    #[must_use]
    pub fn counts(&self) -> [(usize, usize); 3] {
        let tested = self.rules.iter().filter(|rule| rule.tests > 0).count();
        let branches = || self.rules.iter().flat_map(|rule| &rule.branches);
        let templates = || self.rules.iter().flat_map(|rule| &rule.templates);
        [
            (tested, self.rules.len()),
            (branches().filter(|branch| branch.taken).count(), branches().count()),
            (templates().filter(|(_, sent)| *sent).count(), templates().count()),
        ]
    }
}

#[must_use]
pub fn coverage(reports: &[RuleReport]) -> Coverage {
    let cover = |report: &RuleReport| RuleCover {
        rule: report.rule.clone(),
        file: report.file.clone(),
        tests: report.tests.len(),
        branches: report
            .has
            .branches
            .iter()
            .map(|way| BranchCover {
                step: way.0.clone(),
                case: way.1.clone(),
                taken: report.taken.branches.contains(way),
            })
            .collect(),
        templates: report
            .has
            .templates
            .iter()
            .map(|template| (template.clone(), report.taken.templates.contains(template)))
            .collect(),
    };
    Coverage { rules: reports.iter().map(cover).collect() }
}

/// The offsets of a date, each by the step that it begins with.
pub(super) fn offsets(rule: &CheckedRule) -> impl Iterator<Item = (StepId, String)> {
    rule.entries.iter().filter_map(|entry| {
        let (offset, first) = (entry.offset?, rule.nodes.get(entry.first?)?);
        Some((first.id.clone(), words(offset)))
    })
}

fn words(offset: Offset) -> String {
    match offset {
        Offset::ON_THE_DAY => "on the day".to_owned(),
        Offset { before: true, period } => format!("{period} before"),
        Offset { before: false, period } => format!("{period} after"),
    }
}

/// All ways that a rule has.
pub(super) fn ways(rule: &CheckedRule) -> Taken {
    let mut ways = Taken { branches: offsets(rule).collect(), ..Taken::default() };
    for node in &rule.nodes {
        match &node.step {
            Step::Branch { cases, .. } => {
                let names = cases.iter().map(|case| case.name.clone()).chain(["otherwise".to_owned()]);
                ways.branches.extend(names.map(|name| (node.id.clone(), name)));
            }
            Step::Act(action) => {
                ways.templates.extend(action.email().map(|email| email.template.clone()));
            }
            Step::Split(split) => {
                let names = split.arms.iter().filter(|arm| arm.weight > 0).map(|arm| arm.name.clone());
                ways.branches.extend(names.map(|name| (node.id.clone(), name)));
            }
            Step::Wait(_) | Step::Enroll(_) | Step::Stop => {}
        }
    }
    ways
}
