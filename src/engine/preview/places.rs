//! Which of those who match begin the steps: beside each other, and beside what their records have under way.

use super::Previewer;
use crate::engine::error::EngineError;
use crate::engine::placing::{Arrival, Place, place};
use crate::engine::port::{Candidate, Rematch, Running, Store};
use crate::engine::sweep::rematch;
use crate::model::{EndReason, InstanceSecret, Lane, RecordId, Tenant};
use crate::rule::compiled::Crossing;
use crate::rule::{CheckedRule, CompiledRule};
use std::collections::HashMap;

/// Who would enter a crossing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Entry {
    Nobody,
    NextSweep,
    /// A sweep of long ago, had the rule been there: it is in nobody's way, nor is anybody in its.
    Supposed,
}

impl Previewer<'_> {
    /// The place of each that would enter, as the sweep finds it. They come in the order in which a sweep takes them.
    pub(in crate::engine) async fn places(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        entries: &[(&Crossing, Entry)],
    ) -> Result<Vec<Option<Place>>, EngineError> {
        let namer = self.namer(rule, tenant, Lane::Live);
        let candidates: Vec<Candidate> = entries.iter().map(|(crossing, _)| namer.candidate(crossing)).collect();
        let mut places = vec![None; entries.len()];
        for entry in [Entry::NextSweep, Entry::Supposed] {
            let of: Vec<usize> = (0..entries.len()).filter(|index| entries[*index].1 == entry).collect();
            let arrivals: Vec<Arrival> =
                of.iter().map(|index| arrival(rule, entries[*index].0, &candidates[*index])).collect();
            let running = if entry == Entry::NextSweep {
                self.running(rule, of.iter().map(|index| &candidates[*index])).await?
            } else {
                Vec::new()
            };
            for (index, place) in of.into_iter().zip(place(&arrivals, &running).places) {
                places[index] = Some(place);
            }
        }
        Ok(places)
    }

    /// What these records have under way, also under former names of the rule.
    async fn running(
        &self,
        rule: &CompiledRule,
        candidates: impl Iterator<Item = &Candidate>,
    ) -> Result<Vec<Running>, EngineError> {
        if rematch(&rule.rule) == Rematch::Parallel {
            return Ok(Vec::new());
        }
        let of = |candidate: &Candidate| {
            let tracks = std::iter::once(candidate.track).chain(candidate.former_tracks.iter().copied());
            tracks.map(|track| (track, candidate.track)).collect::<Vec<_>>()
        };
        under_way(self.store, candidates.flat_map(of).collect()).await
    }
}

/// What is under way of these tracks, each under the one that its rule has at present.
pub(in crate::engine) async fn under_way(
    store: &dyn Store,
    present: HashMap<[u8; 16], [u8; 16]>,
) -> Result<Vec<Running>, EngineError> {
    let tracks: Vec<[u8; 16]> = present.keys().copied().collect();
    let mut running = store.under_way(&tracks).await?;
    for one in &mut running {
        one.track = present.get(&one.track).copied().unwrap_or(one.track);
    }
    Ok(running)
}

/// The tracks of a record: under the rule's present name, and then under those that it had.
pub(in crate::engine) fn tracks(
    secret: &InstanceSecret,
    rule: &CheckedRule,
    lane: Lane,
    record: &RecordId,
) -> Vec<[u8; 16]> {
    let names = std::iter::once(&rule.id).chain(&rule.was);
    names.map(|name| secret.track(name, lane, record)).collect()
}

fn arrival(rule: &CompiledRule, crossing: &Crossing, candidate: &Candidate) -> Arrival {
    let first = rule.rule.entries.get(crossing.entry).and_then(|entry| entry.first);
    let over = first.is_none().then_some(EndReason::Completed);
    Arrival { track: candidate.track, rematch: rematch(&rule.rule), over }
}
