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
use crate::model::Tenant;
use crate::rule::CompiledRule;
use crate::rule::checked::Trigger;
use crate::rule::compiled::{Reach, Window};
use crate::rule::generation::Generation;
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};

/// How far a source that changes only when told to can be foreseen.
#[derive(Debug, Clone, Copy)]
pub struct Horizon {
    /// Nothing becomes visible in the source before this.
    pub until: Timestamp,
    /// When the source last changed.
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
            let at = match state.filter(|_| foreseeable(&rule.rule.trigger)) {
                Some(state) => self.foresee(&generation, &rule, &tenant, state, horizon).await?.max(due),
                None => due,
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
