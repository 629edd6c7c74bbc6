//! Turns the staged matches of decided sweeps into enrollments, batch after batch; and forgets those of
//! sweeps that were never closed.

use super::entering::{cancel, note_unstarted, settle_places};
use crate::engine::placing::{Arrival, Place};
use crate::engine::port::{Lease, StoreError};
use crate::model::EndReason;
use crate::store::sql::Session;
use crate::store::table::enrollment::Staged;
use crate::store::table::{
    end_reason, enrollment, episode, ledger, outbox, outbox_state, rule_state, sweep, sweep_state, timeline,
};

/// One batch of the oldest decided sweep; `None` when no sweep is decided, 0 when one was finished.
pub async fn expand(session: &mut Session<'_>, limit: usize) -> Result<Option<usize>, StoreError> {
    let Some(of) = sweep::next_decided(session).await? else { return Ok(None) };
    rule_state::lock(session, of.rule_state).await?;
    let staged = enrollment::staged(session, of.id, limit).await?;
    if of.state == sweep_state::DROPPED {
        let reason = of.reason.as_deref().unwrap_or("no reason is known");
        drop_staged(session, &staged, reason, of.at).await?;
    } else {
        enter(session, of.rule_state, &staged).await?;
    }
    if staged.len() < limit {
        sweep::set_state(session, of.id, sweep_state::DONE, None, None).await?;
    }
    Ok(Some(staged.len()))
}

async fn drop_staged(session: &mut Session<'_>, staged: &[Staged], reason: &str, at: i64) -> Result<(), StoreError> {
    let detail = format!("an operator dropped the sweep that was held: {reason}");
    let line = |staged: &Staged| timeline::Line {
        enrollment: staged.id,
        at,
        step: None,
        what: "cancelled",
        detail: &detail,
        until: None,
    };
    timeline::append(session, &staged.iter().map(line).collect::<Vec<_>>()).await?;
    let ends: Vec<_> = staged.iter().map(|s| (s.id, EndReason::Cancelled, at)).collect();
    enrollment::end(session, &ends).await
}

async fn enter(session: &mut Session<'_>, rule_state: i64, staged: &[Staged]) -> Result<(), StoreError> {
    let arrivals: Vec<_> = staged.iter().map(arrival).collect::<Result<_, _>>()?;
    let placement = settle_places(session, &arrivals).await?;
    let replaced = placement.replaced.iter().map(|(id, by)| (*id, staged[*by].track, staged[*by].entered_at));
    cancel(session, replaced).await?;
    let (mut active, mut ended, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    for (row, place) in staged.iter().zip(&placement.places) {
        match (place.ended(), row.first) {
            (Some(reason), _) => ended.push((row.id, reason, row.entered_at)),
            (None, None) => ended.push((row.id, EndReason::Completed, row.entered_at)),
            (None, Some((node, due_at))) => {
                active.push(row.id);
                let state = if *place == Place::Queued { outbox_state::QUEUED } else { outbox_state::DUE };
                let (id, version, planned_at) = (row.id, row.version, row.planned_at);
                steps.push(outbox::Draft { id, version, node, state, due_at, planned_at });
            }
        }
    }
    enrollment::activate(session, &active).await?;
    enrollment::end(session, &ended).await?;
    let begun = staged.iter().map(|row| (row.id, row.entered_at));
    note_unstarted(session, begun.zip(&placement.places)).await?;
    outbox::insert(session, rule_state, &steps).await
}

fn arrival(staged: &Staged) -> Result<Arrival, StoreError> {
    let over = staged.ended.as_deref().map(end_reason).transpose()?;
    Ok(Arrival { track: staged.track, rematch: staged.rematch, over })
}

/// One batch of what earlier sweeps of this rule left; false when nothing is left. What was staged by a sweep
/// that was never closed may be staged again, so the ledger forgets it; episodes of closed ones begin to count.
pub async fn settle_left(session: &mut Session<'_>, lease: &Lease, limit: usize) -> Result<bool, StoreError> {
    let rule = rule_state::check(session, lease).await?;
    if let Some(id) = sweep::left_open(session, rule).await?.into_iter().next() {
        forget_open(session, rule, id, limit).await?;
        return Ok(true);
    }
    let Some(id) = episode::staged_of(session, rule).await? else { return Ok(false) };
    episode::unstage(session, rule, id, limit).await?;
    Ok(true)
}

async fn forget_open(session: &mut Session<'_>, rule: i64, id: i64, limit: usize) -> Result<(), StoreError> {
    let staged = enrollment::staged(session, id, limit).await?;
    ledger::forget(session, &staged.iter().map(|s| s.match_id).collect::<Vec<_>>()).await?;
    enrollment::delete(session, &staged.iter().map(|s| s.id).collect::<Vec<_>>()).await?;
    let episodes = episode::drop_staged(session, rule, id, limit).await?;
    if staged.len() < limit && episodes < limit as u64 {
        sweep::delete(session, id).await?;
    }
    Ok(())
}
