//! For a clock that jumps: when is there something to do next?
//!
//! A rule that is swept every 15 minutes finds nothing in most of its sweeps. Whoever plays a month in a moment
//! leaves those out. Which they are is asked of the rule's own crossings, ahead of time; who matches is still
//! decided by the sweeps alone.

use super::EngineError;
use super::adopt::BEGINNING;
use super::cadence::{Plan, nightly};
use super::context::lane_of;
use super::core::Engine;
use super::port::{Progress, RuleState};
use super::scheduler;
use super::sweep::keep_trying;
use crate::catalog::{Catalog, Entity, Expression, Place};
use crate::model::{FieldName, Tenant};
use crate::rule::checked::Trigger;
use crate::rule::compiled::{Reach, Window};
use crate::rule::condition::Condition;
use crate::rule::generation::Generation;
use crate::rule::{CheckedRule, CompiledRule};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use std::ops::Range;

/// How far a source that changes only when told to can be foreseen. Whoever tells the engine of an event has its rule swept
/// at once.
#[derive(Debug, Clone, Copy)]
pub struct Horizon {
    /// Nothing becomes visible in the source before this.
    pub until: Timestamp,
    /// When the source last changed, or something in it became visible.
    pub changed_at: Timestamp,
}

impl Engine {
    /// The next instant within the horizon at which a step is due or a sweep may find something, or else the last
    /// one planned. May be in the past: then it is due now.
    pub async fn next_eventful(&self, horizon: Horizon) -> Result<Option<Timestamp>, EngineError> {
        let generation = self.adopt().await?;
        let states = self.context().store.rule_states().await?;
        let step = self.context().store.next_due().await?.filter(|due| *due <= horizon.until);
        let mut next = step;
        for (rule, tenant, due) in scheduler::timetable(&generation, &states) {
            if due > horizon.until {
                continue;
            }
            let state = states.iter().find(|state| {
                state.rule == rule.rule.id && state.tenant == tenant && Some(state.lane) == lane_of(&rule)
            });
            let at = match state {
                Some(state) if foreseeable(&rule.rule.trigger) => {
                    self.foresee(&generation, &rule, &tenant, state, horizon).await?.max(due)
                }
                Some(state) if stands_still(&generation.catalog, &rule.rule, state, horizon) => {
                    let plan = Plan::of(&rule.rule, &generation.catalog.time_zone);
                    plan.last_within(state.progress.swept_at, horizon.until).max(due)
                }
                _ => due,
            };
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        Ok(next)
    }

    /// The first planned instant that may find something, or the last one within the horizon.
    async fn foresee(
        &self,
        generation: &Generation,
        rule: &CompiledRule,
        tenant: &Tenant,
        state: &RuleState,
        horizon: Horizon,
    ) -> Result<Timestamp, EngineError> {
        let zone = &generation.catalog.time_zone;
        let plan = Plan::of(&rule.rule, zone);
        let Progress { watermark, swept_at, rechecked_at, reconciled_at, .. } = state.progress;
        let last = plan.last_within(swept_at, horizon.until);
        let trying = keep_trying(&rule.rule);
        let again = trying.max(self.context().settings.reconcile_reach);
        let back = watermark.checked_sub(again).unwrap_or(BEGINNING);
        let window = Window { after: back.max(state.baseline), until: horizon.until, now: horizon.until };
        let mut found = Vec::new();
        for (index, statement) in rule.crossings(Reach::Crossed(window)).into_iter().enumerate() {
            let mut rows = self.context().source.rows(tenant, statement);
            while let Some(row) = rows.try_next().await? {
                match rule.read_crossing(index, &row, window) {
                    Ok(crossing) => found.extend(crossing.map(|crossing| crossing.crossed_at)),
                    // What can't be read is for the sweep to report.
                    Err(_) => return Ok(plan.next(swept_at)),
                }
            }
        }
        let mut instants = vec![last];
        if let Some(crossed) = found.iter().copied().filter(|crossed| *crossed > watermark).min() {
            instants.push(plan.planned(crossed, swept_at));
        }
        let night = |after| plan.planned(nightly(after, self.context().settings.reconcile_at, zone), swept_at);
        if let Some(first) = found.iter().copied().min() {
            // Looking again at what has crossed finds nothing before anything has.
            if trying > SignedDuration::ZERO {
                let every = SignedDuration::from_secs(rule.rule.recheck.max_seconds());
                let again = rechecked_at.saturating_add(every).unwrap_or(Timestamp::MAX);
                instants.push(plan.planned(again.max(first), swept_at));
            }
            instants.push(night(reconciled_at.max(first)));
        }
        if reconciled_at < horizon.changed_at {
            instants.push(night(reconciled_at));
        }
        if swept_at < horizon.changed_at {
            // What changed may have crossed long ago.
            instants.push(plan.planned(horizon.changed_at, swept_at));
        }
        Ok(instants.into_iter().min().unwrap_or(last))
    }
}

/// How many sweeps of a span a clock that jumps can't leave out, counted no further than `most`.
#[must_use]
pub fn sweeps_ahead(rule: &CheckedRule, catalog: &Catalog, span: Range<Timestamp>, most: u32) -> u32 {
    if foreseeable(&rule.trigger) || by_source_alone(rule, catalog) || rule.trigger == Trigger::Enrolled {
        return 0;
    }
    Plan::of(rule, &catalog.time_zone).count(span, most)
}

/// Whether sweeps have seen all that there is to see until the source changes.
fn stands_still(catalog: &Catalog, rule: &CheckedRule, state: &RuleState, horizon: Horizon) -> bool {
    let Progress { watermark, swept_at, reconciled_at, seeded, .. } = state.progress;
    // One that waits for what could not be judged is asked again.
    if !by_source_alone(rule, catalog) || watermark < swept_at {
        return false;
    }
    let (zone, changed_at) = (&catalog.time_zone, horizon.changed_at);
    match &rule.trigger {
        // It is swept when the event comes.
        Trigger::Event(_) => true,
        // A change that the catalog's `updated_at` doesn't tell of is found at night.
        Trigger::Changed(_) => seeded && swept_at > changed_at && reconciled_at > changed_at,
        // Whoever has left is seen outside first, and is gone after a while.
        Trigger::Segment(segment) => {
            let seen_by = Plan::of(rule, zone).next(changed_at);
            seeded && swept_at > changed_at && swept_at >= segment.min_out.after(seen_by, zone)
        }
        _ => false,
    }
}

/// Whether nothing but a change of the source, or an event, brings a match: no time that passes, and no second chance.
fn by_source_alone(rule: &CheckedRule, catalog: &Catalog) -> bool {
    let Some(entity) = catalog.entity(&rule.for_each) else { return false };
    let timeless = keep_trying(rule) == SignedDuration::ZERO && entity.at.is_none();
    timeless
        && match &rule.trigger {
            Trigger::Event(_) => true,
            Trigger::Changed(changed) => is_stored(entity, &changed.field),
            Trigger::Segment(segment) => segment.when.iter().all(|term| is_timeless(entity, &term.condition)),
            _ => false,
        }
}

fn is_timeless(entity: &Entity, condition: &Condition) -> bool {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter().all(|part| is_timeless(entity, part)),
        Condition::Not(inner) => is_timeless(entity, inner),
        Condition::Field { field, test } => is_stored(entity, field) && !test.goes_by_time(),
        Condition::Related(_) | Condition::Score(_) | Condition::Saved(_) => false,
    }
}

/// Whether the field is what stands in the record's own row.
fn is_stored(entity: &Entity, field: &FieldName) -> bool {
    entity.fields.get(field).is_some_and(|field| match &field.expression {
        Expression::Column(column) | Expression::Means { column, .. } => column.place == Place::Row,
        Expression::Aggregate(_) => false,
    })
}

/// Whether what a sweep finds follows from the rows and the time alone, and not from what earlier sweeps saw. A
/// schedule would be, but plans few sweeps anyway.
const fn foreseeable(trigger: &Trigger) -> bool {
    matches!(
        trigger,
        Trigger::Inactivity(_)
            | Trigger::Survey(_)
            | Trigger::Date(_)
            | Trigger::Created(_)
            | Trigger::Abandoned(_)
            | Trigger::Yearly(_)
    )
}
