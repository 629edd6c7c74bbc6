//! `suppression`: addresses not to be written to.

use crate::engine::port::StoreError;
use crate::model::{AddressHash, Channel, Suppression, SuppressionReason};
use crate::store::sql::{Batch, Row, Session, params};
use jiff::Timestamp;
use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

const COLUMNS: &str = "s.hash, s.channel, s.address, s.reason, s.since";

/// Adds what isn't there yet, or for a lighter reason; how many were. Otherwise the first reason stays.
pub async fn add(session: &mut Session<'_>, entries: &[Suppression]) -> Result<u64, StoreError> {
    let entries = heaviest(entries);
    let batch = Batch::new()
        .ids("hash", entries.iter().map(|s| &s.hash.0))
        .texts("channel", entries.iter().map(|s| s.channel.as_str()))
        .opt_texts("address", entries.iter().map(|s| s.address.as_deref()))
        .texts("reason", entries.iter().map(|s| s.reason.as_str()))
        .ints("since", entries.iter().map(|s| s.since.as_microsecond()));
    let sql = "INSERT INTO suppression (hash, channel, address, reason, since)
               SELECT b.hash, b.channel, b.address, b.reason, b.since FROM {batch} WHERE TRUE
               ON CONFLICT (hash) DO UPDATE
               SET address = COALESCE(excluded.address, suppression.address), reason = excluded.reason, since = excluded.since
               WHERE CASE suppression.reason WHEN 'manual' THEN 0 WHEN 'bounced' THEN 1 ELSE 2 END
                   < CASE excluded.reason WHEN 'manual' THEN 0 WHEN 'bounced' THEN 1 ELSE 2 END";
    session.run_batch(sql, &[], &batch).await
}

/// One of each address. The statement's weights are those of [`SuppressionReason::weight`].
fn heaviest(entries: &[Suppression]) -> Vec<&Suppression> {
    let mut kept: Vec<&Suppression> = Vec::with_capacity(entries.len());
    let mut places: HashMap<AddressHash, usize> = HashMap::new();
    for entry in entries {
        match places.entry(entry.hash) {
            Vacant(place) => {
                place.insert(kept.len());
                kept.push(entry);
            }
            Occupied(place) => {
                let known = &mut kept[*place.get()];
                if known.reason.weight() < entry.reason.weight() {
                    *known = entry;
                }
            }
        }
    }
    kept
}

pub async fn remove(session: &mut Session<'_>, hashes: &[AddressHash]) -> Result<u64, StoreError> {
    let batch = Batch::new().ids("hash", hashes.iter().map(|hash| &hash.0));
    session.run_batch("DELETE FROM suppression WHERE hash IN (SELECT b.hash FROM {batch})", &[], &batch).await
}

/// An entry that was taken off the list, and when it stood on it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub hash: AddressHash,
    pub at: Timestamp,
    pub again: Option<Timestamp>,
}

/// Removes what had been taken off the list, but for what came after that.
pub async fn remove_older(session: &mut Session<'_>, removed: &[Removal]) -> Result<u64, StoreError> {
    let batch = Batch::new()
        .ids("hash", removed.iter().map(|one| &one.hash.0))
        .ints("at", removed.iter().map(|one| one.at.as_microsecond()))
        .ints("again", removed.iter().map(|one| one.again.map(Timestamp::as_microsecond)));
    let sql = "DELETE FROM suppression WHERE hash IN (
                   SELECT s.hash FROM {batch} CROSS JOIN suppression s
                   WHERE s.hash = b.hash AND s.since <= b.at AND (b.again IS NULL OR s.since <> b.again))";
    session.run_batch(sql, &[], &batch).await
}

pub async fn find(session: &mut Session<'_>, hashes: &[AddressHash]) -> Result<Vec<Suppression>, StoreError> {
    let batch = Batch::new().ids("hash", hashes.iter().map(|hash| &hash.0));
    let sql = format!("SELECT DISTINCT {COLUMNS} FROM {{batch}} CROSS JOIN suppression s WHERE s.hash = b.hash");
    session.rows_batch(&sql, &[], &batch).await?.into_iter().map(read).collect()
}

pub async fn newest(session: &mut Session<'_>, limit: usize) -> Result<Vec<Suppression>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM suppression s ORDER BY s.since DESC, s.hash LIMIT $1");
    session.rows(&sql, params![limit]).await?.into_iter().map(read).collect()
}

/// In the order of their hashes, from behind one of them on.
pub async fn page(
    session: &mut Session<'_>,
    after: Option<AddressHash>,
    limit: usize,
) -> Result<Vec<Suppression>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM suppression s WHERE s.hash > $1 ORDER BY s.hash LIMIT $2");
    let after = after.map_or(Vec::new(), |hash| hash.0.to_vec());
    session.rows(&sql, params![after.as_slice(), limit]).await?.into_iter().map(read).collect()
}

pub async fn count(session: &mut Session<'_>) -> Result<u64, StoreError> {
    session.row("SELECT count(*) FROM suppression", &[]).await?.map_or(Ok(0), |row| row.count(0))
}

fn read(mut row: Row) -> Result<Suppression, StoreError> {
    fn named<T: serde::de::DeserializeOwned>(text: String) -> Result<T, StoreError> {
        serde_json::from_value(serde_json::Value::String(text))
            .map_err(|error| StoreError::Broken(format!("a suppression can't be read: {error}")))
    }
    Ok(Suppression {
        hash: AddressHash(row.id(0)?),
        channel: named::<Channel>(row.text(1)?)?,
        address: row.opt_text(2)?,
        reason: named::<SuppressionReason>(row.text(3)?)?,
        since: row.instant(4)?,
    })
}
