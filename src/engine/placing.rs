//! What a new match does when its record is still in a sequence of the same rule. The state asks it for those who enter,
//! and a preview for those who would.

use super::port::{Rematch, Running};
use crate::model::EndReason;
use std::collections::HashMap;

/// A new match, as far as its place is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub track: [u8; 16],
    pub rematch: Rematch,
    /// Set where it starts nothing: it is skipped, or its rule has no steps.
    pub over: Option<EndReason>,
}

/// What becomes of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Running,
    Queued,
    Ended(EndReason),
    /// Starts nothing, since another is under way.
    Nothing,
    /// Starts nothing, since a newer one came with it.
    Replaced,
}

impl Place {
    /// Why it is over before it began.
    pub const fn ended(self) -> Option<EndReason> {
        match self {
            Self::Running | Self::Queued => None,
            Self::Ended(reason) => Some(reason),
            Self::Nothing | Self::Replaced => Some(EndReason::Cancelled),
        }
    }
}

/// Where arrivals go, in order, and which enrollments they replace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Placement {
    pub places: Vec<Place>,
    /// The enrollment and the arrival that replaces it.
    pub replaced: Vec<(i64, usize)>,
}

#[derive(Clone, Copy)]
enum Under {
    Existing(i64),
    Parked(i64),
    Arrived(usize),
}

pub fn place(arrivals: &[Arrival], running: &[Running]) -> Placement {
    let mut under: HashMap<[u8; 16], Vec<Under>> = HashMap::new();
    for Running { track, id, is_parked } in running {
        under.entry(*track).or_default().push(if *is_parked { Under::Parked(*id) } else { Under::Existing(*id) });
    }
    let mut placement = Placement::default();
    for (index, arrival) in arrivals.iter().enumerate() {
        let place = place_one(index, arrival, &mut under, &mut placement);
        placement.places.push(place);
    }
    placement
}

fn place_one(
    index: usize,
    arrival: &Arrival,
    under: &mut HashMap<[u8; 16], Vec<Under>>,
    placement: &mut Placement,
) -> Place {
    if let Some(reason) = arrival.over {
        return Place::Ended(reason);
    }
    let there = under.entry(arrival.track).or_default();
    if arrival.rematch != Rematch::Parallel {
        // What waits for a person may wait for ever; the new occasion doesn't.
        there.retain(|under| match under {
            Under::Parked(id) => {
                placement.replaced.push((*id, index));
                false
            }
            Under::Existing(_) | Under::Arrived(_) => true,
        });
    }
    let place = match arrival.rematch {
        _ if there.is_empty() => Place::Running,
        Rematch::Parallel => Place::Running,
        Rematch::Ignore => return Place::Nothing,
        Rematch::Queue => Place::Queued,
        Rematch::Restart => {
            for replaced in there.drain(..) {
                match replaced {
                    Under::Existing(id) | Under::Parked(id) => placement.replaced.push((id, index)),
                    Under::Arrived(earlier) => placement.places[earlier] = Place::Replaced,
                }
            }
            Place::Running
        }
    };
    there.push(Under::Arrived(index));
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 16] = [1; 16];
    const B: [u8; 16] = [2; 16];

    fn under_way(track: [u8; 16], id: i64) -> Running {
        Running { track, id, is_parked: false }
    }

    fn places(rematch: Rematch, running: &[Running]) -> Placement {
        place(&[A, A, B].map(|track| Arrival { track, rematch, over: None }), running)
    }

    #[test]
    fn the_first_of_a_record_runs_and_the_second_obeys_its_rule() {
        use Place::{Nothing, Queued, Replaced, Running};
        assert_eq!(places(Rematch::Ignore, &[]).places, [Running, Nothing, Running]);
        assert_eq!(places(Rematch::Queue, &[]).places, [Running, Queued, Running]);
        assert_eq!(places(Rematch::Parallel, &[]).places, [Running, Running, Running]);
        assert_eq!(places(Rematch::Restart, &[]).places, [Replaced, Running, Running]);
    }

    #[test]
    fn what_already_runs_counts_too() {
        use Place::{Nothing, Queued, Replaced, Running};
        let running = [under_way(A, 7), under_way(A, 8)];
        assert_eq!(places(Rematch::Ignore, &running).places, [Nothing, Nothing, Running]);
        assert_eq!(places(Rematch::Queue, &running).places, [Queued, Queued, Running]);
        let restarted = places(Rematch::Restart, &running);
        assert_eq!(restarted.places, [Replaced, Running, Running]);
        assert_eq!(restarted.replaced, [(7, 0), (8, 0)]);
    }

    #[test]
    fn what_waits_for_a_person_makes_room_for_a_new_occasion() {
        use Place::{Nothing, Queued, Running as Runs};
        let parked = Running { is_parked: true, ..under_way(A, 7) };
        let ignoring = places(Rematch::Ignore, &[parked]);
        assert_eq!((ignoring.places, ignoring.replaced), (vec![Runs, Nothing, Runs], vec![(7, 0)]));
        let queueing = places(Rematch::Queue, &[parked, under_way(A, 8)]);
        assert_eq!((queueing.places, queueing.replaced), (vec![Queued, Queued, Runs], vec![(7, 0)]));
        let beside = places(Rematch::Parallel, &[parked]);
        assert_eq!((beside.places, beside.replaced), (vec![Runs, Runs, Runs], vec![]));
    }

    #[test]
    fn a_match_that_starts_nothing_replaces_nothing() {
        let skipped = Arrival { track: A, rematch: Rematch::Restart, over: Some(EndReason::Late) };
        let placement = place(&[skipped], &[under_way(A, 7)]);
        assert_eq!(placement, Placement { places: vec![Place::Ended(EndReason::Late)], replaced: vec![] });
    }
}
