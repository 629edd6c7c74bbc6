//! `ledger`: every match that ever was.

use crate::engine::port::{NewMatch, StoreError};
use crate::store::sql::{Batch, Session, params};

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
