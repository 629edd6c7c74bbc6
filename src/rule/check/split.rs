//! Splits: who takes which arm is decided by a draw, so the arms and their shares are all there is to check.

use super::Checker;
use super::steps::Flow;
use crate::catalog::Entity;
use crate::model::{RoleName, StepId};
use crate::rule::checked::{Arm, Split, Step};
use crate::rule::written::SplitEntry;
use std::ops::Range;

impl<'a> Checker<'a> {
    pub(super) fn split(
        &mut self,
        flow: &mut Flow,
        entity: &'a Entity,
        to: Option<&RoleName>,
        (written, range): (&SplitEntry, &Range<usize>),
        (id, next): (&StepId, Option<usize>),
    ) -> Step {
        if written.arms.len() < 2 {
            let help = "give it two arms: `arms: [{name: a, steps: [...]}, {name: b, steps: [...]}]`";
            self.wrong(range, "rule.split", "a split into fewer than two", help);
        }
        let mut arms: Vec<Arm> = Vec::new();
        for arm in &written.arms {
            let name = &arm.name;
            if arms.iter().any(|other| other.name == name.value) {
                let message = format!("the arm `{}` stands twice", name.value);
                self.wrong(&name.range, "rule.split", message, "give each its own name");
            }
            let steps = match &arm.steps {
                Some(_) if arm.holdout => {
                    let help = "remove the steps, or `holdout`";
                    self.wrong(&name.range, "rule.split", "a holdout gets nothing, but here are steps", help);
                    continue;
                }
                None if !arm.holdout => {
                    let help = "write `steps: [...]` (`[]` goes on after the split), or `holdout: true`";
                    self.wrong(&name.range, "rule.split", "this arm says nothing about what happens", help);
                    continue;
                }
                steps => steps.as_ref(),
            };
            let inner = steps.and_then(|steps| self.sequence(flow, entity, to, steps, next));
            let first = if arm.holdout { None } else { inner.or(next) };
            let weight = arm.weight.as_ref().map_or(1, |weight| weight.value);
            arms.push(Arm { name: name.value.clone(), weight, first, holdout: arm.holdout });
        }
        if arms.len() == written.arms.len() && arms.iter().all(|arm| arm.weight == 0) && !arms.is_empty() {
            self.wrong(range, "rule.split", "no arm has a weight above 0", "write `weight: 1`");
        }
        let usual = || format!("{}/{id}", self.id.as_deref().unwrap_or_default());
        let salt = written.salt.as_ref().map_or_else(usual, |salt| salt.value.clone());
        Step::Split(Split { salt, arms })
    }
}
