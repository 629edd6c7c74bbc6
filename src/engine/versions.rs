//! Which compiled rule an enrollment runs: the steps of its pinned version under the conditions of the
//! current one, or what `on_change` and `on_delete` say.

use super::error::EngineError;
use super::port::Store;
use crate::model::{RuleId, VersionHash};
use crate::rule::CompiledRule;
use crate::rule::checked::{OnChange, OnDelete};
use crate::rule::generation::{Generation, Surroundings};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Pinned versions compiled against the running generation; emptied when that changes.
#[derive(Debug, Default)]
pub(super) struct Versions {
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    /// Of the generation that the entries were compiled against.
    hash: String,
    surroundings: Option<Arc<Surroundings>>,
    /// Steps may be the same in two rules, but conditions and consent are each rule's own.
    compiled: HashMap<(RuleId, VersionHash), Pinned>,
}

type Pinned = Result<Arc<CompiledRule>, String>;

/// Why a reload ends what is under way.
pub(super) const CHANGED: &str = "its rule changed, and `on_change` is `cancel`";
pub(super) const DELETED: &str = "its rule was deleted, and `on_delete` is `cancel`";

/// What an enrollment of some version is to run.
#[derive(Debug, Clone)]
pub(super) enum Standing {
    /// Its own version.
    Run(Arc<CompiledRule>),
    /// The newer rule, at the node with the same step id.
    Migrate { from: Arc<CompiledRule>, to: Arc<CompiledRule> },
    /// The file says to end what runs.
    Cancel(&'static str),
    /// It can't run; why.
    Hold(String),
}

impl Versions {
    pub async fn standing(
        &self,
        store: &dyn Store,
        generation: &Generation,
        rule: &RuleId,
        version: &VersionHash,
    ) -> Result<Standing, EngineError> {
        let current = successor(generation, rule);
        if let Some(rest) = generation.resting.get(current.map_or(rule, |current| &current.rule.id)) {
            return Ok(Standing::Hold(rest.reason().into()));
        }
        if let Some(current) = current {
            if current.version == *version {
                return Ok(Standing::Run(Arc::clone(current)));
            }
            if current.rule.on_change == OnChange::Cancel {
                return Ok(Standing::Cancel(CHANGED));
            }
        }
        let pinned = match self.pinned(store, generation, (rule, version)).await? {
            Ok(pinned) => pinned,
            Err(problem) => return Ok(Standing::Hold(problem)),
        };
        Ok(match current {
            Some(current) if current.rule.on_change == OnChange::Migrate => {
                Standing::Migrate { from: pinned, to: Arc::clone(current) }
            }
            None if pinned.rule.on_delete == OnDelete::Cancel => Standing::Cancel(DELETED),
            Some(_) | None => Standing::Run(pinned),
        })
    }

    async fn pinned(
        &self,
        store: &dyn Store,
        generation: &Generation,
        (rule, version): (&RuleId, &VersionHash),
    ) -> Result<Pinned, EngineError> {
        let mut cache = self.cache.lock().await;
        let around = &generation.surroundings;
        let is_of = |known: &Cache| {
            known.hash == generation.hash && known.surroundings.as_ref().is_some_and(|known| Arc::ptr_eq(known, around))
        };
        if !is_of(&cache) {
            let (hash, surroundings) = (generation.hash.clone(), Some(Arc::clone(around)));
            *cache = Cache { hash, surroundings, compiled: HashMap::new() };
        }
        // Versions keep the name that their rule had when it was theirs.
        let formers = successor(generation, rule).map(|current| current.rule.was.clone()).unwrap_or_default();
        let find = |cache: &Cache| {
            let mut names = std::iter::once(rule).chain(&formers);
            names.find_map(|name| cache.compiled.get(&(name.clone(), version.clone())).cloned())
        };
        if let Some(known) = find(&cache) {
            return Ok(known);
        }
        let known: HashSet<(RuleId, VersionHash)> = cache.compiled.keys().cloned().collect();
        for (rule, version, text) in store.pinned_versions(&known).await? {
            let current = successor(generation, &rule).map(|current| current.rule.as_ref());
            let compiled = generation.compile_pinned(&text, current).map(Arc::new).map_err(|findings| {
                let first = findings.first().map_or_else(String::new, ToString::to_string);
                format!("its pinned rule version no longer compiles: {first}")
            });
            cache.compiled.insert((rule, version), compiled);
        }
        if let Some(found) = find(&cache) {
            return Ok(found);
        }
        let missing = Err("the text of its pinned rule version is not in the state".to_owned());
        cache.compiled.insert((rule.clone(), version.clone()), missing.clone());
        Ok(missing)
    }
}

/// The rule that goes by this name now, or took it over.
pub(super) fn successor<'a>(generation: &'a Generation, name: &RuleId) -> Option<&'a Arc<CompiledRule>> {
    let renamed = || generation.rules.values().find(|rule| rule.rule.was.contains(name));
    generation.rules.get(name).or_else(renamed)
}
