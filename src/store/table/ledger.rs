//! `ledger`: every match that ever was.

use crate::engine::port::{NewMatch, StoreError};
use crate::store::sql::{Batch, Session, params};
use jiff::Timestamp;
use std::collections::HashMap;

/// Which of these ids are in the ledger, by the number given with each.
pub async fn present(session: &mut Session<'_>, ids: &[(usize, [u8; 16])]) -> Result<Vec<usize>, StoreError> {
    let batch = Batch::new().ints("n", ids.iter().map(|id| id.0 as i64)).ids("id", ids.iter().map(|id| &id.1));
    let rows = session.rows_batch("SELECT b.n FROM {batch} CROSS JOIN ledger l WHERE l.id = b.id", &[], &batch).await?;
    rows.iter().map(|row| Ok(row.count(0)? as usize)).collect()
}

/// The greatest occasion entered for each of these tracks.
pub async fn greatest<'a>(
    session: &mut Session<'_>,
    tracks: impl Iterator<Item = &'a [u8; 16]>,
) -> Result<HashMap<[u8; 16], i64>, StoreError> {
    let batch = Batch::new().ids("track", tracks);
    let rows = session
        .rows_batch(
            "SELECT l.track, max(l.occasion_at) FROM {batch} CROSS JOIN ledger l
             WHERE l.track = b.track AND l.track IS NOT NULL GROUP BY l.track",
            &[],
            &batch,
        )
        .await?;
    rows.iter().filter(|row| !row.is_null(1)).map(|row| Ok((row.id(0)?, row.int(1)?))).collect()
}

/// Enters matches that are known to be new.
pub async fn insert(session: &mut Session<'_>, rule_state: i64, matches: &[&NewMatch]) -> Result<(), StoreError> {
    let measured = |m: &&NewMatch| m.tolerance.is_some() && m.occasion_at.is_some();
    let batch = Batch::new()
        .ids("id", matches.iter().map(|m| &m.id.0))
        .ints("matched_at", matches.iter().map(|m| m.matched_at.as_microsecond()))
        .opt_ids("track", matches.iter().map(|m| measured(m).then_some(&m.track)))
        .ints(
            "occasion_at",
            matches.iter().map(|m| m.occasion_at.filter(|_| measured(m)).map(Timestamp::as_microsecond)),
        );
    let sql = "INSERT INTO ledger (id, rule_state, matched_at, track, occasion_at)
               SELECT b.id, $1, b.matched_at, b.track, b.occasion_at FROM {batch}";
    session.run_batch(sql, params![rule_state], &batch).await?;
    Ok(())
}

/// Forgets matches of a sweep that was never closed.
pub async fn forget(session: &mut Session<'_>, ids: &[[u8; 16]]) -> Result<(), StoreError> {
    let batch = Batch::new().ids("id", ids);
    session.run_batch("DELETE FROM ledger WHERE id IN (SELECT b.id FROM {batch})", &[], &batch).await?;
    Ok(())
}
