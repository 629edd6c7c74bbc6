//! Where enrollments stand, by the names of their steps, and putting them to the same step of the rule as it is now.

use super::port::{EnrollmentView, RuleVersion, Store, StoreError};
use crate::model::{EnrollmentState, RuleId, StepId, VersionHash};
use crate::rule::CompiledRule;
use crate::rule::generation::Generation;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The steps of every version that something under way pins, in the order of their nodes. A version that no longer
/// compiles is left out.
pub async fn pinned_steps(
    store: &dyn Store,
    generation: &Generation,
) -> Result<HashMap<VersionHash, Vec<StepId>>, StoreError> {
    let mut found = HashMap::new();
    for (rule, version, text) in store.pinned_versions(&HashSet::new()).await? {
        let current = generation.rules.get(&rule);
        let ids = |rule: &CompiledRule| rule.rule.nodes.iter().map(|node| node.id.clone()).collect();
        let steps = match current.filter(|current| current.version == version) {
            Some(current) => Some(ids(current)),
            None => {
                generation.compile_pinned(&text, current.map(|rule| rule.rule.as_ref())).ok().map(|rule| ids(&rule))
            }
        };
        found.extend(steps.map(|steps| (version, steps)));
    }
    Ok(found)
}

/// To a rule: which enrollments, and to which of its nodes.
type Moves<'a> = (&'a Arc<CompiledRule>, Vec<(i64, usize)>);

/// What became of enrollments that were to be moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relocated {
    pub moved: u64,
    /// They run the newest version already.
    pub current: u64,
    /// They stay where they are, and why.
    pub left: Vec<(i64, String)>,
}

/// Puts enrollments to the step of the same id in the running version of their rule. What is being sent at the moment
/// is left alone.
pub async fn relocate(
    store: &dyn Store,
    generation: &Generation,
    enrollments: &[EnrollmentView],
    now: Timestamp,
) -> Result<Relocated, StoreError> {
    let steps = pinned_steps(store, generation).await?;
    let mut relocated = Relocated::default();
    let mut moves: BTreeMap<&RuleId, Moves<'_>> = BTreeMap::new();
    for enrollment in enrollments {
        match target(generation, &steps, enrollment) {
            Ok(None) => relocated.current += 1,
            Ok(Some((rule, node))) => {
                moves.entry(&rule.rule.id).or_insert_with(|| (rule, Vec::new())).1.push((enrollment.id, node));
            }
            Err(why) => relocated.left.push((enrollment.id, why)),
        }
    }
    for (rule, moves) in moves.into_values() {
        let id = rule.rule.id.clone();
        let to = RuleVersion { rule: id, hash: rule.version.clone(), text: Arc::clone(&rule.text) };
        relocated.moved += store.move_enrollments(&to, &moves, now).await?;
    }
    Ok(relocated)
}

fn target<'a>(
    generation: &'a Generation,
    steps: &HashMap<VersionHash, Vec<StepId>>,
    enrollment: &EnrollmentView,
) -> Result<Option<(&'a Arc<CompiledRule>, usize)>, String> {
    let (EnrollmentState::Active | EnrollmentState::Held, Some((node, _))) = (enrollment.state, enrollment.next) else {
        return Err("it has ended".to_owned());
    };
    let Some(rule) = generation.rules.get(&enrollment.rule) else {
        return Err(format!("there is no rule `{}` any more", enrollment.rule));
    };
    let version = enrollment.version.as_deref().unwrap_or_default();
    if rule.version.as_str() == version {
        return Ok(None);
    }
    let step = steps.get(&VersionHash::new(version)).and_then(|steps| steps.get(node));
    let Some(step) = step else {
        return Err("the version it runs no longer compiles".to_owned());
    };
    let place = rule.rule.nodes.iter().position(|node| node.id == *step);
    place.map(|place| Some((rule, place))).ok_or_else(|| format!("the rule has no step `{step}` any more"))
}
