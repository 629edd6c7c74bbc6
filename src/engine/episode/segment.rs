//! Episodes of a condition: who has come inside, and who has been outside for long enough.

use super::{NEVER, Sighting, Watch, crossing, is_open};
use crate::engine::error::EngineError;
use crate::engine::port::{Episode, EpisodeChange, OpenEpisode};
use crate::model::Key;
use crate::rule::checked::{Backfill, Segment};
use crate::rule::compiled::{Reach, Window};
use futures::TryStreamExt;
use jiff::Timestamp;
use std::collections::HashSet;

impl Watch<'_> {
    /// Looks at records that are inside now, which are all different.
    pub(super) async fn inside(&self, segment: &Segment, keys: &[Key]) -> Result<Sighting, EngineError> {
        let kept = self.kept(keys).await?;
        // With `backfill: all` those who are inside from the start match as well.
        let silent = self.seeding().filter(|_| self.rule.rule.backfill != Backfill::All);
        let mut sighting = Sighting::default();
        for (key, (record, known)) in keys.iter().zip(kept) {
            let episode = match known {
                Some(known) if is_open(&known) => {
                    if !segment.leaves && known.opened_at > self.asked_after {
                        sighting.crossings.push(crossing(key, known.ordinal, known.opened_at, None));
                    }
                    if known.due_at == NEVER {
                        continue;
                    }
                    Episode { due_at: NEVER, ..known }
                }
                known => {
                    let ordinal = known.map_or(1, |episode| episode.ordinal + 1);
                    let opened_at = silent.unwrap_or(self.now);
                    if !segment.leaves && silent.is_none() {
                        sighting.crossings.push(crossing(key, ordinal, opened_at, None));
                    }
                    Episode { ordinal, opened_at, closed_at: None, due_at: NEVER, value: None, own: Timestamp::MIN }
                }
            };
            sighting.changes.push(EpisodeChange { record, key: key.clone(), episode });
        }
        Ok(sighting)
    }

    /// Looks at open episodes: which of their records are outside?
    pub(super) async fn outside(&self, segment: &Segment, open: &[OpenEpisode]) -> Result<Sighting, EngineError> {
        let keys: Vec<Key> = open.iter().map(|episode| episode.key.clone()).collect();
        let inside = self.still_inside(&keys).await?;
        let mut sighting = Sighting::default();
        for OpenEpisode { record, key, episode } in open {
            if inside.contains(key) {
                continue;
            }
            let gone = episode.due_at == NEVER;
            let due_at = if gone { segment.min_out.after(self.now, self.rule.zone()) } else { episode.due_at };
            let closed_at = (due_at <= self.now).then_some(due_at);
            if closed_at.is_some() && segment.leaves {
                sighting.crossings.push(crossing(key, episode.ordinal, due_at, None));
            }
            if gone || closed_at.is_some() {
                let episode = Episode { closed_at, due_at, ..episode.clone() };
                sighting.changes.push(EpisodeChange { record: *record, key: key.clone(), episode });
            }
        }
        Ok(sighting)
    }

    /// Which of these records are inside now. One whose key can't be read is nobody's.
    async fn still_inside(&self, keys: &[Key]) -> Result<HashSet<Key>, EngineError> {
        let window = Window { after: self.since, until: self.now, now: self.now };
        let mut inside = HashSet::with_capacity(keys.len());
        for statement in self.rule.crossings(Reach::Of(window, keys)) {
            let mut rows = self.source.rows(self.tenant, statement);
            while let Some(row) = rows.try_next().await? {
                inside.extend(self.rule.read_key(&row));
            }
        }
        Ok(inside)
    }
}
