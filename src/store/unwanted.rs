//! Messages that their readers have refused between the reading of their facts and their mark.

use super::sql::Session;
use super::table::{preference, suppression};
use crate::engine::port::{Mark, Reader, StoreError};
use crate::model::{AddressHash, Preference, SuppressionReason, Topic, preferences_for};
use std::collections::{HashMap, HashSet};

/// The rows whose messages their readers don't want, by what stands on the lists now. One question to each list.
pub async fn by_readers(session: &mut Session<'_>, marks: &[&Mark]) -> Result<HashSet<i64>, StoreError> {
    let readers: Vec<(i64, &Reader)> =
        marks.iter().filter_map(|mark| Some((mark.token.id, mark.reader.as_ref()?))).collect();
    if readers.is_empty() {
        return Ok(HashSet::new());
    }
    let hashes: HashSet<AddressHash> = readers.iter().map(|(_, reader)| reader.hash).collect();
    let hashes: Vec<AddressHash> = hashes.into_iter().collect();
    let listed = suppression::find(session, &hashes).await?;
    let listed: HashMap<AddressHash, SuppressionReason> =
        listed.into_iter().map(|entry| (entry.hash, entry.reason)).collect();
    let said = preference::find(session, &hashes).await?;
    let mut holds: HashMap<&Topic, HashMap<AddressHash, Preference>> = HashMap::new();
    let mut refused = HashSet::new();
    for (row, reader) in readers {
        let topic = reader.topic.as_ref();
        let about = topic.map(|topic| &*holds.entry(topic).or_insert_with(|| preferences_for(topic, said.clone())));
        let said = about.and_then(|about| about.get(&reader.hash));
        if reader.is_refused(listed.get(&reader.hash).copied(), said) {
            refused.insert(row);
        }
    }
    Ok(refused)
}
