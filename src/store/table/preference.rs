//! `preference`: what people said about topics.

use super::{consent_owed, unread};
use crate::engine::port::StoreError;
use crate::model::{AddressHash, Channel, Preference, PreferenceSource, Topic};
use crate::store::sql::{Batch, Row, Session, params};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};

const COLUMNS: &str = "p.hash, p.channel, p.topic, p.allowed, p.since, p.source";
/// In place of a topic: all of them.
const ALL: &str = "";

fn topic(said: &Preference) -> &str {
    said.topic.as_ref().map_or(ALL, Topic::as_str)
}

pub async fn find(session: &mut Session<'_>, hashes: &[AddressHash]) -> Result<Vec<Preference>, StoreError> {
    let batch = Batch::new().ids("hash", hashes.iter().map(|hash| &hash.0));
    let sql = format!("SELECT DISTINCT {COLUMNS} FROM {{batch}} CROSS JOIN preference p WHERE p.hash = b.hash");
    session.rows_batch(&sql, &[], &batch).await?.into_iter().map(read).collect()
}

/// How many entries changed what holds. What was said before stays when it is newer, and a no outlives a yes of the
/// same instant. Of several entries for one address and topic, only the first is read.
pub async fn put(session: &mut Session<'_>, entries: &[Preference], lease: i64) -> Result<u64, StoreError> {
    let mut seen = HashSet::new();
    let entries: Vec<&Preference> = entries.iter().filter(|said| seen.insert((said.hash, topic(said)))).collect();
    let batch = Batch::new()
        .ids("hash", entries.iter().map(|said| &said.hash.0))
        .texts("topic", entries.iter().map(|said| topic(said)))
        .texts("channel", entries.iter().map(|said| said.channel.as_str()))
        .ints("allowed", entries.iter().map(|said| i64::from(said.allowed)))
        .ints("since", entries.iter().map(|said| said.since.as_microsecond()))
        .texts("source", entries.iter().map(|said| said.source.as_str()));
    let sql = "INSERT INTO preference (hash, topic, channel, allowed, since, source)
               SELECT b.hash, b.topic, b.channel, b.allowed, b.since, b.source FROM {batch} WHERE TRUE
               ON CONFLICT (hash, topic) DO UPDATE
               SET allowed = excluded.allowed, since = excluded.since, source = excluded.source
               WHERE preference.since < excluded.since
                  OR (preference.since = excluded.since AND excluded.allowed = 0)";
    // Said again it moves on as well: a no is as young as it was last said, and no older yes gets past it.
    let before = known(session, &entries).await?;
    session.run_batch(sql, &[], &batch).await?;
    let is_news = |said: &&&Preference| match before.get(&(said.hash, topic(said).to_owned())) {
        None => true,
        Some((allowed, since)) => {
            *allowed != said.allowed && (*since < said.since || (*since == said.since && !said.allowed))
        }
    };
    let changed = entries.iter().filter(is_news).count() as u64;
    consent_owed::add(session, &entries, lease).await?;
    Ok(changed)
}

/// What these addresses said about topics so far, and when.
async fn known(
    session: &mut Session<'_>,
    entries: &[&Preference],
) -> Result<HashMap<(AddressHash, String), (bool, Timestamp)>, StoreError> {
    let hashes: Vec<AddressHash> = entries.iter().map(|said| said.hash).collect();
    let found = find(session, &hashes).await?;
    Ok(found.into_iter().map(|said| ((said.hash, topic(&said).to_owned()), (said.allowed, said.since))).collect())
}

/// False: something was said since the question was issued.
pub async fn confirm(
    session: &mut Session<'_>,
    entry: &Preference,
    issued: Timestamp,
    lease: i64,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO preference (hash, topic, channel, allowed, since, source)
               SELECT $1, $2, $3, 1, $4, $5
               WHERE NOT EXISTS (SELECT 1 FROM preference p
                                 WHERE p.hash = $1 AND p.topic IN ($2, '') AND p.since >= $6)
               ON CONFLICT (hash, topic) DO UPDATE
               SET allowed = 1, since = excluded.since, source = excluded.source
               WHERE preference.since < $6";
    let (channel, source) = (entry.channel.as_str(), entry.source.as_str());
    let values = params![&entry.hash.0, topic(entry), channel, entry.since, source, issued];
    let confirmed = session.run(sql, values).await? > 0;
    if confirmed {
        consent_owed::add(session, &[entry], lease).await?;
    }
    Ok(confirmed)
}

pub async fn newest(session: &mut Session<'_>, limit: usize) -> Result<Vec<Preference>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM preference p ORDER BY p.since DESC, p.hash, p.topic LIMIT $1");
    session.rows(&sql, params![limit]).await?.into_iter().map(read).collect()
}

/// In the order of their hashes and topics, from behind one of them on.
pub async fn page(
    session: &mut Session<'_>,
    after: Option<(AddressHash, Option<Topic>)>,
    limit: usize,
) -> Result<Vec<Preference>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM preference p WHERE p.hash > $1 OR (p.hash = $1 AND p.topic > $2)
         ORDER BY p.hash, p.topic LIMIT $3"
    );
    let (hash, topic) = after.map_or((Vec::new(), None), |(hash, topic)| (hash.0.to_vec(), topic));
    let topic = topic.as_ref().map_or(ALL, Topic::as_str);
    session.rows(&sql, params![hash.as_slice(), topic, limit]).await?.into_iter().map(read).collect()
}

pub async fn count(session: &mut Session<'_>) -> Result<u64, StoreError> {
    session.row("SELECT count(*) FROM preference", &[]).await?.map_or(Ok(0), |row| row.count(0))
}

fn read(mut row: Row) -> Result<Preference, StoreError> {
    fn named<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
        serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|_| unread(what, text))
    }
    let topic = row.text(2)?;
    Ok(Preference {
        hash: AddressHash(row.id(0)?),
        channel: named::<Channel>("a channel", &row.text(1)?)?,
        topic: (topic != ALL).then(|| Topic::from(topic.as_str())),
        allowed: row.int(3)? != 0,
        since: row.instant(4)?,
        source: named::<PreferenceSource>("a source of a preference", &row.text(5)?)?,
        delivery: None,
    })
}
