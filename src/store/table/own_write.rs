//! `own_write`: values that rules watch and that our own writes change.

use crate::engine::port::{OwnWrite, StoreError};
use crate::model::{DeliveryId, RuleId};
use crate::store::sql::{Batch, Row, Session, params};
use jiff::Timestamp;

fn columns(writes: &[OwnWrite]) -> Batch {
    Batch::new()
        .ids("delivery", writes.iter().map(|write| &write.delivery.0))
        .texts("rule", writes.iter().map(|write| write.rule.as_str()))
        .ids("record", writes.iter().map(|write| &write.record))
        .ids("was", writes.iter().map(|write| &write.before))
        .opt_ids("became", writes.iter().map(|write| write.after.as_ref()))
        .ints("at", writes.iter().map(|write| write.at.as_microsecond()))
        .ints("settled_at", writes.iter().map(|write| write.settled_at.map(Timestamp::as_microsecond)))
}

pub async fn intend(session: &mut Session<'_>, writes: &[OwnWrite]) -> Result<u64, StoreError> {
    let sql = "INSERT INTO own_write (delivery, rule, record, was, at)
               SELECT b.delivery, b.rule, b.record, b.was, b.at FROM {batch} WHERE TRUE
               ON CONFLICT (delivery, rule) WHERE became IS NULL DO NOTHING";
    session.run_batch(sql, &[], &columns(writes)).await
}

/// A repeat that found its own value there already keeps what was before the first try, and when.
pub async fn confirm(session: &mut Session<'_>, delivery: DeliveryId, writes: &[OwnWrite]) -> Result<(), StoreError> {
    let sql = "UPDATE own_write SET became = b.became, settled_at = b.settled_at,
                      was = CASE WHEN b.was = b.became THEN own_write.was ELSE b.was END,
                      at = CASE WHEN b.was = b.became THEN own_write.at ELSE b.at END
               FROM {batch} WHERE own_write.delivery = b.delivery AND own_write.rule = b.rule
                              AND own_write.became IS NULL";
    session.run_batch(sql, &[], &columns(writes)).await?;
    let sql = "DELETE FROM own_write WHERE delivery = $1 AND (became IS NULL OR became = was)";
    session.run(sql, params![&delivery.0]).await?;
    Ok(())
}

pub async fn withdraw(session: &mut Session<'_>, delivery: DeliveryId) -> Result<(), StoreError> {
    session.run("DELETE FROM own_write WHERE delivery = $1 AND became IS NULL", params![&delivery.0]).await?;
    Ok(())
}

/// By the place of each record, oldest first.
pub async fn of_records(
    session: &mut Session<'_>,
    rule: &RuleId,
    records: &[[u8; 16]],
    since: Timestamp,
) -> Result<Vec<Vec<OwnWrite>>, StoreError> {
    let batch = Batch::new().ints("n", (0..records.len()).map(|n| n as i64)).ids("record", records);
    let sql = "SELECT b.n, w.id, w.delivery, w.record, w.was, w.became, w.at, w.settled_at
               FROM {batch} CROSS JOIN own_write w
               WHERE w.record = b.record AND w.rule = $1 AND (w.became IS NOT NULL OR w.at > $2)";
    let mut found = vec![Vec::new(); records.len()];
    for row in session.rows_batch(sql, params![rule.as_str(), since], &batch).await? {
        let write = read(&row, rule)?;
        if let Some(place) = found.get_mut(row.count(0)? as usize) {
            place.push(write);
        }
    }
    for writes in &mut found {
        writes.sort_by_key(|write: &OwnWrite| (write.at, write.id));
    }
    Ok(found)
}

fn read(row: &Row, rule: &RuleId) -> Result<OwnWrite, StoreError> {
    Ok(OwnWrite {
        id: row.int(1)?,
        delivery: DeliveryId(row.id(2)?),
        rule: rule.clone(),
        record: row.id(3)?,
        before: row.id(4)?,
        after: row.opt_id(5)?,
        at: row.instant(6)?,
        settled_at: row.opt_instant(7)?,
    })
}
