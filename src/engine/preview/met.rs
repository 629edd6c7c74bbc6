//! Messages of several matches that would be sent as one: the first match shows it, with a row of each, and the others say
//! where they are told of.

use super::enriched;
use super::way::Walker;
use crate::engine::dispatch::{Groups, Together, listed, turn};
use crate::model::{ContactId, DeliveryId, RecordId};
use crate::rule::checked::Action;
use crate::rule::message::MessageRow;
use jiff::Timestamp;
use std::collections::HashMap;

/// What would have been sent by then, which counts under the caps as well.
#[derive(Default)]
pub(super) struct Sends {
    by: HashMap<ContactId, Vec<(DeliveryId, Timestamp)>>,
    /// Of what goes together, the one message that counts for all.
    met: HashMap<Place, DeliveryId>,
}

/// To whom, at which step, and when: what is sent together there.
pub(super) type Place = (ContactId, usize, Timestamp);

impl Sends {
    /// A message counts once for all who meet in it.
    pub fn count(&mut self, place: Place, meets: bool, delivery: DeliveryId) {
        if meets && self.met.contains_key(&place) {
            return;
        }
        if meets {
            self.met.insert(place, delivery);
        }
        self.by.entry(place.0).or_default().push((delivery, place.2));
    }

    /// Those that somebody who comes to this place finds.
    pub fn before(&self, place: Place) -> impl Iterator<Item = (DeliveryId, Timestamp)> {
        let own = self.met.get(&place).copied();
        let all = self.by.get(&place.0).into_iter().flatten().copied();
        all.filter(move |(delivery, _)| Some(*delivery) != own)
    }
}

/// A message that a match shares with others.
pub(super) struct Shared {
    pub together: Together,
    /// Which of its messages that is.
    pub message: usize,
    pub way: usize,
    pub node: usize,
    pub due_at: Timestamp,
}

/// Puts together what is sent together of these.
pub(super) fn combine(walkers: &mut [Walker<'_>], of: &[usize]) {
    let mut groups: HashMap<Timestamp, Groups<(usize, usize)>> = HashMap::new();
    for index in of.iter().copied() {
        for (number, shared) in walkers[index].shared.iter().enumerate() {
            groups.entry(shared.due_at).or_default().entry(shared.together.clone()).or_default().push((index, number));
        }
    }
    for mut members in groups.into_values().flat_map(Groups::into_values) {
        members.sort_by_cached_key(|(index, _)| turn(&walkers[*index].claimed));
        one_of(walkers, &members);
    }
}

/// The first shows the message of all.
fn one_of(walkers: &mut [Walker<'_>], members: &[(usize, usize)]) {
    let Some((first, shared)) = members.first().copied() else { return };
    let leader = &walkers[first];
    let (message, node, way) = {
        let shared = &leader.shared[shared];
        (shared.message, shared.node, shared.way)
    };
    let rule = leader.rule;
    let action = rule.rule.nodes.get(node).and_then(|node| node.step.action()?.ways().get(way));
    let Some(action): Option<&Action> = action else { return };
    let of = |index: usize| &walkers[members[index].0];
    let extra: Vec<_> =
        (0..members.len()).map(|index| enriched(rule, &of(index).facts, of(index).claimed.due_at)).collect();
    let rows = listed(action, (0..members.len()).map(|index| &*of(index).facts));
    let rows: Vec<MessageRow<'_>> = rows
        .iter()
        .map(|index| MessageRow {
            facts: &of(*index).facts,
            occasion: &of(*index).claimed.occasion_data,
            saved: &of(*index).claimed.saved,
            enriched: extra[*index].as_ref().ok().and_then(Option::as_ref),
        })
        .collect();
    let more = members.len() - rows.len();
    let content = leader.rendered(node, action, (&rows, more));
    let told_by: RecordId = leader.claimed.record.clone();
    walkers[first].messages[message].content = content;
    for (index, shared) in &members[1..] {
        let message = walkers[*index].shared[*shared].message;
        walkers[*index].messages[message].content = Err(format!("told of in the message of {told_by}"));
    }
}
