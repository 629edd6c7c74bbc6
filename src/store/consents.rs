//! What people said about topics.

use super::database::Database;
use super::state::State;
use super::table::preference;
use crate::engine::port::{Consents, StoreError};
use crate::model::{AddressHash, Preference, Topic};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;

#[async_trait]
impl<D: Database> Consents for State<D> {
    async fn preferences(&self, hashes: &[AddressHash]) -> Result<Vec<Preference>, StoreError> {
        let hashes: Arc<[AddressHash]> = hashes.into();
        let found = self.database.read(move |mut session| {
            let hashes = Arc::clone(&hashes);
            Box::pin(async move { preference::find(&mut session, &hashes).await })
        });
        found.await
    }

    async fn prefer(&self, entries: &[Preference]) -> Result<u64, StoreError> {
        let entries = &*self.in_order(entries).await?;
        let journaled = match &self.journal {
            Some(journal) => journal.said(entries).await,
            None => Ok(()),
        };
        // A journal that can't be written keeps nobody from saying no.
        let holds = |said: &&Preference| journaled.is_ok() || !said.allowed;
        let entries: Arc<[Preference]> = entries.iter().filter(holds).cloned().collect();
        let lease = self.lease_micros();
        let changed = self.database.write(move |mut session| {
            let entries = Arc::clone(&entries);
            Box::pin(async move { preference::put(&mut session, &entries, lease).await })
        });
        let changed = changed.await?;
        journaled?;
        Ok(changed)
    }

    async fn confirm(&self, said: &Preference, issued: Timestamp) -> Result<bool, StoreError> {
        let (entry, lease) = (Arc::new(said.clone()), self.lease_micros());
        let confirmed = self.database.write(move |mut session| {
            let entry = Arc::clone(&entry);
            Box::pin(async move { preference::confirm(&mut session, &entry, issued, lease).await })
        });
        let confirmed = confirmed.await?;
        // A yes comes after the state: one that a restore forgets is asked for again.
        if let Some(journal) = self.journal.as_ref().filter(|_| confirmed) {
            journal.said(std::slice::from_ref(said)).await?;
        }
        Ok(confirmed)
    }

    async fn newest_preferences(&self, limit: usize) -> Result<Vec<Preference>, StoreError> {
        let newest = self
            .database
            .read(move |mut session| Box::pin(async move { preference::newest(&mut session, limit).await }));
        newest.await
    }
}

impl<D: Database> State<D> {
    /// Who says no now says it after all that was said before, whatever a clock that ran ahead has stamped that with.
    async fn in_order(&self, entries: &[Preference]) -> Result<Vec<Preference>, StoreError> {
        let hashes: Vec<AddressHash> = entries.iter().map(|said| said.hash).collect();
        let mut agreed: HashMap<(AddressHash, Option<Topic>), Timestamp> = HashMap::new();
        for known in self.preferences(&hashes).await?.into_iter().filter(|known| known.allowed) {
            // A no to all stands against a yes to anything.
            for about in [known.topic.clone(), None] {
                let at = agreed.entry((known.hash, about)).or_insert(known.since);
                *at = known.since.max(*at);
            }
        }
        let placed = |said: &Preference| {
            let earlier = agreed.get(&(said.hash, said.topic.clone())).filter(|_| !said.allowed);
            let after = earlier.map(|at| at.saturating_add(SignedDuration::from_micros(1)).unwrap_or(*at));
            Preference { since: after.map_or(said.since, |after| said.since.max(after)), ..said.clone() }
        };
        Ok(entries.iter().map(placed).collect())
    }
}
