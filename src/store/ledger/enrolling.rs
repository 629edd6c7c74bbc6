//! Matches that steps of other rules make, entered in the transaction that completes those steps.

use super::entering::{self, fresh};
use crate::engine::port::{Enrolling, Lease, NewMatch, Progress, StoreError};
use crate::store::sql::Session;
use crate::store::table::{rule_state, rule_version, sweep};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Enters them as a sweep would, rule by rule. One that is in the ledger already is left alone.
pub async fn enroll(session: &mut Session<'_>, enrolls: &[&Enrolling]) -> Result<(), StoreError> {
    rule_version::keep(session, enrolls.iter().map(|enrolling| &enrolling.version)).await?;
    let mut places: BTreeMap<_, Vec<NewMatch>> = BTreeMap::new();
    for Enrolling { of, .. } in enrolls {
        places.entry((&of.rule, of.lane, &of.record.tenant)).or_default().push(of.clone());
    }
    for ((rule, lane, tenant), matches) in places {
        let now = matches.iter().map(|entered| entered.matched_at).max().unwrap_or(Timestamp::MIN);
        let lease = Lease {
            rule: rule.clone(),
            lane,
            tenant: tenant.clone(),
            epoch: 0,
            progress: Progress { watermark: now, swept_at: now, rechecked_at: now, reconciled_at: now, seeded: true },
            baseline: now,
            populated: true,
        };
        // Adopting a generation made the row before any of its steps could run.
        let missing = || StoreError::Broken(format!("rule {rule} is not in the state: adopt its generation"));
        let id = rule_state::find(session, &lease).await?.ok_or_else(missing)?;
        rule_state::lock(session, id).await?;
        let new = fresh(session, id, &matches).await?;
        let tally = new.tally(0);
        if tally.entered > 0 {
            entering::enter(session, &lease, id, &new).await?;
            // The guard counts them with those that its own sweeps find.
            sweep::done(session, id, tally, now).await?;
            rule_state::add_matches(session, id, tally.entered).await?;
        }
    }
    Ok(())
}
