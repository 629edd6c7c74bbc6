//! `ledger`: every match that ever was.

use crate::engine::port::{NewMatch, StoreError};
use crate::model::RuleId;
use crate::store::sql::{Batch, Session, params};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// Which of these ids are in the ledger, by the number given with each.
pub async fn present(session: &mut Session<'_>, ids: &[(usize, [u8; 16])]) -> Result<Vec<usize>, StoreError> {
    let batch = Batch::new().ints("n", ids.iter().map(|id| id.0 as i64)).ids("id", ids.iter().map(|id| &id.1));
    let rows = session.rows_batch("SELECT b.n FROM {batch} CROSS JOIN ledger l WHERE l.id = b.id", &[], &batch).await?;
    rows.iter().map(|row| Ok(row.count(0)? as usize)).collect()
}

/// Enters matches that are known to be new.
pub async fn insert(session: &mut Session<'_>, rule_state: i64, matches: &[&NewMatch]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ids("id", matches.iter().map(|m| &m.id.0))
        .ints("matched_at", matches.iter().map(|m| m.matched_at.as_microsecond()));
    let sql = "INSERT INTO ledger (id, rule_state, matched_at) SELECT b.id, $1, b.matched_at FROM {batch}";
    session.run_batch(sql, params![rule_state], &batch).await?;
    Ok(())
}

/// Forgets matches of a sweep that was never closed.
pub async fn forget(session: &mut Session<'_>, ids: &[[u8; 16]]) -> Result<(), StoreError> {
    let batch = Batch::new().ids("id", ids);
    session.run_batch("DELETE FROM ledger WHERE id IN (SELECT b.id FROM {batch})", &[], &batch).await?;
    Ok(())
}

/// Of a page of matches, those of these rules that are older than `before`, and than their rule's watermark by its reach;
/// and where the next page begins.
pub async fn aged(
    session: &mut Session<'_>,
    rules: &[(RuleId, SignedDuration)],
    before: Timestamp,
    after: Option<[u8; 16]>,
    limit: usize,
) -> Result<(Vec<[u8; 16]>, Option<[u8; 16]>), StoreError> {
    let batch = Batch::new()
        .texts("rule", rules.iter().map(|(rule, _)| rule.as_str()))
        .ints("reach", rules.iter().map(|(_, reach)| i64::try_from(reach.as_micros()).unwrap_or(i64::MAX)));
    let sql = "SELECT r.id, r.watermark, b.reach FROM {batch} CROSS JOIN rule_state r
               WHERE r.rule = b.rule AND r.removed = 0";
    let mut until = HashMap::new();
    for row in session.rows_batch(sql, &[], &batch).await? {
        until.insert(row.int(0)?, row.int(1)?.saturating_sub(row.int(2)?).min(before.as_microsecond()));
    }
    let after = after.map_or(Vec::new(), |id| id.to_vec());
    let sql = "SELECT id, rule_state, matched_at FROM ledger WHERE id > $1 ORDER BY id LIMIT $2";
    let page = session.rows(sql, params![after.as_slice(), limit]).await?;
    let next = if page.len() < limit { None } else { page.last().map(|row| row.id(0)).transpose()? };
    let mut old = Vec::new();
    for row in &page {
        let (id, rule, matched_at) = (row.id(0)?, row.int(1)?, row.int(2)?);
        if until.get(&rule).is_some_and(|until| matched_at < *until) {
            old.push(id);
        }
    }
    Ok((old, next))
}
