//! `answer_due`: answers that the source hasn't got yet. What was answered is in `enrollment.saved`.

use crate::engine::port::StoreError;
use crate::model::{DeliveryId, RecordId};
use crate::store::sql::{Batch, Session, params};
use serde_json::{Map, Value as Json};

/// A row with its enrollment.
pub struct Due {
    pub delivery: [u8; 16],
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
) -> Result<(), StoreError> {
    let sql = "INSERT INTO answer_due (delivery, enrollment, version, due_at) VALUES ($1, $2, $3, $3)
               ON CONFLICT (delivery) DO UPDATE SET version = excluded.version, due_at = excluded.due_at";
    session.run(sql, params![&delivery.0[..], enrollment, version]).await?;
    Ok(())
}

pub async fn due(session: &mut Session<'_>, now: i64, limit: usize) -> Result<Vec<Due>, StoreError> {
    let rows = session
        .rows(
            "SELECT d.delivery, d.version, r.tenant, e.entity, e.key, e.saved
             FROM answer_due d LEFT JOIN enrollment e ON e.id = d.enrollment
             LEFT JOIN rule_state r ON r.id = e.rule_state
             WHERE d.due_at <= $1 ORDER BY d.due_at, d.delivery LIMIT $2",
            params![now, limit],
        )
        .await?;
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
        Ok(Due { delivery, version, of })
    };
    rows.into_iter().map(read).collect()
}

pub async fn told(session: &mut Session<'_>, told: &[(DeliveryId, i64)]) -> Result<(), StoreError> {
    let sql = "DELETE FROM answer_due WHERE EXISTS
               (SELECT 1 FROM {batch} WHERE b.delivery = answer_due.delivery AND b.version = answer_due.version)";
    session.run_batch(sql, &[], &batch(told)).await?;
    Ok(())
}

pub async fn put_off(session: &mut Session<'_>, left: &[(DeliveryId, i64)], until: i64) -> Result<(), StoreError> {
    let sql = "UPDATE answer_due SET due_at = $1 FROM {batch}
               WHERE answer_due.delivery = b.delivery AND answer_due.version = b.version";
    session.run_batch(sql, params![until], &batch(left)).await?;
    Ok(())
}

fn batch(rows: &[(DeliveryId, i64)]) -> Batch {
    Batch::new().ids("delivery", rows.iter().map(|row| &row.0.0)).ints("version", rows.iter().map(|row| row.1))
}
