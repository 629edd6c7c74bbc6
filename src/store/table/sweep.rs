//! `sweep`: sweeps that entered something, and large or held ones while they are decided and expanded.

use crate::engine::port::{HeldMatch, StoreError, SweepId, SweepView};
use crate::model::{Lane, RuleId, Tenant};
use crate::store::sql::{Row, Session, params};
use crate::store::table::{attempt, end_reason, lane, outbox};
use jiff::Timestamp;

/// What a sweep entered so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub crossed: u64,
    pub entered: u64,
    /// Without those entered only to be skipped.
    pub acting: u64,
}

/// Finds or starts the sweep of that name, to be staged.
pub async fn open(
    session: &mut Session<'_>,
    sweep: &SweepId,
    rule_state: i64,
    at: Timestamp,
) -> Result<i64, StoreError> {
    let row = session
        .row(
            "INSERT INTO sweep (name, rule_state, state, at) VALUES ($1, $2, 0, $3)
             ON CONFLICT (name) DO UPDATE SET at = excluded.at WHERE sweep.state = 0 RETURNING id",
            params![sweep.0.as_str(), rule_state, at],
        )
        .await?;
    let closed = || StoreError::Broken(format!("the sweep {} is closed: nothing can be added to it", sweep.0));
    row.ok_or_else(closed)?.int(0)
}

/// The sweep of that name, if it is in that state: its number, its rule and what it entered.
pub async fn find(
    session: &mut Session<'_>,
    sweep: &SweepId,
    state: i64,
) -> Result<Option<(i64, i64, u64)>, StoreError> {
    let row = session
        .row(
            "SELECT s.id, s.rule_state, s.entered FROM sweep s WHERE s.name = $1 AND s.state = $2 {lock s}",
            params![sweep.0.as_str(), state],
        )
        .await?;
    row.map(|row| Ok((row.int(0)?, row.int(1)?, row.count(2)?))).transpose()
}

pub async fn add(session: &mut Session<'_>, id: i64, tally: Tally) -> Result<(), StoreError> {
    let sql = "UPDATE sweep SET crossed = crossed + $2, entered = entered + $3, acting = acting + $4 WHERE id = $1";
    session.run(sql, params![id, tally.crossed, tally.entered, tally.acting]).await?;
    Ok(())
}

/// Writes down a small sweep that is entered already.
pub async fn done(session: &mut Session<'_>, rule_state: i64, tally: Tally, at: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO sweep (rule_state, state, crossed, entered, acting, at) VALUES ($1, 1, $2, $3, $4, $5)";
    session.run(sql, params![rule_state, tally.crossed, tally.entered, tally.acting, at]).await?;
    Ok(())
}

pub async fn set_state(
    session: &mut Session<'_>,
    id: i64,
    state: i64,
    reason: Option<&str>,
    at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let at = crate::store::sql::Param::Int(at.map(Timestamp::as_microsecond));
    let sql = "UPDATE sweep SET state = $2, reason = COALESCE($3, reason), at = COALESCE($4, at) WHERE id = $1";
    session.run(sql, &[id.into(), state.into(), reason.into(), at]).await?;
    Ok(())
}

/// What was dropped counts for nothing.
pub async fn clear(session: &mut Session<'_>, id: i64) -> Result<(), StoreError> {
    session.run("UPDATE sweep SET entered = 0, acting = 0 WHERE id = $1", params![id]).await?;
    Ok(())
}

/// A sweep with staged matches to enter or to drop.
pub struct Decided {
    pub id: i64,
    pub rule_state: i64,
    pub state: i64,
    /// Why it had been held, if it was.
    pub reason: Option<String>,
    pub at: i64,
}

/// The oldest of them. Passed over where another node is at it.
pub async fn next_decided(session: &mut Session<'_>) -> Result<Option<Decided>, StoreError> {
    let sql = "SELECT s.id, s.rule_state, s.state, s.reason, s.at FROM sweep s WHERE s.state <> 1 AND s.state IN (3, 4)
               ORDER BY s.id LIMIT 1 {lock s skipping}";
    let read = |mut row: Row| {
        let reason = row.opt_text(3)?;
        Ok(Decided { id: row.int(0)?, rule_state: row.int(1)?, state: row.int(2)?, reason, at: row.int(4)? })
    };
    session.row(sql, &[]).await?.map(read).transpose()
}

/// Sweeps of the rule that were staged and never closed.
pub async fn left_open(session: &mut Session<'_>, rule_state: i64) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT id FROM sweep WHERE state <> 1 AND state = 0 AND rule_state = $1 ORDER BY id";
    session.rows(sql, params![rule_state]).await?.iter().map(|row| row.int(0)).collect()
}

pub async fn delete(session: &mut Session<'_>, id: i64) -> Result<(), StoreError> {
    session.run("DELETE FROM sweep WHERE id = $1", params![id]).await?;
    Ok(())
}

pub async fn forget_before(session: &mut Session<'_>, at: i64) -> Result<(), StoreError> {
    session.run("DELETE FROM sweep WHERE state = 1 AND at < $1", params![at]).await?;
    Ok(())
}

/// Matches entered to act on since that instant.
pub async fn acting_since(
    session: &mut Session<'_>,
    (rule, lane, tenant): (&RuleId, Lane, &Tenant),
    since: Timestamp,
) -> Result<u64, StoreError> {
    let sql = "SELECT CAST(COALESCE(sum(s.acting), 0) AS bigint) FROM rule_state r JOIN sweep s ON s.rule_state = r.id
               WHERE r.rule = $1 AND r.lane = $2 AND r.tenant = $3 AND s.at >= $4 AND s.state IN (1, 3)";
    let row = session.row(sql, params![rule.as_str(), lane.as_str(), tenant.as_str(), since]).await?;
    row.map_or(Ok(0), |row| row.count(0))
}

/// The same over all tenants.
pub async fn acting_everywhere(
    session: &mut Session<'_>,
    (rule, lane): (&RuleId, Lane),
    since: Timestamp,
) -> Result<u64, StoreError> {
    let sql = "SELECT CAST(COALESCE(sum(s.acting), 0) AS bigint) FROM rule_state r JOIN sweep s ON s.rule_state = r.id
               WHERE r.rule = $1 AND r.lane = $2 AND s.at >= $3 AND s.state IN (1, 3)";
    let row = session.row(sql, params![rule.as_str(), lane.as_str(), since]).await?;
    row.map_or(Ok(0), |row| row.count(0))
}

/// Held sweeps, oldest first.
pub async fn held(session: &mut Session<'_>, limit: usize) -> Result<Vec<SweepView>, StoreError> {
    let rows = session
        .rows(
            "SELECT s.name, r.rule, r.lane, s.reason, s.entered, s.at FROM sweep s JOIN rule_state r ON r.id = s.rule_state
             WHERE s.state <> 1 AND s.state = 2 ORDER BY s.id LIMIT $1",
            params![limit],
        )
        .await?;
    let read = |mut row: Row| {
        Ok(SweepView {
            id: row.text(0)?,
            rule: row.text(1)?.as_str().into(),
            lane: lane(&row.text(2)?)?,
            reason: row.opt_text(3)?.unwrap_or_default(),
            matches: row.count(4)?,
            since: row.instant(5)?,
        })
    };
    rows.into_iter().map(read).collect()
}

/// Staged matches of a held sweep after that enrollment, in the order they were entered.
pub async fn held_matches(
    session: &mut Session<'_>,
    sweep: &SweepId,
    after: i64,
    limit: usize,
) -> Result<Vec<HeldMatch>, StoreError> {
    let rows = session
        .rows(
            "SELECT e.id, CAST(0 AS bigint), e.match_id, r.rule, r.lane, COALESCE(v.hash, ''), r.tenant, e.entity, e.key,
                    e.occasion, e.occasion_at, e.occasion_data, e.entered_at, e.entry, e.node, CAST(0 AS bigint),
                    CAST(0 AS bigint), e.due_at, e.planned_at, e.saved,
                    CAST(CASE WHEN e.planned_at <= (SELECT doubt_until FROM send_sequence WHERE one = 1) THEN 1
                         ELSE 0 END AS bigint),
                    CAST(NULL AS bigint), e.ended
             FROM sweep s JOIN rule_state r ON r.id = s.rule_state JOIN enrollment e ON e.sweep = s.id
             LEFT JOIN rule_version v ON v.id = e.version
             WHERE s.name = $1 AND s.state = 2 AND e.state = 3 AND e.id > $2 ORDER BY e.id LIMIT $3",
            params![sweep.0.as_str(), after, limit],
        )
        .await?;
    rows.into_iter().map(held_match).collect()
}

/// The columns of [`outbox::claimed`], and why it ended.
fn held_match(mut row: Row) -> Result<HeldMatch, StoreError> {
    let (place, matched_at) = (row.int(0)?, row.instant(12)?);
    let left_out = row.opt_text(22)?.map(|reason| end_reason(&reason)).transpose()?;
    // Of a person that was erased, there is nothing to run.
    if row.is_null(8) || row.is_null(14) {
        let record = attempt::record(&mut row, 6)?;
        let occasion = row.opt_text(9)?.map(|occasion| occasion.as_str().into());
        return Ok(HeldMatch { place, record, occasion, matched_at, left_out, begins: None });
    }
    let begins = outbox::claimed(row)?;
    let (record, occasion) = (Some(begins.record.clone()), Some(begins.occasion.clone()));
    Ok(HeldMatch { place, record, occasion, matched_at, left_out, begins: Some(Box::new(begins)) })
}
