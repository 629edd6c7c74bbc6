//! `inbox`: events of other systems, once for each name and id.

use crate::engine::port::{Inbound, StoreError};
use crate::store::sql::{Row, Session, params};
use jiff::Timestamp;

/// False: it is there already.
pub async fn add(session: &mut Session<'_>, event: &Inbound) -> Result<bool, StoreError> {
    let sql = "INSERT INTO inbox (name, event, received_at, body) VALUES ($1, $2, $3, $4)
               ON CONFLICT (name, event) DO NOTHING";
    let (name, id, body) = (event.name.as_str(), event.id.as_str(), event.body.to_string());
    Ok(session.run(sql, params![name, id, event.received_at, body.as_str()]).await? > 0)
}

pub async fn page(
    session: &mut Session<'_>,
    name: &str,
    (after, until): (Timestamp, Timestamp),
    beyond: i64,
    limit: usize,
) -> Result<Vec<(i64, Inbound)>, StoreError> {
    let sql = "SELECT id, event, received_at, body FROM inbox
               WHERE name = $1 AND received_at > $2 AND received_at <= $3 AND id > $4 ORDER BY id LIMIT $5";
    let rows = session.rows(sql, params![name, after, until, beyond, limit]).await?;
    let read = |mut row: Row| {
        let (number, id, received_at, body) = (row.int(0)?, row.text(1)?, row.instant(2)?, row.text(3)?);
        let body = serde_json::from_str(&body)
            .map_err(|error| StoreError::Broken(format!("the event {id} can't be read: {error}")))?;
        Ok((number, Inbound { name: name.to_owned(), id, received_at, body }))
    };
    rows.into_iter().map(read).collect()
}
