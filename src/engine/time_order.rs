//! Brings answers into the order of time where the source can't: texts with and without an offset don't sort alike.

use super::cooldown::cooldown;
use crate::model::{Key, Occasion};
use crate::rule::CheckedRule;
use crate::rule::compiled::Crossing;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// How far the source's order is from that of time at most: by two offsets, and by a day where a `T` stands beside a
/// blank.
const SLACK: SignedDuration = SignedDuration::from_hours(3 * 24);

/// Of the answers of one look, for a rule where the first one silences those after it. For others it holds nothing back.
#[derive(Debug)]
pub(super) struct TimeOrder {
    held: Option<BTreeMap<Place, Crossing>>,
    newest: Timestamp,
}

/// Of two at once, the one whose own key is the smaller text comes first.
type Place = (Timestamp, Occasion, Key);

pub(super) fn place(crossing: &Crossing) -> Place {
    (crossing.occasion_at.unwrap_or(crossing.crossed_at), crossing.occasion.clone(), crossing.key.clone())
}

impl TimeOrder {
    pub fn of(rule: &CheckedRule) -> Self {
        Self { held: cooldown(rule).map(|_| BTreeMap::new()), newest: Timestamp::MIN }
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

        let mut order = TimeOrder::of(&surveyed(None));
        let mut on = Vec::new();
        for day in [2, 1] {
            order.pass(answer("a", day), &mut on);
        }
        assert_eq!(days(&on), [2, 1], "nothing is held back for it");
    }
}
