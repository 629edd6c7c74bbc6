//! Bringing the state in line with a new generation, and counting what fresh baselines leave out.

use super::context::{Context, tenants_of};
use super::error::EngineError;
use super::event::Event;
use super::held::still_held;
use super::port::{Adoption, EnrollmentFilter, EnrollmentView, RuleState};
use super::pruner::ledger_since;
use super::versions;
use crate::model::{EndReason, EnrollmentState, Lane, RuleId, Tenant, VersionHash};
use crate::rule::checked::{Backfill, Mode, OnChange, OnDelete};
use crate::rule::compiled::{Reach, Window};
use crate::rule::generation::Generation;
use crate::rule::{CheckedRule, CompiledRule};
use futures::TryStreamExt;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// Enrollments that are ended at a time.
const PAGE: usize = 500;

/// Before any CRM: where `backfill: all` begins. Not `Timestamp::MIN`, which no database can hold.
pub(super) const BEGINNING: Timestamp = Timestamp::constant(-2_208_988_800, 0);

/// Brings rule states in line with the generation.
pub(super) async fn adopt(context: &Context, generation: &Generation) -> Result<(), EngineError> {
    // The source's clock rules its windows; when it is away ours is close enough for a baseline.
    let now = match context.source.now().await {
        Ok(now) => {
            if let Some(event) = context.health.answered() {
                context.announce(|| event);
            }
            now
        }
        Err(error) => {
            if let Some(event) = context.health.failed(&error) {
                context.announce(|| event);
            }
            context.clock.now()
        }
    };
    let tenants = tenants_of(&generation.catalog);
    let zone = &generation.catalog.time_zone;
    let running = generation.rules.values();
    let mut adoptions: Vec<Adoption> =
        running.flat_map(|rule| tenants.iter().map(move |tenant| adoption(rule, tenant, zone, now))).collect();
    if let Some(known) = ledger_since(&context.settings, now) {
        // Further back nobody knows any more who matched.
        for adoption in &mut adoptions {
            adoption.baseline = adoption.baseline.max(known);
        }
    }
    let adopted = context.store.adopt(&adoptions, now).await?;
    cancel_what_changed(context, generation).await?;
    cancel_what_is_gone(context, generation).await?;
    // Whatever held a step may be repaired by this generation.
    context.store.free_held(&still_held(generation)).await?;
    let baselined: Vec<RuleId> = adopted.baselined.iter().map(|(rule, ..)| rule.clone()).collect();
    context.announce(|| Event::GenerationAdopted {
        hash: generation.hash.clone(),
        rules: generation.rules.len(),
        baselined,
        removed: adopted.removed.clone(),
    });
    Ok(())
}

/// Ends what runs by an older version of a rule that wants that. At once, not when the next step is due: until then it
/// would stand in the way of new matches.
async fn cancel_what_changed(context: &Context, generation: &Generation) -> Result<(), EngineError> {
    let wants = |rule: &&Arc<CompiledRule>| rule.rule.on_change == OnChange::Cancel;
    for rule in generation.rules.values().filter(wants) {
        if generation.resting.contains_key(&rule.rule.id) {
            continue;
        }
        for id in std::iter::once(&rule.rule.id).chain(&rule.rule.was) {
            cancel(context, id, Some(rule.version.clone()), versions::CHANGED).await?;
        }
    }
    Ok(())
}

/// The same of rules that are gone, and said in their last version to end what runs.
async fn cancel_what_is_gone(context: &Context, generation: &Generation) -> Result<(), EngineError> {
    let pinned = context.store.pinned_versions(&HashSet::new()).await?;
    let gone =
        |name: &RuleId| versions::successor(generation, name).is_none() && !generation.resting.contains_key(name);
    let mut ends: BTreeMap<RuleId, bool> = BTreeMap::new();
    for (rule, _, text) in pinned.into_iter().filter(|(rule, ..)| gone(rule)) {
        let says = generation.compile_pinned(&text, None).is_ok_and(|rule| rule.rule.on_delete == OnDelete::Cancel);
        // Where its versions differ, the dispatcher asks each for itself.
        *ends.entry(rule).or_insert(true) &= says;
    }
    for rule in ends.into_iter().filter_map(|(rule, ends)| ends.then_some(rule)) {
        cancel(context, &rule, None, versions::DELETED).await?;
    }
    Ok(())
}

async fn cancel(
    context: &Context,
    rule: &RuleId,
    other_than: Option<VersionHash>,
    why: &str,
) -> Result<(), EngineError> {
    for state in [EnrollmentState::Active, EnrollmentState::Held] {
        let mut below = None;
        loop {
            let filter = EnrollmentFilter {
                rule: Some(rule.clone()),
                state: Some(state),
                other_than: other_than.clone(),
                below,
                limit: PAGE,
                ..EnrollmentFilter::default()
            };
            let page = context.store.enrollments(&filter).await?;
            let (full, last) = (page.len() == PAGE, page.last().map(|view| view.id));
            let ended: Vec<EnrollmentView> = page.into_iter().filter(|view| !is_in_doubt(view)).collect();
            let ids: Vec<i64> = ended.iter().map(|view| view.id).collect();
            if !ids.is_empty() {
                context.store.cancel_enrollments(&ids, why, context.clock.now()).await?;
            }
            for EnrollmentView { rule, lane, record, .. } in ended {
                // Whoever was erased is in no log.
                let Some(record) = record else { continue };
                let (reason, detail) = (EndReason::Cancelled, why.to_owned());
                context.announce(|| Event::EnrollmentEnded { rule, lane, record, reason, detail });
            }
            if !full {
                break;
            }
            below = last;
        }
    }
    Ok(())
}

/// What is being sent ends once that is known; of what nobody knows, a person decides.
fn is_in_doubt(view: &EnrollmentView) -> bool {
    view.standing.as_deref().is_some_and(|standing| matches!(standing, "sending" | "unknown"))
}

fn adoption(rule: &CompiledRule, tenant: &Tenant, zone: &TimeZone, now: Timestamp) -> Adoption {
    let checked = &rule.rule;
    Adoption {
        rule: checked.id.clone(),
        was: checked.was.clone(),
        // A paused rule keeps the standing of the lane it will most likely wake in.
        lane: if checked.mode == Mode::Shadow { Lane::Shadow } else { Lane::Live },
        tenant: tenant.clone(),
        version: rule.version.clone(),
        definition: rule.definition.clone(),
        text: rule.text.to_string(),
        baseline: baseline(checked, zone, now),
    }
}

/// Where a rule begins to look when it starts, or starts anew, at `now`.
pub(super) fn baseline(rule: &CheckedRule, zone: &TimeZone, now: Timestamp) -> Timestamp {
    match rule.backfill {
        Backfill::None => now,
        Backfill::Since(period) => period.before(now, zone),
        Backfill::All => BEGINNING,
    }
}

/// After a count the source rests this many times as long as it took: a count reads a whole table, and a thousand fresh
/// rules must not keep a server busy for an hour with what is only to be looked at.
pub(super) const REST: u32 = 4;

/// Counts what each baseline left out, where nobody has yet. A courtesy to people: what fails, or has no types yet since
/// the source was away, is left for the next generation.
pub(super) async fn count_left_out(context: &Context, generation: &Generation, rest: u32) {
    let Ok(states) = context.store.rule_states().await else { return };
    let uncounted = |state: &&RuleState| state.left_out.is_none() && state.baseline > BEGINNING;
    for RuleState { rule: id, lane, tenant, baseline, .. } in states.iter().filter(uncounted) {
        let Some(rule) = generation.rules.get(id).filter(|_| !generation.resting.contains_key(id)) else { continue };
        let began = Instant::now();
        // What a query without times returns has no past: it is left out whole, or taken in whole.
        let takes_all = rule.rule.trigger.leaves_out_its_first_look() && rule.rule.backfill != Backfill::None;
        let counted = if takes_all { Some(0) } else { count(context, tenant, rule, *baseline).await };
        let took = began.elapsed();
        let Some(count) = counted else { continue };
        // Another part of the process, or another node, may have counted at the same time; it is told once.
        if context.store.set_left_out(id, *lane, tenant, count).await.is_ok_and(|first| first) {
            context.announce(|| Event::LeftOut { rule: id.clone(), lane: *lane, tenant: tenant.clone(), count });
        }
        tokio::time::sleep(took * rest).await;
    }
}

async fn count(context: &Context, tenant: &Tenant, rule: &CompiledRule, until: Timestamp) -> Option<u64> {
    let Some(statement) = rule.count_until(until) else { return count_read(context, tenant, rule, until).await };
    let mut rows = context.source.rows(tenant, statement);
    read_count(&rows.try_next().await.ok()??)
}

/// The same by reading all that crossed by then, none of which is kept.
async fn count_read(context: &Context, tenant: &Tenant, rule: &CompiledRule, until: Timestamp) -> Option<u64> {
    let window = Window { after: BEGINNING, until, now: until };
    let mut count = 0;
    for (index, statement) in rule.crossings(Reach::Crossed(window)).into_iter().enumerate() {
        let mut rows = context.source.rows(tenant, statement);
        while let Some(row) = rows.try_next().await.ok()? {
            let crossed = rule.read_crossing(index, &row, window).ok().flatten();
            count += u64::from(crossed.is_some());
        }
    }
    Some(count)
}

/// The number in the only cell of a `count(*)` row, whatever integer type the database chose.
pub(super) fn read_count(row: &crate::rule::statement::Row) -> Option<u64> {
    use crate::model::Value;
    match row.0.first()? {
        Value::Int(count) => u64::try_from(*count).ok(),
        Value::Decimal(count) => count.to_string().parse().ok(),
        Value::Float(count) if *count >= 0.0 => Some(*count as u64),
        Value::Text(count) => count.parse().ok(),
        _ => None,
    }
}
