//! What became of every match of the days ahead, also of those that sent nothing.

use super::simulate::RuleDays;
use crate::engine::EngineError;
use crate::engine::port::{EnrollmentFilter, EnrollmentView, Store};
use crate::model::{EndReason, EnrollmentState, RuleId};
use std::collections::{BTreeMap, HashMap};

/// Enrollments read at once.
const PAGE: usize = 10_000;
/// How one is called that the days end before.
const UNDER_WAY: &str = "under_way";
/// And one that the guard holds, or whose step can't run.
pub(super) const HELD: &str = "held";

/// Of the enrollments after this one.
pub(super) struct Account {
    after: i64,
}

impl Account {
    /// Before anything happens.
    pub async fn open(store: &dyn Store) -> Result<Self, EngineError> {
        let newest = store.enrollments(&EnrollmentFilter { limit: 1, ..EnrollmentFilter::default() }).await?;
        Ok(Self { after: newest.first().map_or(0, |newest| newest.id) })
    }

    /// Counts each by what it came to.
    pub async fn close(&self, store: &dyn Store, days: &mut BTreeMap<RuleId, RuleDays>) -> Result<(), EngineError> {
        let mut below = None;
        loop {
            let filter = EnrollmentFilter { below, limit: PAGE, ..EnrollmentFilter::default() };
            let page = store.enrollments(&filter).await?;
            let Some(last) = page.last() else { return Ok(()) };
            below = Some(last.id);
            let ours: Vec<&EnrollmentView> = page.iter().filter(|enrollment| enrollment.id > self.after).collect();
            let cancelled = why_cancelled(store, &ours).await?;
            for enrollment in &ours {
                days.entry(enrollment.rule.clone()).or_default().count(enrollment, cancelled.get(&enrollment.id));
            }
            if ours.len() < page.len() {
                return Ok(());
            }
        }
    }
}

impl RuleDays {
    fn count(&mut self, enrollment: &EnrollmentView, cancelled: Option<&String>) {
        let came_to = match (enrollment.state, enrollment.ended) {
            (_, Some(EndReason::LeftOut)) => {
                self.left_out += 1;
                return;
            }
            (_, Some(reason)) => reason.as_str(),
            (EnrollmentState::Held, None) => HELD,
            (EnrollmentState::Active | EnrollmentState::Ended, None) => UNDER_WAY,
        };
        self.matched += 1;
        *self.came_to.entry(came_to.to_owned()).or_default() += 1;
        if let Some(why) = cancelled {
            *self.cancelled.entry(why.clone()).or_default() += 1;
        }
    }
}

/// Why others of their records cancelled these, as their timelines have it.
async fn why_cancelled(store: &dyn Store, of: &[&EnrollmentView]) -> Result<HashMap<i64, String>, EngineError> {
    let is_cancelled = |enrollment: &&&EnrollmentView| enrollment.ended == Some(EndReason::Cancelled);
    let ids: Vec<i64> = of.iter().filter(is_cancelled).map(|enrollment| enrollment.id).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let lines = store.timelines(&ids).await?.into_iter().filter(|line| line.what == "cancelled");
    Ok(lines.map(|line| (line.enrollment, line.detail)).collect())
}
