//! `message`: messages as they left, where they are kept.

use crate::engine::port::{Content, Keeping, KeptMessage, StoreError};
use crate::model::DeliveryId;
use crate::store::sql::{Batch, Row, Session, params};

/// A row to append.
pub struct Line<'a> {
    pub enrollment: i64,
    pub kind: &'static str,
    pub sent_at: i64,
    pub keeping: &'a Keeping,
}

pub async fn append(session: &mut Session<'_>, lines: &[Line<'_>]) -> Result<(), StoreError> {
    let content = |line: &Line<'_>| line.keeping.content.as_ref().map(|content| content.to.clone());
    let body = |line: &Line<'_>| line.keeping.content.as_ref().map(|content| content.body.to_string());
    let batch = Batch::new()
        .ints("enrollment", lines.iter().map(|l| l.enrollment))
        .ids("delivery", lines.iter().map(|l| &l.keeping.delivery.0))
        .texts("kind", lines.iter().map(|l| l.kind))
        .ints("sent_at", lines.iter().map(|l| l.sent_at))
        .opt_texts("recipient", lines.iter().map(content))
        .opt_texts("body", lines.iter().map(body));
    let sql = "INSERT INTO message (enrollment, delivery, kind, sent_at, recipient, body)
               SELECT b.enrollment, b.delivery, b.kind, b.sent_at, b.recipient, b.body FROM {batch}";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Of one delivery, oldest first.
pub async fn of_delivery(
    session: &mut Session<'_>,
    enrollment: i64,
    delivery: DeliveryId,
) -> Result<Vec<KeptMessage>, StoreError> {
    let sql = "SELECT m.delivery, m.kind, m.sent_at, m.recipient, m.body FROM message m
               WHERE m.enrollment = $1 AND m.delivery = $2 AND m.body IS NOT NULL ORDER BY m.id";
    session.rows(sql, params![enrollment, &delivery.0]).await?.into_iter().map(read).collect()
}

/// All that tell of these enrollments, oldest first.
pub async fn about(session: &mut Session<'_>, enrollments: &[i64]) -> Result<Vec<KeptMessage>, StoreError> {
    let batch = Batch::new().ints("id", enrollments.iter().copied());
    let sql = "SELECT DISTINCT m.delivery, m.kind, m.sent_at, m.recipient, m.body, m.id
               FROM {batch} CROSS JOIN message w CROSS JOIN message m
               WHERE w.enrollment = b.id AND m.delivery = w.delivery AND m.body IS NOT NULL ORDER BY m.id";
    // Of several pieces each is in order for itself, and one that tells of enrollments in two of them comes twice.
    let rows = session.rows_batch(sql, &[], &batch).await?;
    let mut found =
        rows.into_iter().map(|row| Ok((row.int(5)?, read(row)?))).collect::<Result<Vec<_>, StoreError>>()?;
    found.sort_by_key(|(id, _)| *id);
    found.dedup_by_key(|(id, _)| *id);
    Ok(found.into_iter().map(|(_, kept)| kept).collect())
}

fn read(mut row: Row) -> Result<KeptMessage, StoreError> {
    Ok(KeptMessage {
        delivery: DeliveryId(row.id(0)?),
        kind: row.text(1)?,
        sent_at: row.instant(2)?,
        content: Content { to: row.opt_text(3)?.unwrap_or_default(), body: row.json(4)? },
    })
}

/// Deletes what tells of any of these enrollments, whomever else it tells of: how many messages.
pub async fn forget(session: &mut Session<'_>, enrollments: &[i64]) -> Result<u64, StoreError> {
    let batch = Batch::new().ints("id", enrollments.iter().copied());
    let sql = "DELETE FROM message
               WHERE delivery IN (SELECT w.delivery FROM message w WHERE w.enrollment IN (SELECT b.id FROM {batch}))
               RETURNING CASE WHEN body IS NULL THEN 0 ELSE 1 END";
    let rows = session.rows_batch(sql, &[], &batch).await?;
    rows.iter().try_fold(0, |sum, row| Ok(sum + row.count(0)?))
}
