//! `rule_state`: how far each rule has looked, per lane and tenant, and who is looking.

use crate::engine::port::{Lease, Owner, Progress, RuleState, RuleStatus, StoreError};
use crate::model::{Lane, RuleId, Tenant};
use crate::store::sql::{Batch, Row, Session, params};
use crate::store::table::lane;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Takes the rule's lease, if nobody else holds it and nothing keeps the rule from running.
pub async fn take(
    session: &mut Session<'_>,
    (rule, of_lane, tenant): (&RuleId, Lane, &Tenant),
    owner: &Owner,
    lease: i64,
) -> Result<Option<(i64, Lease)>, StoreError> {
    let row = session
        .row(
            "UPDATE rule_state SET epoch = epoch + 1, owner = $4, lease_until = {clock} + $5
             WHERE rule = $1 AND lane = $2 AND tenant = $3 AND paused = 0 AND removed = 0 AND held IS NULL AND tripped IS NULL
               AND (owner IS NULL OR owner = $4 OR NOT {shared} OR lease_until < {clock})
             RETURNING epoch, watermark, swept_at, rechecked_at, reconciled_at, seeded, baseline, id, populated",
            params![rule.as_str(), of_lane.as_str(), tenant.as_str(), owner.0.as_str(), lease],
        )
        .await?;
    let read = |row: Row| {
        let lease = Lease {
            rule: rule.clone(),
            lane: of_lane,
            tenant: tenant.clone(),
            epoch: row.int(0)?,
            progress: progress(&row, 1)?,
            baseline: row.instant(6)?,
            populated: row.int(8)? != 0,
        };
        Ok((row.int(7)?, lease))
    };
    row.map(read).transpose()
}

fn progress(row: &Row, first: usize) -> Result<Progress, StoreError> {
    Ok(Progress {
        watermark: row.instant(first)?,
        swept_at: row.instant(first + 1)?,
        rechecked_at: row.instant(first + 2)?,
        reconciled_at: row.instant(first + 3)?,
        seeded: row.int(first + 4)? != 0,
    })
}

/// Locks the rule's row if `lease` still holds it, and returns its id.
pub async fn check(session: &mut Session<'_>, lease: &Lease) -> Result<i64, StoreError> {
    held_by(session, lease, "{lock r}").await
}

async fn held_by(session: &mut Session<'_>, lease: &Lease, lock: &str) -> Result<i64, StoreError> {
    let sql = format!(
        "SELECT r.id FROM rule_state r WHERE r.rule = $1 AND r.lane = $2 AND r.tenant = $3 AND r.epoch = $4 {lock}"
    );
    let params = params![lease.rule.as_str(), lease.lane.as_str(), lease.tenant.as_str(), lease.epoch];
    let row = session.row(&sql, params).await?;
    row.map_or_else(|| Err(StoreError::LeaseLost { what: format!("rule {}", lease.rule) }), |row| row.int(0))
}

/// The id of the row of the rule that `lease` names, whoever holds it.
pub async fn find(session: &mut Session<'_>, lease: &Lease) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT r.id FROM rule_state r WHERE r.rule = $1 AND r.lane = $2 AND r.tenant = $3";
    let params = params![lease.rule.as_str(), lease.lane.as_str(), lease.tenant.as_str()];
    session.row(sql, params).await?.map(|row| row.int(0)).transpose()
}

/// Locks a rule's rows of all tenants, in the order of their ids so that two nodes never wait for each other.
pub async fn lock_tenants(session: &mut Session<'_>, lease: &Lease) -> Result<(), StoreError> {
    let sql = "SELECT r.id FROM rule_state r WHERE r.rule = $1 AND r.lane = $2 ORDER BY r.id {lock r}";
    session.rows(sql, params![lease.rule.as_str(), lease.lane.as_str()]).await?;
    Ok(())
}

/// Locks the rows of rules.
pub async fn lock(session: &mut Session<'_>, id: i64) -> Result<(), StoreError> {
    session.rows("SELECT r.id FROM rule_state r WHERE r.id = $1 {lock r}", params![id]).await?;
    Ok(())
}

/// Holds on to the lease while a long sweep goes on.
pub async fn extend(session: &mut Session<'_>, id: i64, lease: i64) -> Result<(), StoreError> {
    session.run("UPDATE rule_state SET lease_until = {clock} + $2 WHERE id = $1", params![id, lease]).await?;
    Ok(())
}

/// Lets go of all rules of an owner that stops.
pub async fn give_up(session: &mut Session<'_>, owner: &Owner) -> Result<(), StoreError> {
    let sql = "UPDATE rule_state SET owner = NULL, lease_until = 0 WHERE owner = $1";
    session.run(sql, params![owner.0.as_str()]).await?;
    Ok(())
}

pub async fn note_populated(session: &mut Session<'_>, lease: &Lease) -> Result<(), StoreError> {
    let id = check(session, lease).await?;
    session.run("UPDATE rule_state SET populated = 1 WHERE id = $1", params![id]).await?;
    Ok(())
}

pub async fn trip(session: &mut Session<'_>, lease: &Lease, reason: &str) -> Result<(), StoreError> {
    let id = check(session, lease).await?;
    session.run("UPDATE rule_state SET tripped = $2 WHERE id = $1", params![id, reason]).await?;
    Ok(())
}

/// Ends a sweep: moves the watermark and lets go of the lease.
pub async fn advance(
    session: &mut Session<'_>,
    id: i64,
    progress: &Progress,
    entered: u64,
    held: Option<&str>,
) -> Result<(), StoreError> {
    let sql = "UPDATE rule_state SET watermark = $2, swept_at = $3, rechecked_at = $4, reconciled_at = $5,
                      matches = matches + $6, held = COALESCE($7, held), seeded = $8, owner = NULL, lease_until = 0
               WHERE id = $1";
    let Progress { watermark, swept_at, rechecked_at, reconciled_at, seeded } = *progress;
    let seeded = i64::from(seeded);
    session.run(sql, params![id, watermark, swept_at, rechecked_at, reconciled_at, entered, held, seeded]).await?;
    Ok(())
}

/// After an operator's decision: the rule runs again unless another of its sweeps is held.
pub async fn unhold(session: &mut Session<'_>, id: i64, entered: u64) -> Result<(), StoreError> {
    let sql = "UPDATE rule_state SET matches = matches + $2,
                      held = (SELECT min(s.reason) FROM sweep s WHERE s.rule_state = rule_state.id AND s.state = 2)
               WHERE id = $1";
    session.run(sql, params![id, entered]).await?;
    Ok(())
}

/// Counts matches that no sweep has found.
pub async fn add_matches(session: &mut Session<'_>, id: i64, entered: u64) -> Result<(), StoreError> {
    session.run("UPDATE rule_state SET matches = matches + $2 WHERE id = $1", params![id, entered]).await?;
    Ok(())
}

/// Rules that an operator has paused, each with whether its file was there until now.
pub async fn paused(session: &mut Session<'_>) -> Result<BTreeMap<RuleId, bool>, StoreError> {
    let rows = session.rows("SELECT rule, min(removed) FROM rule_state WHERE paused = 1 GROUP BY rule", &[]).await?;
    rows.into_iter().map(|mut row| Ok((row.text(0)?.as_str().into(), row.int(1)? == 0))).collect()
}

/// A paused rule stays so in every lane and for every tenant that its file brings.
pub async fn keep_paused(session: &mut Session<'_>, rules: &BTreeSet<&RuleId>) -> Result<(), StoreError> {
    let batch = Batch::new().texts("rule", rules.iter().map(|rule| rule.as_str()));
    let sql = "UPDATE rule_state SET paused = 1 FROM {batch} WHERE rule_state.rule = b.rule AND rule_state.paused = 0";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

pub async fn pause(session: &mut Session<'_>, rule: &RuleId, paused: bool) -> Result<bool, StoreError> {
    let sql =
        "UPDATE rule_state SET paused = $2, tripped = CASE WHEN $2 = 0 THEN NULL ELSE tripped END WHERE rule = $1";
    Ok(session.run(sql, params![rule.as_str(), i64::from(paused)]).await? > 0)
}

pub async fn set_left_out(
    session: &mut Session<'_>,
    (rule, lane, tenant): (&RuleId, Lane, &Tenant),
    count: u64,
) -> Result<bool, StoreError> {
    let sql = "UPDATE rule_state SET left_out = $4 WHERE rule = $1 AND lane = $2 AND tenant = $3 AND left_out IS NULL";
    Ok(session.run(sql, params![rule.as_str(), lane.as_str(), tenant.as_str(), count]).await? > 0)
}

/// All rules ever adopted, with the numbers of their rows; locked when `for_update`.
pub async fn all(session: &mut Session<'_>, for_update: bool) -> Result<Vec<(i64, RuleState)>, StoreError> {
    let lock = if for_update { "{lock r}" } else { "" };
    let sql = format!(
        "SELECT r.id, r.rule, r.lane, r.tenant, r.version, r.definition, r.baseline, r.watermark, r.swept_at,
                r.rechecked_at, r.reconciled_at, r.seeded, r.paused, r.removed, COALESCE(r.held, r.tripped), r.left_out, r.matches,
                (SELECT v.stored_at FROM rule_version v WHERE v.rule = r.rule AND v.hash = r.version),
                CASE WHEN r.tripped IS NULL THEN 0 ELSE 1 END
         FROM rule_state r ORDER BY r.id {lock}"
    );
    let rows = session.rows(&sql, &[]).await?;
    let read = |mut row: Row| {
        let held = row.opt_text(14)?;
        let status = match (row.int(13)? != 0, row.int(12)? != 0, held) {
            (true, _, _) => RuleStatus::Removed,
            (_, true, _) => RuleStatus::Paused,
            (_, _, Some(reason)) => RuleStatus::Held(reason),
            _ => RuleStatus::Running,
        };
        let baseline = row.instant(6)?;
        let state = RuleState {
            rule: row.text(1)?.as_str().into(),
            lane: lane(&row.text(2)?)?,
            tenant: row.text(3)?.as_str().into(),
            version: row.text(4)?.as_str().into(),
            definition: row.text(5)?.as_str().into(),
            baseline,
            looking_since: row.opt_instant(17)?.map_or(baseline, |stored| stored.max(baseline)),
            progress: progress(&row, 7)?,
            status,
            tripped: row.int(18)? != 0,
            left_out: row.opt_int(15)?.and_then(|count| u64::try_from(count).ok()),
            matches: row.count(16)?,
        };
        Ok((row.int(0)?, state))
    };
    rows.into_iter().map(read).collect()
}

/// What a generation makes of one rule's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `None`: a new row.
    pub id: Option<i64>,
    pub rule: RuleId,
    pub lane: Lane,
    pub tenant: Tenant,
    pub version: String,
    pub definition: String,
    /// The new baseline, where it is set anew.
    pub baseline: Option<Timestamp>,
}

fn columns(changes: &[&Change]) -> Batch {
    Batch::new()
        .texts("rule", changes.iter().map(|c| c.rule.as_str()))
        .ints("id", changes.iter().map(|c| c.id))
        .texts("lane", changes.iter().map(|c| c.lane.as_str()))
        .texts("tenant", changes.iter().map(|c| c.tenant.as_str()))
        .texts("version", changes.iter().map(|c| c.version.as_str()))
        .texts("definition", changes.iter().map(|c| c.definition.as_str()))
        .ints("baseline", changes.iter().map(|c| c.baseline.map(Timestamp::as_microsecond)))
}

/// Rows for rules never seen before. Nothing before their adoption counts as late, hence `now`.
pub async fn insert(session: &mut Session<'_>, changes: &[&Change], now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO rule_state (rule, lane, tenant, version, definition, baseline, watermark, swept_at,
                                       rechecked_at, reconciled_at)
               SELECT b.rule, b.lane, b.tenant, b.version, b.definition, b.baseline, b.baseline, $1, $1, $1
               FROM {batch}";
    session.run_batch(sql, params![now], &columns(changes)).await?;
    Ok(())
}

/// Rows whose rule changed. The epoch rises, so that a sweep by the old definition can't commit.
pub async fn update(session: &mut Session<'_>, changes: &[&Change], now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE rule_state SET rule = b.rule, version = b.version, definition = b.definition, removed = 0,
                      baseline = COALESCE(b.baseline, rule_state.baseline),
                      watermark = COALESCE(b.baseline, rule_state.watermark),
                      swept_at = CASE WHEN b.baseline IS NULL THEN swept_at ELSE $1 END,
                      rechecked_at = CASE WHEN b.baseline IS NULL THEN rechecked_at ELSE $1 END,
                      reconciled_at = CASE WHEN b.baseline IS NULL THEN reconciled_at ELSE $1 END,
                      left_out = CASE WHEN b.baseline IS NULL THEN left_out ELSE NULL END,
                      populated = CASE WHEN b.baseline IS NULL THEN populated ELSE 0 END,
                      seeded = CASE WHEN b.baseline IS NULL THEN seeded ELSE 0 END,
                      series = CASE WHEN b.baseline IS NULL THEN series ELSE series + 1 END,
                      tripped = NULL,
                      epoch = epoch + 1, owner = NULL, lease_until = 0
               FROM {batch} WHERE rule_state.id = b.id";
    session.run_batch(sql, params![now], &columns(changes)).await?;
    Ok(())
}

pub async fn remove(session: &mut Session<'_>, ids: &[i64]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("id", ids.iter().copied());
    let sql = "UPDATE rule_state SET removed = 1, epoch = epoch + 1, owner = NULL, lease_until = 0
               FROM {batch} WHERE rule_state.id = b.id";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}
