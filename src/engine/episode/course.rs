//! Episodes of counted rows: a batch of records, their rows, and what follows.

use super::replay::{Course, Terms};
use super::{Outlook, Sighting, Watch, crossing, is_open};
use crate::engine::error::EngineError;
use crate::engine::port::{Episode, EpisodeChange, Source};
use crate::model::{Key, Tenant};
use crate::rule::CompiledRule;
use crate::rule::compiled::Window;
use crate::rule::tide::{Tide, When};
use futures::TryStreamExt;
use jiff::Timestamp;
use std::collections::HashMap;

impl Watch<'_> {
    /// Looks at these records, which are all different.
    pub(super) async fn course(&self, tide: &Tide<'_>, keys: &[Key]) -> Result<Sighting, EngineError> {
        let kept = self.kept(keys).await?;
        let begin = kept.iter().map(|(_, episode)| self.begin(tide, episode.as_ref())).min().unwrap_or(self.now);
        let rows = self.rows(keys, begin).await?;
        let zone = self.rule.zone();
        let terms = self.terms(tide);
        let mut sighting = Sighting::default();
        for (key, (record, known)) in keys.iter().zip(kept) {
            let rows = rows.get(key).map_or(&[][..], Vec::as_slice);
            let course = Course::of(tide, rows, zone, self.now);
            let replayed = course.replay(known.as_ref(), terms);
            for (episode, level) in &replayed.opened {
                // A first sweep may go through a long past: what opened and ended there is history.
                let news = self.seeding().is_none() || episode.opened_at > self.lease.progress.swept_at;
                if is_open(episode) || news {
                    sighting.crossings.push(crossing(key, episode.ordinal, episode.opened_at, Some(*level)));
                }
            }
            let Some(last) = replayed.last else { continue };
            if replayed.opened.is_empty() && is_open(&last) && last.opened_at > self.asked_after {
                let level = course.level(last.opened_at);
                sighting.crossings.push(crossing(key, last.ordinal, last.opened_at, Some(level)));
            }
            if known.as_ref() != Some(&last) {
                sighting.changes.push(EpisodeChange { record, key: key.clone(), episode: last });
            }
        }
        Ok(sighting)
    }

    /// Lets time pass over one record's rows: as long as any of them still counts.
    pub(super) async fn foresee(&self, tide: &Tide<'_>, key: &Key) -> Result<Outlook, EngineError> {
        let keys = std::slice::from_ref(key);
        let kept = self.kept(keys).await?.pop().and_then(|(_, episode)| episode);
        let rows = self.rows(keys, self.begin(tide, kept.as_ref())).await?;
        let zone = self.rule.zone();
        let course = Course::of(tide, rows.get(key).map_or(&[][..], Vec::as_slice), zone, self.now);
        let terms = self.terms(tide);
        let episode = course.replay(kept.as_ref(), terms).last;
        let later = course.replay(kept.as_ref(), Terms { now: tide.reach().after(self.now, zone), ..terms });
        let next = later.opened.into_iter().find(|(episode, _)| episode.opened_at > self.now);
        let ahead = next.map(|(episode, level)| crossing(key, episode.ordinal, episode.opened_at, Some(level)));
        Ok(Outlook { episode, ahead, level: Some(course.level(self.now)) })
    }

    fn terms(&self, tide: &Tide<'_>) -> Terms {
        Terms { since: self.since, seed: self.seeding(), open_since: self.open_since(tide), now: self.now }
    }

    /// From where on an open episode is looked at, if not from when it is due.
    fn open_since(&self, tide: &Tide<'_>) -> Option<Timestamp> {
        self.anew.or_else(|| tide.rows_end_it().then_some(self.looked))
    }

    /// From when on a record's rows matter.
    fn begin(&self, tide: &Tide<'_>, kept: Option<&Episode>) -> Timestamp {
        let since = self.seeding().map_or(self.since, |seed| seed.min(self.since));
        match kept {
            Some(episode) if is_open(episode) => {
                let begin = self.open_since(tide).map_or(self.now, |since| since.min(self.now)).min(episode.due_at);
                // Asked again, it tells how many rows opened it.
                if episode.opened_at > self.asked_after { begin.min(episode.opened_at) } else { begin }
            }
            _ => since,
        }
    }

    async fn rows(&self, keys: &[Key], begin: Timestamp) -> Result<HashMap<Key, Vec<When>>, EngineError> {
        let window = Window { after: begin, until: self.now, now: self.now };
        rows(self.source, self.rule, self.tenant, keys, window).await
    }
}

/// When the rows of each record happened that count in the window.
pub(super) async fn rows(
    source: &dyn Source,
    rule: &CompiledRule,
    tenant: &Tenant,
    keys: &[Key],
    window: Window,
) -> Result<HashMap<Key, Vec<When>>, EngineError> {
    let Some(statement) = rule.course(keys, window) else { return Ok(HashMap::new()) };
    let mut rows = source.rows(tenant, statement);
    let mut found: HashMap<Key, Vec<When>> = HashMap::with_capacity(keys.len());
    while let Some(row) = rows.try_next().await? {
        if let Ok((key, Some(when))) = rule.read_course(&row) {
            found.entry(key).or_default().push(when);
        }
    }
    Ok(found)
}
