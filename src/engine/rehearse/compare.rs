//! Another set of rules against the running one: what changed, whom each changed rule newly matches or no longer
//! matches, and what becomes of those who are mid-sequence.
//!
//! Records are read in chunks by key, under both rules, so that memory stays flat and a record with several
//! occasions counts once.

use super::horizon;
use crate::engine::EngineError;
use crate::engine::adopt::baseline;
use crate::engine::context::{lane_of, tenants_of};
use crate::engine::evaluate::{self, Answer, Eligibility};
use crate::engine::port::{EnrollmentFilter, EnrollmentView, Source, SourceError, Standing};
use crate::engine::preview::Previewer;
use crate::model::{EnrollmentState, Key, RecordId, RuleId, Tenant};
use crate::rule::CompiledRule;
use crate::rule::checked::{Backfill, Mode, OnChange, OnDelete};
use crate::rule::compiled::{Crossing, Reach, Subject, Window};
use crate::rule::generation::Generation;
use futures::TryStreamExt;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Enrollments of one rule that are looked at.
const MOST: usize = 10_000;

/// What differs between two generations.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    pub rules: Vec<RuleComparison>,
    pub unchanged: usize,
    /// Templates, scripts and the catalog, as far as they differ; they hold for everybody at once.
    pub files: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct RuleComparison {
    pub rule: RuleId,
    pub change: Change,
    /// False for rules whose occasions are episodes: who is in one is for the state and sweeps to know.
    pub counted: bool,
    /// Who matches by everything but the ledger, before and after.
    pub before: u64,
    pub after: u64,
    pub newly: People,
    pub no_longer: People,
    /// Of those newly matching, how many the next sweep would enter; the others crossed before its baseline.
    pub at_once: u64,
    pub backfill: Backfill,
    pub under_way: UnderWay,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    /// It goes by another id and keeps its ledger.
    Renamed {
        from: RuleId,
        parts: Vec<Part>,
    },
    Changed(Vec<Part>),
}

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Trigger, `where`, script or mapping: its baseline is set anew.
    WhoMatches,
    /// What an enrollment pins.
    Steps,
    Mode,
    /// Anything else in its file.
    Other,
}

impl Part {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhoMatches => "who matches",
            Self::Steps => "steps",
            Self::Mode => "mode",
            Self::Other => "other keys",
        }
    }
}

/// How many, and the first of them by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    pub count: u64,
    pub named: Vec<RecordId>,
}

/// Those in the rule's steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnderWay {
    pub people: People,
    /// Those who would end at their next message, since the new `where` no longer holds for them.
    pub ending: People,
    /// What becomes of the rest.
    pub fate: &'static str,
}

/// Compares what runs with what would.
pub struct Comparer<'a> {
    /// The new rules, the source and the state.
    pub previewer: Previewer<'a>,
    /// `None`: nothing runs yet.
    pub running: Option<&'a Generation>,
    /// Records of one chunk.
    pub batch: usize,
    /// How many records are named.
    pub names: usize,
}

impl Comparer<'_> {
    pub async fn compare(&self) -> Result<Comparison, EngineError> {
        let new = self.previewer.generation;
        let empty = BTreeMap::new();
        let old = self.running.map_or(&empty, |running| &running.rules);
        let mut comparison = Comparison { files: self.files(), ..Comparison::default() };
        let mut renamed = BTreeSet::new();
        for (id, rule) in &new.rules {
            let former = rule.rule.was.iter().find(|was| old.contains_key(*was) && !new.rules.contains_key(*was));
            let before = old.get(id).or_else(|| old.get(former?));
            renamed.extend(former.filter(|_| !old.contains_key(id)).cloned());
            let parts = before.map(|before| differences(before, rule));
            let change = match (before, parts) {
                (Some(_), Some(parts)) if parts.is_empty() => {
                    comparison.unchanged += 1;
                    continue;
                }
                (Some(before), Some(parts)) if before.rule.id != *id => {
                    Change::Renamed { from: before.rule.id.clone(), parts }
                }
                (_, Some(parts)) => Change::Changed(parts),
                (_, None) => Change::Added,
            };
            comparison.rules.push(self.rule(change, before.map(AsRef::as_ref), Some(rule)).await?);
        }
        for (id, rule) in old {
            if !new.rules.contains_key(id) && !renamed.contains(id) {
                comparison.rules.push(self.rule(Change::Removed, Some(rule), None).await?);
            }
        }
        Ok(comparison)
    }

    /// Files that are no rules and differ.
    fn files(&self) -> Vec<String> {
        let texts = |generation: &Generation| -> BTreeMap<String, String> {
            let rules: BTreeSet<&str> = generation.rules.values().map(|rule| rule.rule.file.as_str()).collect();
            let others = generation.tree.files.iter().filter(|file| !rules.contains(file.path.as_str()));
            others.map(|file| (file.path.clone(), file.text.clone())).collect()
        };
        let new = texts(self.previewer.generation);
        let old = self.running.map(texts).unwrap_or_default();
        let paths: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
        let differ = |path: &&String| new.get(*path) != old.get(*path);
        if self.running.is_none() { Vec::new() } else { paths.into_iter().filter(differ).cloned().collect() }
    }

    async fn rule(
        &self,
        change: Change,
        old: Option<&CompiledRule>,
        new: Option<&CompiledRule>,
    ) -> Result<RuleComparison, EngineError> {
        let (id, backfill) = match (new, old) {
            (Some(rule), _) | (None, Some(rule)) => (rule.rule.id.clone(), rule.rule.backfill),
            (None, None) => (RuleId::from(""), Backfill::None),
        };
        let mut compared = RuleComparison {
            rule: id,
            change,
            counted: ![old, new].into_iter().flatten().any(|rule| rule.rule.trigger.keeps_episodes()),
            before: 0,
            after: 0,
            newly: People::default(),
            no_longer: People::default(),
            at_once: 0,
            backfill,
            under_way: self.under_way(old, new).await?,
        };
        let who = match &compared.change {
            Change::Added | Change::Removed => true,
            Change::Renamed { parts, .. } | Change::Changed(parts) => parts.contains(&Part::WhoMatches),
        };
        if who && compared.counted {
            for tenant in tenants_of(&self.previewer.generation.catalog) {
                self.people(&tenant, old, new, &mut compared).await?;
            }
        }
        Ok(compared)
    }

    /// Walks the records once, under both rules. Rules about different entities have nobody in common.
    async fn people(
        &self,
        tenant: &Tenant,
        old: Option<&CompiledRule>,
        new: Option<&CompiledRule>,
        compared: &mut RuleComparison,
    ) -> Result<(), EngineError> {
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
        let mut after: Option<Key> = None;
        loop {
            let upto = self.chunk_end(guide, tenant, after.as_ref()).await?;
            let chunk = (after.as_ref(), upto.as_ref());
            let was = self.matching(old, tenant, chunk).await?;
            let is = self.matching(new, tenant, chunk).await?;
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
            if upto.is_none() {
                return Ok(());
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
    ) -> Result<BTreeMap<Key, Crossing>, EngineError> {
        let Some(rule) = rule else { return Ok(BTreeMap::new()) };
        let (source, now) = (self.previewer.source, self.previewer.now);
        let window: Window = horizon::ever(&rule.rule, &self.previewer.generation.catalog.time_zone, now);
        let mut crossed = Vec::new();
        let reach = Reach::Chunk { window, after, upto };
        for (index, statement) in rule.crossings(reach).into_iter().enumerate() {
            let mut rows = source.rows(tenant, statement);
            while let Some(row) = rows.try_next().await? {
                crossed.extend(rule.read_crossing(index, &row, window).ok().flatten());
            }
        }
        let subjects: Vec<Subject> = crossed.iter().map(|crossing| evaluate::subject(rule, crossing, now)).collect();
        let answers = evaluate::ask(source, rule, tenant, &subjects, now).await?;
        let mut matching: BTreeMap<Key, Crossing> = BTreeMap::new();
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
        Ok(matching)
    }

    /// How many of these the first sweep under a fresh baseline enters.
    async fn at_once(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        fresh: Vec<(&Key, &Crossing)>,
    ) -> Result<u64, EngineError> {
        let Some(lane) = lane_of(rule) else { return Ok(0) };
        let zone = &self.previewer.generation.catalog.time_zone;
        let baseline: Timestamp = baseline(&rule.rule, zone, self.previewer.now);
        let beyond = fresh.into_iter().filter(|(_, crossing)| crossing.crossed_at > baseline);
        let beyond: Vec<Crossing> = beyond.map(|(_, crossing)| crossing.clone()).collect();
        if beyond.is_empty() {
            return Ok(0);
        }
        let standings = self.previewer.standings(rule, tenant, lane, &beyond).await?;
        Ok(standings.iter().filter(|standing| **standing != Standing::Known).count() as u64)
    }

    async fn under_way(&self, old: Option<&CompiledRule>, new: Option<&CompiledRule>) -> Result<UnderWay, EngineError> {
        let Some(old) = old else { return Ok(UnderWay { fate: "", ..UnderWay::default() }) };
        let filter = EnrollmentFilter {
            rule: Some(old.rule.id.clone()),
            state: Some(EnrollmentState::Active),
            limit: MOST,
            ..EnrollmentFilter::default()
        };
        let active = self.previewer.store.enrollments(&filter).await?;
        let mut under_way = UnderWay { fate: fate(old, new), ..UnderWay::default() };
        let mut by_tenant: BTreeMap<Tenant, Vec<(RecordId, Timestamp)>> = BTreeMap::new();
        for EnrollmentView { record, entered_at, .. } in active {
            let Some(record) = record else { continue };
            under_way.people.add(record.clone(), self.names);
            by_tenant.entry(record.tenant.clone()).or_default().push((record, entered_at));
        }
        let Some(new) = new.filter(|new| new.rule.for_each == old.rule.for_each) else { return Ok(under_way) };
        for (tenant, entered) in by_tenant {
            for batch in entered.chunks(self.batch.max(1)) {
                self.ending(new, &tenant, batch, &mut under_way.ending).await?;
            }
        }
        Ok(under_way)
    }

    /// Who would not get past the new `where`.
    async fn ending(
        &self,
        rule: &CompiledRule,
        tenant: &Tenant,
        entered: &[(RecordId, Timestamp)],
        ending: &mut People,
    ) -> Result<(), EngineError> {
        let subject = |(record, at): &(RecordId, Timestamp)| Subject {
            key: record.key.clone(),
            since: Some(*at),
            entered: Some(*at),
        };
        let subjects: Vec<Subject> = entered.iter().map(subject).collect();
        let now = self.previewer.now;
        let answers = evaluate::ask(self.previewer.source, rule, tenant, &subjects, now).await?;
        for ((record, _), answer) in entered.iter().zip(answers) {
            let Answer::Facts(facts) = answer else { continue };
            if evaluate::first_failing(&rule.rule.conditions, &facts.conditions, &facts.score).is_some() {
                ending.add(record.clone(), self.names);
            }
        }
        Ok(())
    }
}

impl People {
    fn add(&mut self, record: RecordId, names: usize) {
        self.count += 1;
        if self.named.len() < names {
            self.named.push(record);
        }
    }
}

fn differences(old: &CompiledRule, new: &CompiledRule) -> Vec<Part> {
    let mut parts = Vec::new();
    if old.definition != new.definition {
        parts.push(Part::WhoMatches);
    }
    if old.version != new.version {
        parts.push(Part::Steps);
    }
    if old.rule.mode != new.rule.mode {
        parts.push(Part::Mode);
    }
    if parts.is_empty() && old.text != new.text {
        parts.push(Part::Other);
    }
    parts
}

/// What becomes of those in the rule's steps.
fn fate(old: &CompiledRule, new: Option<&CompiledRule>) -> &'static str {
    let Some(new) = new else {
        return match old.rule.on_delete {
            OnDelete::Drain => "go on to the end (`on_delete: drain`)",
            OnDelete::Cancel => "end before their next message (`on_delete: cancel`)",
        };
    };
    if new.rule.mode == Mode::Paused {
        return "are held while its file says `mode: paused`";
    }
    if old.version == new.version {
        return "go on, under the new conditions";
    }
    match new.rule.on_change {
        OnChange::Pin => "go on in the steps they began, under the new conditions (`on_change: pin`)",
        OnChange::Migrate => "go on in the new steps, at the step of the same id (`on_change: migrate`)",
        OnChange::Cancel => "end before their next message (`on_change: cancel`)",
    }
}
