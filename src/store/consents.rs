//! What people said about topics.

use super::database::Database;
use super::state::State;
use super::table::preference;
use crate::engine::port::{Consents, StoreError};
use crate::model::{AddressHash, Preference};
use async_trait::async_trait;
use jiff::Timestamp;
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
