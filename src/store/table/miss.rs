//! `miss`: who crossed and did not match, and why; for `why`, and so that a re-read asks less.

use crate::engine::port::{Miss, MissKind, MissView, StoreError};
use crate::model::{EntityName, Key, Occasion, RecordId};
use crate::store::sql::{Batch, Row, Session, params};
use crate::store::table::lane;
use jiff::Timestamp;
use std::collections::HashMap;

const fn code(kind: MissKind) -> i64 {
    match kind {
        MissKind::Refused => 0,
        MissKind::Unjudged => 1,
    }
}

const fn kind(code: i64) -> MissKind {
    match code {
        1 => MissKind::Unjudged,
        _ => MissKind::Refused,
    }
}

pub async fn store(
    session: &mut Session<'_>,
    rule_state: i64,
    misses: &[Miss],
    seen_at: Timestamp,
) -> Result<(), StoreError> {
    // The last word on a record counts, and a statement may touch a row only once.
    let newest: HashMap<_, _> = misses.iter().map(|m| ((&m.entity, &m.key, &m.occasion), m)).collect();
    let mut misses: Vec<&Miss> = newest.into_values().collect();
    misses.sort_by_key(|m| (m.key.as_str(), m.entity.as_str(), m.occasion.as_str()));
    let batch = Batch::new()
        .texts("key", misses.iter().map(|m| m.key.as_str()))
        .texts("entity", misses.iter().map(|m| m.entity.as_str()))
        .texts("occasion", misses.iter().map(|m| m.occasion.as_str()))
        .ints("crossed_at", misses.iter().map(|m| m.crossed_at.as_microsecond()))
        .ints("kind", misses.iter().map(|m| code(m.kind)))
        .texts("reason", misses.iter().map(|m| m.reason.as_str()));
    let sql = "INSERT INTO miss (rule_state, seen_at, key, entity, occasion, crossed_at, kind, reason)
               SELECT $1, $2, b.key, b.entity, b.occasion, b.crossed_at, b.kind, b.reason FROM {batch} WHERE TRUE
               ON CONFLICT (key, entity, rule_state, occasion)
               DO UPDATE SET kind = excluded.kind, reason = excluded.reason, seen_at = excluded.seen_at,
                             crossed_at = excluded.crossed_at";
    session.run_batch(sql, params![rule_state, seen_at], &batch).await?;
    Ok(())
}

/// The misses kept of these crossers, by the number given with each.
pub async fn of_crossers<'a>(
    session: &mut Session<'_>,
    rule_state: i64,
    of: impl Iterator<Item = (usize, &'a EntityName, &'a Key, &'a Occasion)> + Clone,
) -> Result<HashMap<usize, (MissKind, String)>, StoreError> {
    let batch = Batch::new()
        .ints("n", of.clone().map(|c| c.0 as i64))
        .texts("entity", of.clone().map(|c| c.1.as_str()))
        .texts("key", of.clone().map(|c| c.2.as_str()))
        .texts("occasion", of.map(|c| c.3.as_str()));
    let rows = session
        .rows_batch(
            "SELECT b.n, m.kind, m.reason FROM {batch} CROSS JOIN miss m
             WHERE m.key = b.key AND m.entity = b.entity AND m.rule_state = $1 AND m.occasion = b.occasion",
            params![rule_state],
            &batch,
        )
        .await?;
    rows.into_iter().map(|mut row| Ok((row.count(0)? as usize, (kind(row.int(1)?), row.text(2)?)))).collect()
}

pub async fn of_record(
    session: &mut Session<'_>,
    record: &RecordId,
    limit: usize,
) -> Result<Vec<MissView>, StoreError> {
    let rows = session
        .rows(
            "SELECT r.rule, r.lane, m.occasion, m.crossed_at, m.reason, m.seen_at
             FROM miss m JOIN rule_state r ON r.id = m.rule_state
             WHERE m.key = $1 AND m.entity = $2 AND r.tenant = $3 ORDER BY m.seen_at DESC LIMIT $4",
            params![record.key.as_str(), record.entity.as_str(), record.tenant.as_str(), limit],
        )
        .await?;
    let read = |mut row: Row| {
        Ok(MissView {
            rule: row.text(0)?.as_str().into(),
            lane: lane(&row.text(1)?)?,
            key: record.key.clone(),
            occasion: row.text(2)?.as_str().into(),
            crossed_at: row.instant(3)?,
            reason: row.text(4)?,
            seen_at: row.instant(5)?,
        })
    };
    rows.into_iter().map(read).collect()
}

/// Forgets the misses of rules that were given a new baseline: what an older definition said no to was not
/// asked of the new one.
pub async fn forget_of(session: &mut Session<'_>, rule_states: &[i64]) -> Result<(), StoreError> {
    if rule_states.is_empty() {
        return Ok(());
    }
    let batch = Batch::new().ints("id", rule_states.iter().copied());
    session.run_batch("DELETE FROM miss WHERE rule_state IN (SELECT b.id FROM {batch})", &[], &batch).await?;
    Ok(())
}

/// Forgets up to `limit` misses not seen since `at`; how many it forgot.
pub async fn forget_before(session: &mut Session<'_>, at: i64, limit: usize) -> Result<u64, StoreError> {
    let sql = "DELETE FROM miss WHERE (key, entity, rule_state, occasion) IN
               (SELECT key, entity, rule_state, occasion FROM miss WHERE seen_at < $1 ORDER BY seen_at LIMIT $2)";
    session.run(sql, params![at, limit]).await
}
