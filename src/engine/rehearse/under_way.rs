//! Those in a rule's steps, and what becomes of them when the rule changes.

use super::compare::{Comparer, Elsewhere, People, UnderWay};
use crate::engine::EngineError;
use crate::engine::context::lane_of;
use crate::engine::evaluate::{self, Answer};
use crate::engine::held::by_mode;
use crate::engine::port::{EnrollmentFilter, EnrollmentView};
use crate::model::{EnrollmentState, Lane, RecordId, Tenant};
use crate::rule::CompiledRule;
use crate::rule::checked::{Mode, OnChange, OnDelete};
use crate::rule::compiled::Subject;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Enrollments read at once.
const PAGE: usize = 10_000;

impl Comparer<'_> {
    /// However many they are: counted by the state, and gone through page by page where each is asked about.
    pub(super) async fn under_way(
        &self,
        old: Option<&CompiledRule>,
        new: Option<&CompiledRule>,
    ) -> Result<UnderWay, EngineError> {
        let Some(old) = old else { return Ok(UnderWay { fate: "", ..UnderWay::default() }) };
        let store = self.previewer.store;
        // What it matched in a lane that it has left goes on beside, and is no second sequence of these.
        let lane = lane_of(old).unwrap_or(Lane::Live);
        let mut filter = EnrollmentFilter {
            rule: Some(old.rule.id.clone()),
            lane: Some(lane),
            state: Some(EnrollmentState::Active),
            limit: PAGE,
            ..EnrollmentFilter::default()
        };
        let mut under_way = UnderWay { fate: fate(old, new, lane), ..UnderWay::default() };
        under_way.people.count = store.count_enrollments(&filter).await?;
        under_way.elsewhere = self.elsewhere(&filter, (old, new)).await?;
        let new = new.filter(|new| new.rule.for_each == old.rule.for_each);
        loop {
            let page = store.enrollments(&filter).await?;
            let next = page.last().map(|last| last.id).filter(|_| page.len() == PAGE);
            let mut by_tenant: BTreeMap<Tenant, Vec<(RecordId, Timestamp)>> = BTreeMap::new();
            for EnrollmentView { record, entered_at, .. } in page {
                let Some(record) = record else { continue };
                if under_way.people.named.len() < self.names {
                    under_way.people.named.push(record.clone());
                }
                by_tenant.entry(record.tenant.clone()).or_default().push((record, entered_at));
            }
            if let Some(new) = new {
                for (tenant, entered) in by_tenant {
                    for batch in entered.chunks(self.batch.max(1)) {
                        self.ending(new, &tenant, batch, &mut under_way.ending).await?;
                    }
                }
            }
            if next.is_none() || new.is_none() && under_way.people.named.len() >= self.names {
                return Ok(under_way);
            }
            filter.below = next;
        }
    }

    /// Those of the other lane, from when the rule ran in it.
    async fn elsewhere(
        &self,
        filter: &EnrollmentFilter,
        (old, new): (&CompiledRule, Option<&CompiledRule>),
    ) -> Result<Option<Elsewhere>, EngineError> {
        let lane = if filter.lane == Some(Lane::Live) { Lane::Shadow } else { Lane::Live };
        let others = EnrollmentFilter { lane: Some(lane), ..filter.clone() };
        let count = self.previewer.store.count_enrollments(&others).await?;
        Ok((count > 0).then(|| Elsewhere { lane, count, fate: fate(old, new, lane) }))
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

/// What becomes of those in the rule's steps, in a lane.
fn fate(old: &CompiledRule, new: Option<&CompiledRule>, lane: Lane) -> &'static str {
    let Some(new) = new else {
        return match old.rule.on_delete {
            OnDelete::Drain => "go on to the end (`on_delete: drain`)",
            OnDelete::Cancel => "end before their next message (`on_delete: cancel`)",
        };
    };
    if by_mode(new.rule.mode, lane).is_some() {
        return match new.rule.mode {
            Mode::Paused => "are held while its file says `mode: paused`",
            Mode::Shadow | Mode::Live => "are held while its file says `mode: shadow`",
        };
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
