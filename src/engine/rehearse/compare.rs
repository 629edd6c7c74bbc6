//! Another set of rules against the running one: what changed, whom each changed rule newly matches or no longer
//! matches, and what becomes of those who are mid-sequence.

use super::horizon;
use crate::engine::EngineError;
use crate::engine::context::{lane_of, tenants_of};
use crate::engine::preview::Previewer;
use crate::model::{Lane, RecordId, RuleId};
use crate::rule::CompiledRule;
use crate::rule::checked::Backfill;
use crate::rule::generation::Generation;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

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
    /// Where its matches go from now on, where its mode has changed that: nobody in this lane was asked by it before.
    pub moved_to: Option<Lane>,
    /// Why nothing but sweeps can tell whom it matches; then nobody is counted.
    pub uncounted: Option<&'static str>,
    /// Who matches by everything but the ledger, before and after. In a lane that it has moved to, those before are
    /// those whom the lane knows from earlier.
    pub before: u64,
    pub after: u64,
    pub newly: People,
    pub no_longer: People,
    /// Of those newly matching, how many the next sweep would enter; the others crossed before its baseline.
    pub at_once: u64,
    /// When they match instead, whenever they crossed: the next planned instant of a schedule.
    pub planned: Option<Timestamp>,
    pub backfill: Backfill,
    pub under_way: UnderWay,
}

impl RuleComparison {
    /// Whether the change is about whom the rule matches, or acts on.
    #[must_use]
    pub fn asks_who(&self) -> bool {
        match &self.change {
            Change::Added | Change::Removed => true,
            Change::Renamed { parts, .. } | Change::Changed(parts) => {
                self.moved_to.is_some() || parts.contains(&Part::WhoMatches)
            }
        }
    }
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

/// Those in the rule's steps, in the lane it runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnderWay {
    pub people: People,
    /// Those who would end at their next message, since the new `where` no longer holds for them.
    pub ending: People,
    /// What becomes of the rest.
    pub fate: &'static str,
    /// Those whom it matched in its other lane.
    pub elsewhere: Option<Elsewhere>,
}

/// Under way in a lane that the rule has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elsewhere {
    pub lane: Lane,
    pub count: u64,
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
        // What can't be loaded can't be compared, and isn't gone.
        let mut renamed = BTreeSet::new();
        for (id, rule) in new.rules.iter().filter(|(id, _)| !new.resting.contains_key(*id)) {
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
            let rests = new.resting.contains_key(id);
            if !new.rules.contains_key(id) && !renamed.contains(id) && !rests {
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
            moved_to: old.zip(new).and_then(|(old, new)| moved(old, new)),
            uncounted: self.uncounted(old, new),
            before: 0,
            after: 0,
            newly: People::default(),
            no_longer: People::default(),
            at_once: 0,
            planned: new.filter(|rule| lane_of(rule).is_some()).and_then(|rule| self.planned(rule)),
            backfill,
            under_way: self.under_way(old, new).await?,
        };
        if compared.asks_who() && compared.uncounted.is_none() {
            for tenant in tenants_of(&self.previewer.generation.catalog) {
                self.people(&tenant, old, new, &mut compared).await?;
            }
        }
        Ok(compared)
    }

    fn uncounted(&self, old: Option<&CompiledRule>, new: Option<&CompiledRule>) -> Option<&'static str> {
        let rests = |old: &CompiledRule| self.running.is_some_and(|running| running.resting.contains_key(&old.rule.id));
        if old.is_some_and(rests) {
            return Some("the source can't be asked about the running rule any more");
        }
        [new, old].into_iter().flatten().find_map(|rule| horizon::uncounted(&rule.rule))
    }

    fn planned(&self, rule: &CompiledRule) -> Option<Timestamp> {
        horizon::planned(&rule.rule, &self.previewer.generation.catalog.time_zone, self.previewer.now)
    }
}

impl People {
    pub(super) fn add(&mut self, record: RecordId, names: usize) {
        self.count += 1;
        if self.named.len() < names {
            self.named.push(record);
        }
    }
}

/// To another lane, or out of a pause.
fn moved(old: &CompiledRule, new: &CompiledRule) -> Option<Lane> {
    lane_of(new).filter(|lane| lane_of(old) != Some(*lane))
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
