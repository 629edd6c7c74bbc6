//! Keeps an empty directory or a half-finished checkout from looking like a decision.

use crate::model::RuleId;
use crate::rule::generation::Generation;
use std::collections::BTreeSet;

/// Below this many missing rules the percentage doesn't count.
const FLOOR: usize = 5;

/// The rules that a change would remove, when they are too many to believe it; else `None`.
pub fn missing(before: &BTreeSet<RuleId>, after: &Generation, percent: u8) -> Option<BTreeSet<RuleId>> {
    let carried: BTreeSet<&RuleId> = after.rules.values().flat_map(|rule| &rule.rule.was).collect();
    let gone: BTreeSet<RuleId> =
        before.iter().filter(|id| !after.rules.contains_key(*id) && !carried.contains(id)).cloned().collect();
    brakes(before.len(), gone.len(), after.rules.len(), percent).then_some(gone)
}

const fn brakes(before: usize, gone: usize, left: usize, percent: u8) -> bool {
    let none_left = left == 0 && gone > 0;
    none_left || (gone >= FLOOR && gone * 100 > before * percent as usize)
}

#[cfg(test)]
mod tests {
    use super::brakes;

    #[test]
    fn a_few_go_many_are_held_and_the_last_is_held() {
        assert!(!brakes(10, 4, 6, 30), "four of ten: below the floor");
        assert!(brakes(10, 5, 5, 30));
        assert!(!brakes(20, 6, 14, 30), "exactly the limit passes");
        assert!(brakes(20, 7, 13, 30));
        assert!(brakes(1, 1, 0, 30), "none left");
        assert!(!brakes(0, 0, 0, 30), "nothing was there");
    }
}
