//! `task`: the built-in task list, for sources without one.

use crate::engine::port::{StoreError, TaskDraft};
use crate::model::{DeliveryId, EntityName, Key, Tenant};
use crate::store::sql::{Batch, Session, params};
use jiff::Timestamp;

/// Adds a task unless its reference is there; whether it was added.
pub async fn add(
    session: &mut Session<'_>,
    reference: DeliveryId,
    task: &TaskDraft,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO task (reference, tenant, entity, key, title, body, due, assignee_key, assignee_email,
                                 created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (reference) DO NOTHING";
    let due = task.due.map(|date| date.to_string());
    let params = params![
        &reference.0,
        task.tenant.as_str(),
        task.record.entity.as_str(),
        task.record.key.as_str(),
        task.title.as_str(),
        task.body.as_deref(),
        due.as_deref(),
        task.assignee_key.as_ref().map(Key::as_str),
        task.assignee_email.as_deref(),
        now,
    ];
    Ok(session.run(sql, params).await? > 0)
}

pub async fn open(
    session: &mut Session<'_>,
    tenant: &Tenant,
    entity: &EntityName,
    keys: &[Key],
) -> Result<Vec<(Key, DeliveryId)>, StoreError> {
    let batch = Batch::new().texts("key", keys.iter().map(Key::as_str));
    let rows = session
        .rows_batch(
            "SELECT t.key, t.reference FROM {batch} CROSS JOIN task t
             WHERE t.key = b.key AND t.entity = $1 AND t.tenant = $2 AND t.done_at IS NULL",
            params![entity.as_str(), tenant.as_str()],
            &batch,
        )
        .await?;
    rows.into_iter().map(|mut row| Ok((row.text(0)?.as_str().into(), DeliveryId(row.id(1)?)))).collect()
}
