//! `answer_due`: answers that the source hasn't got yet. What was answered is in `enrollment.saved`.
//!
//! As with decisions (`consent_owed`), whoever tells one takes it first, and one that was changed meanwhile is told again.

use crate::engine::port::{AnswerId, StoreError};
use crate::model::{DeliveryId, RecordId};
use crate::store::sql::{Batch, Session, params};
use serde_json::{Map, Value as Json};

/// A row with its enrollment.
pub struct Due {
    pub delivery: [u8; 16],
    pub enrollment: i64,
    pub version: i64,
    /// `None`: the enrollment is gone, or was emptied.
    pub of: Option<(RecordId, Map<String, Json>)>,
}

fn object(text: Option<String>) -> Map<String, Json> {
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// What an enrollment keeps; `None`: it is gone, or was emptied.
pub async fn saved(session: &mut Session<'_>, enrollment: i64) -> Result<Option<Map<String, Json>>, StoreError> {
    let sql = "SELECT e.saved FROM enrollment e WHERE e.id = $1 AND e.key IS NOT NULL";
    let row = session.row(sql, params![enrollment]).await?;
    row.map(|mut row| Ok(object(row.opt_text(0)?))).transpose()
}

/// The same, for whoever is going to change it.
pub async fn lock(session: &mut Session<'_>, enrollment: i64) -> Result<Option<Map<String, Json>>, StoreError> {
    session.rows("SELECT o.id FROM outbox o WHERE o.id = $1 {lock o}", params![enrollment]).await?;
    let sql = "SELECT e.saved FROM enrollment e WHERE e.id = $1 AND e.key IS NOT NULL {lock e}";
    let row = session.row(sql, params![enrollment]).await?;
    row.map(|mut row| Ok(object(row.opt_text(0)?))).transpose()
}

pub async fn save(session: &mut Session<'_>, enrollment: i64, saved: &str) -> Result<(), StoreError> {
    session.run("UPDATE enrollment SET saved = $2 WHERE id = $1", params![enrollment, saved]).await?;
    Ok(())
}

/// Due at once. A later answer to the same question has a greater version.
pub async fn enter(
    session: &mut Session<'_>,
    delivery: DeliveryId,
    enrollment: i64,
    version: i64,
    lease: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO answer_due (delivery, enrollment, version, due_at) VALUES ($1, $2, $3, $3)
               ON CONFLICT (delivery) DO UPDATE
               SET version = CASE WHEN answer_due.version < excluded.version THEN excluded.version
                                  ELSE answer_due.version + 1 END,
                   due_at = CASE WHEN answer_due.due_at < excluded.due_at THEN excluded.due_at
                                 WHEN answer_due.due_at > excluded.due_at + $4 THEN excluded.due_at + $4
                                 ELSE answer_due.due_at END";
    session.run(sql, params![&delivery.0[..], enrollment, version, lease]).await?;
    Ok(())
}

pub async fn is_any_due(session: &mut Session<'_>, now: i64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM answer_due d WHERE d.due_at <= $1 LIMIT 1";
    Ok(session.row(sql, params![now]).await?.is_some())
}

/// Takes those that are due until `until`; another node doesn't get them before.
pub async fn take(session: &mut Session<'_>, (now, until): (i64, i64), limit: usize) -> Result<Vec<Due>, StoreError> {
    let sql = "UPDATE answer_due SET due_at = $2
               WHERE delivery IN (SELECT d.delivery FROM answer_due d
                                  WHERE d.due_at <= $1 ORDER BY d.due_at, d.delivery LIMIT $3)
                 AND due_at <= $1
               RETURNING delivery";
    let taken = session.rows(sql, params![now, until, limit]).await?;
    let taken = taken.iter().map(|row| row.id(0)).collect::<Result<Vec<_>, _>>()?;
    // Read after they were taken: what was answered before is told with it.
    let sql = "SELECT d.delivery, d.version, r.tenant, e.entity, e.key, e.saved, d.enrollment
               FROM {batch} JOIN answer_due d ON d.delivery = b.delivery
               LEFT JOIN enrollment e ON e.id = d.enrollment
               LEFT JOIN rule_state r ON r.id = e.rule_state";
    let rows = session.rows_batch(sql, &[], &Batch::new().ids("delivery", &taken)).await?;
    let read = |mut row: crate::store::sql::Row| {
        let (delivery, version) = (row.id(0)?, row.int(1)?);
        let of = match row.opt_text(4)? {
            None => None,
            Some(key) => Some((
                RecordId {
                    tenant: row.text(2)?.as_str().into(),
                    entity: row.text(3)?.as_str().into(),
                    key: key.as_str().into(),
                },
                object(row.opt_text(5)?),
            )),
        };
        Ok(Due { delivery, version, enrollment: row.int(6)?, of })
    };
    rows.into_iter().map(read).collect()
}

pub async fn told(session: &mut Session<'_>, told: &[AnswerId], now: i64) -> Result<(), StoreError> {
    enter_anew(session, told, now).await?;
    let sql = "DELETE FROM answer_due WHERE EXISTS
               (SELECT 1 FROM {batch} WHERE b.delivery = answer_due.delivery AND b.version = answer_due.version)";
    session.run_batch(sql, &[], &batch(told)).await?;
    Ok(())
}

pub async fn put_off(session: &mut Session<'_>, left: &[AnswerId], now: i64, until: i64) -> Result<(), StoreError> {
    enter_anew(session, left, now).await?;
    let sql = "UPDATE answer_due SET due_at = $1 FROM {batch}
               WHERE answer_due.delivery = b.delivery AND answer_due.version = b.version";
    session.run_batch(sql, params![until], &batch(left)).await?;
    Ok(())
}

/// Those whose row is another by now, or gone: what was told may lie over a newer answer.
async fn enter_anew(session: &mut Session<'_>, told: &[AnswerId], now: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO answer_due (delivery, enrollment, version, due_at)
               SELECT b.delivery, b.enrollment, b.version + 1, $1 FROM {batch}
               WHERE NOT EXISTS (SELECT 1 FROM answer_due d WHERE d.delivery = b.delivery AND d.version = b.version)
               ON CONFLICT (delivery) DO UPDATE SET version = answer_due.version + 1, due_at = excluded.due_at";
    session.run_batch(sql, params![now], &batch(told)).await?;
    Ok(())
}

fn batch(rows: &[AnswerId]) -> Batch {
    Batch::new()
        .ids("delivery", rows.iter().map(|row| &row.delivery.0))
        .ints("enrollment", rows.iter().map(|row| row.enrollment))
        .ints("version", rows.iter().map(|row| row.version))
}
