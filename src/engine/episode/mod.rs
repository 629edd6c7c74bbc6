//! Triggers whose occasions are episodes of a record: it comes inside what the rule watches for, stays, and has
//! left again. The state keeps each record's latest episode; here the source's answer is held against it.
//!
//! Sides are asked in batches, each by its own index: the source's members are looked up in the state by a hash
//! of their key, the state's open episodes in the source by their keys. So no order has to be shared between two
//! databases and their collations, and a stream that breaks off has ended nobody's episode.

mod changed;
mod course;
mod others;
mod past;
mod replay;
mod segment;

pub(super) use changed::value_hash;
pub(super) use past::{Past, PastEpisode};

use super::error::EngineError;
use super::port::{Episode, EpisodeChange, Lease, OpenEpisode, Source, Store};
use super::sweep::Namer;
use crate::model::{Key, Occasion, RecordId, Tenant, Value};
use crate::rule::CompiledRule;
use crate::rule::checked::Trigger;
use crate::rule::compiled::Crossing;
use crate::rule::tide::Level;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// When an episode ends that only new facts can end.
pub(super) const NEVER: Timestamp = Timestamp::constant(253_402_207_200, 0);

/// Who looks at one rule's records, and what counts as new to them.
#[derive(Clone, Copy)]
pub(super) struct Watch<'a> {
    pub source: &'a dyn Source,
    pub store: &'a dyn Store,
    pub rule: &'a CompiledRule,
    pub tenant: &'a Tenant,
    pub namer: Namer<'a>,
    pub lease: &'a Lease,
    pub now: Timestamp,
    /// A record without an episode was outside up to here.
    pub since: Timestamp,
    /// Open episodes that opened after this are asked about again.
    pub asked_after: Timestamp,
    /// Open episodes are looked at from here on whether or not they are due: the reconcile, where what is true now counts.
    pub anew: Option<Timestamp>,
    /// Open episodes that a new row may end were looked at up to here.
    pub looked: Timestamp,
}

/// What a look at some records came to.
#[derive(Debug, Default)]
pub(super) struct Sighting {
    pub crossings: Vec<Crossing>,
    pub changes: Vec<EpisodeChange>,
}

/// What is known of one record's episodes, and what comes by time alone.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    /// The latest.
    pub episode: Option<Episode>,
    pub ahead: Option<Crossing>,
    /// How many rows count now, for rules that count them.
    pub level: Option<Level>,
}

impl Watch<'_> {
    /// Looks at records that may have come inside, which are all different.
    pub async fn candidates(&self, keys: &[Key]) -> Result<Sighting, EngineError> {
        match (&self.rule.rule.trigger, self.rule.rule.trigger.tide()) {
            (Trigger::Segment(segment), _) => self.inside(segment, keys).await,
            (_, Some(tide)) => self.course(&tide, keys).await,
            _ => Ok(Sighting::default()),
        }
    }

    /// Looks at records and their values, which are all different records.
    pub async fn changed(&self, values: &[(Key, Value)]) -> Result<Sighting, EngineError> {
        match &self.rule.rule.trigger {
            Trigger::Changed(changed) => self.values(changed, values).await,
            _ => Ok(Sighting::default()),
        }
    }

    /// Looks at records whose episode is open and may have ended.
    pub async fn open(&self, open: &[OpenEpisode]) -> Result<Sighting, EngineError> {
        if let Trigger::Segment(segment) = &self.rule.rule.trigger {
            return self.outside(segment, open).await;
        }
        let keys: Vec<Key> = open.iter().map(|episode| episode.key.clone()).collect();
        self.candidates(&keys).await
    }

    /// Looks at the open episodes of these records.
    pub async fn open_of(&self, keys: &[Key]) -> Result<Sighting, EngineError> {
        let kept = self.kept(keys).await?;
        let open = keys.iter().zip(kept).filter_map(|(key, (record, episode))| {
            let episode = episode.filter(is_open)?;
            Some(OpenEpisode { record, key: key.clone(), episode })
        });
        self.open(&open.collect::<Vec<_>>()).await
    }

    /// How the record's episode stands after a look now, and which edge comes if nothing changes but the time.
    pub async fn outlook(&self, key: &Key) -> Result<Outlook, EngineError> {
        let keys = std::slice::from_ref(key);
        if let Some(tide) = self.rule.rule.trigger.tide() {
            return self.foresee(&tide, key).await;
        }
        let mut episode = self.kept(keys).await?.pop().and_then(|(_, episode)| episode);
        let Trigger::Segment(segment) = &self.rule.rule.trigger else {
            return Ok(Outlook { episode, ..Outlook::default() });
        };
        // One that has left since the last sweep isn't in the state yet.
        episode = self.open_of(keys).await?.changes.pop().map(|change| change.episode).or(episode);
        let leaving = episode.as_ref().filter(|episode| segment.leaves && is_open(episode) && episode.due_at != NEVER);
        let ahead = leaving.map(|episode| crossing(key, episode.ordinal, episode.due_at, None));
        Ok(Outlook { episode, ahead, level: None })
    }

    fn hash(&self, key: &Key) -> [u8; 16] {
        let entity = self.rule.rule.for_each.clone();
        self.namer.secret.record_hash(&RecordId { tenant: self.tenant.clone(), entity, key: key.clone() })
    }

    /// What the state knows of these records, with the hash of each.
    async fn kept(&self, keys: &[Key]) -> Result<Vec<([u8; 16], Option<Episode>)>, EngineError> {
        let hashes: Vec<[u8; 16]> = keys.iter().map(|key| self.hash(key)).collect();
        let kept = self.store.episodes(self.lease, &hashes).await?;
        Ok(hashes.into_iter().zip(kept).collect())
    }

    /// Those who were inside at the baseline before anybody looked have come inside without a match.
    fn seeding(&self) -> Option<Timestamp> {
        (!self.lease.progress.seeded).then_some(self.lease.baseline)
    }
}

fn is_open(episode: &Episode) -> bool {
    episode.closed_at.is_none()
}

/// The edge of an episode, as a crossing of its record.
fn crossing(key: &Key, ordinal: u64, at: Timestamp, level: Option<Level>) -> Crossing {
    let row = level.map_or_else(BTreeMap::new, |level| {
        [("now", level.now), ("before", level.before)].map(|(name, count)| (name.to_owned(), Value::Int(count))).into()
    });
    Crossing {
        key: key.clone(),
        occasion: Occasion::new(format!("episode {ordinal}")),
        crossed_at: at,
        occasion_at: Some(at),
        value: level.map_or(Value::Null, |level| Value::Int(level.now)),
        row,
        entry: 0,
    }
}
