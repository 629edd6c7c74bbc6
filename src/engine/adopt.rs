//! Bringing the state in line with a new generation, and counting what fresh baselines leave out.

use super::context::{Context, tenants_of};
use super::error::EngineError;
use super::event::Event;
use super::held::still_held;
use super::port::{Adoption, RuleState};
use super::pruner::ledger_since;
use crate::model::{Lane, RuleId, Tenant};
use crate::rule::checked::{Backfill, Mode};
use crate::rule::generation::Generation;
use crate::rule::{CheckedRule, CompiledRule};
use futures::TryStreamExt;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Instant;

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
        let counted = count(context, tenant, rule.count_until(*baseline)).await;
        let took = began.elapsed();
        let Some(count) = counted else { continue };
        // Another part of the process, or another node, may have counted at the same time; it is told once.
        if context.store.set_left_out(id, *lane, tenant, count).await.is_ok_and(|first| first) {
            context.announce(|| Event::LeftOut { rule: id.clone(), lane: *lane, tenant: tenant.clone(), count });
        }
        tokio::time::sleep(took * rest).await;
    }
}

async fn count(context: &Context, tenant: &Tenant, statement: crate::rule::statement::Statement) -> Option<u64> {
    let mut rows = context.source.rows(tenant, statement);
    read_count(&rows.try_next().await.ok()??)
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
