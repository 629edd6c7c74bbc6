//! `timeline`, where it tells how a mail was read: `seen` names its link, and has one line of each kind.

use crate::engine::port::{Reacted, Reaction, StoreError};
use crate::model::DeliveryId;
use crate::store::sql::{Batch, Session};
use jiff::Timestamp;
use std::collections::HashMap;

pub async fn sent(
    session: &mut Session<'_>,
    mails: &[(i64, DeliveryId)],
) -> Result<HashMap<DeliveryId, Timestamp>, StoreError> {
    let batch = Batch::new()
        .ints("enrollment", mails.iter().map(|mail| mail.0))
        .ids("delivery", mails.iter().map(|mail| &mail.1.0));
    // One of which nobody knows whether it left has left if it is read.
    let sql = "SELECT a.delivery, max(a.finished_at) FROM {batch} CROSS JOIN attempt a
               WHERE a.enrollment = b.enrollment AND a.delivery = b.delivery AND a.outcome IN ('sent', 'unknown')
               GROUP BY a.delivery";
    let rows = session.rows_batch(sql, &[], &batch).await?;
    rows.iter().map(|row| Ok((DeliveryId(row.id(0)?), row.instant(1)?))).collect()
}

/// What is new of it.
pub async fn note(session: &mut Session<'_>, reactions: &[(Reaction, [u8; 16])]) -> Result<Vec<Reacted>, StoreError> {
    let of = || reactions.iter().map(|(reaction, _)| reaction);
    let batch = Batch::new()
        .ints("enrollment", of().map(|reaction| reaction.enrollment))
        .ids("delivery", of().map(|reaction| &reaction.delivery.0))
        .ints("at", of().map(|reaction| reaction.at.as_microsecond()))
        .texts("what", of().map(|reaction| reaction.what.as_str()))
        .texts("detail", of().map(|reaction| reaction.detail.as_str()))
        .ids("seen", reactions.iter().map(|(_, seen)| seen));
    let sql = "INSERT INTO timeline (enrollment, at, step, what, detail, behind, seen)
               SELECT b.enrollment, b.at,
                      (SELECT a.step FROM attempt a WHERE a.enrollment = b.enrollment AND a.delivery = b.delivery
                       ORDER BY a.id DESC LIMIT 1),
                      b.what, b.detail,
                      COALESCE((SELECT max(a.id) FROM attempt a WHERE a.enrollment = b.enrollment), 0), b.seen
               FROM {batch} CROSS JOIN enrollment e WHERE e.id = b.enrollment AND e.key IS NOT NULL
               ON CONFLICT DO NOTHING RETURNING what";
    let named = |name: &str| Reacted::ALL.into_iter().find(|what| what.as_str() == name);
    let mut new = Vec::new();
    for mut row in session.rows_batch(sql, &[], &batch).await? {
        let name = row.text(0)?;
        new.push(named(&name).ok_or_else(|| StoreError::Broken(format!("`{name}` is no reaction")))?);
    }
    Ok(new)
}
