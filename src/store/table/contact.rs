//! `contact` and `contact_send`: whom we wrote to and when, as caps count it; `send_day`: how many mails left on
//! a day; `template_sent`: which versions of templates did.

use crate::engine::port::{Spent, StoreError};
use crate::store::sql::{Batch, Row, Session, params};

/// A message that was sent, or is being sent.
pub struct Send {
    pub delivery: [u8; 16],
    pub contact: Option<[u8; 16]>,
    pub at: i64,
    pub day: Option<i64>,
}

/// Locks contacts in key order. Whoever holds the lock sees all places that others have taken, and nobody takes
/// another until it has committed. `ids` are sorted, so that two nodes never wait for each other.
pub async fn lock(session: &mut Session<'_>, ids: &[[u8; 16]]) -> Result<(), StoreError> {
    let batch = Batch::new().ids("id", ids);
    let sql = "INSERT INTO contact (id) SELECT b.id FROM {batch} WHERE TRUE ORDER BY b.id ON CONFLICT (id) DO NOTHING";
    session.run_batch(sql, &[], &batch).await?;
    let sql = "SELECT c.id FROM {batch} CROSS JOIN contact c WHERE c.id = b.id ORDER BY c.id {lock c}";
    session.rows_batch(sql, &[], &batch).await?;
    Ok(())
}

/// What was sent to these contacts after an instant: contact, delivery, when.
pub async fn sends(
    session: &mut Session<'_>,
    ids: &[[u8; 16]],
    since: i64,
) -> Result<Vec<([u8; 16], [u8; 16], i64)>, StoreError> {
    let batch = Batch::new().ids("id", ids);
    let sql = "SELECT s.contact, s.delivery, s.at FROM {batch} CROSS JOIN contact_send s
               WHERE s.contact = b.id AND s.contact IS NOT NULL AND s.at > $1";
    let rows = session.rows_batch(sql, params![since], &batch).await?;
    rows.into_iter().map(|row| Ok((row.id(0)?, row.id(1)?, row.int(2)?))).collect()
}

/// What waits for these contacts by an instant: contact, row, priority, due.
pub async fn waiting(
    session: &mut Session<'_>,
    ids: &[[u8; 16]],
    due_by: i64,
) -> Result<Vec<([u8; 16], i64, i64, i64)>, StoreError> {
    let batch = Batch::new().ids("id", ids);
    let sql = "SELECT o.contact, o.id, o.priority, o.due_at FROM {batch} CROSS JOIN outbox o
               WHERE o.contact = b.id AND o.contact IS NOT NULL AND o.due_at <= $1 AND o.state IN (0, 1, 2)
                 AND o.rule_state NOT IN (SELECT id FROM rule_state WHERE paused = 1)";
    let rows = session.rows_batch(sql, params![due_by], &batch).await?;
    rows.into_iter().map(|row| Ok((row.id(0)?, row.int(1)?, row.int(2)?, row.int(3)?))).collect()
}

/// The day on which each of these deliveries already holds a place; those that hold none are left out.
pub async fn held(
    session: &mut Session<'_>,
    deliveries: &[[u8; 16]],
) -> Result<Vec<([u8; 16], Option<i64>)>, StoreError> {
    let batch = Batch::new().ids("delivery", deliveries);
    let sql = "SELECT s.delivery, s.day FROM {batch} CROSS JOIN contact_send s WHERE s.delivery = b.delivery";
    let rows = session.rows_batch(sql, &[], &batch).await?;
    rows.into_iter().map(|row| Ok((row.id(0)?, row.opt_int(1)?))).collect()
}

/// Takes a place for each; one that holds a place moves it.
pub async fn take(session: &mut Session<'_>, sends: &[Send]) -> Result<(), StoreError> {
    let batch = Batch::new()
        .ids("delivery", sends.iter().map(|s| &s.delivery))
        .opt_ids("contact", sends.iter().map(|s| s.contact.as_ref()))
        .ints("at", sends.iter().map(|s| s.at))
        .ints("day", sends.iter().map(|s| s.day));
    let sql = "INSERT INTO contact_send (delivery, contact, at, day)
               SELECT b.delivery, b.contact, b.at, b.day FROM {batch} WHERE TRUE
               ON CONFLICT (delivery) DO UPDATE SET contact = excluded.contact, at = excluded.at, day = excluded.day";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Gives places back, each of a delivery of an enrollment, and what they took of the budget. One of whose tries nobody
/// knows whether it arrived stays counted, however the later ones end.
pub async fn give_back(session: &mut Session<'_>, places: &[([u8; 16], i64)]) -> Result<(), StoreError> {
    let batch =
        Batch::new().ids("delivery", places.iter().map(|p| &p.0)).ints("enrollment", places.iter().map(|p| p.1));
    let sql = "DELETE FROM contact_send WHERE delivery IN (
                   SELECT b.delivery FROM {batch} WHERE NOT EXISTS (
                       SELECT 1 FROM attempt a
                       WHERE a.enrollment = b.enrollment AND a.delivery = b.delivery AND a.outcome = 'unknown'))
               RETURNING day";
    let rows = session.rows_batch(sql, &[], &batch).await?;
    let days = rows.iter().map(|row| row.opt_int(0)).collect::<Result<Vec<_>, _>>()?;
    let mut counts: std::collections::BTreeMap<i64, i64> = std::collections::BTreeMap::new();
    for day in days.into_iter().flatten() {
        *counts.entry(day).or_default() -= 1;
    }
    let counts: Vec<(i64, i64)> = counts.into_iter().collect();
    spend(session, &counts).await
}

/// Adds to what was spent: (day, how much), in the order of the days.
pub async fn spend(session: &mut Session<'_>, days: &[(i64, i64)]) -> Result<(), StoreError> {
    let batch = Batch::new().ints("day", days.iter().map(|d| d.0)).ints("more", days.iter().map(|d| d.1));
    let sql = "UPDATE send_day SET used = used + b.more FROM {batch} WHERE send_day.day = b.day";
    session.run_batch(sql, &[], &batch).await?;
    Ok(())
}

/// Locks a day, after all contacts, and tells what was spent on it.
pub async fn lock_day(session: &mut Session<'_>, day: i64) -> Result<Spent, StoreError> {
    let sql = "INSERT INTO send_day (day, used) VALUES ($1, 0) ON CONFLICT (day) DO NOTHING";
    session.run(sql, params![day]).await?;
    session.rows("SELECT d.day FROM send_day d WHERE d.day = $1 {lock d}", params![day]).await?;
    spent(session, day).await
}

pub async fn spent(session: &mut Session<'_>, day: i64) -> Result<Spent, StoreError> {
    let first = session.row("SELECT day FROM send_day ORDER BY day LIMIT 1", &[]).await?;
    let used = session.row("SELECT used FROM send_day WHERE day = $1", params![day]).await?;
    let first = first.map(|row: Row| row.int(0)).transpose()?;
    Ok(Spent { first, used: used.map_or(Ok(0), |row| row.count(0))? })
}

pub async fn forget(session: &mut Session<'_>, before: i64) -> Result<u64, StoreError> {
    session.run("DELETE FROM contact_send WHERE at < $1", params![before]).await
}

/// Notes that a version of a template is sent; whether nobody had.
pub async fn note_template(
    session: &mut Session<'_>,
    template: &str,
    version: &str,
    at: i64,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO template_sent (template, version, at) VALUES ($1, $2, $3)
               ON CONFLICT (template, version) DO NOTHING";
    Ok(session.run(sql, params![template, version, at]).await? > 0)
}
