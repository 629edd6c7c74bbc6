//! `consent_owed`: decisions of readers that the CRM is still to learn.

use crate::engine::port::{Owed, StoreError};
use crate::model::{AddressHash, DeliveryId, Preference, RecordId, RuleId, Topic};
use crate::store::sql::{Batch, Row, Session, params};
use jiff::Timestamp;

/// As `preference` names it: empty for all of them.
fn topic(topic: Option<&Topic>) -> &str {
    topic.map_or("", Topic::as_str)
}

/// Those that were said by the link of a mail.
pub async fn add(session: &mut Session<'_>, entries: &[&Preference]) -> Result<(), StoreError> {
    let owed: Vec<(&Preference, DeliveryId)> =
        entries.iter().filter_map(|said| Some((*said, said.delivery?))).collect();
    let batch = Batch::new()
        .ids("hash", owed.iter().map(|(said, _)| &said.hash.0))
        .texts("topic", owed.iter().map(|(said, _)| topic(said.topic.as_ref())))
        .ids("delivery", owed.iter().map(|(_, delivery)| &delivery.0))
        .ints("since", owed.iter().map(|(said, _)| said.since.as_microsecond()));
    let sql = "INSERT INTO consent_owed (hash, topic, delivery, since, due_at, tries)
               SELECT b.hash, b.topic, b.delivery, b.since, b.since, 0 FROM {batch} WHERE TRUE
               ON CONFLICT (hash, topic) DO UPDATE
               SET delivery = excluded.delivery, since = excluded.since, due_at = excluded.due_at, tries = 0";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

pub async fn due(session: &mut Session<'_>, now: Timestamp, limit: usize) -> Result<Vec<Owed>, StoreError> {
    let sql = "SELECT o.hash, o.topic, o.delivery, p.allowed, o.since, o.tries
               FROM consent_owed o JOIN preference p ON p.hash = o.hash AND p.topic = o.topic
               WHERE o.due_at <= $1 ORDER BY o.due_at LIMIT $2";
    session.rows(sql, params![now, limit]).await?.into_iter().map(read).collect()
}

fn read(mut row: Row) -> Result<Owed, StoreError> {
    Ok(Owed {
        hash: AddressHash(row.id(0)?),
        topic: Some(row.text(1)?).filter(|topic| !topic.is_empty()).map(|topic| Topic::from(topic.as_str())),
        delivery: DeliveryId(row.id(2)?),
        allowed: row.int(3)? != 0,
        since: row.instant(4)?,
        tries: u32::try_from(row.int(5)?).unwrap_or(u32::MAX),
    })
}

fn named(owed: &[Owed]) -> Batch {
    Batch::new()
        .ids("hash", owed.iter().map(|owed| &owed.hash.0))
        .texts("topic", owed.iter().map(|owed| topic(owed.topic.as_ref())))
        .ints("since", owed.iter().map(|owed| owed.since.as_microsecond()))
}

pub async fn drop_paid(session: &mut Session<'_>, owed: &[Owed]) -> Result<(), StoreError> {
    let sql = "DELETE FROM consent_owed WHERE (hash, topic, since) IN (SELECT b.hash, b.topic, b.since FROM {batch})";
    session.run_batch(sql, &[], &named(owed)).await?;
    Ok(())
}

pub async fn put_off(session: &mut Session<'_>, owed: &[Owed], due_at: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE consent_owed SET due_at = $1, tries = tries + 1
               WHERE (hash, topic, since) IN (SELECT b.hash, b.topic, b.since FROM {batch})";
    session.run_batch(sql, params![due_at], &named(owed)).await?;
    Ok(())
}

/// Rule and record of each of these mails, by its place; `None`: nothing is known of it any more.
pub async fn mails(
    session: &mut Session<'_>,
    deliveries: &[DeliveryId],
) -> Result<Vec<Option<(RuleId, RecordId)>>, StoreError> {
    let batch = Batch::new()
        .ints("n", (0..deliveries.len()).map(|n| n as i64))
        .ids("delivery", deliveries.iter().map(|delivery| &delivery.0));
    let sql = "SELECT b.n, r.rule, r.tenant, e.entity, e.key
               FROM {batch} CROSS JOIN attempt a CROSS JOIN enrollment e CROSS JOIN rule_state r
               WHERE a.delivery = b.delivery AND a.kind = 'email' AND a.outcome = 'sent'
                 AND e.id = a.enrollment AND e.key IS NOT NULL AND r.id = e.rule_state";
    let mut found = vec![None; deliveries.len()];
    for mut row in session.rows_batch(sql, &[], &batch).await? {
        let (rule, tenant) = (RuleId::from(row.text(1)?.as_str()), row.text(2)?.as_str().into());
        let record = RecordId { tenant, entity: row.text(3)?.as_str().into(), key: row.text(4)?.as_str().into() };
        if let Some(place) = found.get_mut(row.count(0)? as usize) {
            *place = Some((rule, record));
        }
    }
    Ok(found)
}
