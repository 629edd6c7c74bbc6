//! Brings answers into the order of time where the source can't: texts with and without an offset don't sort alike.

use crate::model::{Key, Occasion};
use crate::rule::CheckedRule;
use crate::rule::compiled::Crossing;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// How far the source's order is from that of time at most: by two offsets, and by a day where a `T` stands beside a
/// blank.
const SLACK: SignedDuration = SignedDuration::from_hours(3 * 24);

/// Of the answers of one look, for a rule where the first one goes before those after it. For others it holds nothing
/// back.
#[derive(Debug)]
pub(super) struct TimeOrder {
    held: Option<BTreeMap<Place, Crossing>>,
    newest: Timestamp,
}

/// Of two at once, however their times are written, the one whose own key is the smaller text comes first.
type Place = (Timestamp, Occasion, Key);

fn place(crossing: &Crossing) -> Place {
    (crossing.occasion_at.unwrap_or(crossing.crossed_at), crossing.occasion.clone(), crossing.key.clone())
}

/// The same order for those that are there all at once. Those of other rules stay as they are.
pub(super) fn arrange(rule: &CheckedRule, crossings: &mut [Crossing]) {
    if rule.takes_in_time() {
        crossings.sort_by_cached_key(place);
    }
}

impl TimeOrder {
    pub fn of(rule: &CheckedRule) -> Self {
        Self { held: rule.takes_in_time().then(BTreeMap::new), newest: Timestamp::MIN }
    }

    /// Takes the next one, and hands on those before which no other can come any more.
    pub fn pass(&mut self, crossing: Crossing, on: &mut Vec<Crossing>) {
        let Some(held) = &mut self.held else { return on.push(crossing) };
        let place = place(&crossing);
        self.newest = self.newest.max(place.0);
        held.insert(place, crossing);
        let settled = self.newest.saturating_sub(SLACK).unwrap_or(Timestamp::MIN);
        while let Some(first) = held.first_entry().filter(|first| first.key().0 < settled) {
            on.push(first.remove());
        }
    }

    /// The last ones.
    pub fn end(&mut self, on: &mut Vec<Crossing>) {
        on.extend(self.held.as_mut().map(std::mem::take).into_iter().flat_map(BTreeMap::into_values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cooldown::tests::{answer, surveyed};
    use crate::model::Period;
    use crate::rule::checked::OnRematch;

    #[test]
    fn of_two_at_once_the_smaller_key_comes_first_by_stream_and_by_sort() {
        let rule = surveyed(Some(Period::days(2)));
        let said = |occasion: &str| Crossing { occasion: Occasion::from(occasion), ..answer("a", 1) };
        let (mut sorted, mut order, mut streamed) = (vec![said("9"), said("10")], TimeOrder::of(&rule), Vec::new());
        for crossing in &sorted {
            order.pass(crossing.clone(), &mut streamed);
        }
        order.end(&mut streamed);
        arrange(&rule, &mut sorted);
        for found in [sorted, streamed] {
            assert_eq!(found.iter().map(|crossing| crossing.occasion.as_str()).collect::<Vec<_>>(), ["10", "9"]);
        }
    }

    #[test]
    fn what_comes_within_the_slack_is_brought_into_order() {
        let mut order = TimeOrder::of(&surveyed(Some(Period::days(2))));
        let mut on = Vec::new();
        for day in [2, 1, 4, 3, 9, 8, 10] {
            order.pass(answer("a", day), &mut on);
        }
        let days = |found: &[Crossing]| {
            let first = answer("a", 0).occasion_at.unwrap();
            let at = |crossing: &Crossing| crossing.occasion_at.unwrap().duration_since(first).as_hours() / 24;
            found.iter().map(at).collect::<Vec<_>>()
        };
        assert_eq!(days(&on), [1, 2, 3, 4]);
        order.end(&mut on);
        assert_eq!(days(&on), [1, 2, 3, 4, 8, 9, 10]);

        let beside = CheckedRule { on_rematch: OnRematch::Parallel, ..surveyed(None) };
        let mut order = TimeOrder::of(&beside);
        let mut on = Vec::new();
        for day in [2, 1] {
            order.pass(answer("a", day), &mut on);
        }
        assert_eq!(days(&on), [2, 1], "nothing is held back for it");
    }
}
