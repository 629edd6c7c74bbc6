//! Rules and generations, as the state knows them.

use super::database::Database;
use super::sql::Session;
use super::state::State;
use super::table::rule_state::{self, Change};
use super::table::{enrollment, episode, generation, miss, outbox, rule_version, sweep};
use crate::engine::port::{
    Adopted, Adoption, Register, RuleState, RuleStatus, StillHeld, StoreError, StoredGeneration,
};
use crate::model::{InstanceSecret, Lane, RuleId, Tenant, VersionHash};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Rows in one transaction of the tidying that follows an adoption.
const CHUNK: usize = 1_000;

/// Held rows that are looked at together.
const PAGE: usize = 10_000;

/// How long sweeps are remembered, in microseconds: 400 days.
const SWEEPS_KEPT: i64 = 400 * 86_400 * 1_000_000;

#[async_trait]
impl<D: Database> Register for State<D> {
    fn secret(&self) -> &InstanceSecret {
        &self.secret
    }

    async fn adopt(&self, rules: &[Adoption], now: Timestamp) -> Result<Adopted, StoreError> {
        let rules: Arc<[Adoption]> = rules.into();
        let adopted = self.database.write(move |mut session| {
            let rules = Arc::clone(&rules);
            Box::pin(async move { adopt(&mut session, &rules, now).await })
        });
        let (adopted, void) = adopted.await?;
        self.end_void(void.into()).await?;
        self.tidy(now).await?;
        Ok(adopted)
    }

    async fn free_held(&self, still: &[StillHeld]) -> Result<u64, StoreError> {
        let still = self.still_held(still).await?;
        let (mut total, mut after) = (0, i64::MIN);
        loop {
            let page = self
                .database
                .read(move |mut session| Box::pin(async move { outbox::held(&mut session, after, PAGE).await }));
            let page = page.await?;
            let Some(last) = page.last() else { return Ok(total) };
            after = last.id;
            let stays = |held: &outbox::Held| still.get(&held.rule_state).is_some_and(|still| still.covers(held));
            let ids: Vec<i64> = page.iter().filter(|held| !stays(held)).map(|held| held.id).collect();
            for ids in ids.chunks(CHUNK) {
                total += self.free(ids.into()).await?;
            }
        }
    }

    async fn rule_states(&self) -> Result<Vec<RuleState>, StoreError> {
        let all = self.database.read(|mut session| Box::pin(async move { rule_state::all(&mut session, false).await }));
        Ok(all.await?.into_iter().map(|(_, state)| state).collect())
    }

    async fn set_paused(&self, rule: &RuleId, paused: bool) -> Result<bool, StoreError> {
        let rule = rule.clone();
        let set = self.database.write(move |mut session| {
            let rule = rule.clone();
            Box::pin(async move { rule_state::pause(&mut session, &rule, paused).await })
        });
        let found = set.await?;
        self.floor.reset();
        Ok(found)
    }

    async fn set_left_out(&self, rule: &RuleId, lane: Lane, tenant: &Tenant, count: u64) -> Result<bool, StoreError> {
        let of = Arc::new((rule.clone(), tenant.clone()));
        let set = self.database.write(move |mut session| {
            let of = Arc::clone(&of);
            Box::pin(async move { rule_state::set_left_out(&mut session, (&of.0, lane, &of.1), count).await })
        });
        set.await
    }

    async fn save_generation(&self, kept: &StoredGeneration) -> Result<(), StoreError> {
        let kept = Arc::new(kept.clone());
        let saved = self.database.write(move |mut session| {
            let kept = Arc::clone(&kept);
            Box::pin(async move { generation::save(&mut session, &kept).await })
        });
        saved.await
    }

    async fn last_generation(&self) -> Result<Option<StoredGeneration>, StoreError> {
        self.database.read(|mut session| Box::pin(async move { generation::last(&mut session).await })).await
    }
}

impl StillHeld {
    fn covers(&self, held: &outbox::Held) -> bool {
        held.reason == self.reason && self.version.as_ref().is_none_or(|version| version.as_str() == held.version)
    }
}

impl<D: Database> State<D> {
    /// By the numbers of their rules.
    async fn still_held(&self, still: &[StillHeld]) -> Result<HashMap<i64, StillHeld>, StoreError> {
        let all = self.database.read(|mut session| Box::pin(async move { rule_state::all(&mut session, false).await }));
        let by_name: HashMap<_, _> = still.iter().map(|held| ((&held.rule, held.lane), held)).collect();
        let of = |state: &RuleState| by_name.get(&(&state.rule, state.lane)).map(|held| (*held).clone());
        Ok(all.await?.iter().filter_map(|(id, state)| Some((*id, of(state)?))).collect())
    }

    async fn free(&self, ids: Arc<[i64]>) -> Result<u64, StoreError> {
        let freed = self.database.write(move |mut session| {
            let ids = Arc::clone(&ids);
            Box::pin(async move {
                let freed = outbox::free_held(&mut session, &ids).await?;
                enrollment::unhold(&mut session, &freed).await?;
                Ok(freed.len() as u64)
            })
        });
        let freed = freed.await?;
        self.floor.reset();
        Ok(freed)
    }

    /// Ends the episodes of these rules that an older definition opened.
    async fn end_void(&self, rule_states: Arc<[i64]>) -> Result<(), StoreError> {
        loop {
            let of = Arc::clone(&rule_states);
            let ended = self.database.write(move |mut session| {
                let of = Arc::clone(&of);
                Box::pin(async move { episode::end_void(&mut session, &of, CHUNK).await })
            });
            if ended.await? < CHUNK as u64 {
                return Ok(());
            }
        }
    }

    /// Forgets versions that nothing pins, and old sweeps.
    async fn tidy(&self, now: Timestamp) -> Result<(), StoreError> {
        let idle = self.database.read(|mut session| Box::pin(async move { rule_version::idle(&mut session).await }));
        let idle: Arc<[i64]> = idle.await?.into();
        let now = now.as_microsecond();
        let forgotten = self.database.write(move |mut session| {
            let idle = Arc::clone(&idle);
            Box::pin(async move {
                rule_version::delete(&mut session, &idle).await?;
                sweep::forget_before(&mut session, now - SWEEPS_KEPT).await
            })
        });
        forgotten.await
    }
}

/// What changed, and the numbers of the rules whose open episodes are void.
async fn adopt(
    session: &mut Session<'_>,
    rules: &[Adoption],
    now: Timestamp,
) -> Result<(Adopted, Vec<i64>), StoreError> {
    let existing = rule_state::all(session, true).await?;
    let paused = rule_state::paused(session).await?;
    let plan = plan(&existing, rules);
    let texts: BTreeMap<_, _> = rules.iter().map(|r| ((r.rule.as_str(), r.version.as_str()), r)).collect();
    rule_version::store(session, &texts.into_values().collect::<Vec<_>>(), now).await?;
    let (new, changed): (Vec<_>, Vec<_>) = plan.changes.iter().partition(|change| change.id.is_none());
    // A renamed rule gives its name free before another may take it.
    rule_state::remove(session, &plan.removed).await?;
    let anew = changed.iter().filter(|change| change.baseline.is_some());
    let mut void: Vec<i64> = anew.filter_map(|change| change.id).collect();
    for id in &void {
        // What the last sweep left staged belongs to the definition that it went by, which the next sweep can't know.
        while let Some(sweep) = episode::closed_of(session, *id).await? {
            episode::unstage(session, *id, sweep, CHUNK).await?;
        }
    }
    rule_state::update(session, &changed, now).await?;
    miss::forget_of(session, &void).await?;
    void.extend(&plan.removed);
    rule_state::insert(session, &new, now).await?;
    let still: BTreeSet<&RuleId> = rules
        .iter()
        .filter(|r| paused.contains_key(&r.rule) || r.was.iter().any(|name| paused.get(name) == Some(&true)))
        .map(|r| &r.rule)
        .collect();
    rule_state::keep_paused(session, &still).await?;
    Ok((plan.adopted, void))
}

#[derive(Debug, Default)]
struct Plan {
    changes: Vec<Change>,
    removed: Vec<i64>,
    adopted: Adopted,
}

/// What a generation changes, compared with what is known.
fn plan(existing: &[(i64, RuleState)], rules: &[Adoption]) -> Plan {
    let by_name: HashMap<_, _> = existing.iter().map(|(id, s)| ((&s.rule, s.lane, &s.tenant), (*id, s))).collect();
    let in_use: HashSet<_> = rules.iter().map(|r| (&r.rule, r.lane, &r.tenant)).collect();
    let mut kept = HashSet::new();
    let mut plan = Plan::default();
    for rule in rules {
        let under = |name| by_name.get(&(name, rule.lane, &rule.tenant)).copied();
        let renamed = || {
            let free = rule.was.iter().filter(|name| !in_use.contains(&(*name, rule.lane, &rule.tenant)));
            free.filter_map(under).find(|(id, _)| !kept.contains(id))
        };
        let found = under(&rule.rule).or_else(renamed);
        kept.extend(found.map(|(id, _)| id));
        if let Some(change) = change(rule, found) {
            if change.baseline.is_some() {
                plan.adopted.baselined.push((rule.rule.clone(), rule.lane, rule.tenant.clone()));
            }
            plan.changes.push(change);
        }
    }
    let gone = existing.iter().filter(|(id, s)| !kept.contains(id) && s.status != RuleStatus::Removed);
    let alive: HashSet<&RuleId> = rules.iter().map(|r| &r.rule).collect();
    let mut removed = BTreeSet::new();
    for (id, state) in gone {
        plan.removed.push(*id);
        if !alive.contains(&state.rule) {
            removed.insert(state.rule.clone());
        }
    }
    plan.adopted.removed = removed.into_iter().collect();
    plan
}

fn only_script_differs(state: &RuleState, rule: &Adoption) -> bool {
    let without = |definition: &VersionHash| definition.as_str().split('.').next().map(str::to_owned);
    state.definition != rule.definition && without(&state.definition) == without(&rule.definition)
}

/// `None` where nothing changed. The baseline is set for new rules, new definitions and returning ids; not where only
/// the script changed of a rule that rested because of it.
fn change(rule: &Adoption, found: Option<(i64, &RuleState)>) -> Option<Change> {
    let returns = found.is_some_and(|(_, state)| state.status == RuleStatus::Removed);
    let same_definition = found.is_some_and(|(_, state)| state.definition == rule.definition);
    // Whoever repairs a script must not lose those that it failed for.
    let repaired = found.is_some_and(|(_, state)| state.tripped && only_script_differs(state, rule));
    let same = found.is_some_and(|(_, state)| state.rule == rule.rule && state.version == rule.version);
    if same && same_definition && !returns {
        return None;
    }
    Some(Change {
        id: found.map(|(id, _)| id),
        rule: rule.rule.clone(),
        lane: rule.lane,
        tenant: rule.tenant.clone(),
        version: rule.version.as_str().to_owned(),
        definition: rule.definition.as_str().to_owned(),
        baseline: (returns || !(same_definition || repaired)).then_some(rule.baseline),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::port::Progress;

    fn adoption(rule: &str, was: &[&str], definition: &str) -> Adoption {
        Adoption {
            rule: rule.into(),
            was: was.iter().map(|name| (*name).into()).collect(),
            lane: Lane::Live,
            tenant: "".into(),
            version: "v1".into(),
            definition: definition.into(),
            text: String::new(),
            baseline: Timestamp::from_second(500).unwrap(),
        }
    }

    fn known(id: i64, rule: &str, status: RuleStatus) -> (i64, RuleState) {
        let epoch = Timestamp::UNIX_EPOCH;
        let (watermark, swept_at, rechecked_at, reconciled_at) = (epoch, epoch, epoch, epoch);
        let progress = Progress { watermark, swept_at, rechecked_at, reconciled_at, seeded: false };
        let state = RuleState {
            rule: rule.into(),
            lane: Lane::Live,
            tenant: "".into(),
            version: "v1".into(),
            definition: "d1".into(),
            baseline: epoch,
            looking_since: epoch,
            progress,
            status,
            tripped: false,
            left_out: None,
            matches: 0,
        };
        (id, state)
    }

    #[test]
    fn an_unchanged_rule_keeps_everything() {
        let plan = plan(&[known(1, "a", RuleStatus::Running)], &[adoption("a", &[], "d1")]);
        assert!(plan.changes.is_empty() && plan.removed.is_empty(), "{plan:?}");
    }

    #[test]
    fn a_rename_keeps_the_baseline_and_does_not_steal_from_a_rule_in_use() {
        let existing = [known(1, "old", RuleStatus::Running)];
        let renamed = plan(&existing, &[adoption("new", &["old"], "d1")]);
        assert_eq!((renamed.changes[0].id, renamed.changes[0].baseline), (Some(1), None));
        assert!(renamed.removed.is_empty() && renamed.adopted.removed.is_empty());

        let both = plan(&existing, &[adoption("new", &["old"], "d1"), adoption("old", &[], "d1")]);
        assert_eq!(both.changes.len(), 1);
        assert_eq!(both.changes[0].id, None);
    }

    #[test]
    fn a_new_definition_and_a_returning_id_set_the_baseline_anew() {
        let changed = plan(&[known(1, "a", RuleStatus::Running)], &[adoption("a", &[], "d2")]);
        assert!(changed.changes[0].baseline.is_some());
        let returned = plan(&[known(1, "a", RuleStatus::Removed)], &[adoption("a", &[], "d1")]);
        assert!(returned.changes[0].baseline.is_some());
        assert_eq!(returned.adopted.baselined.len(), 1);
    }

    #[test]
    fn a_repaired_script_keeps_the_baseline_of_a_rule_that_rested_because_of_it() {
        let mut held = known(1, "a", RuleStatus::Held("its script failed".into()));
        held.1.definition = "d1.s1".into();
        let repaired = |held: &(i64, RuleState), definition| {
            let plan = plan(std::slice::from_ref(held), &[adoption("a", &[], definition)]);
            plan.changes[0].baseline.is_none()
        };
        assert!(!repaired(&held, "d1.s2"), "a guard's hold is no reason");
        held.1.tripped = true;
        assert!(repaired(&held, "d1.s2"));
        assert!(!repaired(&held, "d2.s2"), "the trigger changed as well");
        assert!(repaired(&held, "d1"), "without a script none fails");
    }

    #[test]
    fn what_is_gone_is_named_once() {
        let existing = [known(1, "a", RuleStatus::Running), known(2, "b", RuleStatus::Removed)];
        let plan = plan(&existing, &[]);
        assert_eq!(plan.removed, [1]);
        assert_eq!(plan.adopted.removed, [RuleId::from("a")]);
    }
}
