//! What holds every step of a rule whatever it does, so that freeing it would only hold it again.

use super::port::StillHeld;
use crate::model::{Lane, RuleId, VersionHash};
use crate::rule::checked::{Mode, OnChange};
use crate::rule::generation::Generation;

/// Why a rule of this mode runs no steps of this lane. What matched in shadow reached nobody and goes on; what is live
/// may reach somebody.
pub(super) const fn by_mode(mode: Mode, lane: Lane) -> Option<&'static str> {
    match (mode, lane) {
        (Mode::Paused, _) => Some("its file says `mode: paused`"),
        (Mode::Shadow, Lane::Live) => Some("its file says `mode: shadow`"),
        (Mode::Shadow, Lane::Shadow) | (Mode::Live, _) => None,
    }
}

/// Every rule of which that can be said, under the names it had as well.
pub fn still_held(generation: &Generation) -> Vec<StillHeld> {
    let mut still = Vec::new();
    let mut held = |id: &RuleId, lane, version: Option<&VersionHash>, reason| {
        let of = |rule: &RuleId| StillHeld { rule: rule.clone(), lane, version: version.cloned(), reason };
        still.extend(names(generation, id).map(of));
    };
    for lane in [Lane::Live, Lane::Shadow] {
        for (id, rest) in &generation.resting {
            held(id, lane, None, rest.reason());
        }
        for (id, rule) in generation.rules.iter().filter(|(id, _)| !generation.resting.contains_key(*id)) {
            let Some(reason) = by_mode(rule.rule.mode, lane) else { continue };
            let cancels_others = rule.rule.on_change == OnChange::Cancel;
            held(id, lane, cancels_others.then_some(&rule.version), reason);
        }
    }
    still
}

fn names<'a>(generation: &'a Generation, id: &'a RuleId) -> impl Iterator<Item = &'a RuleId> {
    let was = generation.rules.get(id).map(|rule| rule.rule.was.as_slice()).unwrap_or_default();
    std::iter::once(id).chain(was.iter().filter(|name| !generation.rules.contains_key(*name)))
}
