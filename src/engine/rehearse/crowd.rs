//! Whom a rule matches now, beside another: records are read in chunks by key, under both rules, so that memory stays
//! flat and a record with several occasions counts once.

use super::compare::{Comparer, RuleComparison};
use super::horizon;
use crate::engine::EngineError;
use crate::engine::adopt::baseline;
use crate::engine::context::lane_of;
use crate::engine::episode::{Past, PastEpisode};
use crate::engine::evaluate::{self, Answer, Eligibility};
use crate::engine::inbound;
use crate::engine::port::{RuleState, Source, SourceError, Standing};
use crate::engine::sweep::had_its_chance;
use crate::model::{Key, Lane, RecordId, Tenant};
use crate::rule::CompiledRule;
use crate::rule::checked::{Backfill, Trigger};
use crate::rule::compiled::{Crossing, Reach, Subject, Window};
use crate::rule::tide::Tide;
use futures::TryStreamExt;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Events read at once.
const PAGE: usize = 1_000;
/// How often the time in which a row counts is gone back for those inside.
const ROUNDS: u32 = 4;

/// Who matches, each with the newest crossing.
type Crowd = BTreeMap<Key, Crossing>;

impl Comparer<'_> {
    /// Walks the records once, under both rules. Rules about different entities have nobody in common.
    pub(super) async fn people(
        &self,
        tenant: &Tenant,
        old: Option<&CompiledRule>,
        new: Option<&CompiledRule>,
        compared: &mut RuleComparison,
    ) -> Result<(), EngineError> {
        if compared.moved_to.is_some() {
            return self.walk(tenant, None, new, compared).await;
        }
        if let (Some(old), Some(new)) = (old, new)
            && old.rule.for_each != new.rule.for_each
        {
            self.walk(tenant, Some(old), None, compared).await?;
            return self.walk(tenant, None, Some(new), compared).await;
        }
        self.walk(tenant, old, new, compared).await
    }

    async fn walk(
        &self,
        tenant: &Tenant,
        old: Option<&CompiledRule>,
        new: Option<&CompiledRule>,
        compared: &mut RuleComparison,
    ) -> Result<(), EngineError> {
        let Some(guide) = new.or(old) else { return Ok(()) };
        if [old, new].into_iter().flatten().any(|rule| matches!(rule.rule.trigger, Trigger::Event(_))) {
            // Events lie in the state, by when they came: they and whom they are compared with are held at once.
            let (was, is) = (self.everybody(old, tenant).await?, self.everybody(new, tenant).await?);
            return self.count(tenant, new.or(old), new, (&was, &is), compared).await;
        }
        let mut after: Option<Key> = None;
        loop {
            let upto = self.chunk_end(guide, tenant, after.as_ref()).await?;
            let chunk = (after.as_ref(), upto.as_ref());
            let (was, is) = (self.matching(old, tenant, chunk).await?, self.matching(new, tenant, chunk).await?);
            self.count(tenant, Some(guide), new, (&was, &is), compared).await?;
            if upto.is_none() {
                return Ok(());
            }
            after = upto;
        }
    }

    async fn count(
        &self,
        tenant: &Tenant,
        guide: Option<&CompiledRule>,
        new: Option<&CompiledRule>,
        (was, is): (&Crowd, &Crowd),
        compared: &mut RuleComparison,
    ) -> Result<(), EngineError> {
        let Some(guide) = guide else { return Ok(()) };
        let known = match new.zip(compared.moved_to) {
            Some((new, lane)) => Some(self.known(new, (tenant, lane), is).await?),
            None => None,
        };
        let was = known.as_ref().unwrap_or(was);
        compared.before += was.len() as u64;
        compared.after += is.len() as u64;
        let entity = &guide.rule.for_each;
        let record = |key: &Key| RecordId { tenant: tenant.clone(), entity: entity.clone(), key: key.clone() };
        for key in was.keys().filter(|key| !is.contains_key(*key)) {
            compared.no_longer.add(record(key), self.names);
        }
        let fresh: Vec<(&Key, &Crossing)> = is.iter().filter(|(key, _)| !was.contains_key(*key)).collect();
        for (key, _) in &fresh {
            compared.newly.add(record(key), self.names);
        }
        if let Some(new) = new {
            compared.at_once += self.at_once(new, tenant, fresh).await?;
        }
        Ok(())
    }

    /// All who match, at once.
    async fn everybody(&self, rule: Option<&CompiledRule>, tenant: &Tenant) -> Result<Crowd, EngineError> {
        let Some(rule) = rule else { return Ok(Crowd::new()) };
        let mut all = Crowd::new();
        if matches!(rule.rule.trigger, Trigger::Event(_)) {
            let window: Window =
                horizon::ever(&rule.rule, &self.previewer.generation.catalog.time_zone, self.previewer.now);
            let mut beyond = Some(0);
            while let Some(from) = beyond {
                let page = inbound::page(self.previewer.store, rule, tenant, window, from, PAGE).await?;
                self.keep_matching(rule, tenant, page.crossings, &mut all).await?;
                beyond = page.beyond;
            }
            return Ok(all);
        }
        let mut after: Option<Key> = None;
        loop {
            let upto = self.chunk_end(rule, tenant, after.as_ref()).await?;
            all.append(&mut self.matching(Some(rule), tenant, (after.as_ref(), upto.as_ref())).await?);
            if upto.is_none() {
                return Ok(all);
            }
            after = upto;
        }
    }

    async fn chunk_end(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        after: Option<&Key>,
    ) -> Result<Option<Key>, SourceError> {
        let source: &dyn Source = self.previewer.source;
        let row = source.rows(tenant, rule.chunk_end(after, self.batch)).try_next().await?;
        row.map(|row| rule.read_key(&row)).transpose().map_err(|error| SourceError::Refused(error.to_string()))
    }

    /// The records of a chunk that match, each with its newest crossing.
    async fn matching(
        &self,
        rule: Option<&CompiledRule>,
        tenant: &Tenant,
        (after, upto): (Option<&Key>, Option<&Key>),
    ) -> Result<Crowd, EngineError> {
        let Some(rule) = rule else { return Ok(Crowd::new()) };
        let (source, now) = (self.previewer.source, self.previewer.now);
        let window: Window = horizon::ever(&rule.rule, &self.previewer.generation.catalog.time_zone, now);
        let reach = Reach::Chunk { window, after, upto };
        let mut crossed = Vec::new();
        if rule.rule.trigger.keeps_episodes() {
            crossed = self.inside(rule, tenant, reach).await?;
        } else {
            for (index, statement) in rule.crossings(reach).into_iter().enumerate() {
                let mut rows = source.rows(tenant, statement);
                while let Some(row) = rows.try_next().await? {
                    crossed.extend(rule.read_crossing(index, &row, window).ok().flatten());
                }
            }
        }
        let mut matching = Crowd::new();
        self.keep_matching(rule, tenant, crossed, &mut matching).await?;
        Ok(matching)
    }

    /// Who is inside now, each since when. Where nothing tells, since now.
    async fn inside(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        reach: Reach<'_>,
    ) -> Result<Vec<Crossing>, EngineError> {
        let (source, now) = (self.previewer.source, self.previewer.now);
        let mut keys = BTreeSet::new();
        for statement in rule.crossings(reach) {
            let mut rows = source.rows(tenant, statement);
            while let Some(row) = rows.try_next().await? {
                keys.extend(rule.read_key(&row));
            }
        }
        let keys: Vec<Key> = keys.into_iter().collect();
        if rule.rule.trigger.tide().is_none() {
            return Ok(keys.iter().map(|key| Past::now(key, now)).collect());
        }
        let (from, looked) = self.begins(rule, tenant).await?;
        let episodes = Past { source, rule, tenant, from, until: now }.episodes(&keys).await?;
        let counts = |episode: &PastEpisode| episode.is_open || episode.crossing.crossed_at > looked;
        Ok(episodes.into_iter().filter(counts).map(|episode| episode.crossing).collect())
    }

    /// Where the rule begins to look, as its episodes follow from there, and up to when it has looked. What came and went
    /// before a first look is history; what does so between two looks is not.
    async fn begins(&self, rule: &CompiledRule, tenant: &Tenant) -> Result<(Timestamp, Timestamp), EngineError> {
        let (zone, now) = (rule.zone(), self.previewer.now);
        let lane = lane_of(rule).unwrap_or(Lane::Live);
        let Some(state) = self.previewer.adopted(rule, lane, tenant).await? else {
            return Ok((baseline(&rule.rule, zone, now), now));
        };
        let RuleState { baseline, progress, .. } = state;
        // Of one that began long ago, far enough back for every row that counts.
        let back = |tide: &Tide<'_>| (0..ROUNDS).fold(now, |at, _| tide.reach().before(at, zone));
        let from = rule.rule.trigger.tide().map_or(baseline, |tide| baseline.max(back(&tide)));
        Ok((from, if progress.seeded { progress.watermark } else { now }))
    }

    async fn keep_matching(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        crossed: Vec<Crossing>,
        matching: &mut Crowd,
    ) -> Result<(), EngineError> {
        let (source, now) = (self.previewer.source, self.previewer.now);
        let subjects: Vec<Subject> = crossed.iter().map(|crossing| evaluate::subject(rule, crossing, now)).collect();
        let answers = evaluate::ask(source, rule, tenant, &subjects, now).await?;
        for (crossing, answer) in crossed.into_iter().zip(answers) {
            let Answer::Facts(facts) = answer else { continue };
            if evaluate::eligibility(rule, &facts, now) != Eligibility::Match {
                continue;
            }
            let newer = matching.get(&crossing.key).is_none_or(|known| known.crossed_at < crossing.crossed_at);
            if newer {
                matching.insert(crossing.key.clone(), crossing);
            }
        }
        Ok(())
    }

    /// Those whom a lane knows already, from when the rule was there before.
    async fn known(
        &self,
        rule: &CompiledRule,
        (tenant, lane): (&Tenant, Lane),
        crowd: &Crowd,
    ) -> Result<Crowd, EngineError> {
        let crossings: Vec<Crossing> = crowd.values().cloned().collect();
        let is_known: Vec<bool> = if rule.rule.trigger.keeps_episodes() {
            // What is open there has matched, or was left out, and nothing crosses before it has ended.
            self.previewer.inside(rule, tenant, lane, &crossings).await?
        } else {
            let standings = self.previewer.standings(rule, tenant, lane, &crossings).await?;
            standings.iter().map(Standing::is_spent).collect()
        };
        let known = crossings.into_iter().zip(is_known).filter(|(_, known)| *known);
        Ok(known.map(|(crossing, _)| (crossing.key.clone(), crossing)).collect())
    }

    /// How many of these the first sweep enters: under a fresh baseline, or from where the rule stopped in its lane.
    async fn at_once(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        fresh: Vec<(&Key, &Crossing)>,
    ) -> Result<u64, EngineError> {
        let Some(lane) = lane_of(rule) else { return Ok(0) };
        let state = self.previewer.adopted(rule, lane, tenant).await?;
        if matches!(rule.rule.trigger, Trigger::Segment(_)) {
            // Whoever is inside at its first look came inside in silence.
            let has_looked = state.is_some_and(|state| state.progress.seeded);
            let enters = has_looked || rule.rule.backfill == Backfill::All;
            return Ok(if enters { fresh.len() as u64 } else { 0 });
        }
        let (zone, now) = (&self.previewer.generation.catalog.time_zone, self.previewer.now);
        let begins = state.as_ref().map_or_else(|| baseline(&rule.rule, zone, now), |state| state.baseline);
        let is_read = |at| at > begins && !horizon::is_passed(&rule.rule, state.as_ref(), at, now);
        let read = fresh.into_iter().map(|(_, crossing)| crossing).filter(|crossing| is_read(crossing.crossed_at));
        let read: Vec<Crossing> = read.cloned().collect();
        // Those that an older definition kept have ended with it, and what opens anew is another occasion.
        if read.is_empty() || rule.rule.trigger.keeps_episodes() {
            return Ok(read.len() as u64);
        }
        let standings = self.previewer.standings(rule, tenant, lane, &read).await?;
        let enters = |(standing, crossing): &(&Standing, &Crossing)| match standing {
            Standing::New => true,
            Standing::Missed { kind, .. } => !had_its_chance(&rule.rule, *kind, crossing.crossed_at, now),
            Standing::Known | Standing::TooClose { .. } => false,
        };
        Ok(standings.iter().zip(&read).filter(enters).count() as u64)
    }
}
