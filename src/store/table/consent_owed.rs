//! `consent_owed`: decisions of readers that the CRM is still to learn.
//!
//! Whoever carries one takes its row first, by making it due later: a newer decision of the same person waits until that
//! one is through, and one whose node died comes back. `since` also tells the decisions of one person apart: who carried
//! one that isn't there any more may have written over a newer one, and has that carried again.

use super::attempt::combined_into;
use crate::engine::port::{Owed, StoreError};
use crate::model::{AddressHash, DeliveryId, Preference, RecordId, Topic};
use crate::store::sql::{Batch, Row, Session, params};
use jiff::Timestamp;

/// As `preference` names it: empty for all of them.
fn topic(topic: Option<&Topic>) -> &str {
    topic.map_or("", Topic::as_str)
}

/// Those that were said by the link of a mail.
pub async fn add(session: &mut Session<'_>, entries: &[&Preference], lease: i64) -> Result<(), StoreError> {
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
               SET delivery = excluded.delivery, tries = 0,
                   since = CASE WHEN consent_owed.since < excluded.since THEN excluded.since
                                ELSE consent_owed.since + 1 END,
                   due_at = CASE WHEN consent_owed.due_at < excluded.due_at THEN excluded.due_at
                                 WHEN consent_owed.due_at > excluded.due_at + $1 THEN excluded.due_at + $1
                                 ELSE consent_owed.due_at END";
    session.run_batch(sql, params![lease], &batch).await?;
    Ok(())
}

pub async fn is_any_due(session: &mut Session<'_>, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM consent_owed o WHERE o.due_at <= $1 LIMIT 1";
    Ok(session.row(sql, params![now]).await?.is_some())
}

/// Takes those that are due until `until`; another node doesn't get them before.
pub async fn take(
    session: &mut Session<'_>,
    (now, until): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<Owed>, StoreError> {
    let sql = "UPDATE consent_owed SET due_at = $2
               WHERE (hash, topic) IN (SELECT o.hash, o.topic FROM consent_owed o
                                       WHERE o.due_at <= $1 ORDER BY o.due_at LIMIT $3)
                 AND due_at <= $1
               RETURNING hash, topic";
    let taken = session.rows(sql, params![now, until, limit]).await?;
    let named = taken.into_iter().map(|mut row| Ok::<_, StoreError>((row.id(0)?, row.text(1)?)));
    let named = named.collect::<Result<Vec<_>, _>>()?;
    let batch = Batch::new()
        .ids("hash", named.iter().map(|(hash, _)| hash))
        .texts("topic", named.iter().map(|(_, topic)| topic.as_str()));
    // Read after they were taken: what is said from now on has another version.
    let sql = "SELECT o.hash, o.topic, o.delivery, o.since, o.tries, p.allowed, p.since
               FROM {batch} JOIN consent_owed o ON o.hash = b.hash AND o.topic = b.topic
               JOIN preference p ON p.hash = b.hash AND p.topic = b.topic
               ORDER BY o.since";
    session.rows_batch(sql, &[], &batch).await?.into_iter().map(read).collect()
}

fn read(mut row: Row) -> Result<Owed, StoreError> {
    Ok(Owed {
        hash: AddressHash(row.id(0)?),
        topic: Some(row.text(1)?).filter(|topic| !topic.is_empty()).map(|topic| Topic::from(topic.as_str())),
        delivery: DeliveryId(row.id(2)?),
        version: row.instant(3)?,
        tries: u32::try_from(row.int(4)?).unwrap_or(u32::MAX),
        allowed: row.int(5)? != 0,
        since: row.instant(6)?,
    })
}

fn named(owed: &[Owed]) -> Batch {
    Batch::new()
        .ids("hash", owed.iter().map(|owed| &owed.hash.0))
        .texts("topic", owed.iter().map(|owed| topic(owed.topic.as_ref())))
        .ids("delivery", owed.iter().map(|owed| &owed.delivery.0))
        .ints("since", owed.iter().map(|owed| owed.version.as_microsecond()))
}

/// Done with. What was said otherwise since is carried after all, as soon as it is due.
pub async fn drop_paid(session: &mut Session<'_>, owed: &[Owed], now: Timestamp) -> Result<(), StoreError> {
    owe_anew(session, owed, now).await?;
    let sql = "DELETE FROM consent_owed WHERE (hash, topic, since) IN (SELECT b.hash, b.topic, b.since FROM {batch})";
    session.run_batch(sql, &[], &named(owed)).await?;
    Ok(())
}

pub async fn put_off(
    session: &mut Session<'_>,
    owed: &[Owed],
    (now, due_at): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    // Its end isn't known: perhaps it was written.
    owe_anew(session, owed, now).await?;
    let sql = "UPDATE consent_owed SET due_at = $1, tries = tries + 1
               WHERE (hash, topic, since) IN (SELECT b.hash, b.topic, b.since FROM {batch})";
    session.run_batch(sql, params![due_at], &named(owed)).await?;
    Ok(())
}

/// Of those whose row is another by now, or gone, what was said last may lie under an older word in the CRM: whoever
/// carried it then is told that it isn't over.
async fn owe_anew(session: &mut Session<'_>, owed: &[Owed], now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO consent_owed (hash, topic, delivery, since, due_at, tries)
               SELECT b.hash, b.topic, b.delivery, p.since + 1, $1, 0
               FROM {batch} JOIN preference p ON p.hash = b.hash AND p.topic = b.topic
               WHERE NOT EXISTS (SELECT 1 FROM consent_owed o
                                 WHERE o.hash = b.hash AND o.topic = b.topic AND o.since = b.since)
               ON CONFLICT (hash, topic) DO UPDATE SET since = consent_owed.since + 1, due_at = excluded.due_at";
    session.run_batch(sql, params![now], &named(owed)).await?;
    Ok(())
}

/// The records that each of these mails tells of, by its place; none: nothing is known of it any more.
pub async fn mails(session: &mut Session<'_>, deliveries: &[DeliveryId]) -> Result<Vec<Vec<RecordId>>, StoreError> {
    let told: Vec<String> = deliveries.iter().map(|into| combined_into(*into)).collect();
    let batch = Batch::new()
        .ints("n", (0..deliveries.len()).map(|n| n as i64))
        .ids("delivery", deliveries.iter().map(|delivery| &delivery.0))
        .texts("told", told.iter().map(String::as_str));
    // Matches that the same message tells of have ended in the same instant.
    let sql = "SELECT b.n, r.tenant, e.entity, e.key
               FROM {batch} CROSS JOIN attempt a CROSS JOIN enrollment e CROSS JOIN rule_state r
               WHERE a.delivery = b.delivery AND a.kind = 'email' AND a.outcome = 'sent'
                 AND e.id = a.enrollment AND e.key IS NOT NULL AND r.id = e.rule_state
               UNION
               SELECT b.n, r.tenant, e.entity, e.key
               FROM {batch} CROSS JOIN attempt a CROSS JOIN attempt o CROSS JOIN enrollment e CROSS JOIN rule_state r
               WHERE a.delivery = b.delivery AND a.kind = 'email' AND a.outcome = 'sent'
                 AND o.finished_at = a.finished_at AND o.outcome = 'skipped' AND o.detail = b.told
                 AND e.id = o.enrollment AND e.key IS NOT NULL AND r.id = e.rule_state";
    let mut found = vec![Vec::new(); deliveries.len()];
    for mut row in session.rows_batch(sql, &[], &batch).await? {
        let place = row.count(0)? as usize;
        let (tenant, entity) = (row.text(1)?.as_str().into(), row.text(2)?.as_str().into());
        let record = RecordId { tenant, entity, key: row.text(3)?.as_str().into() };
        if let Some(records) = found.get_mut(place) {
            records.push(record);
        }
    }
    Ok(found)
}
